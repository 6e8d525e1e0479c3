"""The Glue catalogue in the database: databases, tables with their versions, partitions.

It changes with every month that is published, for years; so its state is stored, and not the requests that made it.
"""

import json
from datetime import UTC, datetime
from typing import Any

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.glue import models

from local_aws.database import Database

_KINDS = ("Database", "Table", "Partition")


class GlueCatalogue:
    """Stores the catalogue of moto's Glue."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._written: dict[tuple[str, str, str], str] = {}
        with database.transaction() as connection:
            connection.execute(
                'CREATE TABLE IF NOT EXISTS glue_catalogue (region TEXT, "database" TEXT, "table" TEXT, document TEXT, '
                'PRIMARY KEY (region, "database", "table"))'
            )

    def load(self) -> None:
        """Restore the catalogue."""
        with self._database.transaction() as connection:
            rows = connection.execute("SELECT * FROM glue_catalogue ORDER BY rowid").fetchall()
        self._written = {(region, database, table): text for region, database, table, text in rows}
        for place, text in sorted(self._written.items(), key=lambda item: item[0][2] != ""):  # databases first
            region, database, table = place
            databases = models.glue_backends[DEFAULT_ACCOUNT_ID][region].databases
            document = json.loads(text, object_hook=_from_json)
            if table:
                databases[database].tables[table] = _table(database, table, document)
            else:
                databases[database] = models.FakeDatabase(database, document["input"], DEFAULT_ACCOUNT_ID)
                databases[database].created_time = document["created"]

    def save(self, region: str, operation: str, request: dict[str, Any]) -> bool:
        """Write what an operation has changed; return False if it is not an operation on the catalogue."""
        if not operation.removesuffix("s").endswith((*_KINDS, "TableVersion")):
            return False
        database = request.get("DatabaseName") or request.get("DatabaseInput", {}).get("Name") or request["Name"]
        found = models.glue_backends[DEFAULT_ACCOUNT_ID][region].databases.get(database)
        now: dict[tuple[str, str, str], str] = {}
        if found is not None:
            now[region, database, ""] = _to_json({"input": found.input, "created": found.created_time})
            now |= {(region, database, name): _to_json(_document(table)) for name, table in found.tables.items()}
        before = {place for place in self._written if place[:2] == (region, database)}
        changed = [(*place, text) for place, text in now.items() if self._written.get(place) != text]
        with self._database.transaction() as connection:
            connection.executemany(
                'DELETE FROM glue_catalogue WHERE region = ? AND "database" = ? AND "table" = ?', before - now.keys()
            )
            connection.executemany(
                'INSERT INTO glue_catalogue VALUES (?, ?, ?, ?) ON CONFLICT (region, "database", "table") '
                "DO UPDATE SET document = excluded.document",
                changed,
            )
        for place in before - now.keys():
            del self._written[place]
        self._written |= now
        return True


def _document(table: models.FakeTable) -> dict[str, Any]:
    return {
        "created": table.created_time,
        "updated": table.updated_time,
        "version": table._current_version,
        "versions": table.versions,
        "partitions": [[partition.creation_time, partition.partition_input] for partition in table.partitions.values()],
    }


def _table(database: str, name: str, document: dict[str, Any]) -> models.FakeTable:
    table = models.FakeTable(database, name, {}, DEFAULT_ACCOUNT_ID)
    table.created_time, table.updated_time = document["created"], document["updated"]
    table._current_version, table.versions = document["version"], document["versions"]
    for created, given in document["partitions"]:
        partition = models.FakePartition(database, name, given)
        partition.creation_time = created
        table.partitions[str(partition.values)] = partition
    return table


def _to_json(document: dict[str, Any]) -> str:
    return json.dumps(document, default=lambda moment: {"$time": moment.timestamp(), "$aware": bool(moment.tzinfo)})


def _from_json(value: dict[str, Any]) -> Any:
    if value.keys() != {"$time", "$aware"}:
        return value
    moment = datetime.fromtimestamp(value["$time"], UTC)
    return moment if value["$aware"] else moment.replace(tzinfo=None)
