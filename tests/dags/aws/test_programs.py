"""The Spark programs that belong to the code: which commit it came from, and whether they are published, as a whole."""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from airflow.dag_processing.bundles.base import get_bundle_version_path

from spark_jobs import publish
from taxiway.aws import programs
from taxiway.aws.programs import ProgramsError, await_published, locate, settings_for_steps
from taxiway.core.code import commit_of
from taxiway.core.settings import Settings, SettingsError
from tests.dags.web import Web, web_server

ROOT = Path(__file__).parents[3]
A, B = "a1" * 20, "b2" * 20
OF_COMMIT = "s3://jobs/spark_jobs/{commit}"


def in_worktree(commit: str) -> Path:
    return Path(f"/opt/airflow/dags/.worktrees/{commit}/dags/taxiway/core/code.py")


# ── Which commit ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (in_worktree(A), A),
        (get_bundle_version_path("taxiway", A) / "dags/taxiway/core/code.py", A),
        (Path(f"/builds/{B}/.worktrees/{A}/dags/taxiway/core/code.py"), A),
        (Path("/opt/airflow/dags/repo/dags/taxiway/core/code.py"), None),
        (Path(f"/srv/{A[:12]}/taxiway/core/code.py"), None),
        (Path(f"/srv/x{A}/taxiway/core/code.py"), None),
    ],
    ids=["git-sync", "GitDagBundle", "the innermost", "no commit", "a short one", "a longer name"],
)
def test_the_commit_is_the_name_of_a_folder(path: Path, expected: str | None) -> None:
    assert commit_of(path) == expected


def test_the_commit_takes_its_place_in_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "CODE", in_worktree(A))

    assert locate(Settings(spark_jobs=OF_COMMIT)).spark_jobs == f"s3://jobs/spark_jobs/{A}"
    assert locate(Settings(spark_jobs=OF_COMMIT), B).spark_jobs == f"s3://jobs/spark_jobs/{A}", "the code decides"


def test_the_version_of_a_bundle_tells_the_commit_where_no_folder_does() -> None:
    assert locate(Settings(spark_jobs=OF_COMMIT), B).spark_jobs == f"s3://jobs/spark_jobs/{B}"


@pytest.mark.parametrize("version", [None, "2026-11-21T10:11:12"])
def test_a_commit_that_nothing_tells_is_told_in_a_sentence(version: str | None) -> None:
    with pytest.raises(ProgramsError) as caught:
        locate(Settings(spark_jobs=OF_COMMIT), version)

    assert str(caught.value) == (
        "TAXIWAY_SPARK_JOBS=s3://jobs/spark_jobs/{commit} needs the commit of the DAGs, which cannot be determined "
        f"from {ROOT}/dags/taxiway/core: deliver the DAGs by git-sync or by a GitDagBundle with versions, or set "
        "TAXIWAY_SPARK_JOBS to the folder of one version, such as s3://jobs/spark_jobs/1.2.3."
    )


def test_an_explicit_version_stays() -> None:
    settings = Settings(spark_jobs="s3://jobs/spark_jobs/mine")
    assert locate(settings, B) is settings


@pytest.mark.parametrize("folder", ["s3://jobs/{comit}", "s3://jobs/{commit", "s3://jobs/{commit}/{version}"])
def test_another_word_in_braces_is_refused(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAXIWAY_SPARK_JOBS", folder)
    with pytest.raises(SettingsError, match=r"\{commit\} is the only placeholder allowed"):
        Settings.read()


def test_a_process_keeps_to_the_commit_that_it_began_with(tmp_path: Path) -> None:
    """As git-sync delivers: the link moves to another commit's work tree while a task runs."""
    for commit in (A, B):
        shutil.copytree(ROOT / "dags/taxiway", tmp_path / ".worktrees" / commit / "dags/taxiway")
    link = tmp_path / "repo"
    link.symlink_to(f".worktrees/{A}")
    code = f"""
import os, taxiway
os.symlink(".worktrees/{B}", "{link}.new")
os.replace("{link}.new", "{link}")
from taxiway.aws import programs
from taxiway.hvfhv import plan
from taxiway.core.code import commit_of
from taxiway.core.settings import Settings
print(plan.__file__, programs.locate(Settings(spark_jobs="{OF_COMMIT}")).spark_jobs, os.readlink("{link}"))
"""

    environment = {**os.environ, "PYTHONPATH": str(link / "dags")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=tmp_path)

    plan = tmp_path.resolve() / ".worktrees" / A / "dags/taxiway/hvfhv/plan.py"
    assert done.stdout.split() == [str(plan), f"s3://jobs/spark_jobs/{A}", f".worktrees/{B}"], done.stderr


# ── Whether they are published ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def s3(aws: str) -> Any:
    client = boto3.client("s3")
    client.create_bucket(Bucket="jobs")
    return client


FOUND = Settings(spark_jobs=f"s3://jobs/spark_jobs/{A}", poll_s=1)


def test_programs_that_are_published(s3: Any) -> None:
    publish.publish("s3://jobs/spark_jobs", A)
    await_published(FOUND, s3, 0)


@pytest.mark.parametrize("bucket", ["jobs", "nowhere"])
def test_programs_of_a_commit_that_are_not_published(s3: Any, bucket: str) -> None:
    with pytest.raises(ProgramsError) as caught:
        await_published(Settings(spark_jobs=f"s3://{bucket}/spark_jobs/{A}"), s3, 0)

    assert str(caught.value) == (
        f"The Spark programs of commit {A}, the commit of this DAG, are not published: "
        f"s3://{bucket}/spark_jobs/{A}/spark_jobs.zip is missing; check why the workflow publish-jobs failed, or check "
        "out the commit and run make publish-jobs, then clear this task."
    )


def test_a_version_that_is_not_published(s3: Any) -> None:
    with pytest.raises(ProgramsError, match="no Spark programs in TAXIWAY_SPARK_JOBS=s3://jobs/mine: "):
        await_published(Settings(spark_jobs="s3://jobs/mine"), s3, 0)


def test_half_a_folder_is_not_published(s3: Any) -> None:
    for program in publish.programs():
        s3.put_object(Bucket="jobs", Key=f"spark_jobs/{A}/{program}", Body=b"")
    with pytest.raises(ProgramsError, match="are not published"):
        await_published(FOUND, s3, 0)


def test_it_is_waited_for_programs_that_ci_is_publishing(s3: Any) -> None:
    thread = threading.Timer(1.5, publish.publish, ("s3://jobs/spark_jobs", A))
    began = time.monotonic()
    thread.start()
    await_published(FOUND, s3, 60)
    thread.join()
    assert 1.4 < time.monotonic() - began < 60


def test_waiting_has_an_end(s3: Any) -> None:
    began = time.monotonic()
    with pytest.raises(ProgramsError, match=r"spark_jobs\.zip is missing after 0\.02 minutes of waiting; check why"):
        await_published(FOUND, s3, 1.2)
    assert 1.2 <= time.monotonic() - began < 60


@pytest.fixture
def web() -> Iterator[Web]:
    with web_server() as web:
        yield web


def test_a_role_that_may_not_look(web: Web) -> None:
    web.serve(f"/jobs/spark_jobs/{A}/spark_jobs.zip", b"", 403)
    s3 = boto3.client("s3", endpoint_url=web.url)
    with pytest.raises(ProgramsError, match=r"Airflow's role needs s3:GetObject on that folder and s3:ListBucket on"):
        await_published(FOUND, s3, 60)


def task_instance(next_method: str | None = None) -> Any:
    """Return what Airflow's task instance has of interest, as of a run without a versioned bundle."""
    return SimpleNamespace(
        bundle_instance=SimpleNamespace(version=None), _ti_context_from_server=SimpleNamespace(next_method=next_method)
    )


def test_a_task_that_comes_back_from_its_trigger_needs_no_programs(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Meanwhile the link has moved to a commit whose programs are not published yet."""
    monkeypatch.setattr(programs, "CODE", in_worktree(A))
    settings = Settings(spark_jobs=OF_COMMIT, jobs_wait_minutes=0)

    found = settings_for_steps(settings, boto3.Session(), task_instance("execute_complete"))

    assert found.spark_jobs == f"s3://jobs/spark_jobs/{A}"
    with pytest.raises(ProgramsError, match="are not published"):
        settings_for_steps(settings, boto3.Session(), task_instance())


def test_only_the_programs_of_a_commit_are_waited_for(s3: Any) -> None:
    began = time.monotonic()
    with pytest.raises(ProgramsError, match="There are no Spark programs in"):
        settings_for_steps(Settings(spark_jobs="s3://jobs/mine"), boto3.Session(), task_instance())
    assert time.monotonic() - began < 60


# ── Publishing ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_archive_is_published_last(monkeypatch: pytest.MonkeyPatch) -> None:
    put: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            put.append(self.path)
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever).start()
    try:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        publish.publish("s3://jobs", A)
    finally:
        server.shutdown()
        server.server_close()

    assert len(put) == len(publish.programs()) + 1
    assert put[-1] == f"/jobs/{A}/{programs.ARCHIVE}"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a clone without history, as CI has it, of a repository with the package and two commits."""

    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path / "origin", check=True, capture_output=True)

    ignored = shutil.ignore_patterns("__pycache__")
    for folder in ("spark_jobs", "contracts", "dags/taxiway"):
        shutil.copytree(ROOT / folder, tmp_path / "origin" / folder, ignore=ignored)
    shutil.copy(ROOT / ".gitignore", tmp_path / "origin")
    git("init", "-q", "-b", "main")
    git("add", ".")
    git("commit", "-qm", "first")
    git("commit", "-qm", "second", "--allow-empty")
    git("clone", "-q", "--depth", "1", (tmp_path / "origin").as_uri(), str(tmp_path / "clone"))
    return tmp_path / "clone"


def publish_in(clone: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "spark_jobs.publish", "--committed", "s3://jobs/spark_jobs"]
    return subprocess.run(command, cwd=clone, env={**os.environ, "PYTHONPATH": "dags"}, capture_output=True, text=True)


def test_ci_publishes_under_the_commit(clone: Path, s3: Any) -> None:
    head = ["git", "rev-parse", "HEAD"]
    commit = subprocess.run(head, cwd=clone, capture_output=True, text=True, check=True).stdout.strip()

    for _ in range(2):  # the second time with the compiled files of the first one
        done = publish_in(clone)
        assert (done.stdout, done.stderr) == (f"s3://jobs/spark_jobs/{commit}\n", "")
    await_published(Settings(spark_jobs=f"s3://jobs/spark_jobs/{commit}"), s3, 0)


@pytest.mark.parametrize(
    "file", ["spark_jobs/hvfhv/new.py", "dags/taxiway/core/new.py", "contracts/hvfhv/new.yaml"], ids=lambda file: file
)
def test_what_is_not_of_the_commit_is_not_published_as_the_commit(file: str, clone: Path, s3: Any) -> None:
    source = clone / "contracts/hvfhv/trend.yaml"
    (clone / file).write_text(source.read_text() if file.endswith(".yaml") else "")
    done = publish_in(clone)

    assert done.returncode == 1
    assert "The programs differ from their commit" in done.stderr
    assert f"first in {file}: commit or remove that first." in done.stderr
    assert "Contents" not in s3.list_objects_v2(Bucket="jobs")
