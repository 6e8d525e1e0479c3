"""A Python environment with Apache Spark, for an endpoint that was started without one: made when first needed."""

import logging
import subprocess
import sys
from pathlib import Path

from local_aws.engines.spark_jars import cache, lock
from local_aws.execution import LaunchError

log = logging.getLogger(__name__)

_LOCKED = Path(__file__).with_name("spark.txt")  # in the wheel
if not _LOCKED.is_file():
    _LOCKED = Path(__file__).parents[2] / "requirements" / "spark.txt"  # in a checkout


def spark_python() -> Path:
    """Return the python of an environment with PySpark and Java: the checkout's, or one of our own.

    The first call without either downloads about 500 MB and takes minutes.

    Raises:
        LaunchError: it cannot be made; the text is one sentence.
    """
    folder = cache().parent
    checkout = folder / "venvs" / "spark"
    if (checkout / ".installed").is_file():
        return checkout / "bin" / "python"
    environment = folder / "spark-environment"
    python, complete = environment / "bin" / "python", environment / ".installed"
    with lock("environment"):
        if not complete.is_file():
            log.warning(
                "fetching Apache Spark for the first program that needs it, into %s (about 500 MB)", environment
            )
            _run(sys.executable, "-m", "venv", "--clear", environment)
            _run(
                python,
                "-m",
                "pip",
                "install",
                "--no-cache-dir",
                "--disable-pip-version-check",
                "--retries",
                "2",
                "--require-hashes",
                "--requirement",
                _LOCKED,
            )
            complete.touch()
            log.warning("Apache Spark is ready")
    return python


def _run(*command: str | Path) -> None:
    """Run a command, and pass on what it prints."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        last = ""
        for line in process.stdout or ():
            last = line.strip() or last
            log.warning("%s", line.rstrip())
    if process.returncode != 0:
        raise LaunchError(
            f"Apache Spark cannot be fetched ({last}): check the network, or install requirements/spark.txt into an"
            " environment and name its python with --spark-python."
        )
