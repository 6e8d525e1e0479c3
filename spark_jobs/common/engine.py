"""What the engines that run the programs raise."""

from pyspark.errors import PySparkException

try:
    from py4j.protocol import Py4JError  # type: ignore[import-untyped]
except ImportError:  # a Spark Connect client has no JVM to speak to
    ENGINE_ERRORS: tuple[type[Exception], ...] = (PySparkException,)
else:
    ENGINE_ERRORS = (PySparkException, Py4JError)
