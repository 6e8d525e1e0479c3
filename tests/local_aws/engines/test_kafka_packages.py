"""Apache Spark's source and sink for Kafka are on the class path: a program's --packages need not fetch them."""

import pytest

from local_aws.engines.spark_jars import provided

CONNECTOR = "org.apache.spark:spark-sql-kafka-0-10_2.13:4.0.2"


@pytest.mark.parametrize(
    ("packages", "left"),
    [
        (CONNECTOR, {}),
        (f"{CONNECTOR}, com.example:other_2.13:1.0", {"spark.jars.packages": "com.example:other_2.13:1.0"}),
        ("com.example:other_2.13:1.0", {"spark.jars.packages": "com.example:other_2.13:1.0"}),
        ("", {}),
    ],
    ids=["connector", "both", "other", "none"],
)
def test_packages_that_are_there_are_left_out(packages: str, left: dict[str, str]) -> None:
    assert provided({"spark.jars.packages": packages, "a": "b"}) == {"a": "b", **left}


def test_without_packages_nothing_changes() -> None:
    assert provided({"a": "b"}) == {"a": "b"}
