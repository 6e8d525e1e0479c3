"""What the DAGs share: settings, the dataset catalogue, EMR job flows, the lake, checks and reports."""

from pathlib import Path

# git-sync delivers a commit by replacing a symbolic link. Resolve the link once, here: all modules of a process then
# come from the same commit, even those that a task imports after the link has changed.
__path__ = [str(Path(__file__).resolve().parent)]
