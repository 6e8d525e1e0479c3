"""Publish the Spark programs to S3: ``python -m spark_jobs.publish s3://bucket/prefix``.

Uploads the programs that steps run to ``<prefix>/<version>/``, and last ``spark_jobs.zip`` for ``--py-files``, which
contains this package, the DAGs' code that it imports, and the data contracts: a folder that has it is complete. The
default version is the git commit, with a hash of the content appended if it differs from the commit; so the content of
a version never changes, and publishing it again has no effect. ``--committed`` refuses content that differs from the
commit, because DAGs use the programs of a commit. ``--verify`` uploads nothing, and checks that all programs that the
DAGs of this folder name are published.
"""

import hashlib
import io
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import boto3
from botocore.exceptions import BotoCoreError, ClientError

PACKAGE = Path(__file__).resolve().parent
sys.path.append(str(PACKAGE.parent / "dags"))  # code shared with the DAGs, when run from a checkout

from spark_jobs.common.arguments import ArgumentParser, version  # noqa: E402
from taxiway.core import contracts  # noqa: E402

CORE = Path(contracts.__file__).resolve().parent
SOURCES = ("spark_jobs", "dags/taxiway/core", "contracts")  # of the repository: the content of the archive
ARCHIVE = "spark_jobs.zip"


class PublishError(Exception):
    """The programs cannot be published; the text is one sentence."""


def programs() -> list[str]:
    """Return the paths of the programs: the files of the pipelines' packages that can be run."""
    files = sorted(PACKAGE.glob("*/*.py"))
    found = (file for file in files if '\nif __name__ == "__main__":\n' in file.read_text())
    return [file.relative_to(PACKAGE).as_posix() for file in found]


def named_by_dags() -> list[str]:
    """Return the paths of the programs that the DAGs beside this package name, such as ``shop/build_day.py``."""
    files = sorted((PACKAGE.parent / "dags").rglob("*.py"))
    return sorted({name for file in files for name in re.findall(r'"([a-z0-9_]+/[a-z0-9_]+\.py)"', file.read_text())})


def archive() -> bytes:
    """Return the package and its dependencies as a zip file; equal content gives equal bytes."""
    dags = CORE.parents[1]
    files = {path.relative_to(PACKAGE.parent).as_posix(): path for path in PACKAGE.rglob("*")}
    files |= {path.relative_to(dags).as_posix(): path for path in (CORE.parent / "__init__.py", *CORE.glob("*.py"))}
    contents = {name: path.read_bytes() for name, path in files.items() if path.suffix in (".py", ".csv")}
    contents[f"taxiway/core/{contracts.PACKAGED}"] = contracts.packaged_text().encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as zip_file:
        for name, content in sorted(contents.items()):
            # The default date (1980) and no compression: independent of clock, file system and version of zlib.
            zip_file.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()


def default_version(content: bytes, *, committed: bool = False) -> str:
    """Return the default version of the content of :func:`archive`.

    Args:
        content: the archive.
        committed: refuse content that differs from the commit.

    Raises:
        PublishError: this folder is not in a git repository; or it differs from the commit and must not.
    """
    try:
        commit = _git("rev-parse", "HEAD")
        changed = _git("status", "--porcelain", "--", *SOURCES)
    except (OSError, subprocess.CalledProcessError):
        raise PublishError(f"{PACKAGE} is not in a git repository, so its commit is unknown; give --version.") from None
    if changed and committed:
        file = changed.splitlines()[0][2:].strip()
        raise PublishError(
            f"The programs differ from their commit {commit}, first in {file}: commit or remove that first."
        )
    return f"{commit}-{hashlib.sha256(content).hexdigest()[:12]}" if changed else commit


def publish(destination: str, name: str | None) -> str:
    """Upload the archive and the programs, and return the URI of their folder.

    Args:
        destination: ``s3://bucket[/prefix]``.
        name: the version; None for :func:`default_version`.

    Raises:
        PublishError: the destination is not such a URI, or S3 rejects a request.
    """
    match = re.fullmatch(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])((?:/[^/]+)*)/?", destination)
    if not match:
        raise PublishError(f"{destination!r} is not a folder on S3; write it as s3://bucket/prefix.")
    bucket, prefix = match.groups()
    if missing := sorted({*named_by_dags()} - {*programs()}):
        raise PublishError(
            f"The DAGs name the program {missing[0]}, which spark_jobs/ does not have: add or rename it."
        )
    content = archive()
    folder = f"{prefix}/{name or default_version(content)}".lstrip("/")
    # The archive is last: a folder that has it is complete.
    files = {program: (PACKAGE / program).read_bytes() for program in programs()} | {ARCHIVE: content}
    try:
        s3 = boto3.client("s3")
        for path, body in files.items():
            s3.put_object(Bucket=bucket, Key=f"{folder}/{path}", Body=body)
    except ClientError as error:
        if error.response["Error"]["Code"] == "NoSuchBucket":
            raise PublishError(f"The bucket {bucket!r} does not exist; create it or name another.") from None
        raise PublishError(f"S3 rejected s3://{bucket}/{folder}: {error.response['Error']['Message']}.") from None
    except BotoCoreError as error:
        raise PublishError(f"S3 cannot be reached for s3://{bucket}/{folder}: {error}.") from None
    return f"s3://{bucket}/{folder}"


def verify(destination: str, name: str) -> list[str]:
    """Check that the programs that the DAGs name, and their archive, are published; return their paths.

    Args:
        destination: ``s3://bucket[/prefix]``.
        name: the version.

    Raises:
        PublishError: one is missing, or S3 rejects a request.
    """
    bucket, _, prefix = destination.removeprefix("s3://").rstrip("/").partition("/")
    paths = [*named_by_dags(), ARCHIVE]
    for path in paths:
        key = f"{prefix}/{name}/{path}".lstrip("/")
        try:
            boto3.client("s3").head_object(Bucket=bucket, Key=key)
        except (BotoCoreError, ClientError) as error:
            raise PublishError(f"s3://{bucket}/{key}, which the DAGs need, cannot be found: {error}.") from None
    return paths


def main() -> None:
    """Publish, and print the folder's URI."""
    parser = ArgumentParser(prog="spark_jobs.publish", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("destination", help="s3://bucket/prefix")
    versions = parser.add_mutually_exclusive_group()
    versions.add_argument("--version", type=version, help="folder below it; the git commit by default")
    versions.add_argument("--committed", action="store_true", help="refuse a package that differs from its commit")
    parser.add_argument("--verify", action="store_true", help="only check that what the DAGs name is published")
    args = parser.parse_args()
    try:
        name = args.version or default_version(archive(), committed=args.committed)
        found = verify(args.destination, name) if args.verify else [publish(args.destination, name)]
        sys.stdout.write("\n".join(found) + "\n")
    except (PublishError, contracts.ContractError) as fault:
        sys.exit(str(fault))


def _git(*arguments: str) -> str:
    result = subprocess.run(["git", *arguments], cwd=PACKAGE.parent, capture_output=True, text=True, check=True)
    return result.stdout.strip()


if __name__ == "__main__":
    main()
