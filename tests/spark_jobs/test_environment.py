"""A packed environment: where a job run finds its libraries, and that equal input gives equal bytes."""

import tarfile
from pathlib import Path

import boto3
import pytest

from local_aws.pytest_plugin import LocalAws
from spark_jobs import environment

LOCK = "boto3==1.0 \\\n    --hash=sha256:00\n"


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    folder = tmp_path / "packages"
    for name in ("shop/__init__.py", "shop/data/prices.csv", "shop.libs/libshop.so"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def test_libraries_are_where_emrs_python_looks_for_them(packages: Path, tmp_path: Path) -> None:
    environment.pack(packages, tmp_path / "packed.tar.gz", "3.11")

    with tarfile.open(tmp_path / "packed.tar.gz") as tar:
        assert tar.getmember("bin/python").linkname == "/usr/bin/python3.11"
        found = {name.removeprefix("lib/python3.11/site-packages/") for name in tar.getnames()}
        assert {"shop/__init__.py", "shop/data/prices.csv", "shop.libs/libshop.so", "pyvenv.cfg"} <= found
        configuration = tar.extractfile("pyvenv.cfg")
        assert configuration
        assert b"home = /usr/bin\n" in configuration.read()


def test_an_archive_is_named_by_all_that_it_depends_on(tmp_path: Path) -> None:
    lock = tmp_path / "eta.txt"
    lock.write_text(LOCK)
    name = environment.file_name(lock, "3.11", "x86_64")
    others = {environment.file_name(lock, "3.12", "x86_64"), environment.file_name(lock, "3.11", "arm64")}
    lock.write_text(LOCK.replace("1.0", "1.1"))
    others.add(environment.file_name(lock, "3.11", "x86_64"))

    assert name.startswith("eta-3.11-x86_64-")
    assert len(others | {name}) == 4


def test_an_archive_is_published_once_and_a_missing_bucket_is_one_sentence(
    local_aws: LocalAws, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock, folder = tmp_path / "eta.txt", tmp_path / "kept"
    lock.write_text(LOCK)
    folder.mkdir()
    name = environment.file_name(lock, "3.11", "x86_64")
    (folder / name).write_bytes(b"made before")
    words = [str(lock), "s3://artifacts/environments", "--folder", str(folder)]
    with pytest.raises(SystemExit, match=f"s3://artifacts/environments/{name} cannot be written: "):
        environment.main(words)

    s3 = boto3.client("s3", endpoint_url=local_aws.url)
    s3.create_bucket(Bucket="artifacts")
    environment.main(words)
    assert capsys.readouterr().out == f"s3://artifacts/environments/{name}\n"
    first = s3.head_object(Bucket="artifacts", Key=f"environments/{name}")["LastModified"]
    environment.main(words)
    assert s3.head_object(Bucket="artifacts", Key=f"environments/{name}")["LastModified"] == first


def test_what_cannot_be_installed_is_one_sentence(tmp_path: Path) -> None:
    lock, uv = tmp_path / "eta.txt", tmp_path / "uv"
    lock.write_text(LOCK)
    uv.write_text("#!/bin/sh\necho 'no wheel of boto3' >&2\nexit 1\n")
    uv.chmod(0o755)

    with pytest.raises(SystemExit, match=r"eta\.txt cannot be installed for Python 3\.11 on arm64: no wheel of boto3"):
        environment.main([str(lock), "--uv", str(uv), "--architecture", "arm64", "--folder", str(tmp_path / "kept")])
    assert list((tmp_path / "kept").iterdir()) == [], "nothing is kept that is not complete"
