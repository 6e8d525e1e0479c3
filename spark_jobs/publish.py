"""Publish the Spark programs to S3: ``python -m spark_jobs.publish s3://bucket/prefix [--version VERSION]``.

To ``<prefix>/<version>/`` go ``spark_jobs.zip``, which is this package for ``--py-files``, and the programs that steps
name. Without ``--version`` it is the git commit, with a hash of the content if the package differs from it; so a
version never changes its content, and publishing it again changes nothing.
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

from spark_jobs.common.arguments import ArgumentParser, version

PACKAGE = Path(__file__).resolve().parent
PROGRAMS = ("hvfhv/curate.py", "hvfhv/build_marts.py", "hvfhv/rank_rising_zones.py", "eta/build_training.py")
ARCHIVE = "spark_jobs.zip"


class PublishError(Exception):
    """The programs cannot be published; the text is one sentence."""


def archive() -> bytes:
    """Return the package as a zip file; the same content gives the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as zip_file:
        for path in sorted(PACKAGE.rglob("*")):
            if path.suffix in (".py", ".csv"):
                # The default date (1980) and stored bytes depend on no clock, file system or version of zlib.
                zip_file.writestr(zipfile.ZipInfo(path.relative_to(PACKAGE.parent).as_posix()), path.read_bytes())
    return buffer.getvalue()


def default_version(content: bytes) -> str:
    """Return the version that the content of :func:`archive` has by itself.

    Raises:
        PublishError: git does not know this folder.
    """
    try:
        commit = _git("rev-parse", "HEAD")
        changed = _git("status", "--porcelain", "--", ".")
    except (OSError, subprocess.CalledProcessError):
        raise PublishError(f"{PACKAGE} is in no git repository that could tell its commit; give --version.") from None
    return f"{commit}-{hashlib.sha256(content).hexdigest()[:12]}" if changed else commit


def publish(destination: str, name: str | None) -> str:
    """Upload the archive and the programs, and return the URI of their folder.

    Args:
        destination: ``s3://bucket[/prefix]``.
        name: the version; None for :func:`default_version`.

    Raises:
        PublishError: the destination is not such a URI, or S3 refuses.
    """
    match = re.fullmatch(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])((?:/[^/]+)*)/?", destination)
    if not match:
        raise PublishError(f"{destination!r} is not a folder on S3; write it as s3://bucket/prefix.")
    bucket, prefix = match.groups()
    content = archive()
    folder = f"{prefix}/{name or default_version(content)}".lstrip("/")
    files = {program: (PACKAGE / program).read_bytes() for program in PROGRAMS} | {ARCHIVE: content}
    try:
        s3 = boto3.client("s3")
        for path, body in files.items():
            s3.put_object(Bucket=bucket, Key=f"{folder}/{path}", Body=body)
    except ClientError as error:
        if error.response["Error"]["Code"] == "NoSuchBucket":
            raise PublishError(f"The bucket {bucket!r} does not exist; create it or name another.") from None
        raise PublishError(f"S3 refuses s3://{bucket}/{folder}: {error.response['Error']['Message']}.") from None
    except BotoCoreError as error:
        raise PublishError(f"S3 cannot be reached for s3://{bucket}/{folder}: {error}.") from None
    return f"s3://{bucket}/{folder}"


def main() -> None:
    """Publish, and print the folder's URI."""
    parser = ArgumentParser(prog="spark_jobs.publish", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("destination", help="s3://bucket/prefix")
    parser.add_argument("--version", type=version, help="folder below it; the git commit by default")
    args = parser.parse_args()
    try:
        sys.stdout.write(publish(args.destination, args.version) + "\n")
    except PublishError as fault:
        sys.exit(str(fault))


def _git(*arguments: str) -> str:
    result = subprocess.run(["git", *arguments], cwd=PACKAGE, capture_output=True, text=True, check=True)
    return result.stdout.strip()


if __name__ == "__main__":
    main()
