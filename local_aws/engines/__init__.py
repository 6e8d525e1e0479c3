"""The two engines that run Spark programs on one machine: Sail, and Apache Spark itself."""

import threading
from collections.abc import Mapping
from pathlib import Path

from local_aws.engines.examples import submit_arguments
from local_aws.engines.interface import Engine
from local_aws.engines.submit import spark_properties
from local_aws.execution import Launch, LaunchError

__all__ = ["ENGINES", "ENGINE_TAG", "Engine", "Engines", "Launch", "engine", "spark_properties", "submit_arguments"]

ENGINES = ("sail", "spark")
ENGINE_TAG = "local-aws:engine"  # a tag, which AWS ignores, of what runs programs: the name of an engine


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


class Engines:
    """The engines of one endpoint: its default one, and the other, prepared when a program first asks for it."""

    def __init__(self, default: Engine, *, spark_python: Path | None = None) -> None:
        """Prepare to give engines.

        Args:
            default: runs what asks for no other.
            spark_python: as for :func:`engine`.
        """
        self.default = default
        self._spark_python = spark_python
        self._ready = {default.name: default}
        self._lock = threading.Lock()

    def of(self, tags: Mapping[str, str]) -> Engine:
        """Return the engine that tags ask for, or the default one; errors as for :meth:`named`."""
        return self.named(tags.get(ENGINE_TAG, self.default.name))

    def named(self, name: str) -> Engine:
        """Return the engine called `name`; the first call for Apache Spark may have to fetch it.

        Raises:
            LaunchError: what the engine needs is not installed, and cannot be; the text is one clear sentence.
        """
        if name in self._ready:  # while another is being fetched
            return self._ready[name]
        with self._lock:
            if name not in self._ready:
                self._ready[name] = self._prepared(name)
            return self._ready[name]

    def _prepared(self, name: str) -> Engine:
        try:
            return engine(name, spark_python=self._spark_python)
        except ValueError as error:
            if name != "spark" or self._spark_python is not None:
                raise LaunchError(str(error)) from None
        from local_aws.engines.spark_environment import spark_python

        try:
            return engine(name, spark_python=spark_python())
        except ValueError as error:
            raise LaunchError(str(error)) from None

    def close(self) -> None:
        """End what the engines have started."""
        for each in self._ready.values():
            each.close()
