"""Packs Python libraries for job runs on EMR Serverless: ``python -m spark_jobs.environment LOCK --uv UV``.

EMR has Spark and Python, but not the libraries of ``requirements/eta.txt``. They are resolved for its processor and its
Python, whatever this machine has, and packed as the virtual environment that ``--archives`` takes, whose ``bin/python``
is a link to EMR's own Python. With a destination it is published as ``<destination>/<name>-<digest>.tar.gz``; the
digest is that of the lock, the Python and the processor, so that what is there already is not made again.
"""

import argparse
import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

PLATFORMS = {"x86_64": "x86_64-manylinux_2_28", "arm64": "aarch64-manylinux_2_28"}


class PackingError(Exception):
    """The environment cannot be made or published; the text is one sentence."""


def file_name(lock: Path, python: str, architecture: str) -> str:
    """Return the name of the archive of a lock, such as ``eta-3.11-arm64-0f1e2d3c4b5a.tar.gz``."""
    digest = hashlib.sha256(f"{python}\n{architecture}\n{lock.read_text()}".encode()).hexdigest()[:12]
    return f"{lock.stem}-{python}-{architecture}-{digest}.tar.gz"


def install(lock: Path, target: Path, uv: Path, python: str, architecture: str) -> None:
    """Install the wheels of a lock, checked by their hashes, into a folder.

    Raises:
        PackingError: a wheel is missing for that Python or processor, or the registry cannot be reached.
    """
    command: list[str | Path] = [
        uv,
        "pip",
        "install",
        "--quiet",
        "--require-hashes",
        "--only-binary",
        ":all:",
        "--no-compile-bytecode",
    ]
    command += ["--python-version", python, "--python-platform", PLATFORMS[architecture], "--target", target]
    done = subprocess.run([*command, "--requirement", lock], capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["uv gave no reason"]
        raise PackingError(f"{lock} cannot be installed for Python {python} on {architecture}: {lines[-1]}")


def pack(packages: Path, archive: Path, python: str) -> None:
    """Pack a folder of libraries as a virtual environment, always with the same bytes for the same files.

    Args:
        packages: what belongs into ``site-packages``.
        archive: to write, a ``.tar.gz``.
        python: version of EMR's Python, such as ``3.11``.
    """
    configuration = f"home = /usr/bin\ninclude-system-site-packages = true\nversion = {python}\n".encode()
    with tarfile.open(archive, "w:gz", compresslevel=6) as tar:
        tar.addfile(_entry("pyvenv.cfg", len(configuration)), io.BytesIO(configuration))
        for name in ("bin/python", "bin/python3"):
            link = _entry(name, 0)
            link.type, link.linkname = tarfile.SYMTYPE, f"/usr/bin/python{python}"
            tar.addfile(link)
        for path in sorted(path for path in packages.rglob("*") if path.is_file()):
            name = f"lib/python{python}/site-packages/{path.relative_to(packages).as_posix()}"
            with path.open("rb") as file:
                tar.addfile(_entry(name, path.stat().st_size), file)


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o755
    return entry


def publish(archive: Path, destination: str) -> str:
    """Upload an archive, if it is not there, and return its URI.

    Raises:
        PackingError: S3 refuses it, or cannot be reached.
    """
    import boto3

    bucket, _, prefix = destination.removeprefix("s3://").rstrip("/").partition("/")
    key, s3 = f"{prefix}/{archive.name}".lstrip("/"), boto3.client("s3")
    try:
        if not any(found["Key"] == key for found in _listed(s3, bucket, key)):
            s3.upload_file(str(archive), bucket, key)
    except (BotoCoreError, ClientError) as error:
        raise PackingError(f"s3://{bucket}/{key} cannot be written: {error}.") from None
    return f"s3://{bucket}/{key}"


def _listed(s3: Any, bucket: str, key: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = s3.list_objects_v2(Bucket=bucket, Prefix=key).get("Contents", [])
    return found


def main(arguments: list[str] | None = None) -> None:
    """Pack, publish if asked to, and print where the archive is."""
    parser = argparse.ArgumentParser(prog="spark_jobs.environment", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("lock", type=Path, help="requirements with hashes, such as requirements/eta.txt")
    parser.add_argument("destination", nargs="?", help="s3://bucket/prefix; nothing is published without it")
    parser.add_argument("--uv", type=Path, default=Path("uv"), help="the program uv")
    parser.add_argument("--python", default="3.11", help="version of EMR's Python")
    parser.add_argument("--architecture", choices=PLATFORMS, default="x86_64", help="of the application's workers")
    parser.add_argument("--folder", type=Path, default=Path(".local/environments"), help="where archives are kept")
    options = parser.parse_args(arguments)
    archive = options.folder / file_name(options.lock, options.python, options.architecture)
    try:
        if not archive.exists():
            options.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=options.folder) as work:
                packages, packed = Path(work, "packages"), Path(work, "packed.tar.gz")
                install(options.lock, packages, options.uv, options.python, options.architecture)
                pack(packages, packed, options.python)
                packed.rename(archive)
        where = publish(archive, options.destination) if options.destination else str(archive)
    except PackingError as fault:
        sys.exit(str(fault))
    sys.stdout.write(f"{where}\n")


if __name__ == "__main__":
    main()
