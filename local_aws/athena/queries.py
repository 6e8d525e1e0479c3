"""Query executions: their states, and how each is run and published."""

import json
import logging
import os
import shutil
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local_aws.athena.backend import Backend
from local_aws.athena.processes import Ended, ServeError, Workers
from local_aws.athena.sql.errors import SYSTEM, QueryError
from local_aws.athena.sql.request import Request
from local_aws.athena.store import Document, Store

log = logging.getLogger(__name__)

ENGINE = "Athena engine version 3"
_ENDED = ("SUCCEEDED", "FAILED", "CANCELLED")


@dataclass
class QueryRun:
    """A query execution.

    Attributes:
        document: what is kept, and where the API answers from.
        cancelled: set when it is to end.
    """

    document: Document
    cancelled: threading.Event = field(default_factory=threading.Event)

    @property
    def id(self) -> str:
        """Its id."""
        return str(self.document["id"])

    @property
    def state(self) -> str:
        """Its state."""
        return str(self.document["state"])

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self.state in _ENDED


class Queries:
    """All query executions; each runs in a process, several at once, the others wait in order."""

    def __init__(
        self, store: Store, backend: Backend, workers: Workers, folder: Path, at_once: int, memory: int
    ) -> None:
        """Load the queries on record.

        Args:
            store: where they are kept.
            backend: S3 and Glue.
            workers: starts their processes.
            folder: for the files of queries, on the disk of the objects.
            at_once: how many may run at once.
            memory: bytes that one may use.
        """
        self._store = store
        self._backend = backend
        self._workers = workers
        self._folder = folder
        self._memory = memory
        self._lock = threading.RLock()
        self._pool = ThreadPoolExecutor(at_once, thread_name_prefix="athena")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.all: dict[str, QueryRun] = {key: QueryRun(document) for key, document in store.load("query").items()}
        for run in self.all.values():
            if not run.ended:
                reason = "The local endpoint ended while this query was queued or running."
                self._end(
                    run, "FAILED", reason, QueryError("GENERIC_INTERNAL_ERROR", reason, category=SYSTEM).document()
                )

    def start(self, document: Document) -> str:
        """Queue a query; return its id."""
        document |= {"id": str(uuid.uuid4()), "state": "QUEUED", "submitted": time.time(), "statistics": {}}
        run = QueryRun(document)
        with self._lock:
            self.all[run.id] = run
            self._store.save("query", run.id, document)
        self._pool.submit(self._run, run)
        return run.id

    def stop(self, run: QueryRun) -> None:
        """End a query that has not ended; one that is being published ends by itself."""
        with self._lock:
            run.cancelled.set()
            if run.state == "QUEUED":
                self._end(run, "CANCELLED", "Query cancelled by user")

    def close(self) -> None:
        """End all queries."""
        for run in self.all.values():
            run.cancelled.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _end(self, run: QueryRun, state: str, reason: str | None = None, error: Document | None = None) -> None:
        document = run.document
        document["completed"] = time.time()
        statistics = document["statistics"]
        total = int((document["completed"] - document["submitted"]) * 1000)
        statistics.setdefault("QueryQueueTimeInMillis", total)
        statistics["TotalExecutionTimeInMillis"] = total
        statistics.setdefault("EngineExecutionTimeInMillis", max(total - statistics["QueryQueueTimeInMillis"], 0))
        statistics.setdefault("DataScannedInBytes", 0)
        document |= {"reason": reason, "error": error}
        document["state"] = state  # last: a reader of the state finds the rest
        self._store.save("query", run.id, document)

    def _run(self, run: QueryRun) -> None:
        with self._lock:
            if run.ended:
                return
            run.document["state"] = "RUNNING"
            run.document["statistics"]["QueryQueueTimeInMillis"] = int((time.time() - run.document["submitted"]) * 1000)
        folder = self._folder / run.id
        try:
            folder.mkdir()
            self._execute(run, folder)
        except ServeError as error:
            self._fail(run, QueryError(error.code, str(error)))
        except OSError as error:
            self._fail(run, QueryError("GENERIC_INTERNAL_ERROR", f"The disk of {folder}: {error}", category=SYSTEM))
        except Exception as error:
            log.exception("query %s failed in the endpoint itself", run.id)
            self._fail(run, QueryError("GENERIC_INTERNAL_ERROR", repr(error), category=SYSTEM))
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _fail(self, run: QueryRun, error: QueryError) -> None:
        self._end(run, "FAILED", str(error), error.document())

    def _execute(self, run: QueryRun, folder: Path) -> None:
        document, statistics = run.document, run.document["statistics"]
        begun = time.time()
        request = Request(
            id=run.id,
            sql=document["sql"],
            database=(document["context"].get("Database") or "default").strip('`"').lower(),  # clients quote it
            parameters=document.get("parameters") or [],
            folder=str(folder),
            memory=int(self._memory * 0.8),
            threads=os.cpu_count() or 1,
            cutoff=document.get("cutoff"),
            output=document["location"],
            started=document["submitted"],
            statements=self.prepared(document["workgroup"]),
        )

        def serve(name: str, arguments: list[Any]) -> Any:
            """Answer what the process of the query asks for."""
            if name == "glue":
                return self._backend.glue(document["region"], *arguments)
            if name == "objects":
                return self._backend.objects(*arguments)
            raise ServeError("InternalError", f"no such call: {name}")

        ended = self._workers.run(request, serve, run.cancelled)
        statistics["EngineExecutionTimeInMillis"] = int((time.time() - begun) * 1000)
        try:
            self._conclude(run, ended, folder)
        finally:
            ended.wait()

    def _conclude(self, run: QueryRun, ended: Ended, folder: Path) -> None:
        """Record how a query has ended, and publish what it has written."""
        document, statistics = run.document, run.document["statistics"]
        if ended.cancelled:
            self._end(run, "CANCELLED", "Query cancelled by user")
            return
        if ended.too_large:
            limit = f"{self._memory / 1024**3:.1f} GiB"
            text = (
                f"Query exhausted resources at this scale factor: it used more than {limit} of memory (--query-memory)"
            )
            self._fail(run, QueryError("EXCEEDED_MEMORY_LIMIT", text))
            return
        if ended.answer is None:
            text = "The process of the query was killed, most likely because the machine ran out of memory."
            self._fail(run, QueryError("GENERIC_INTERNAL_ERROR", text, category=SYSTEM))
            return
        if "cutoff" in ended.answer:
            self._end(run, "CANCELLED", "Bytes scanned limit was exceeded")
            return
        if "failure" in ended.answer:
            reason, error = ended.answer["failure"]
            self._end(run, "FAILED", reason, error)
            return
        outcome = ended.answer["outcome"]
        statistics["DataScannedInBytes"] = outcome["scanned"]
        statistics["QueryPlanningTimeInMillis"] = int(outcome["planned_s"] * 1000)
        published = time.time()
        with self._lock:  # from here on it is not cancelled
            if run.cancelled.is_set():
                self._end(run, "CANCELLED", "Query cancelled by user")
                return
            document["publishing"] = True
        self._publish(run, outcome, folder)
        statistics["ServiceProcessingTimeInMillis"] = int((time.time() - published) * 1000)
        document |= {"columns": outcome["columns"], "updated": outcome["rows"]}
        document |= {"statement": outcome["statement"], "substatement": outcome["substatement"]}
        self._end(run, "SUCCEEDED")

    def prepared(self, workgroup: str) -> dict[str, str]:
        """Return the prepared statements of a workgroup by name."""
        found = self._store.load("prepared")
        return {
            one["StatementName"]: one["QueryStatement"] for one in found.values() if one["WorkGroupName"] == workgroup
        }

    def _publish(self, run: QueryRun, outcome: Document, folder: Path) -> None:
        """Put what a query has written where readers find it: files at once, then the catalogue, then its result."""
        document = run.document
        base = f"{document['location'].rstrip('/')}/{run.id}"
        self._backend.put([(uri, Path(path)) for uri, path in outcome["objects"]])
        try:
            for operation, request in outcome["glue"]:
                self._glue(document["region"], operation, request)
        except ServeError:
            self._backend.delete([uri for uri, _ in outcome["objects"]])
            raise
        for action, statement in outcome["prepared"]:
            key = f"{document['workgroup']}/{statement['StatementName']}"
            if action == "delete":
                self._store.delete("prepared", key)
            else:
                self._store.save(
                    "prepared",
                    key,
                    statement | {"WorkGroupName": document["workgroup"], "LastModifiedTime": time.time()},
                )
        results: list[tuple[str, Path]] = []
        suffix = ".csv" if outcome["statement"] == "DML" else ".txt"
        document["output"] = base + suffix
        if outcome["file"]:
            results.append((base + suffix, Path(outcome["file"])))
        if outcome["manifest"]:
            manifest = folder / "manifest.csv"
            manifest.write_text("".join(f"{uri}\n" for uri, _ in outcome["objects"]))
            document["statistics"]["DataManifestLocation"] = f"{base}-manifest.csv"
            document["output"] = base
            results.append((f"{base}-manifest.csv", manifest))
        if outcome["columns"]:
            # AWS writes a binary form that only Athena reads.
            metadata = folder / "metadata"
            metadata.write_text(json.dumps(outcome["columns"]))
            results.append((f"{base}.metadata" if outcome["manifest"] else f"{base}{suffix}.metadata", metadata))
        self._backend.put(results)

    def _glue(self, region: str, operation: str, request: Document) -> None:
        answer = self._backend.glue(region, operation, request)
        for error in answer.get("Errors") or []:
            detail = error.get("ErrorDetail") or {}
            if detail.get("ErrorCode") != "AlreadyExistsException":
                raise ServeError(detail.get("ErrorCode", "InternalError"), detail.get("ErrorMessage", ""))
