"""The jars with which Apache Spark reads and writes s3://: downloaded once, then kept.

PyPI's pyspark does not contain them. They are Hadoop's S3A and the modules of the AWS SDK that it uses (9 MB; the SDK's
own bundle is far larger), and Spark's binding to S3A's committers. Apache Ivy, which is part of Spark, fetches them.

`python -m local_aws.engines.spark_jars` does this in advance, and makes starts faster (SparkEngine.keep_classes).
"""

import argparse
import fcntl
import hashlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

from local_aws.execution import LaunchError

_KAFKA = Path(__file__).with_name("kafka_jars.sha256")
_CHECKSUMS = Path(__file__).with_name("spark_jars.sha256")


def cache() -> Path:
    """Return the folder for what is made or downloaded once.

    It is in TAXIWAY_LOCAL, by default in the checkout's `.local`; where the package is installed, in the user's cache.
    """
    checkout, caches = Path(__file__).parents[2], os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    local = checkout / ".local" if (checkout / "requirements").is_dir() else Path(caches, "local-aws")
    folder = Path(os.environ.get("TAXIWAY_LOCAL") or local, "spark-jars").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def lock(name: str) -> Iterator[None]:
    """Hold the lock `name`, which one process has at a time."""
    with (cache() / f".{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def s3_jars(java: Path, spark_jars: Path) -> list[Path]:
    """Return the jars for s3://; arguments and errors as for :func:`listed_jars`."""
    return listed_jars(
        _CHECKSUMS,
        java,
        spark_jars,
        needed="which Apache Spark needs for s3://",
        again="python -m local_aws.engines.spark_jars",
    )


def kafka_jars(java: Path, spark_jars: Path) -> list[Path]:
    """Return the jars of Spark's source and sink for Kafka; arguments and errors as for :func:`listed_jars`.

    They fit Spark 4.0.2; the token provider, which is for clusters with delegation tokens, is the one of 4.0.0.
    """
    return listed_jars(
        _KAFKA,
        java,
        spark_jars,
        needed="which Apache Spark needs for Kafka",
        again="python -m local_aws.engines.spark_jars",
    )


def provided(conf: Mapping[str, str]) -> dict[str, str]:
    """Return Spark properties without the packages (``--packages``) that are on the class path anyway."""
    ours = {line.split()[1].rpartition(":")[0] for line in _KAFKA.read_text(encoding="ascii").splitlines()}
    packages = [each.strip() for each in conf.get("spark.jars.packages", "").split(",")]
    wanted = [each for each in packages if each and each.rpartition(":")[0] not in ours]
    rest = {key: value for key, value in conf.items() if key != "spark.jars.packages"}
    return rest | ({"spark.jars.packages": ",".join(wanted)} if wanted else {})


def listed_jars(listing: Path, java: Path, spark_jars: Path, *, needed: str, again: str) -> list[Path]:
    """Return the jars of a list, after downloading them from Maven Central if they are missing.

    Args:
        listing: a jar a line, its SHA-256, then group:artifact:version; complete, as dependencies are not resolved.
        java: a Java to run Ivy with.
        spark_jars: the folder of Spark's own jars, which Ivy is one of.
        needed: a clause on what needs them, for the message.
        again: a command that downloads them, for the message.

    Raises:
        LaunchError: they cannot be downloaded, or have another checksum than is listed; the text is one sentence.
    """
    lines = [line.split() for line in listing.read_text(encoding="ascii").splitlines()]
    listed = {coordinates: checksum for checksum, coordinates in lines}
    # A changed list has a new folder; a folder that exists is complete.
    folder = cache() / hashlib.sha256(listing.read_bytes()).hexdigest()[:12]
    with lock("jars"):
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(dir=cache()) as work:
                fault = _download(listed, java, spark_jars, Path(work))
                for coordinates, checksum in listed.items():
                    jar = Path(work, "jars", _file(coordinates))
                    if not jar.is_file():
                        raise LaunchError(
                            f"{coordinates}, {needed}, cannot be downloaded from Maven Central ({fault}): check the"
                            f" network and run `{again}`."
                        )
                    if hashlib.sha256(jar.read_bytes()).hexdigest() != checksum:
                        raise LaunchError(
                            f"{coordinates} as downloaded does not have the checksum that {listing.name} gives."
                        )
                Path(work, "jars").rename(folder)
    return [folder / _file(coordinates) for coordinates in sorted(listed)]


def _file(coordinates: str) -> str:
    _, artifact, version = coordinates.split(":")
    return f"{artifact}-{version}.jar"


def _download(listed: Iterable[str], java: Path, spark_jars: Path, work: Path) -> str:
    """Download what can be into the folder ``jars``; return what went wrong last."""
    module = ElementTree.Element("ivy-module", version="2.0")
    ElementTree.SubElement(module, "info", organisation="taxiway", module="listed-jars")
    dependencies = ElementTree.SubElement(module, "dependencies")
    for coordinates in listed:
        group, artifact, version = coordinates.split(":")
        # The list is complete: "master" is the jar without its dependencies.
        ElementTree.SubElement(
            dependencies, "dependency", org=group, name=artifact, rev=version, conf="default->master"
        )
    description = work / "ivy.xml"
    ElementTree.ElementTree(module).write(description)
    done = subprocess.run(
        [java, "-cp", spark_jars / "*", "org.apache.ivy.Main", "-ivy", description, "-cache", work / "ivy",
         "-retrieve", work / "jars" / "[artifact]-[revision].[ext]", "-types", "jar", "bundle", "-warn"],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    faults = re.findall(r"Handler: (.+?) url=", done.stdout)
    return faults[-1] if faults else f"Ivy ended with status {done.returncode}"


def main() -> int:
    """Download and prepare what Apache Spark needs; print one sentence if that fails."""
    from local_aws.engines.spark import SparkEngine

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--spark-python", type=Path, help="python of the environment with PySpark (default: this one)")
    try:
        SparkEngine(parser.parse_args().spark_python).keep_classes()
    except (ValueError, LaunchError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
