"""Writes the dbt project's sources and its marts' contracts from the data contracts: ``python -m docs.generate_dbt``.

Every table that a pipeline publishes is a source, named by its pipeline and its contract: ``source('hvfhv', 'trend')``.
A table that dbt builds (``builtBy: dbt``) is a model whose columns, types and rules are those of its contract.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
CONTRACTS = ROOT / "contracts"
MODELS = ROOT / "warehouse/models"
HEAD = "# Written by `make docs` from the data contracts in contracts/; do not edit.\n# yamllint disable\n"
SCHEMA = "{{ env_var('TAXIWAY_GLUE_DATABASE', 'taxiway') }}"
UNITS = {"d": "day", "h": "hour", "m": "minute"}
TYPES = {"string": "varchar", "double": "{{ 'double precision' if target.type == 'redshift' else 'double' }}"}


def render(contracts: Path) -> dict[str, str]:
    """Return the files' texts by their paths below ``warehouse/models``, for a folder of contracts."""
    sources, models = [], []
    for pipeline in sorted(folder for folder in contracts.iterdir() if folder.is_dir()):
        tables = []
        for file in sorted(pipeline.glob("*.yaml")):
            contract = yaml.safe_load(file.read_text())
            (table,) = contract["schema"]
            if table["physicalType"] != "table":
                continue
            if _custom(table).get("builtBy") == "dbt":
                models.append(_model(contract, table))
            else:
                tables.append(_source(file.stem, contract, table))
        if tables:
            sources.append({"name": pipeline.name, "schema": SCHEMA, "tables": tables})
    return {"sources.yml": _dump({"sources": sources}), "marts/marts.yml": _dump({"models": models})}


def _source(name: str, contract: Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
    found = {
        "name": name,
        "identifier": table["physicalName"],
        "description": contract["description"]["purpose"],
        "config": {"meta": _owner(contract)},
        "columns": [{"name": each["name"], "description": each["description"]} for each in table["properties"]],
    }
    terms = {each["property"]: each for each in contract.get("slaProperties", ())}
    loaded_at = _loaded_at(table)
    if loaded_at and "freshness" in terms:
        # A warning: alerts on a late table are those of its pipeline, by the Glue catalogue (docs/warehouse.md).
        limit = {"count": int(terms["freshness"]["value"]), "period": UNITS[terms["freshness"]["unit"]]}
        found["config"] |= {"loaded_at_field": loaded_at, "freshness": {"warn_after": limit}}
    return found


def _loaded_at(table: Mapping[str, Any]) -> str | None:
    """Return the SQL of the time until which a table's rows are there: its mark, or the end of its newest partition."""
    if mark := _custom(table).get("mark"):
        return str(mark)
    keys = [column["name"] for column in table["properties"] if column.get("partitioned")]
    if keys == ["year", "month"]:
        return "cast(year || '-' || month || '-01' as timestamp) + interval '1' month"
    if keys == ["year", "month", "day"]:
        return "cast(year || '-' || month || '-' || day as timestamp) + interval '1' day"
    if keys == ["year", "month", "day", "hour"]:
        return "cast(year || '-' || month || '-' || day || ' ' || hour || ':00:00' as timestamp) + interval '1' hour"
    return None


def _model(contract: Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
    name, columns = table["physicalName"], table["properties"]
    key = sorted((each for each in columns if each.get("primaryKey")), key=lambda each: each["primaryKeyPosition"])
    # A test is a query of Athena's: one for each kind of rule, not one for each column.
    tests: list[Any] = [
        {"unique_key": {"name": f"{name}_key_is_unique", "arguments": {"columns": [each["name"] for each in key]}}},
        {
            "no_nulls": {
                "name": f"{name}_has_no_nulls",
                "arguments": {"columns": [each["name"] for each in columns if each.get("required")]},
            }
        },
    ]
    if limits := {each["name"]: each["logicalTypeOptions"] for each in columns if each.get("logicalTypeOptions")}:
        tests.append({"within_bounds": {"name": f"{name}_is_within_bounds", "arguments": {"limits": limits}}})
    return {
        "name": name,
        "description": " ".join(contract["description"].values()),
        "config": {"contract": {"enforced": True}, "meta": _owner(contract)},
        "data_tests": tests,
        "columns": [_column(column) for column in columns],
    }


def _column(column: Mapping[str, Any]) -> dict[str, Any]:
    found = {
        "name": column["name"],
        "data_type": TYPES.get(column["physicalType"], column["physicalType"]),
        "description": column["description"],
    }
    if values := [each["value"] for each in column.get("enum", ())]:
        found["data_tests"] = [{"accepted_values": {"arguments": {"values": values}}}]
    return found


def _owner(contract: Mapping[str, Any]) -> dict[str, Any]:
    found = {"owner": contract["team"]["name"]}
    requester = _custom(contract).get("requester")
    return found | ({"requester": requester} if requester else {})


def _custom(element: Mapping[str, Any]) -> dict[str, Any]:
    return {each["property"]: each["value"] for each in element.get("customProperties", ())}


def _dump(content: Mapping[str, Any]) -> str:
    return HEAD + yaml.safe_dump(content, sort_keys=False, width=120, allow_unicode=True)


def main() -> int:
    """Write the files; return the exit status."""
    for path, text in render(CONTRACTS).items():
        (MODELS / path).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
