"""What the DAGs share: settings, the dataset catalogue, EMR job flows, the lake, checks and reports."""

from pathlib import Path

# git-sync delivers a commit by moving a link. All modules of a process come from the commit that the link showed first,
# those too that a task imports after it has moved: resolved once, here.
__path__ = [str(Path(__file__).resolve().parent)]
