"""Fills a folder with what the image is built from: Java, Kafka's jars, its programs. ``python context.py FOLDER``."""

import shutil
import sys
from pathlib import Path

from local_kafka.broker import runtime

PROGRAMS = ("storage", "server-start")


def fill(folder: Path) -> None:
    """Fill an empty folder.

    Raises:
        console.errors.UserError: there is no Java, or the jars cannot be downloaded.
    """
    java, jars = runtime()
    # A distribution's Java is a link below /usr/bin, and its home has links to what is not installed.
    shutil.copytree(java.resolve().parents[1], folder / "java", ignore_dangling_symlinks=True)
    (folder / "libs").mkdir()
    for jar in jars:
        shutil.copy(jar, folder / "libs")
    programs(folder / "bin")


def programs(folder: Path) -> None:
    """Make a folder with the programs of Kafka's that its pod needs, by their names."""
    shutil.copytree(Path(__file__).parent / "bin", folder)
    for name in PROGRAMS:
        (folder / f"kafka-{name}.sh").symlink_to("kafka-run")


if __name__ == "__main__":
    fill(Path(sys.argv[1]))
