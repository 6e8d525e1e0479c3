"""Lineage of a run, told by OpenLineage: what Airflow's tasks and dbt read and write, kept in the lake.

Airflow's provider and openlineage-dbt send their events through the transport that :data:`VARIABLES` configure: its
transformer gives each data set its one name (:mod:`taxiway.core.lineage`), and its last part keeps the event as an
object of the lake, beside those of the Spark programs. Without these variables nothing is told. docs/lineage.md says
how events go to a server too.

dbt imports it in an environment of its own, without Airflow.
"""

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from taxiway.core import contracts, lineage
from taxiway.core.lineage import Dataset, Read
from taxiway.core.s3 import split

NAMESPACE = "taxiway"  # of the jobs
TRANSPORT = {
    "type": "transform",
    "transformer_class": "taxiway.operations.lineage_transport.TableNames",
    "transport": {"type": "taxiway.operations.lineage_transport.LakeTransport"},
}
# What switches lineage on, for Airflow and for what its tasks start.
VARIABLES = {
    "OPENLINEAGE__TRANSPORT": json.dumps(TRANSPORT),
    "OPENLINEAGE_NAMESPACE": NAMESPACE,
    # A Spark program tells its lineage if it is told which task it runs for.
    "AIRFLOW__OPENLINEAGE__SPARK_INJECT_PARENT_JOB_INFO": "True",
    "AIRFLOW__OPENLINEAGE__EMISSION_POLICY": json.dumps([{"scope": {}, "controls": {"include_source_code": False}}]),
}
DAGS = Path(__file__).parents[2]

log = logging.getLogger(__name__)


class Reader(NamedTuple):
    """Who read a table last, as far as a source knows.

    Attributes:
        who: a job, or a query.
        at: when, UTC.
        source: what says so: ``lineage`` or ``Athena``.
    """

    who: str
    at: datetime
    source: str


def lake_address() -> str:
    """Return the address of the lake, by the settings."""
    if chosen := os.environ.get("TAXIWAY_LAKE"):
        return chosen
    from taxiway.core.settings import settings  # dbt's environment lacks what this needs, and has the variable

    return settings().lake


def keep(s3: Any, event: Mapping[str, Any], lake: str) -> None:
    """Keep an event in the lake; ``s3`` is a client of boto3."""
    bucket, key = split(lineage.place(event, lake))
    s3.put_object(Bucket=bucket, Key=key, Body=json.dumps(event).encode(), ContentType="application/json")


# ── In a task ───────────────────────────────────────────────────────────────────────────────────────────────────────


def enabled() -> bool:
    """Return whether Airflow tells lineage."""
    from airflow.providers.openlineage import conf  # quick to import, unlike what tells lineage

    return not conf.is_disabled()


def of_table(pipeline: str, name: str) -> Read:
    """Return a table, or what else a contract describes, with what the contract says of it.

    Raises:
        ContractError: there is no such contract.
    """
    return lineage.described(contracts.read(pipeline, name), lake_address())


def of_uri(uri: str) -> Read:
    """Return a file or a folder by its address; one of a table in the lake is the table."""
    return Read(lineage.canonical(*lineage.address(uri), lake_address()))


def of_sql(url: Any, table: str) -> Read:
    """Return a database's table by the database's ``sqlalchemy.URL`` and the table's name."""
    if url.get_backend_name() == "sqlite":
        return Read(Dataset(f"sqlite://{url.database}", table))
    port = url.port or {"mysql": 3306, "postgresql": 5432}.get(url.get_backend_name(), 0)
    return Read(Dataset(f"{url.get_backend_name()}://{url.host}:{port}", f"{url.database}.{table}"))


def report(*, inputs: Sequence[Read] = (), outputs: Sequence[Read] = ()) -> None:
    """Tell what the running task reads and writes; it never fails the task, and does nothing while lineage is off."""
    if not enabled():
        return
    try:
        from airflow.providers.openlineage.api import emit_dataset_lineage
        from openlineage.client.event_v2 import InputDataset, OutputDataset

        emit_dataset_lineage(
            inputs=[InputDataset(*each.dataset, facets=_typed(each.facets)) for each in inputs],
            outputs=[OutputDataset(*each.dataset, facets=_typed(each.facets)) for each in outputs],
        )
    except Exception as error:
        log.warning("The task's lineage is not told (%s: %s).", type(error).__name__, error)


def for_dbt(ti: Any) -> dict[str, str]:
    """Return the variables that have ``dbt-ol`` tell its lineage as a part of a task; empty while lineage is off."""
    if not enabled():
        return {}
    from airflow.providers.openlineage.plugins.macros import lineage_parent_id

    names = [name for name in os.environ if name.startswith("OPENLINEAGE_")]
    return {
        **{name: os.environ[name] for name in names},
        "OPENLINEAGE_PARENT_ID": lineage_parent_id(ti),
        "PYTHONPATH": str(DAGS),
        "TAXIWAY_LAKE": lake_address(),
    }


def for_spark(ti: Any) -> dict[str, str]:
    """Return Spark's properties that have a program tell its lineage as a part of a task; empty while lineage is off.

    For a task that starts a program itself: Airflow's operators add them to what they submit. They are those of the
    task's first try, so that a later one repeats the very request, which AWS then takes for the same.
    """
    if not enabled():
        return {}
    from airflow.providers.openlineage.plugins import macros

    return {
        "spark.openlineage.parentJobNamespace": macros.lineage_job_namespace(),  # type: ignore[no-untyped-call]
        "spark.openlineage.parentJobName": macros.lineage_job_name(ti),
        "spark.openlineage.parentRunId": macros.lineage_run_id(ti.model_copy(update={"try_number": 1})),
    }


def _typed(facets: Mapping[str, Any]) -> dict[str, Any]:
    """Return facets as the library's classes, which alone it serialises."""
    from openlineage.client.generated import (
        column_lineage_dataset,
        documentation_dataset,
        ownership_dataset,
        schema_dataset,
    )

    made: dict[str, Any] = {}
    if schema := facets.get("schema"):
        fields = [schema_dataset.SchemaDatasetFacetFields(**each) for each in schema["fields"]]
        made["schema"] = schema_dataset.SchemaDatasetFacet(fields=fields)
    if owners := facets.get("ownership"):
        made["ownership"] = ownership_dataset.OwnershipDatasetFacet(
            owners=[ownership_dataset.Owner(**each) for each in owners["owners"]]
        )
    if text := facets.get("documentation"):
        made["documentation"] = documentation_dataset.DocumentationDatasetFacet(description=text["description"])
    if columns := facets.get("columnLineage"):
        made["columnLineage"] = column_lineage_dataset.ColumnLineageDatasetFacet(
            fields={
                name: column_lineage_dataset.Fields(
                    inputFields=[column_lineage_dataset.InputField(**source) for source in column["inputFields"]],
                    transformationDescription=column["transformationDescription"],
                )
                for name, column in columns["fields"].items()
            }
        )
    return made


# ── Reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def events(s3: Any, lake: str) -> Iterator[dict[str, Any]]:
    """Yield the events that the lake keeps; what is no event is left out with a warning.

    Args:
        s3: client of boto3.
        lake: ``s3://bucket[/prefix]``.
    """
    from concurrent.futures import ThreadPoolExecutor

    bucket, prefix = lineage.bucket_and_prefix(lake)
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    keys = [each["Key"] for page in pages for each in page.get("Contents", ()) if each["Key"].endswith(".json")]

    def read(key: str) -> dict[str, Any] | None:
        try:
            event: dict[str, Any] = json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
            if {"job", "eventTime", "run"} <= event.keys():
                return event
            raise ValueError("it lacks a job, a run or a time")
        except (ValueError, AttributeError) as error:
            log.warning("s3://%s/%s is left out: it is no event of OpenLineage (%s).", bucket, key, error)
            return None

    with ThreadPoolExecutor(8) as pool:
        yield from filter(None, pool.map(read, keys))


def last_readers(s3: Any, lake: str) -> dict[str, Reader]:
    """Return the job that read a table last, by the table's name in Glue; arguments as in :func:`events`."""
    contract_of = lineage.finder(lake)
    found: dict[str, Reader] = {}
    for event in events(s3, lake):
        at = datetime.fromisoformat(event["eventTime"].replace("Z", "+00:00"))
        for each in event.get("inputs") or ():
            contract = contract_of(Dataset(each["namespace"], each["name"]))
            if contract and (contract.table not in found or found[contract.table].at < at):
                found[contract.table] = Reader(event["job"]["name"], at, "lineage")
    return found
