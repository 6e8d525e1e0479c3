"""Which commit the running code came from.

It is the name of a folder that the code lies in:

    git-sync            /opt/airflow/dags/.worktrees/<commit>/dags/taxiway/   (behind the link /opt/airflow/dags/repo)
    GitDagBundle        <bundle storage>/<bundle>/versions/<commit>/dags/taxiway/
"""

import re
from pathlib import Path

CODE = Path(__file__)  # without links: see the package


def is_commit(name: str) -> bool:
    """Tell whether a text is the full hash of a commit."""
    return re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", name) is not None


def commit_of(path: Path) -> str | None:
    """Return the commit that a path without links names, that of its innermost folder if several do."""
    return next(filter(is_commit, reversed(path.parts)), None)
