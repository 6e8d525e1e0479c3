"""Spark's examples, by the commands of EMR's tutorials."""

from pathlib import Path

import pytest

from local_aws.engines import submit_arguments
from local_aws.engines.spark import SparkEngine
from local_aws.execution import LaunchError

JAR = "/usr/lib/spark/examples/jars/spark-examples.jar"
CLASS = "org.apache.spark.examples.SparkPi"


@pytest.fixture
def engine(tmp_path: Path) -> SparkEngine:
    """Return an engine whose PySpark has one example."""
    engine = object.__new__(SparkEngine)
    engine._spark = tmp_path
    engine.examples.mkdir(parents=True)
    (engine.examples / "pi.py").touch()
    return engine


@pytest.mark.parametrize(
    ("command", "before", "after"),
    [
        ("run-example SparkPi 10", "", "10"),
        (f"/usr/lib/spark/bin/run-example {CLASS} 10", "", "10"),
        ("spark-example --master yarn SparkPi", "--master yarn", ""),
        ("run-example --executor-memory=1g JavaSparkPi 2", "--executor-memory=1g", "2"),
        (
            f"spark-submit --master yarn --class {CLASS} --deploy-mode client {JAR} 10",
            "--master yarn --deploy-mode client",
            "10",
        ),
        ("spark-submit --name x /usr/lib/spark/examples/src/main/python/pi.py 10", "--name x", "10"),
    ],
)
def test_examples_are_found(engine: SparkEngine, command: str, before: str, after: str) -> None:
    expected = [*before.split(), str(engine.examples / "pi.py"), *after.split()]
    assert submit_arguments(command.split(), engine) == expected


def test_other_commands_are_left_alone(engine: SparkEngine) -> None:
    words = ["spark-submit", "--class", "own.Main", "s3://jobs/own.jar", "pi.py"]
    assert submit_arguments(words, engine) == words[1:]
    assert submit_arguments(["bash", "-c", "run-example SparkPi"], engine) is None


@pytest.mark.parametrize(
    "command", ["run-example SparkTC", "spark-submit /usr/lib/spark/examples/src/main/python/als.py"]
)
def test_an_example_that_is_not_installed(engine: SparkEngine, command: str) -> None:
    with pytest.raises(LaunchError, match="is not available here: PySpark does not come with it"):
        submit_arguments(command.split(), engine)
