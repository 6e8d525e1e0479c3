"""Which tables people read by Athena: those that the queries of its workgroups name, by OpenLineage's SQL parser.

Athena keeps a query for 45 days and says neither who asked nor which tables were read. So a reader is a query's id
here, by which CloudTrail knows the person.
"""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from taxiway.core.settings import Settings
from taxiway.operations.lineage import Reader

SOURCE = "Athena"
_AT_ONCE = 50  # queries of one request
_COMMENTS = re.compile(r"(?:\s|--[^\n]*(?:\n|$)|/\*.*?\*/)*", re.DOTALL)
# The parser does not look into these: a query that is written to S3, and one that is kept under a name.
_UNLOAD = re.compile(r"unload\s*\((.*)\)\s*to\s+'", re.IGNORECASE | re.DOTALL)
_EXECUTE = re.compile(r"execute\s", re.IGNORECASE)


def last_readers(athena: Any, config: Settings, now: datetime) -> tuple[dict[str, Reader], list[str]]:
    """Return the query that read each table last, by the table's name, and a sentence for each thing that is not known.

    Looked at are the newest queries that succeeded of each workgroup, ``config.retention_queries`` at most, and none
    from before ``config.retention_unused_days``.

    Args:
        athena: client of boto3.
        config: the workgroups, and the database of the Glue catalogue.
        now: time, UTC.
    """
    found: dict[str, Reader] = {}
    gaps: list[str] = []
    since = now - timedelta(days=config.retention_unused_days)
    for group in config.retention_workgroups if config.retention_queries else ():
        looked_at, unread, at = 0, 0, now
        try:
            for query in _newest(athena, group, config.retention_queries):
                looked_at, at = looked_at + 1, query["Status"]["SubmissionDateTime"]
                if at < since:
                    break
                if query["Status"]["State"] != "SUCCEEDED":
                    continue
                names = tables_read(query["Query"], query.get("QueryExecutionContext", {}).get("Database", "default"))
                if names is None:
                    unread += 1
                for database, table in names or ():
                    if database == config.glue_database and (table not in found or found[table].at < at):
                        found[table] = Reader(f"query {query['QueryExecutionId']} in {group}", at, SOURCE)
        except (BotoCoreError, ClientError) as error:
            gaps.append(f"Who asks Athena in the workgroup {group} is not known: {str(error).rstrip('.')}.")
        if unread:
            gaps.append(f"Which tables {unread} of Athena's queries in the workgroup {group} read is not known.")
        if looked_at == config.retention_queries and at >= since:
            gaps.append(f"Of Athena's workgroup {group} the newest {looked_at:,} queries were looked at, to {at:%F}.")
    return found, gaps


def tables_read(sql: str, database: str) -> set[tuple[str, str]] | None:
    """Return database and name of the tables that a statement reads; None if it is not understood.

    Args:
        sql: in Athena's dialect.
        database: of tables that it names without one.
    """
    from openlineage_sql import parse

    text = sql[_COMMENTS.match(sql).end() :]  # type: ignore[union-attr]  # it matches nothing, too
    if _EXECUTE.match(text):
        return None
    if unloaded := _UNLOAD.match(text):
        text = unloaded[1]
    found = parse([text], dialect="athena")
    if found is None or found.errors:
        return None
    return {((each.schema or database).lower(), each.name.lower()) for each in found.in_tables}


def _newest(athena: Any, group: str, most: int) -> Iterator[dict[str, Any]]:
    """Yield the queries of a workgroup, the newest first, as Athena lists them."""
    pages = athena.get_paginator("list_query_executions").paginate(
        WorkGroup=group, PaginationConfig={"MaxItems": most, "PageSize": _AT_ONCE}
    )
    for page in pages:
        if ids := page["QueryExecutionIds"]:
            queries = athena.batch_get_query_execution(QueryExecutionIds=ids)["QueryExecutions"]
            yield from sorted(queries, key=lambda each: each["Status"]["SubmissionDateTime"], reverse=True)
