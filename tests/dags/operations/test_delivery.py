"""The delivery lag, from a volume as git-sync leaves it: made by git itself, as git-sync asks it to."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from taxiway.core import code
from taxiway.operations.delivery import Delivery, measure_delivery

DAY = 24 * 3600


def git(*arguments: str | Path) -> str:
    names = {f"GIT_{who}_{what}": "t@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment = {**os.environ, **names, "GIT_CONFIG_GLOBAL": os.devnull}
    done = subprocess.run(["git", *map(str, arguments)], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


class Volume:
    """A remote repository, and the folder that git-sync keeps of it."""

    def __init__(self, folder: Path) -> None:
        self.remote, self.root = folder / "remote", folder / "root"
        git("init", "--quiet", "--initial-branch=main", self.remote)
        git("init", "--quiet", self.root)
        self.push()

    def push(self) -> str:
        git("-C", self.remote, "commit", "--quiet", "--allow-empty", "--message", "another")
        return git("-C", self.remote, "rev-parse", "HEAD")

    def fetch(self) -> str:
        options = ["--no-progress", "--prune", "--no-auto-gc", "--depth", "1"]
        git("-C", self.root, "fetch", "--quiet", self.remote.as_uri(), "main", *options)
        return git("-C", self.root, "rev-parse", "FETCH_HEAD^{}")

    def sync(self) -> str:
        commit = self.fetch()
        tree, link = Path(".worktrees", commit), self.root / "repo"
        if not (self.root / tree).exists():
            git("-C", self.root, "worktree", "add", "--force", "--detach", tree, commit)
            link.unlink(missing_ok=True)
            link.symlink_to(tree)
        return commit


@pytest.fixture
def volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Volume:
    volume = Volume(tmp_path)
    commit = volume.sync()
    monkeypatch.setattr(code, "CODE", volume.root / ".worktrees" / commit / "dags/taxiway/core/code.py")
    return volume


def found(before: float | None = None) -> Delivery:
    result = measure_delivery(before, tries=2, pause_s=0.1)
    assert result
    return result


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then), follow_symlinks=False)


def test_code_that_is_the_remotes_has_the_lag_of_the_last_look(volume: Volume) -> None:
    age(volume.root / "repo", DAY)
    age(volume.root / ".git/FETCH_HEAD", 3600)

    delivery = found()

    assert delivery.commit == git("-C", volume.remote, "rev-parse", "HEAD")
    assert delivery.lag == pytest.approx(3600, abs=300)
    assert delivery.committed_at == float(git("-C", volume.remote, "show", "--no-patch", "--format=%ct"))


def test_a_push_is_seen_with_the_next_look(volume: Volume) -> None:
    commit = volume.push()
    assert found().commit != commit
    volume.sync()

    assert found().commit == commit, "the link's commit, whichever this process's code is of"
    assert found().lag < 10


def test_a_remote_that_git_sync_does_not_look_at_makes_it_grow(volume: Volume) -> None:
    age(volume.root / ".git/FETCH_HEAD", DAY)

    assert found().lag == pytest.approx(DAY, abs=10)


def test_a_remote_out_of_reach_makes_it_grow_since_the_last_agreement(volume: Volume) -> None:
    age(volume.root / "repo", DAY)
    volume.remote.rename(volume.remote.with_name("away"))
    with pytest.raises(subprocess.CalledProcessError):
        volume.fetch()  # empties FETCH_HEAD, with a new time

    assert found(before=time.time() - 600).lag == pytest.approx(600, abs=10)
    assert found().lag == pytest.approx(DAY, abs=10), "since the link was moved, if nothing later is known"


def test_a_link_that_does_not_follow_makes_it_grow(volume: Volume) -> None:
    old = found().commit
    volume.push()
    volume.fetch()
    age(volume.root / "repo", DAY)

    delivery = found(before=time.time() - 300)

    assert delivery.commit == old
    assert delivery.lag == pytest.approx(300, abs=10)


def test_code_from_elsewhere_has_no_lag() -> None:
    assert measure_delivery() is None
