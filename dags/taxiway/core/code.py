"""Which commit the running code is from: the name of one of its parent folders.

The folder depends on how the code was delivered:

    git-sync            /opt/airflow/dags/.worktrees/<commit>/dags/taxiway/   (behind the link /opt/airflow/dags/repo)
    GitDagBundle        <bundle storage>/<bundle>/versions/<commit>/dags/taxiway/
"""

import re
from pathlib import Path

CODE = Path(__file__)  # symbolic links are resolved, see taxiway/__init__.py


def is_commit(name: str) -> bool:
    """Return whether a text is the full hash of a commit."""
    return re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", name) is not None


def commit_of(path: Path) -> str | None:
    """Return the commit that a folder of a resolved path is named after, the innermost if there are several."""
    return next(filter(is_commit, reversed(path.parts)), None)
