"""Kafka as the stream uses it: settings of the Java client, whether it answers and has the topics, source and sink."""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
from botocore.exceptions import BotoCoreError, ClientError
from pyspark.sql import DataFrame, SparkSession

from spark_jobs.common.program import ProgramError, first_line

ANSWER_MS = 5000
SOURCE = {
    "failOnDataLoss": "true",  # records that were deleted before they were read are a fault to be told of
    "fetchOffset.numRetries": "2",
    "kafka.default.api.timeout.ms": "10000",
    "kafka.request.timeout.ms": "8000",
    "kafka.metadata.max.age.ms": "30000",
    # The broker answers one request of a connection after the other. What asks where a partition ends would wait for
    # the fetch before it, which by default waits half a second for records.
    "kafka.fetch.max.wait.ms": "5",
}
SINK = {
    "kafka.acks": "all",
    "kafka.enable.idempotence": "true",
    "kafka.delivery.timeout.ms": "20000",
    "kafka.request.timeout.ms": "8000",
    "kafka.max.block.ms": "10000",
    "kafka.linger.ms": "0",
}


def properties(bootstrap: str, config: str | None) -> dict[str, str]:
    """Return the settings of Kafka's Java clients.

    Args:
        bootstrap: ``host:port``, or several.
        config: a file with Java properties, or the ARN of a secret that holds them; None: none.

    Raises:
        ProgramError: it cannot be read.
    """
    found = {"bootstrap.servers": bootstrap}
    if config is None:
        return found
    try:
        text = _secret(config) if config.startswith("arn:") else Path(config).read_text(encoding="utf-8")
    except (OSError, ValueError, BotoCoreError, ClientError) as error:
        raise ProgramError(f"Kafka's settings {config} cannot be read: {error}.") from None
    for line in map(str.strip, text.splitlines()):
        if line and line[0] not in "#!":
            pair = re.fullmatch(r"([^\s=:]+)\s*[=:\s]\s*(.*)", line)
            if not pair:
                raise ProgramError(
                    f"A line of Kafka's settings {config} is not key=value: it has {len(line)} characters."
                )
            found[pair[1]] = pair[2]
    return found


def _secret(arn: str) -> str:
    text: str = boto3.client("secretsmanager").get_secret_value(SecretId=arn)["SecretString"]
    return text


def source(spark: SparkSession, settings: Mapping[str, str], topics: Iterable[str], **options: str) -> DataFrame:
    """Return the records of topics as a stream."""
    kafka = {f"kafka.{key}": value for key, value in settings.items()}
    return (
        spark.readStream.format("kafka")
        .options(**{**SOURCE, **kafka, "subscribe": ",".join(topics)}, **options)
        .load()
    )  # fmt: skip


def sink(spark: SparkSession, settings: Mapping[str, str]) -> Callable[[pa.Table], None]:
    """Return what writes records, of the columns topic, key and value, and returns when the broker has them."""
    options = {**SINK, **{f"kafka.{key}": value for key, value in settings.items()}}

    def write(records: pa.Table) -> None:
        if len(records):
            spark.createDataFrame(records).write.format("kafka").options(**options).save()

    return write


def problem(spark: SparkSession, settings: Mapping[str, str], topics: Iterable[str]) -> str | None:
    """Return one sentence if Kafka does not answer or lacks a topic; else None."""
    jvm: Any = spark._jvm
    values = jvm.java.util.HashMap()
    timeouts = {"default.api.timeout.ms": str(ANSWER_MS), "request.timeout.ms": str(ANSWER_MS - 1000)}
    for key, value in {**settings, **timeouts, "reconnect.backoff.max.ms": "1000"}.items():
        values.put(key, value)
    where = f"Kafka at {settings['bootstrap.servers']}"
    admin = None
    try:
        admin = jvm.org.apache.kafka.clients.admin.AdminClient.create(values)
        names = set(admin.listTopics().names().get())
    except Exception as error:  # of Java, of many kinds
        return f"{where} does not answer ({first_line(error)}): it is waited for."
    finally:
        if admin is not None:
            admin.close(jvm.java.time.Duration.ofMillis(0))
    if missing := sorted({*topics} - names):
        return f"{where} has no topic {', '.join(missing)}: create what contracts/eta describes; it is waited for."
    return None
