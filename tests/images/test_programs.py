"""The programs in the images: the git server, and the replacements for those of the official Airflow image."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tools import absent

ROOT = Path(__file__).parents[2]
BASE_IMAGE = ROOT / "tests/e2e/base_image"


def run(*arguments: str | Path, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | variables
    return subprocess.run(arguments, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=120)


def git(*arguments: str | Path, cwd: Path | None = None) -> str:
    who = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.com"]
    done = run("git", *who, *arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


class GitServer:
    """The image's program on a free port; `start` may be called again after `stop`."""

    def __init__(self, root: Path) -> None:
        self.repository = root / "taxiway.git"
        self._root = root
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self.url = f"git://127.0.0.1:{self._port}/taxiway.git"

    def start(self) -> None:
        variables = {
            "GIT_ROOT": str(self._root),
            "GIT_PORT": str(self._port),
            "GIT_REPOSITORY": "taxiway.git",
            "GIT_BRANCH": "main",
            "GIT_CONFIG_SYSTEM": str(ROOT / "images/git-server/gitconfig"),
        }
        # A session of its own: `git daemon` is a child of the `git` that the script becomes.
        program = ROOT / "images/git-server/serve"
        self._process = subprocess.Popen([program], env=os.environ | variables, start_new_session=True)
        deadline = time.monotonic() + 60
        while run("git", "ls-remote", self.url).returncode:
            assert self._process.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.05)

    def stop(self) -> None:
        os.killpg(self._process.pid, signal.SIGTERM)
        self._process.wait(timeout=60)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    if not Path(git("--exec-path"), "git-daemon").exists():
        absent("tool", "git on this machine has no daemon: apt install git")
    (tmp_path / "srv").mkdir()
    server = GitServer(tmp_path / "srv")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    git("init", "--quiet", "--initial-branch=main", folder)
    (folder / "dag.py").write_text("print(1)\n")
    git("add", "dag.py", cwd=folder)
    git("commit", "--quiet", "-m", "one", cwd=folder)
    return folder


def push(checkout: Path, server: GitServer) -> None:
    """Push as through kubectl exec: receive-pack in the pod, spoken to by its standard streams."""
    git("-c", "protocol.ext.allow=user", "push", "--quiet", f"ext::%S {server.repository}", "HEAD:main", cwd=checkout)


def test_the_git_server_serves_what_was_pushed_through_exec(server: GitServer, checkout: Path, tmp_path: Path) -> None:
    push(checkout, server)
    git("clone", "--quiet", "--depth=1", server.url, tmp_path / "clone")
    assert (tmp_path / "clone/dag.py").read_text() == "print(1)\n"
    assert git("ls-remote", "--symref", server.url, "HEAD").startswith("ref: refs/heads/main\tHEAD")


def test_the_git_server_gives_an_older_commit_by_its_hash(server: GitServer, checkout: Path, tmp_path: Path) -> None:
    first = git("rev-parse", "HEAD", cwd=checkout)
    git("commit", "--quiet", "--allow-empty", "-m", "two", cwd=checkout)
    push(checkout, server)
    clone = tmp_path / "clone"
    git("init", "--quiet", clone)
    git("fetch", "--quiet", "--depth=1", server.url, first, cwd=clone)
    assert git("rev-parse", "FETCH_HEAD", cwd=clone) == first


def test_the_git_server_refuses_pushes_through_its_port(server: GitServer, checkout: Path) -> None:
    done = run("git", "push", server.url, "HEAD:main", cwd=checkout)
    assert done.returncode != 0
    assert git("ls-remote", server.url) == ""


def test_the_git_server_keeps_what_it_has_over_a_restart(server: GitServer, checkout: Path) -> None:
    push(checkout, server)
    before = git("ls-remote", server.url)
    server.stop()
    server.start()
    assert git("ls-remote", server.url) == before != ""


# -- Replacements for programs of the official Airflow image ----------------------------------------------------------


@pytest.fixture
def airflow(tmp_path: Path) -> Path:
    """A program `airflow` that prints its arguments; its database is reachable from the second attempt on."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "airflow"
    tried = tmp_path / "tried"
    program.write_text(
        f'#!/bin/sh\n[ "$*" = "db check" ] || {{ echo "airflow $*"; exit 0; }}\n'
        f"[ -e {tried} ] || {{ touch {tried}; echo no; exit 1; }}\n"
    )
    program.chmod(0o755)
    return folder


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["airflow", "scheduler"], "airflow scheduler"),
        (["celery", "worker"], "airflow celery worker"),
        (["bash", "-c", "echo $((1 + 1))"], "2"),
        (["python", "-c", "print(3)"], "3"),
    ],
)
def test_the_entry_point_accepts_the_official_ones_commands(airflow: Path, words: list[str], said: str) -> None:
    path = f"{airflow}:{os.environ['PATH']}"
    done = run(BASE_IMAGE / "entrypoint", *words, PATH=path, CONNECTION_CHECK_SLEEP_TIME="0")
    assert (done.returncode, done.stdout.strip()) == (0, said), done.stderr


def test_the_entry_point_gives_up_on_a_database_that_does_not_answer(airflow: Path) -> None:
    path = f"{airflow}:{os.environ['PATH']}"
    done = run(BASE_IMAGE / "entrypoint", "airflow", "scheduler", PATH=path, CONNECTION_CHECK_MAX_COUNT="1")
    assert done.returncode == 1
    assert "The database cannot be reached:\nno" in done.stderr


def test_the_entry_point_does_not_check_the_database_when_disabled(airflow: Path, tmp_path: Path) -> None:
    path = f"{airflow}:{os.environ['PATH']}"
    done = run(BASE_IMAGE / "entrypoint", "airflow", "version", PATH=path, CONNECTION_CHECK_MAX_COUNT="0")
    assert done.stdout == "airflow version\n"
    assert not (tmp_path / "tried").exists()


def clean(home: Path, until: Path, **variables: str) -> None:
    """Run the log groomer until a file or a folder is gone."""
    process = subprocess.Popen([BASE_IMAGE / "clean-logs"], env=os.environ | {"AIRFLOW_HOME": str(home)} | variables)
    deadline = time.monotonic() + 60
    while until.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)  # it must not remove more
    process.terminate()
    process.wait(timeout=60)


def test_the_log_groomer_removes_what_is_old(tmp_path: Path) -> None:
    old, new = tmp_path / "logs/run/old.log", tmp_path / "logs/new.log"
    old.parent.mkdir(parents=True)
    for file in (old, new):
        file.write_text("…")
    os.utime(old, (time.time() - 3 * 86400,) * 2)
    clean(tmp_path, old.parent, AIRFLOW__LOG_RETENTION_DAYS="2")
    assert new.exists()
    assert not old.parent.exists(), "empty folders go too"


def test_the_log_groomer_removes_the_oldest_where_there_is_too_much(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    for age, name in enumerate(["newest.log", "middle.log", "oldest.log"]):
        (logs / name).write_bytes(bytes(100_000))
        os.utime(logs / name, (time.time() - age * 60,) * 2)
    clean(tmp_path, logs / "oldest.log", AIRFLOW__LOG_MAX_SIZE_BYTES="250000")
    assert sorted(path.name for path in logs.iterdir()) == ["middle.log", "newest.log"]
