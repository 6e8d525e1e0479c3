"""Tells what a program reads and writes, as an event of OpenLineage beside those of Airflow and dbt.

A program's engine has no listener that would: OpenLineage's needs the JVM, which Sail has not. So a program says what
it read and wrote, and the contracts say the rest: names, columns, owners, where columns come from.
"""

import json
import sys
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession
from pyspark.sql.utils import is_remote

from taxiway.core import lineage
from taxiway.core.contracts import Contract

# Set by the operators of Airflow that submit programs, where Airflow tells lineage.
_PARENT = {
    "run": "spark.openlineage.parentRunId",
    "namespace": "spark.openlineage.parentJobNamespace",
    "name": "spark.openlineage.parentJobName",
}


def tell(
    spark: SparkSession,
    lake: str,
    program: str,
    inputs: Iterable[Contract | str],
    outputs: Iterable[Contract | str],
    *,
    stream: str | None = None,
) -> None:
    """Tell that a program has read and written data sets, if it runs for a task whose lineage is told.

    It never fails the program: what went wrong is a line on stdout.

    Args:
        spark: session.
        lake: ``s3://bucket[/prefix]`` or a local folder, where the event is kept.
        program: or a part of it, such as ``hvfhv/build_month.marts``.
        inputs, outputs: tables by their contracts, others by their addresses.
        stream: id of the run (UUID) of a program that goes on reading and writing; None: it has done so.
    """
    try:
        parent = {name: spark.conf.get(key, None) or "" for name, key in _PARENT.items()}
        if not all(parent.values()):
            return
        event = lineage.run_event(
            state="RUNNING" if stream else "COMPLETE",
            at=datetime.now(UTC).isoformat(),
            run_id=stream or str(uuid.uuid4()),
            namespace=parent["namespace"],
            job=f"spark.{program.replace('/', '.')}",
            inputs=_described(inputs, lake),
            outputs=_described(outputs, lake),
            parent=parent,
            streaming=stream is not None,
        )
        _write(spark, lineage.place(event, lake), json.dumps(event))
    except Exception as error:
        sys.stdout.write(f"The program's lineage is not told ({type(error).__name__}: {error}).\n")


def _described(things: Iterable[Contract | str], lake: str) -> list[lineage.Read]:
    """Return data sets, each once: many files are of one table."""
    contract_of, found = lineage.finder(lake), []
    for each in things:
        if isinstance(each, str):
            name = lineage.canonical(*lineage.address(each), lake)
            contract = contract_of(name)
            found.append(lineage.described(contract, lake, name) if contract else lineage.Read(name))
        else:
            found.append(lineage.described(each, lake))
    return list({each.dataset: each for each in found}.values())


def _write(spark: SparkSession, place: str, text: str) -> None:
    if is_remote():  # a client of Spark Connect has pyarrow, and no JVM
        from pyarrow import fs

        files, path = fs.FileSystem.from_uri(place if "://" in place else Path(place).absolute().as_uri())
        if isinstance(files, fs.LocalFileSystem):  # S3 has no folders
            files.create_dir(path.rpartition("/")[0])
        with files.open_output_stream(path) as stream:
            stream.write(text.encode())
        return
    jvm: Any = spark._jvm
    session: Any = spark._jsparkSession
    path = jvm.org.apache.hadoop.fs.Path(place)
    stream = path.getFileSystem(session.sessionState().newHadoopConf()).create(path, True)
    try:
        stream.write(bytearray(text.encode()))
    finally:
        stream.close()
