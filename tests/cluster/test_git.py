"""The checkout, and its way into the git server: real repositories, pushed through git's ext transport."""

import os
import subprocess
from pathlib import Path

import pytest

from cluster import git
from cluster.kubectl import Kubectl
from console.errors import UserError


def run(folder: Path, *words: str) -> None:
    subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"):
        monkeypatch.setenv(name, "someone@example.com")
    folder = tmp_path / "checkout"
    (folder / "images").mkdir(parents=True)
    (folder / "dags").mkdir()
    (folder / "dags" / "a.py").write_text("1\n")
    (folder / "images" / "Dockerfile").write_text("FROM x\n")
    run(folder, "init", "-q", "-b", "work")
    run(folder, "add", ".")
    run(folder, "commit", "-q", "-m", "one")
    return folder


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git server's pod: a kubectl that runs here what would run there."""
    repository = tmp_path / "server.git"
    subprocess.run(["git", "init", "-q", "--bare", str(repository)], check=True)
    programs = tmp_path / "bin"
    programs.mkdir()
    kubectl = programs / "kubectl"
    kubectl.write_text(
        '#!/bin/sh\necho "$1 $2 $3 $4" >>"$0.calls"\nwhile [ "$1" != -- ]; do shift; done\nshift\nexec "$@"\n'
    )
    kubectl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(git, "SERVER_PATH", str(repository))
    return repository


def test_no_repository_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="in no git repository with a commit"):
        git.head(tmp_path)


def test_the_tag_is_the_commit_and_what_is_not_committed_in_images(checkout: Path) -> None:
    clean = git.image_tag(checkout)
    assert clean == git.head(checkout)[:12]
    (checkout / "dags" / "a.py").write_text("2\n")
    assert git.image_tag(checkout) == clean, "DAGs are in no image"
    (checkout / "images" / "Dockerfile").write_text("FROM y\n")
    first = git.image_tag(checkout)
    (checkout / "images" / "Dockerfile").write_text("FROM z\n")
    assert first.startswith(f"{clean}-dirty-")
    assert git.image_tag(checkout) not in (clean, first), "other content, other image"
    assert git.uncommitted(checkout) == ["dags/a.py", "images/Dockerfile"]


def test_a_push_brings_the_commit_and_nothing_else(checkout: Path, server: Path) -> None:
    (checkout / "dags" / "a.py").write_text("not committed\n")
    kubectl = Kubectl("a context with blanks", "taxiway")
    before, now = git.push(kubectl, checkout)
    assert (before, now) == ("", git.head(checkout))
    shown = subprocess.run(["git", "show", "main:dags/a.py"], cwd=server, capture_output=True, text=True, check=True)
    assert shown.stdout == "1\n"
    calls = (server.parent / "bin" / "kubectl.calls").read_text().splitlines()
    assert set(calls) == {"--context a context with blanks -n taxiway"}, "the context is always named"


def test_a_branch_that_was_rewritten_takes_the_place_of_the_old_one(checkout: Path, server: Path) -> None:
    kubectl = Kubectl("c", "taxiway")
    git.push(kubectl, checkout)
    first = git.head(checkout)
    run(checkout, "commit", "-q", "--amend", "-m", "another one")
    assert git.push(kubectl, checkout) == (first, git.head(checkout))
    assert git.branch_head(kubectl) == git.head(checkout)


def test_what_goes_wrong_with_a_push() -> None:
    assert "make kind-up" in git.push_problem('Error from server (NotFound): pods "git-server-0" not found', "c")
    assert "pods/exec" in git.push_problem('Error: pods "git-server-0" is Forbidden: cannot create pods/exec', "c")
    assert "--unshallow" in git.push_problem("! [remote rejected] HEAD -> main (shallow update not allowed)", "c")
    assert "does not answer" in git.push_problem("The connection to the server 1.2.3.4 was refused", "c")


def test_exported_files_are_those_of_the_commit(checkout: Path) -> None:
    commit = git.head(checkout)
    (checkout / "dags" / "a.py").write_text("3\n")
    with git.exported(commit, "dags", root=checkout) as folder:
        assert (folder / "dags" / "a.py").read_text() == "1\n"
        assert not (folder / "images").exists()
    assert not folder.exists()
