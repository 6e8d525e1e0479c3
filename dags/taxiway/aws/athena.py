"""Athena: queries that are kept under names in a workgroup, asked with parameters, and their answers."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from taxiway.core.sql import literal

log = logging.getLogger(__name__)

LIMIT_EXCEEDED = "Bytes scanned limit was exceeded"  # what Athena says of a query that its workgroup's limit ended
MOST_NAMED = 50  # of one request


class AthenaError(RuntimeError):
    """A query has no answer, and a retry would not give one; the text is one sentence."""


@dataclass(frozen=True)
class Answer:
    """The rows of an answer, column → value as text, None for NULL; and the bytes that Athena read for it."""

    rows: list[dict[str, str | None]]
    scanned: int


@dataclass(frozen=True)
class Workgroup:
    """A workgroup, whose named queries are asked.

    Attributes:
        client: a boto3 client for Athena.
        name: of the workgroup.
        database: of the Glue catalogue, in which queries look for tables.
        poll_s: seconds between two looks at a query.
        wait_s: seconds that a query may take.
        remedy: what to do where there is no such workgroup; the end of a sentence.
    """

    client: Any
    name: str
    database: str
    poll_s: float
    wait_s: float
    remedy: str

    def create(self, output: str, scan_limit: int) -> bool:
        """Create the workgroup, and return whether it did not exist.

        Args:
            output: where results go, ``s3://…``.
            scan_limit: bytes that a query may read.
        """
        try:
            self.client.create_work_group(
                Name=self.name,
                Configuration={
                    "EnforceWorkGroupConfiguration": True,
                    "BytesScannedCutoffPerQuery": scan_limit,
                    "ResultConfiguration": {"OutputLocation": output},
                },
            )
        except ClientError as error:
            if "already exists" in str(error):
                return False
            raise
        return True

    def keep(self, queries: Mapping[str, str]) -> list[str]:
        """Keep queries under their names, where they are not kept as they are; return the names of those that changed.

        Raises:
            AthenaError: there is no such workgroup.
        """
        with self._faults("its named queries"):
            pages = self.client.get_paginator("list_named_queries").paginate(WorkGroup=self.name)
            ids = [one for page in pages for one in page["NamedQueryIds"]]
            kept: dict[str, dict[str, Any]] = {}
            for start in range(0, len(ids), MOST_NAMED):
                found = self.client.batch_get_named_query(NamedQueryIds=ids[start : start + MOST_NAMED])
                kept |= {query["Name"]: query for query in found["NamedQueries"]}
            changed = [
                name
                for name, sql in queries.items()
                if (kept.get(name, {}).get("QueryString"), kept.get(name, {}).get("Database")) != (sql, self.database)
            ]
            for name in changed:
                if name in kept:
                    self.client.delete_named_query(NamedQueryId=kept[name]["NamedQueryId"])
                self.client.create_named_query(
                    Name=name, Database=self.database, QueryString=queries[name], WorkGroup=self.name
                )
        return changed

    def ask(self, questions: Mapping[str, tuple[str, Sequence[str]]]) -> dict[str, Answer]:
        """Ask queries at the same time, and return their answers by name.

        Args:
            questions: name → SQL with a ``?`` for each parameter, and the texts in their places.

        Raises:
            AthenaError: one of them failed, read too much or took too long; none of them runs any more.
        """
        running: dict[str, str] = {}
        try:
            for name, (sql, parameters) in questions.items():
                literals = [literal(text) for text in parameters]
                with self._faults(name):
                    running[name] = self.client.start_query_execution(
                        QueryString=sql,
                        QueryExecutionContext={"Database": self.database, "Catalog": "AwsDataCatalog"},
                        WorkGroup=self.name,
                        **({"ExecutionParameters": literals} if literals else {}),
                    )["QueryExecutionId"]
            return {name: self._answer(name, running) for name in questions}
        finally:  # also when the task is killed: a query that nobody waits for costs money
            for query in running.values():
                self.client.stop_query_execution(QueryExecutionId=query)

    def _answer(self, name: str, running: dict[str, str]) -> Answer:
        query, until = running[name], time.monotonic() + self.wait_s
        while True:
            found = self.client.get_query_execution(QueryExecutionId=query)["QueryExecution"]
            if (state := found["Status"]["State"]) not in ("QUEUED", "RUNNING"):
                break
            if time.monotonic() > until:
                raise AthenaError(f"The query {name} ({query}) had no answer after {self.wait_s:g} s, and was stopped.")
            time.sleep(self.poll_s)
        scanned = int(found.get("Statistics", {}).get("DataScannedInBytes") or 0)
        del running[name]
        if state != "SUCCEEDED":
            reason = str(found["Status"].get("StateChangeReason") or "no reason is given").rstrip(".")
            if LIMIT_EXCEEDED in reason:
                raise AthenaError(
                    f"The query {name} ({query}) was ended because it read more than the scan limit of the workgroup "
                    f"{self.name} allows: ask it for less at once, or raise the workgroup's limit."
                )
            raise AthenaError(f"The query {name} ({query}) is {state}: {reason}.")
        pages = self.client.get_paginator("get_query_results").paginate(QueryExecutionId=query)
        rows = [
            [cell.get("VarCharValue") for cell in row["Data"]] for page in pages for row in page["ResultSet"]["Rows"]
        ]
        header, *values = rows
        log.info("%s: %s rows, %s bytes read", name, len(values), f"{scanned:,}")
        return Answer([dict(zip(map(str, header), row, strict=True)) for row in values], scanned)

    @contextmanager
    def _faults(self, what: str) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            if error.response["Error"]["Code"] != "InvalidRequestException":
                raise
            message = error.response["Error"]["Message"].rstrip(".")
            if "WorkGroup" in message and "not found" in message:
                raise AthenaError(f"The workgroup {self.name!r} does not exist: {self.remedy}.") from None
            raise AthenaError(f"Athena refuses {what}: {message}.") from None
