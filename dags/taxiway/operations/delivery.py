"""How far the code here may be behind the remote repository: what git-sync's volume shows, without a network.

git-sync fetches the branch every few seconds into ``<root>/.git`` and then moves a link in ``<root>`` to the work tree
of the commit. ``FETCH_HEAD`` is written by each fetch: it names the remote's commit, its time is that of the look, and
it is empty when the fetch failed. So the code agreed with the remote when both were last seen to be the same; what was
pushed after that nobody here can know, and the lag is the time since then. It is seconds when all is well, and grows as
long as the remote cannot be reached, or the link does not follow.
"""

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from taxiway.core import code

TREES = ".worktrees"


@dataclass(frozen=True)
class Delivery:
    """What is known of the code's delivery; times are Unix times.

    Attributes:
        commit: that the link leads to.
        agreed: when the remote was last known to have that commit.
        lag: seconds since then.
        committed: when the commit was made; None where git does not say.
    """

    commit: str
    agreed: float
    lag: float
    committed: float | None


def look(before: float | None = None, *, tries: int = 6, pause_s: float = 1) -> Delivery | None:
    """Return what git-sync's volume says; None where the code was not delivered by git-sync.

    Args:
        before: ``agreed`` of the last look, which counts where the volume shows no later agreement.
        tries: how often to look, since a fetch may be under way, or the link about to be moved.
        pause_s: seconds between two tries.
    """
    root = next((folder.parent for folder in code.CODE.parents if folder.name == TREES), None)
    link = root and next((path for path in root.iterdir() if path.is_symlink() and _target(path)), None)
    if not root or not link:
        return None
    for attempt in range(tries):
        if attempt:
            time.sleep(pause_s)
        commit = _target(link)
        head = root / ".git" / "FETCH_HEAD"
        fetched = head.stat().st_mtime if head.exists() else 0.0
        if commit and commit == _git(root, "rev-parse", "--verify", "--quiet", "FETCH_HEAD^{commit}"):
            agreed = fetched
            break
    else:
        # Not seen to agree: they did when the link was moved, and at the last look.
        commit, agreed = _target(link), max(link.lstat().st_mtime, before or 0)
    committed = _git(root, "show", "--no-patch", "--format=%ct", str(commit))
    return Delivery(str(commit), agreed, max(time.time() - agreed, 0), float(committed) if committed else None)


def _target(link: Path) -> str | None:
    target = link.readlink()
    return code.commit_of(target) if TREES in target.parts else None


def _git(root: Path, *arguments: str) -> str | None:
    """Return what git says of the repository, which another user owns; None if it says nothing."""
    command = ["git", f"--git-dir={root}/.git", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
