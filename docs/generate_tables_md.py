"""Writes ``docs/tables.md`` from the data contracts: ``python -m docs.generate_tables_md``."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
CONTRACTS = ROOT / "contracts"
PAGE = ROOT / "docs" / "tables.md"
HEAD = """# The tables

Written by `make docs` from the data contracts in `contracts/`; do not edit.

Everything is Parquet on S3, found through the Glue database `taxiway` (`TAXIWAY_GLUE_DATABASE`). The columns that a
table is partitioned by are part of its folders' names, not of its files.
"""
TAIL = """## On S3

    <lake>/raw/hvfhv/year=2023/month=01/<file>                       as downloaded
    <lake>/<path>/year=2023/month=01/version=<plan>.<try>/*.parquet  a version of a table's partition
    <lake>/reports/hvfhv/2023-01.html

The Glue partition says which version is published. `make results` copies the published versions to plain folders,
without the version. How a month is published and rolled back: [decision 0003](adr/0003-publishing-a-month.md).

## When a contract changes

`make contracts-lint` compares each contract with `contracts/released.yaml`, which keeps what readers rely on of the
version that was released last. A column that is gone, another type or key, null where there was none, or values that
were not allowed before can break readers: such a change needs a new major version. A column that is added needs a new
minor version. `make contracts` then records the versions.

Files are checked against the contracts before they are published. What `make results` has copied can be checked with
datacontract-cli at any time:

    .local/venvs/contracts/bin/python -m contracts test hvfhv results

**A column that is added** reaches the Glue table when a month is next published. Files that were written before lack
the column: readers find null in it for those months until they are analysed again.
"""


def render(contracts: Path) -> str:
    """Return the page for a folder of contracts, ``<pipeline>/<table>.yaml``."""
    sections = [HEAD]
    for pipeline in sorted(folder for folder in contracts.iterdir() if folder.is_dir()):
        found = [yaml.safe_load(file.read_text()) for file in sorted(pipeline.glob("*.yaml"))]
        if found:
            # What others are made from comes first: it is published last.
            found.sort(key=lambda contract: -_custom(contract["schema"][0]).get("publishOrder", 0))
            sections += [f"## Pipeline `{pipeline.name}`\n", *map(_section, found)]
    return "\n".join([*sections, TAIL])


def _section(contract: dict[str, Any]) -> str:
    (table,) = contract["schema"]
    columns = [column for column in table["properties"] if not column.get("partitioned")]
    partitions = [column["name"] for column in table["properties"] if column.get("partitioned")]
    terms = {each["property"]: each for each in contract.get("slaProperties", ())}
    facts = {
        "one row per": table["dataGranularityDescription"].removeprefix("one row per "),
        "path": f"`{_custom(table)['path']}`",
        "partitioned by": _names(partitions),
        "key in a partition": _names(_key(columns)),
        "version": contract["version"],
        "owner": contract["team"]["name"],
        "requester": _custom(contract)["requester"],
        "fresh within": f"{terms['freshness']['value']} {terms['freshness']['unit']}" if "freshness" in terms else "–",
    }
    lines = [f"### `{contract['name']}`", ""]
    lines += [
        f"{text}\n" for name in ("purpose", "limitations", "usage") if (text := contract["description"].get(name))
    ]
    lines += [f"| {' | '.join(facts)} |", f"|{'---|' * len(facts)}", f"| {' | '.join(facts.values())} |", ""]
    named = [column for column in columns if column.get("physicalName")]
    lines += ["| column | type | null | meaning |", "|---|---|---|---|", *map(_row, columns), ""]
    if named:
        pairs = ", ".join(f"`{column['physicalName']}` is `{column['name']}`" for column in named)
        lines += [f"In the files: {pairs}; the other columns have their own names.", ""]
    for column in columns:
        if any("description" in value for value in column.get("enum", ())):
            lines += [f"| `{column['name']}` | meaning |", "|---|---|"]
            lines += [f"| `{value['value']}` | {_cell(value['description'])} |" for value in column["enum"]] + [""]
    if rules := [*_rules(table)]:
        lines += ["Rules:", *rules, ""]
    return "\n".join(lines)


def _names(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "–"


def _key(columns: list[dict[str, Any]]) -> list[str]:
    key = [column for column in columns if column.get("primaryKey")]
    return [str(column["name"]) for column in sorted(key, key=lambda column: int(column["primaryKeyPosition"]))]


def _row(column: dict[str, Any]) -> str:
    null = "no" if column.get("required") else "yes"
    if _custom(column).get("mayBeMissing"):
        null = "may be missing"
    meaning = _cell("; ".join([column["description"], *_limits(column)]))
    return f"| `{column['name']}` | {column['physicalType']} | {null} | {meaning} |"


def _limits(column: dict[str, Any]) -> Iterator[str]:
    limits = column.get("logicalTypeOptions", {})
    if "minimum" in limits and "maximum" in limits:
        yield f"{limits['minimum']} to {limits['maximum']}"
    elif "minimum" in limits:
        yield f"at least {limits['minimum']}"
    values = column.get("enum", ())
    if values and not any("description" in value for value in values):
        names = (f"`{value['value']}`" + (f" ({value['label']})" if "label" in value else "") for value in values)
        yield f"one of {', '.join(names)}"


def _rules(table: dict[str, Any]) -> Iterator[str]:
    for heading, element in (("", table), *((f"`{column['name']}`: ", column) for column in table["properties"])):
        yield from (f"- {heading}{rule['description']}" for rule in element.get("quality", ()))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _custom(element: dict[str, Any]) -> dict[str, Any]:
    return {each["property"]: each["value"] for each in element.get("customProperties", ())}


def main() -> int:
    """Write the page; return the exit status."""
    PAGE.write_text(render(CONTRACTS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
