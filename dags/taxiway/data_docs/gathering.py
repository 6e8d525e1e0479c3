"""What the page shows, as plain data: from contracts, the Glue catalogue, S3, lineage events, checks and incidents."""

import json
import logging
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from botocore.exceptions import ClientError

from taxiway.core import contracts, lineage
from taxiway.core.contracts import Contract
from taxiway.core.lineage import Dataset
from taxiway.core.s3 import is_data_file, split
from taxiway.core.settings import Settings
from taxiway.data_docs.settings import DataDocsSettings
from taxiway.operations import incidents, metrics, quality
from taxiway.operations import lineage as told

log = logging.getLogger(__name__)

_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


@dataclass
class Published:
    """What readers find of a table.

    Attributes:
        periods: partitions; 0 of a table without.
        newest: the newest one's values, joined by ``-``.
        at: when the newest publication was made; None if the catalogue does not say.
        late_by: how long it is over its promise, such as ``3 d``; empty if it is not, or promises nothing.
        rows: of all versions that are published; None if the catalogue does not say.
    """

    periods: int = 0
    newest: str = ""
    at: datetime | None = None
    late_by: str = ""
    rows: int | None = None


@dataclass
class Page:
    """All that the page shows.

    Attributes:
        tables: a description of each, with its columns; see :func:`_described`.
        nodes: of the graph: id → kind (``table``, ``airflow``, ``spark``, ``dbt``, ``source``, ``exposure``), label,
            and the full name if it is longer.
        edges: (from, to) ids.
        incidents: those that are open, of tables and of failed tasks.
        faults: sentences on what could not be read.
    """

    at: datetime
    lake: str
    tables: list[dict[str, Any]]
    nodes: dict[str, dict[str, str]] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)
    incidents: list[dict[str, Any]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def gather(
    settings: Settings, session: Any, chosen: DataDocsSettings, *, now: datetime, database: sa.Engine | None = None
) -> Page:
    """Read everything; what cannot be read is named on the page and does not hold it up.

    Args:
        settings: the lake and the Glue database.
        session: ``boto3.Session``.
        chosen: the page's own settings.
        now: the page's time, UTC.
        database: that of the catalogue, which has checks and incidents; None for that of Airflow's connection.
    """
    page = Page(now, settings.lake, [])
    found = [contracts.read(pipeline, name) for pipeline in contracts.pipelines() for name in contracts.names(pipeline)]
    s3, glue = session.client("s3"), session.client("glue")

    def attempt(what: str, read: Any, otherwise: Any) -> Any:
        try:
            return read()
        except Exception as error:
            log.warning("Not on the page: %s (%s: %s).", what, type(error).__name__, error)
            page.faults.append(f"{what} could not be read ({type(error).__name__}).")
            return otherwise

    events = attempt("The lineage", lambda: list(told.events(s3, settings.lake)), [])
    manifest = attempt("dbt's project", lambda: _manifest(s3, settings.lake), {})
    results = attempt("The results of checks", lambda: quality.recent(database), [])
    since = now - timedelta(days=chosen.incident_days)
    cases = attempt("The incidents", lambda: incidents.listed(database, since=since), [])
    known = attempt("The Glue catalogue", lambda: _glue_tables(glue, settings.glue_database), {})

    def published_of(contract: Contract) -> Published | None:
        def read() -> Published | None:
            return _published(glue, settings, contract, known.get(contract.table), now)

        state: Published | None = attempt(f"What is published of {contract.table}", read, None)
        return state

    with ThreadPoolExecutor(8) as pool:
        published = list(pool.map(published_of, found))
        sizes = attempt(
            "The sizes of tables", lambda: list(pool.map(lambda each: _bytes(s3, settings.lake, each), found)), None
        )
    graph = Graph(settings.lake, found)
    for event in sorted(events, key=lambda each: str(each["eventTime"])):  # the newest says how it is
        graph.add_event(event)
    graph.add_exposures(manifest)
    for contract, state, size in zip(found, published, sizes or [None] * len(found), strict=True):
        page.tables.append(
            {
                **_described(contract),
                "node": graph.table_id(contract),
                "published": asdict(state) if state else None,
                "bytes": size,
                "usd": None if size is None else size / 1e9 * chosen.storage_usd,
                "checks": [_check(each) for each in results if each.table == contract.table],
                "incidents": [_incident(each) for each in cases if each.table == contract.table],
                "origins": graph.origins.get(contract.table, {}),
            }
        )
    page.incidents = [_incident(each) for each in cases if each.state == "open"]
    page.nodes, page.edges = graph.nodes, sorted(graph.edges)
    return page


# ── A table ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _described(contract: Contract) -> dict[str, Any]:
    raw, (table,) = contract.raw, contract.raw["schema"]
    team = raw["team"]
    rules = [rule["description"] for each in (table, *table["properties"]) for rule in each.get("quality", ())]
    return {
        "name": contract.table,
        "pipeline": contract.pipeline,
        "kind": table["physicalType"],
        "version": raw["version"],
        "path": contract.path,
        "row": table["dataGranularityDescription"],
        "partitions": list(contract.partition_keys),
        "key": list(contract.key),
        "team": team["name"],
        "owners": [each["username"] for each in team.get("members", ()) if each.get("role") == "owner"],
        "requester": {each["property"]: each["value"] for each in raw.get("customProperties", ())}.get("requester", ""),
        **{part: raw["description"].get(part, "") for part in ("purpose", "limitations", "usage")},
        "promises": [_promise(each) for each in raw.get("slaProperties", ())],
        "rules": rules,
        "columns": [
            {
                "name": each["name"],
                "type": each["physicalType"],
                "required": bool(each.get("required")),
                "key": bool(each.get("primaryKey")),
                "class": each.get("classification", ""),
                "text": each.get("description", ""),
            }
            for each in table["properties"]
        ],
    }


def _promise(term: Mapping[str, Any]) -> str:
    unit = str(term.get("unit", ""))
    value = f"{term['property']}: {term['value']} {_UNITS.get(unit, unit)}".strip()
    return f"{value}. {term['description']}" if term.get("description") else value


def _check(result: Any) -> dict[str, Any]:
    kept = ("check", "passed", "period", "observed", "expected", "severity", "checked_at")
    return {name: getattr(result, name) for name in kept}


def _incident(incident: Any) -> dict[str, Any]:
    kept = (
        "id",
        "dag_id",
        "table",
        "check",
        "what",
        "state",
        "since",
        "detected_at",
        "closed_at",
        "owner",
        "runbook",
        "rows",
    )
    return {name: getattr(incident, name) for name in kept}


def _glue_tables(glue: Any, database: str) -> dict[str, dict[str, Any]]:
    try:
        pages = list(glue.get_paginator("get_tables").paginate(DatabaseName=database))
    except ClientError as error:
        if error.response["Error"]["Code"] == "EntityNotFoundException":
            return {}  # nothing has been published yet
        raise
    return {table["Name"]: table for page in pages for table in page["TableList"]}


def _published(
    glue: Any, settings: Settings, contract: Contract, table: Mapping[str, Any] | None, now: datetime
) -> Published | None:
    """Return what readers find; None if the table is not in the catalogue."""
    if table is None:
        return None
    own = table.get("Parameters", {})
    if not table.get("PartitionKeys"):
        at = _moment(own.get("published_at")) or table.get("UpdateTime") or table.get("CreateTime")
        state = Published(at=at, rows=_number(own.get("rows")))
        state.late_by = _late(contract, _moment(own.get("loaded_until")) or at, now)
        return state
    asked = {"DatabaseName": settings.glue_database, "TableName": contract.table, "ExcludeColumnSchema": True}
    pages = glue.get_paginator("get_partitions").paginate(**asked)
    parts = [part for each in pages for part in each["Partitions"]]
    if not parts:
        return None
    times = [_moment(part.get("Parameters", {}).get("published_at")) or part.get("CreationTime") for part in parts]
    rows = [_number(part.get("Parameters", {}).get("rows")) for part in parts]
    newest = max(parts, key=lambda part: part["Values"])["Values"]
    return Published(
        periods=len(parts),
        newest="-".join(newest),
        at=max((time for time in times if time), default=None),
        late_by=_late(contract, _moment(own.get("loaded_until")) or metrics.end_if_time("-".join(newest)), now),
        rows=None if None in rows else sum(number or 0 for number in rows),
    )


def _late(contract: Contract, until: datetime | None, now: datetime) -> str:
    terms = (term for term in contract.raw.get("slaProperties", ()) if term["property"] == "freshness")
    term = next(terms, None)
    if not term or not until:
        return ""
    span = incidents.UNITS[term["unit"]]
    over = now - until - float(term["value"]) * span
    return f"{over / span:.0f} {_UNITS[term['unit']]}" if over > timedelta(0) else ""


def _moment(text: str | None) -> datetime | None:
    if not text:
        return None
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None


def _bytes(s3: Any, lake: str, contract: Contract) -> int:
    """Return the bytes below a table's folder: all versions that are kept."""
    bucket, prefix = split(f"{lake}/{contract.path}/")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    files = ((each["Key"].removeprefix(prefix), each["Size"]) for page in pages for each in page.get("Contents", ()))
    return sum(size for path, size in files if is_data_file(path, size))


def _manifest(s3: Any, lake: str) -> dict[str, Any]:
    """Return what dbt knew of its project when it was last built; empty if it never was."""
    bucket, prefix = split(f"{lake}/dbt/")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    found = (each for page in pages for each in page.get("Contents", ()) if each["Key"].endswith("/manifest.json"))
    newest = max(found, key=lambda each: (each["LastModified"], each["Key"]), default=None)
    if not newest:
        return {}
    return dict(json.loads(s3.get_object(Bucket=bucket, Key=newest["Key"])["Body"].read()))


# ── The graph ───────────────────────────────────────────────────────────────────────────────────────────────────────


class Graph:
    """What is made from what: data sets, and the jobs between them."""

    def __init__(self, lake: str, found: Iterable[Contract]) -> None:
        self.nodes: dict[str, dict[str, str]] = {}
        self.edges: set[tuple[str, str]] = set()
        self.origins: dict[str, dict[str, list[str]]] = defaultdict(dict)
        self._lake = lake
        every = [*found]
        self._contract_of = lineage.finder(lake, every)
        self._places = [lineage.table(each, lake) for each in every]
        for contract in every:
            self.nodes[self.table_id(contract)] = {"kind": "table", "label": contract.table}

    def table_id(self, contract: Contract) -> str:
        """Return the node of a table."""
        return f"table:{contract.table}"

    def add_event(self, event: Mapping[str, Any]) -> None:
        """Add a run's job, what it read and what it wrote."""
        name, kind = event["job"]["name"], _kind(event)
        inputs = event.get("inputs") or ()
        # An asset of Airflow may be the folder of several tables, which their jobs name one by one.
        outputs = [each for each in event.get("outputs") or () if not self._is_above_tables(each)]
        if not outputs and (kind == "dbt" or not inputs):
            return  # one of dbt's tests, or what only announces
        job = f"job:{name}"
        self.nodes[job] = {"kind": kind, "label": _short(name, kind), "name": name, "at": event["eventTime"]}
        for each in inputs:
            self.edges.add((self._data(each, kind), job))
        for each in outputs:
            self.edges.add((job, self._data(each, kind)))
            self._add_origins(each, {Dataset(read["namespace"], read["name"]) for read in inputs})

    def add_exposures(self, manifest: Mapping[str, Any]) -> None:
        """Add who uses dbt's models, as its project says."""
        models = manifest.get("nodes", {})
        for name, exposure in manifest.get("exposures", {}).items():
            node = f"exposure:{name}"
            self.nodes[node] = {"kind": "exposure", "label": exposure.get("label") or exposure["name"]}
            for needed in exposure.get("depends_on", {}).get("nodes", ()):
                table = lineage.tables().get(str(models.get(needed, {}).get("alias", "")).lower())
                if table:
                    self.edges.add((self.table_id(table), node))

    def _data(self, each: Mapping[str, Any], kind: str) -> str:
        dataset = Dataset(each["namespace"], each["name"])
        if table := self._contract_of(dataset):
            return self.table_id(table)
        name = f"{dataset.namespace}/{dataset.name}"
        scheme, _, place = dataset.namespace.partition(":")
        if kind == "dbt" or scheme == "awsathena":
            label = dataset.name.rpartition(".")[2]
        elif scheme == "file":
            label = Path(dataset.name).name
        elif scheme == "sqlite":
            label = f"{Path(place).name}/{dataset.name}"
        else:
            label = dataset.name if dataset.namespace == lineage.address(self._lake).namespace else name
        self.nodes[f"data:{name}"] = {"kind": "source", "label": label, "name": name}
        return f"data:{name}"

    def _is_above_tables(self, each: Mapping[str, Any]) -> bool:
        return any(
            table.namespace == each["namespace"] and table.name.startswith(f"{each['name']}/") for table in self._places
        )

    def _add_origins(self, each: Mapping[str, Any], read: Collection[Dataset]) -> None:
        """Keep which columns a column is made from, where the producer knows it: not those of a query's own parts."""
        table = self._contract_of(Dataset(each["namespace"], each["name"]))
        columns = ((each.get("facets") or {}).get("columnLineage") or {}).get("fields") or {}
        for column, made in columns.items() if table else ():
            sources = sorted(set(self._sources(made.get("inputFields") or (), read)))
            if table and sources:
                self.origins[table.table][column] = sources

    def _sources(self, fields: Iterable[Mapping[str, Any]], read: Collection[Dataset]) -> Iterator[str]:
        for each in fields:
            dataset = Dataset(each["namespace"], each["name"])
            if dataset not in read:
                continue
            known = self._contract_of(dataset)
            yield f"{known.table if known else each['name']}.{each['field']}"


def _short(job: str, kind: str) -> str:
    """Return a job's name without what all of dbt's have: ``catalog.schema.project.model.build.run``."""
    model = re.fullmatch(r".*\.(\w+)\.\w+\.(?:run|seed|snapshot)", job)
    return f"dbt: {model[1]}" if kind == "dbt" and model else job


def _kind(event: Mapping[str, Any]) -> str:
    facet = (event["job"].get("facets") or {}).get("jobType") or {}
    kind = str(facet.get("integration", "")).lower()
    return kind if kind in ("airflow", "spark", "dbt") else "airflow"
