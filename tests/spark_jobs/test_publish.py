"""Publishing the programs, against moto's S3 over HTTP."""

import io
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from spark_jobs import publish
from tests.spark_jobs.conftest import ROOT


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "spark_jobs.publish", *arguments]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)


def _objects(s3: Any) -> dict[str, str]:
    return {item["Key"]: item["ETag"] for item in s3.list_objects_v2(Bucket="artifacts").get("Contents", [])}


def test_folder_has_the_package_and_the_programs(s3: Any) -> None:
    done = _run("s3://artifacts/spark_jobs/", "--version", "abc")
    assert (done.returncode, done.stdout, done.stderr) == (0, "s3://artifacts/spark_jobs/abc\n", "")
    assert set(_objects(s3)) == {f"spark_jobs/abc/{name}" for name in ("spark_jobs.zip", *publish.programs())}


def test_programs_are_found_by_their_folder() -> None:
    assert {"hvfhv/build_month.py", "hvfhv/rank_rising_zones.py"} <= set(publish.programs())
    assert "hvfhv/marts.py" not in publish.programs()


def test_what_the_dags_name_is_published(s3: Any) -> None:
    named = publish.named_by_dags()
    assert {"hvfhv/build_month.py", "access_logs/build_day.py"} <= set(named) <= set(publish.programs())
    assert _run("s3://artifacts/spark_jobs", "--version", "checked").returncode == 0
    done = _run("s3://artifacts/spark_jobs", "--version", "checked", "--verify")
    assert (done.returncode, done.stdout.split()) == (0, [*named, "spark_jobs.zip"])
    s3.delete_object(Bucket="artifacts", Key="spark_jobs/checked/access_logs/build_day.py")
    done = _run("s3://artifacts/spark_jobs", "--version", "checked", "--verify")
    assert done.returncode == 1
    assert done.stderr.startswith("s3://artifacts/spark_jobs/checked/access_logs/build_day.py, which the DAGs need, ")


def test_a_program_that_a_dag_names_and_nobody_wrote_is_not_published(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "named_by_dags", lambda: ["shop/build_day.py"])
    with pytest.raises(publish.PublishError, match=r"The DAGs name the program shop/build_day\.py, which spark_jobs"):
        publish.publish("s3://artifacts", "abc")
    assert "abc/spark_jobs.zip" not in _objects(s3)


def test_publishing_again_changes_nothing(s3: Any) -> None:
    assert publish.publish("s3://artifacts", "abc") == "s3://artifacts/abc"
    first = _objects(s3)
    publish.publish("s3://artifacts", "abc")
    assert _objects(s3) == first


def test_all_programs_are_published() -> None:
    found = {path.relative_to(publish.PACKAGE).as_posix() for path in publish.PACKAGE.glob("*/*.py")}
    assert {path for path in found if "__main__" in (publish.PACKAGE / path).read_text()} == set(publish.programs())


def test_package_is_complete_without_the_repository(tmp_path: Path) -> None:
    """From the zip alone, a program starts and finds the zone lookup."""
    package = tmp_path / "spark_jobs.zip"
    package.write_bytes(publish.archive())
    code = (
        "from spark_jobs.common import taxi_zones as zones; from spark_jobs.hvfhv import build_month; "
        "print(zones.__file__, len(zones.lookup()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(package)}, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout.split() == [f"{package}/spark_jobs/common/taxi_zones.py", "265"], done.stderr


def test_archive_depends_on_the_content_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = publish.archive()
    copy = tmp_path / "spark_jobs"
    with zipfile.ZipFile(io.BytesIO(before)) as zip_file:
        zip_file.extractall(tmp_path)
    (copy / "__pycache__").mkdir()
    (copy / "__pycache__" / "x.pyc").touch()
    monkeypatch.setattr(publish, "PACKAGE", copy)
    assert publish.archive() == before
    (copy / "publish.py").write_text("")
    assert publish.archive() != before


def test_default_version_is_the_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "spark_jobs"
    package.mkdir()
    (package / "a.py").write_text("1")
    monkeypatch.setattr(publish, "PACKAGE", package)

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        argv = ["git", *identity, *arguments]
        return subprocess.run(argv, cwd=tmp_path, check=True, capture_output=True, text=True).stdout.strip()

    with pytest.raises(
        publish.PublishError, match="is not in a git repository, so its commit is unknown; give --version"
    ):
        publish.default_version(publish.archive())
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    commit = git("rev-parse", "HEAD")
    (tmp_path / "elsewhere").touch()
    assert publish.default_version(publish.archive()) == commit
    (package / "a.py").write_text("2")
    second = publish.default_version(publish.archive())
    (package / "a.py").write_text("3")
    assert second.startswith(f"{commit}-")
    assert publish.default_version(publish.archive()) != second


@pytest.mark.parametrize(
    ("destination", "status", "sentence"),
    [
        ("s3://nowhere/jobs", 1, "The bucket 'nowhere' does not exist; create it or name another.\n"),
        ("/tmp/jobs", 1, "'/tmp/jobs' is not a folder on S3; write it as s3://bucket/prefix.\n"),
    ],
)
def test_wrong_destination(s3: Any, destination: str, status: int, sentence: str) -> None:
    done = _run(destination, "--version", "abc")
    assert (done.returncode, done.stderr) == (status, sentence)


def test_s3_out_of_reach(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    done = _run("s3://artifacts/jobs", "--version", "abc")
    assert done.returncode == 1
    assert done.stderr.startswith("S3 cannot be reached for s3://artifacts/jobs/abc: ")
    assert done.stderr.count("\n") == 1
