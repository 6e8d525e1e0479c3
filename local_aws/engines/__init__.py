"""The two engines that run Spark programs on one machine: Sail, and Apache Spark itself."""

from pathlib import Path

from local_aws.engines.examples import submit_arguments
from local_aws.engines.interface import Engine
from local_aws.execution import Launch

__all__ = ["Engine", "Launch", "engine", "submit_arguments"]


def engine(name: str, *, spark_python: Path | None = None) -> Engine:
    """Return the engine called `name`: "sail" or "spark".

    Args:
        name: "sail" needs the package pysail in this environment, "spark" needs `spark_python`.
        spark_python: the python of an environment with PySpark 4.0.2, for "spark"; this process's own by default.

    Raises:
        ValueError: the name is unknown, or what the engine needs is not installed; the text is one clear sentence.
    """
    if name == "sail":
        from local_aws.engines.sail import SailEngine

        return SailEngine()
    if name == "spark":
        from local_aws.engines.spark import SparkEngine

        return SparkEngine(spark_python)
    raise ValueError(f"Engine {name!r} is unknown: choose sail or spark.")
