"""Spark's own examples, which EMR's tutorials run: `run-example SparkPi`, and by `spark-submit` from /usr/lib/spark."""

import re
from collections.abc import Sequence
from pathlib import Path

from local_aws.engines.interface import Engine
from local_aws.execution import LaunchError

_BIN = r"(/usr/bin/|/usr/lib/spark/bin/)?"
_JAR = re.compile(r"(.*/)?spark-examples[^/]*\.jar")
_PYTHON = re.compile(r"/usr/lib/spark/examples/src/main/python/(\w+)\.py")
# PySpark comes with the examples in Python, and not with those in Scala.
_IN_PYTHON = {
    "SparkALS": "als",
    "SparkKMeans": "kmeans",
    "SparkLR": "logistic_regression",
    "SparkPageRank": "pagerank",
    "SparkPi": "pi",
    "SparkTC": "transitive_closure",
    "JavaPageRank": "pagerank",
    "JavaSparkPi": "pi",
    "JavaTC": "transitive_closure",
    "JavaWordCount": "wordcount",
}


def submit_arguments(command: Sequence[str], engine: Engine) -> list[str] | None:
    """Return the arguments of spark-submit for a command, None if it is no command of Spark.

    Args:
        command: for example spark-submit or run-example, with its arguments.
        engine: runs it.

    Raises:
        LaunchError: it is an example, and the engine cannot run it.
    """
    program, *arguments = command
    if re.fullmatch(f"{_BIN}spark-submit", program):
        for place, argument in enumerate(arguments):
            if found := _PYTHON.fullmatch(argument):
                return [*arguments[:place], _file(found[1], argument, engine), *arguments[place + 1 :]]
            if _JAR.fullmatch(argument) and "--class" in arguments[:place]:
                at = arguments.index("--class")
                options = arguments[:at] + arguments[at + 2 : place]
                return [*options, _file_of(arguments[at + 1], engine), *arguments[place + 1 :]]
        return arguments
    if not re.fullmatch(f"{_BIN}(run-example|spark-example)", program):
        return None
    place = 0
    while place < len(arguments) and arguments[place].startswith("-"):
        place += 1 if "=" in arguments[place] else 2
    if place >= len(arguments):
        raise LaunchError(f"{program} needs the name of an example, for example SparkPi.")
    return [*arguments[:place], _file_of(arguments[place], engine), *arguments[place + 1 :]]


def _file_of(example: str, engine: Engine) -> str:
    name = _IN_PYTHON.get(example.removeprefix("org.apache.spark.examples."))
    if name is None:
        raise LaunchError(f"The example {example} is not available here; these are: {', '.join(sorted(_IN_PYTHON))}.")
    return _file(name, example, engine)


def _file(name: str, example: str, engine: Engine) -> str:
    from local_aws.engines.spark import SparkEngine  # not above: spark_jars, which that imports, is run as a program

    if not isinstance(engine, SparkEngine):
        raise LaunchError(f"The example {example} needs RDDs, which Sail does not have: use --engine spark.")
    file: Path = engine.examples / f"{name}.py"
    if not file.is_file():
        raise LaunchError(f"The example {example} is not available here: PySpark does not come with it.")
    return str(file)
