"""Lineage after OpenLineage: the name of a data set, its facets, and run events. Uses Python's standard library alone.

Airflow, Spark programs and dbt each name what they read and write in their own way: a file, a version of a partition, a
table of Athena. Here is the only rule that makes one name of them, so that their events join to one graph:

    a table of the lake   s3://<bucket>, [<prefix>/]<path of its contract>, whatever the partition, version or file
    a database's table    as OpenLineage says: mysql://host:3306, <database>.<table>; sqlite://<file>, <table>
    a topic of Kafka      likewise: kafka://<first broker>, <topic>
    anything else         its own address

Specification: https://openlineage.io/docs/spec/naming, https://openlineage.io/spec/2-0-2/OpenLineage.json
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from taxiway.core import contracts
from taxiway.core.contracts import Contract
from taxiway.core.s3 import split

FOLDER = "lineage"  # below the lake
PRODUCER = "urn:taxiway"  # a URI, as the specification asks
SCHEMA = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
_FACETS = "https://openlineage.io/spec/facets"
_KAFKA = "kafka:"
_OTHER_NAMES = ("awsathena:", "arn:aws:glue:", "duckdb:")  # namespaces in which a table of the lake may be named


class Dataset(NamedTuple):
    """The name of a data set.

    Attributes:
        namespace: such as ``s3://taxiway-lake``.
        name: within it, such as ``marts/hvfhv/trend``.
    """

    namespace: str
    name: str


# ── Names ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def table(contract: Contract, lake: str) -> Dataset:
    """Return the name of a table; ``lake`` is ``s3://bucket[/prefix]`` or a local folder."""
    return canonical(*address(f"{lake.rstrip('/')}/{contract.path}"), lake)


def topic_address(bootstrap: str, topic: str) -> str:
    """Return the address of a topic of Kafka; ``bootstrap`` is ``host:port``, or several with commas."""
    return f"{_KAFKA}//{bootstrap.partition(',')[0].strip()}/{topic}"


def is_topic(contract: Contract) -> bool:
    """Return whether a contract describes a topic of Kafka, which is not in the lake."""
    return bool(contract.raw["schema"][0]["physicalType"] == "topic")


def finder(lake: str, among: Iterable[Contract] | None = None) -> Callable[[Dataset], Contract | None]:
    """Return what finds the contract of a data set by its name, that of a topic whatever the broker.

    Args:
        lake: ``s3://bucket[/prefix]`` or a local folder.
        among: the contracts; None: all.
    """
    every = [*(tables().values() if among is None else among)]
    names = {table(each, lake): each for each in every if not is_topic(each)}
    topics = {each.path: each for each in every if is_topic(each)}
    return lambda each: topics.get(each.name) if each.namespace.startswith(_KAFKA) else names.get(each)


def address(uri: str) -> Dataset:
    """Split an address, ``s3://bucket/key``, ``https://host/path`` or a local path, as OpenLineage does."""
    parts = urlsplit(uri)
    if not parts.scheme:
        return Dataset("file", uri)
    # Without the user's name and password, and without a query, which may be a signature.
    host = parts.netloc.rpartition("@")[2]
    return Dataset(f"{parts.scheme}://{host}" if host else parts.scheme, parts.path.lstrip("/") if host else parts.path)


def canonical(namespace: str, name: str, lake: str) -> Dataset:
    """Return the one name of a data set that a producer may name in another way.

    Args:
        namespace: of the producer's name.
        name: the producer's name: of a file, a partition's or version's folder, or of a table of Athena, Glue, DuckDB.
        lake: ``s3://bucket[/prefix]`` or a local folder.
    """
    root = address(lake.rstrip("/"))
    if namespace.startswith(_OTHER_NAMES):
        last = re.split(r"[./]", name)[-1].strip('"').lower()
        found = tables().get(last) or _by_contract().get(last)
        return table(found, lake) if found else Dataset(namespace, name.lower())
    namespace = re.sub(r"^s3[an]:", "s3:", namespace)
    path, prefix = name.strip("/"), root.name.strip("/")
    if namespace != root.namespace or not f"{path}/".startswith(f"{prefix}/".lstrip("/")):
        return Dataset(namespace, name)
    return Dataset(namespace, "/".join(filter(None, (prefix, _of_the_lake(path.removeprefix(prefix).strip("/"))))))


def _of_the_lake(path: str) -> str:
    """Return the folder of a table; else a path without partitions, versions and the name of a file."""
    inside = (known for known in _paths() if f"{path}/".startswith(f"{known}/"))
    if known := max(inside, key=len, default=None):
        return known
    parts = path.split("/")
    kept = parts[: next((index for index, part in enumerate(parts) if "=" in part), len(parts))]
    return "/".join(kept[:-1] if len(kept) > 1 and kept == parts and "." in kept[-1] else kept)


@cache
def tables() -> dict[str, Contract]:
    """Return the contracts of all pipelines by the names of their tables in Glue."""
    found = (contracts.read(pipeline, name) for pipeline in contracts.pipelines() for name in contracts.names(pipeline))
    return {contract.table.lower(): contract for contract in found}


@cache
def _by_contract() -> dict[str, Contract]:
    """Return the contracts by their own names, where only one has it: dbt tells a source's name, not its table's."""
    names = Counter(contract.name for contract in tables().values())
    return {contract.name: contract for contract in tables().values() if names[contract.name] == 1}


@cache
def _paths() -> frozenset[str]:
    return frozenset(contract.path for contract in tables().values())


# ── Events ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Read(NamedTuple):
    """A data set in an event, with its facets."""

    dataset: Dataset
    facets: Mapping[str, Any] = {}

    def plain(self) -> dict[str, Any]:
        """Return it as the event has it."""
        return {**self.dataset._asdict(), "facets": dict(self.facets)}


def described(contract: Contract, lake: str, name: Dataset | None = None) -> Read:
    """Return a table with what its contract says: columns, owner, purpose, and where columns come from.

    Args:
        contract: of the table.
        lake: ``s3://bucket[/prefix]`` or a local folder.
        name: that of a topic, which a contract does not know; None: of the table in the lake.
    """
    (written,) = contract.raw["schema"]
    owners = [each["username"] for each in contract.raw["team"].get("members", ()) if each.get("role") == "owner"]
    facets = {
        "schema": _facet(
            "1-1-1/SchemaDatasetFacet",
            fields=[
                {"name": each["name"], "type": each["physicalType"], "description": each.get("description", "")}
                for each in written["properties"]
            ],
        ),
        "ownership": _facet(
            "1-0-1/OwnershipDatasetFacet",
            owners=[{"name": name, "type": "owner"} for name in owners or [contract.raw["team"]["name"]]],
        ),
        "documentation": _facet(
            "1-0-1/DocumentationDatasetFacet", description=contract.raw["description"].get("purpose", "")
        ),
    }
    if columns := column_lineage(contract, lake):
        facets["columnLineage"] = _facet("1-2-0/ColumnLineageDatasetFacet", fields=columns)
    return Read(name or table(contract, lake), facets)


def column_lineage(contract: Contract, lake: str) -> dict[str, Any]:
    """Return, by column, the columns it is made from: the standard's ``transformSourceObjects``, ``table.column``.

    A table without a contract is left out.
    """
    (written,) = contract.raw["schema"]
    found = {}
    for column in written["properties"]:
        named = (source.rpartition(".") for source in column.get("transformSourceObjects", ()))
        sources = [(tables()[name.lower()], field) for name, _, field in named if name.lower() in tables()]
        if sources:
            how = column.get("transformLogic") or column.get("transformDescription") or ""
            found[column["name"]] = {
                "inputFields": [{**table(source, lake)._asdict(), "field": field} for source, field in sources],
                "transformationDescription": how,
            }
    return found


def run_event(
    *,
    state: str,
    at: str,
    run_id: str,
    namespace: str,
    job: str,
    inputs: Sequence[Read],
    outputs: Sequence[Read],
    parent: Mapping[str, str] | None = None,
    kind: str = "SPARK",
    streaming: bool = False,
) -> dict[str, Any]:
    """Return a run event.

    Args:
        state: ``COMPLETE``, ``FAIL`` or ``RUNNING``.
        at: time of the event, ISO 8601 with its zone.
        run_id: a UUID.
        namespace: of the job.
        job: its name.
        inputs, outputs: what the run read and wrote.
        parent: ``run``, ``namespace`` and ``name`` of the job that started this one.
        kind: the integration that tells of it.
        streaming: whether the job has no end of its own.
    """
    facets = {}
    if parent:
        facets["parent"] = _facet(
            "1-0-1/ParentRunFacet",
            run={"runId": parent["run"]},
            job={"namespace": parent["namespace"], "name": parent["name"]},
        )
    processing = "STREAMING" if streaming else "BATCH"
    kind_facet = _facet("2-0-3/JobTypeJobFacet", processingType=processing, integration=kind, jobType="JOB")
    return {
        "eventType": state,
        "eventTime": at,
        "producer": PRODUCER,
        "schemaURL": SCHEMA,
        "run": {"runId": run_id, "facets": facets},
        "job": {"namespace": namespace, "name": job, "facets": {"jobType": kind_facet}},
        "inputs": [each.plain() for each in inputs],
        "outputs": [each.plain() for each in outputs],
    }


def key(event: Mapping[str, Any]) -> str:
    """Return where an event is kept, below :data:`FOLDER`: one place for each job and set of data sets.

    A later run that reads and writes the same takes the place of an earlier one: so the folder is the present graph.
    """
    job = re.sub(r"[^A-Za-z0-9._-]", "_", f"{event['job']['namespace']}.{event['job']['name']}")[:200]
    sides = [_names(event.get(side) or ()) for side in ("inputs", "outputs")]
    return f"{job}/{hashlib.sha256(json.dumps(sides).encode()).hexdigest()[:16]}.json"


def place(event: Mapping[str, Any], lake: str) -> str:
    """Return the address of an event's object."""
    return f"{lake.rstrip('/')}/{FOLDER}/{key(event)}"


def bucket_and_prefix(lake: str) -> tuple[str, str]:
    """Return the bucket of the lake's events, and the beginning of their keys."""
    return split(f"{lake.rstrip('/')}/{FOLDER}/")


def _names(datasets: Iterable[Mapping[str, Any]]) -> list[list[str]]:
    return sorted([each["namespace"], each["name"]] for each in datasets)


def _facet(schema: str, **content: Any) -> dict[str, Any]:
    name = schema.partition("/")[2]
    return {"_producer": PRODUCER, "_schemaURL": f"{_FACETS}/{schema}.json#/$defs/{name}", **content}
