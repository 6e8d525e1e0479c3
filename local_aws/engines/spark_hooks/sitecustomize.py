"""Refuses tables that a program on Apache Spark would make in a database of Glue: they would not be there.

Python imports this at its start, in each process of Spark, since its folder is in PYTHONPATH; PySpark is changed when
the program imports it.
"""

import json
import os
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from functools import lru_cache, wraps
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

_CHANGE = re.compile(
    r"(?is)\s*(?:create\s+(?:or\s+replace\s+)?(?:external\s+)?table(?:\s+if\s+not\s+exists)?|"
    r"insert\s+(?:into|overwrite)(?:\s+table)?)\s+((?:`[^`]+`|\w+)(?:\s*\.\s*(?:`[^`]+`|\w+))*)"
)


@lru_cache
def _in_glue(database: str) -> bool:
    region = os.environ.get("AWS_DEFAULT_REGION", "us-east-1")
    headers = {
        "X-Amz-Target": "AWSGlue.GetDatabase",
        "Content-Type": "application/x-amz-json-1.1",
        "Authorization": f"AWS4-HMAC-SHA256 Credential=local/20260101/{region}/glue/aws4_request",
    }
    body = json.dumps({"Name": database}).encode()
    request = urllib.request.Request(os.environ["AWS_ENDPOINT_URL"], body, headers)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=60):  # noqa: S310
            return True
    except urllib.error.HTTPError:
        return False


def _check(session: Any, name: str) -> None:
    parts = [part.strip().strip("`").lower() for part in re.findall(r"`[^`]+`|[^.]+", name)]
    database = parts[-2] if len(parts) > 1 else session.catalog.currentDatabase()
    if _in_glue(database):
        raise NotImplementedError(
            f"Apache Spark cannot change {database}.{parts[-1]} here: the database {database} is in Glue, where the"
            " table would not be. Write to a path on S3 and create the table by Glue's API, or use --engine sail."
        )


def _checked(original: Callable[..., Any], session: Callable[[Any], Any]) -> Callable[..., Any]:
    @wraps(original)
    def table(self: Any, name: str, *arguments: Any, **options: Any) -> Any:
        _check(session(self), name)
        return original(self, name, *arguments, **options)

    return table


def _change_writer(module: Any) -> None:
    writer = module.DataFrameWriter
    for name in ("saveAsTable", "insertInto"):
        setattr(writer, name, _checked(getattr(writer, name), lambda self: self._spark))
    original = module.DataFrameWriterV2.__init__

    @wraps(original)
    def write_to(self: Any, frame: Any, table: str) -> None:
        _check(frame.sparkSession, table)
        original(self, frame, table)

    module.DataFrameWriterV2.__init__ = write_to


def _change_session(module: Any) -> None:
    original = module.SparkSession.sql

    @wraps(original)
    def sql(self: Any, query: str, *arguments: Any, **options: Any) -> Any:
        if change := _CHANGE.match(query):
            _check(self, change[1])
        return original(self, query, *arguments, **options)

    module.SparkSession.sql = sql


_CHANGES = {"pyspark.sql.readwriter": _change_writer, "pyspark.sql.session": _change_session}


class _Changing(Loader):
    def __init__(self, loader: Loader, change: Callable[[Any], None]) -> None:
        self._loader = loader
        self._change = change

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        self._change(module)


class _Finder(MetaPathFinder):
    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        change = _CHANGES.pop(fullname, None)
        spec = find_spec(fullname) if change else None
        if change and spec and spec.loader:
            spec.loader = _Changing(spec.loader, change)
        return spec


if "AWS_ENDPOINT_URL" in os.environ:
    sys.meta_path.insert(0, _Finder())
