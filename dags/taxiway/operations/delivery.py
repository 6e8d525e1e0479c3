"""How far the local code may be behind the remote repository, read from git-sync's volume, without network access.

git-sync fetches the branch every few seconds into ``<root>/.git``, and then points a symbolic link in ``<root>`` to the
work tree of the commit. Each fetch writes ``FETCH_HEAD``: it names the remote's commit, its modification time is the
time of the fetch, and it is empty when the fetch failed. The code was in sync with the remote when both were last seen
to be the same commit. Later pushes are unknown here, so the lag is the time since then: a few seconds in normal
operation, growing while the remote is unreachable or the link is not updated.
"""

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from taxiway.core import code

TREES = ".worktrees"


@dataclass(frozen=True)
class Delivery:
    """State of the code's delivery; times are Unix times.

    Attributes:
        commit: the commit that the link points to.
        in_sync_at: when the remote was last known to have that commit.
        lag: seconds since then.
        committed_at: when the commit was made; None if git cannot read it.
    """

    commit: str
    in_sync_at: float
    lag: float
    committed_at: float | None


def measure_delivery(before: float | None = None, *, tries: int = 6, pause_s: float = 1) -> Delivery | None:
    """Return the state of the delivery by git-sync's volume; None if the code was not delivered by git-sync.

    Args:
        before: ``in_sync_at`` of the previous measurement, used if the volume shows no later time.
        tries: how often to read the volume, because a fetch or an update of the link may be in progress.
        pause_s: seconds between two tries.
    """
    root = next((folder.parent for folder in code.CODE.parents if folder.name == TREES), None)
    link = root and next((path for path in sorted(root.iterdir()) if path.is_symlink() and _target(path)), None)
    if not root or not link:
        return None
    for attempt in range(tries):
        if attempt:
            time.sleep(pause_s)
        commit = _target(link)
        head = root / ".git" / "FETCH_HEAD"
        fetched = head.stat().st_mtime if head.exists() else 0.0
        if commit and commit == _git(root, "rev-parse", "--verify", "--quiet", "FETCH_HEAD^{commit}"):
            in_sync_at = fetched
            break
    else:
        # Not in sync now: they were when the link was updated, and at the previous measurement.
        commit, in_sync_at = _target(link), max(link.lstat().st_mtime, before or 0)
    committed_at = _git(root, "show", "--no-patch", "--format=%ct", str(commit))
    lag = max(time.time() - in_sync_at, 0)
    return Delivery(str(commit), in_sync_at, lag, float(committed_at) if committed_at else None)


def _target(link: Path) -> str | None:
    target = link.readlink()
    return code.commit_of(target) if TREES in target.parts else None


def _git(root: Path, *arguments: str) -> str | None:
    """Return git's output for the repository, which another user owns; None if it fails or prints nothing."""
    command = ["git", f"--git-dir={root}/.git", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
