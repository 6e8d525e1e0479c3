"""What the readers of contracts rely on beyond the standard."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from docs import generate_tables_md
from tests.contracts.command import ROOT, contracts

FILES = sorted((ROOT / "contracts").glob("*/*.yaml"))
GLUE_TYPES = {"string", "int", "bigint", "double", "timestamp", "date", "boolean", "binary", "map<string,string>"}


def _read(file: Path) -> dict[str, Any]:
    contract: dict[str, Any] = yaml.safe_load(file.read_text())
    return contract


def _custom(element: dict[str, Any]) -> dict[str, Any]:
    return {each["property"]: each["value"] for each in element.get("customProperties", ())}


def _tables(pipeline: Path) -> list[dict[str, Any]]:
    tables = [_read(file)["schema"][0] for file in sorted(pipeline.glob("*.yaml"))]
    return [table for table in tables if table["physicalType"] == "table" and "builtBy" not in _custom(table)]


PIPELINES = sorted({file.parent for file in FILES})


@pytest.mark.slow
def test_contracts_are_valid_and_have_the_versions_they_need() -> None:
    assert contracts("lint") == (0, "")


def test_page_of_tables_is_current() -> None:
    assert generate_tables_md.PAGE.read_text() == generate_tables_md.render(generate_tables_md.CONTRACTS), (
        "run make docs"
    )


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_contract_says_all_that_is_read_from_it(file: Path) -> None:
    contract = _read(file)
    (table,) = contract["schema"]
    assert contract["domain"] == file.parent.name
    assert contract["id"] == contract["name"] == table["name"] == table["physicalName"]
    assert contract["team"]["name"]
    assert [member["username"] for member in contract["team"]["members"] if member["role"] == "owner"], "no owner"
    assert _custom(contract)["requester"]
    assert contract["description"]["purpose"]
    assert _custom(table)["path"]
    for column in table["properties"]:
        assert column["description"], column["name"]
        assert column["classification"], column["name"]
        assert column["physicalType"] in GLUE_TYPES, column["name"]
        assert column.get("required") or not column.get("primaryKey"), f"the key column {column['name']} may be null"
        assert bool(column.get("partitioned")) == bool(_custom(column).get("fromPath")), column["name"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_rules_name_what_is_there(file: Path) -> None:
    (table,) = _read(file)["schema"]
    columns = {column["name"] for column in table["properties"]}
    tables = {each["name"] for each in _tables(file.parent)}
    for rule in (rule for element in (table, *table["properties"]) for rule in element.get("quality", ())):
        assert rule["name"]
        assert rule["description"], rule["name"]
        assert set(_custom(rule).get("groupBy", ())) <= columns, rule["name"]
        assert {_custom(rule).get("countsRowsOf")} <= {None, *tables}, rule["name"]


@pytest.mark.parametrize("pipeline", [*filter(_tables, PIPELINES)], ids=lambda pipeline: pipeline.name)
def test_pipeline_publishes_its_anchor_last(pipeline: Path) -> None:
    if all(_custom(table).get("publishAlone") for table in _tables(pipeline)):
        assert not any({"publishOrder", "anchor"} & _custom(table).keys() for table in _tables(pipeline))
        return
    tables = sorted(_tables(pipeline), key=lambda table: int(_custom(table)["publishOrder"]))
    assert [_custom(table)["publishOrder"] for table in tables] == list(range(1, len(tables) + 1))
    assert [bool(_custom(table).get("anchor")) for table in tables] == [False] * (len(tables) - 1) + [True]


def test_trips_have_the_columns_of_the_files() -> None:
    def columns(name: str) -> dict[str, str]:
        (table,) = _read(ROOT / f"contracts/hvfhv/{name}.yaml")["schema"]
        return {each["name"]: each["physicalType"] for each in table["properties"] if not each.get("partitioned")}

    source = columns("trip_file")
    assert columns("trips") == {"company": "string", **source, "wait_s": "int", "arrival_s": "int"}
    assert columns("trips_quarantine") == {**source, "reject_reason": "string"}
