"""Checks the data contracts: ``python -m contracts lint``, ``release`` or ``test PIPELINE FOLDER``.

A contract is ``contracts/<pipeline>/<table>.yaml`` in the Open Data Contract Standard. ``released.yaml`` keeps what
readers rely on of each contract's last released version: columns, types, nullability, keys, bounds and allowed values.
A change that can surprise a reader needs a new major version, any other change of these a new minor version.
Needs the environment ``contracts``.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import yaml
from datacontract.data_contract import DataContract
from datacontract.model.breaking import BreakingChangeLevel
from datacontract.model.run import ResultEnum
from open_data_contract_standard.model import CustomProperty, OpenDataContractStandard, SchemaProperty, Server, Team

CONTRACTS = Path(__file__).resolve().parent
RELEASED = "released.yaml"
HEAD = "# Written by `make contracts` from the data contracts; do not edit.\n# yamllint disable rule:indentation\n"

# DuckDB's names of the types of a file's columns → Glue's.
GLUE_TYPES = {"VARCHAR": "string", "INTEGER": "int", "BIGINT": "bigint", "DOUBLE": "double", "TIMESTAMP": "timestamp"}
GLUE_TYPES |= {"DATE": "date", "BOOLEAN": "boolean", "BLOB": "binary", "MAP(VARCHAR, VARCHAR)": "map<string,string>"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m contracts", description="Check the data contracts.")
    parser.add_argument("--contracts", type=Path, default=CONTRACTS, help="folder of the contracts")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("lint", help="check the contracts, their versions and the record of released versions")
    commands.add_parser("release", help="the same, and record the versions")
    test = commands.add_parser("test", help="check published Parquet files against a pipeline's contracts")
    test.add_argument("pipeline", help="folder of its contracts")
    test.add_argument("folder", type=Path, help="what make results wrote: <table path>/year=YYYY/month=MM/*.parquet")
    options = parser.parse_args(arguments)
    if options.command == "test":
        faults = [*published_faults(options.contracts / options.pipeline, options.folder)]
    else:
        faults = [*contract_faults(options.contracts, record=options.command == "release")]
    sys.stderr.write("".join(f"{fault}\n" for fault in faults))
    return 1 if faults else 0


# ── Contracts and their versions ────────────────────────────────────────────────────────────────────────────────────


def contract_faults(folder: Path, *, record: bool) -> Iterator[str]:
    """Yield a sentence for each contract that is invalid or changed without the version that its change needs.

    Args:
        folder: of the pipelines' folders and of ``released.yaml``.
        record: write ``released.yaml`` anew if there is no fault; else a file that is not current is one.
    """
    files = sorted(folder.glob("*/*.yaml"))
    invalid = [fault for file in files for fault in _lint(file)]
    if invalid or not files:
        yield from invalid or [f"{folder} holds no contract <pipeline>/<table>.yaml."]
        return
    contracts = {contract["id"]: contract for contract in map(_for_readers, files)}
    path = folder / RELEASED
    released = {old["id"]: old for old in yaml.safe_load(path.read_text())} if path.exists() else {}
    faults = list(_convention_faults(files))
    faults += [fault for name, old in released.items() for fault in _version_faults(name, old, contracts.get(name))]
    yield from faults
    text = HEAD + yaml.safe_dump([*contracts.values()], sort_keys=False, default_flow_style=None, width=400)
    if faults or (path.exists() and path.read_text() == text):
        return
    if record:
        path.write_text(text)
    else:
        yield f"{path} does not record the contracts' present versions: run make contracts."


def _lint(file: Path) -> Iterator[str]:
    try:
        yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        yield f"{file} is no YAML: {' '.join(str(error).split())}."
        return
    for check in DataContract(data_contract_file=str(file), all_errors=True).lint().checks or []:
        if check.result != ResultEnum.passed:
            yield f"{file}: {check.name}: {check.reason}"


def _convention_faults(files: Sequence[Path]) -> Iterator[str]:
    """What this project asks for beyond the standard; README.md lists it."""
    contracts = {file: OpenDataContractStandard.from_file(str(file)) for file in files}
    ids: dict[str | None, Path] = {}
    orders: dict[Path, dict[Path, dict[Any, Any]]] = {}
    for file, contract in contracts.items():
        if other := ids.get(contract.id):
            yield f"{file} has the id {contract.id!r} of {other}: give it one of its own."
        ids[contract.id] = file
        if contract.domain != file.parent.name:
            yield f"{file} has the domain {contract.domain!r}: it must be that of its folder, {file.parent.name!r}."
        if not (contract.team and contract.team.name):
            yield f"{file} names no team: say whose table it is (team: name)."
        yield from (f"{file} {fault}." for fault in _people_faults(contract))
        properties = _custom(_table(contract).customProperties)
        for column in _table(contract).properties or []:
            bounds = {"minimum", "maximum"} & (column.logicalTypeOptions or {}).keys()
            if bounds and column.physicalType not in ("int", "bigint", "double"):
                yield f"{file} has bounds of the column {column.name}, which is no number: remove them."
        if "path" not in properties:
            yield f"{file} has no customProperties path: say where it lies below the lake."
        if _table(contract).physicalType == "table" and "builtBy" not in properties:
            orders.setdefault(file.parent, {})[file] = properties
    for folder, tables in orders.items():
        alone = [properties for properties in tables.values() if properties.get("publishAlone")]
        if len(alone) == len(tables) and not any("publishOrder" in properties for properties in alone):
            continue
        if alone:
            yield f"{folder}: either all its tables have publishAlone, or all a publishOrder."
            continue
        order = sorted(properties.get("publishOrder", 0) for properties in tables.values())
        if order != list(range(1, len(tables) + 1)):
            yield f"{folder}: the tables' publishOrder must be 1 to {len(tables)}, each once, not {order}."
        anchors = [properties.get("publishOrder") for properties in tables.values() if properties.get("anchor")]
        if anchors != [len(tables)]:
            yield f"{folder}: the table that is published last, and no other, must have the property anchor."


def _people_faults(contract: OpenDataContractStandard) -> Iterator[str]:
    """Who answers for a table, who asked for it, and what for: what a person asks first who finds it."""
    members = (contract.team.members if contract.team and isinstance(contract.team, Team) else None) or []
    if not any(member.role == "owner" and member.username for member in members):
        yield "has no owner: name who answers for the table (team: members with a username and the role owner)"
    if not _custom(contract.customProperties).get("requester"):
        yield "has no requester: say who asked for the table (customProperties: requester)"
    if not (contract.description and (contract.description.purpose or "").strip()):
        yield "has no purpose: say what the table is for (description: purpose)"


def _for_readers(file: Path) -> dict[str, Any]:
    """Return the part of a contract that readers rely on."""
    contract = OpenDataContractStandard.from_file(str(file))
    tables = [
        {"name": table.name, "physicalName": table.physicalName, "properties": [*map(_column, table.properties or [])]}
        for table in contract.schema_ or []
    ]
    heading: dict[str, Any] = contract.model_dump(include={"apiVersion", "kind", "id", "version"}, exclude_none=True)
    return {**heading, "schema": tables}


def _column(column: SchemaProperty) -> dict[str, Any]:
    kept = {"name", "physicalName", "logicalType", "physicalType", "required", "primaryKey", "logicalTypeOptions"}
    allowed = {"enum": [{"value": allowed.value} for allowed in column.enum]} if column.enum else {}
    return {**column.model_dump(include=kept, exclude_none=True), **allowed}


def _version_faults(name: str, old: dict[str, Any], new: dict[str, Any] | None) -> Iterator[str]:
    if new is None:
        yield (
            f"{name} is gone, which breaks its readers: put it back, or remove its entry from {RELEASED} too "
            "and name the removal in CHANGELOG.md."
        )
        return
    before, after = (DataContract(data_contract=OpenDataContractStandard(**each)) for each in (old, new))
    changes = [
        entry for entry in before.breaking(after).entries if entry.path.startswith("schema.") and entry.direction
    ]
    # A warning is a change with an unknown effect, such as that of a pattern.
    breaking = [entry.message for entry in changes if entry.level != BreakingChangeLevel.INFO]
    major, minor, patch = _version(old)
    if breaking:
        least, why = (major + 1, 0, 0), f"breaks its readers ({'; '.join(breaking)})"
    elif changes:
        least, why = (major, minor + 1, 0), f"was changed ({'; '.join(entry.message for entry in changes)})"
    else:
        least, why = (major, minor, patch), "went back to an earlier version"
    if _version(new) < least:
        yield (
            f"{name} {why}, but its version is {new['version']} and {old['version']} is released: "
            f"take the change back or set the version to {'.'.join(map(str, least))}."
        )


def _version(contract: dict[str, Any]) -> tuple[int, int, int]:
    major, minor, patch = map(int, contract["version"].split("."))
    return major, minor, patch


# ── Published files ─────────────────────────────────────────────────────────────────────────────────────────────────


def published_faults(contracts: Path, folder: Path) -> Iterator[str]:
    """Yield a sentence for each table of a pipeline whose files are missing or not as its contract says.

    Args:
        contracts: folder of the pipeline's contracts.
        folder: of the files, ``<table path>/year=YYYY/month=MM/*.parquet``.
    """
    tables = [OpenDataContractStandard.from_file(str(file)) for file in sorted(contracts.glob("*.yaml"))]
    tables = [contract for contract in tables if _table(contract).physicalType == "table"]
    if not tables:
        yield f"{contracts} holds no contract of a table."
    for contract in tables:
        place = folder / _custom(_table(contract).customProperties)["path"]
        files = sorted(place.glob(_files(contract)))
        faults = (
            [*_column_faults(contract, place, files), *_rule_faults(contract, place)] if files else ["it has no files"]
        )
        yield from (f"{contract.name} in {place}: {fault}." for fault in faults)
        sys.stdout.write(f"{contract.name}: {len(files)} files, {len(faults)} faults\n")


def _column_faults(contract: OpenDataContractStandard, place: Path, files: Sequence[Path]) -> Iterator[str]:
    """Types by file, which the rules do not see: they read the columns converted to the types of the contract.

    A file may lack a column: it was written before the column was added, and readers find null.
    """
    types = {
        column.name: column.physicalType
        for column in _table(contract).properties or []
        if not _custom(column.customProperties).get("fromPath")
    }
    for file in files:
        columns = duckdb.execute("DESCRIBE FROM read_parquet(?, hive_partitioning = false)", [str(file)]).fetchall()
        for name, type_, *_ in columns:
            if name not in types:
                yield f"{file.relative_to(place)} has a column {name} that the contract lacks"
            elif GLUE_TYPES.get(type_, type_) != types[name]:
                yield f"{file.relative_to(place)} has {name} as {type_}, not as {types[name]}"


def _rule_faults(contract: OpenDataContractStandard, place: Path) -> Iterator[str]:
    files = Server(server="published", type="local", format="parquet", path=f"{place}/{_files(contract)}")
    asked = contract.model_copy(update={"servers": [files]}, deep=True)
    for column in (
        _table(asked).properties or []
    ):  # which DuckDB, who reads the files for it, does not know in Glue's words
        column.physicalType = {glue: type_ for type_, glue in GLUE_TYPES.items()}.get(column.physicalType)
    run = DataContract(data_contract=asked, server="published").test()
    for check in run.checks or []:
        # Types are checked above: of Parquet files this says of each that it is unsupported.
        if check.result != ResultEnum.passed and check.type != "field_type":
            yield f"{check.name}: {check.reason}"


def _files(contract: OpenDataContractStandard) -> str:
    """Return the pattern of a table's files below its folder, such as ``year=*/month=*/*.parquet``."""
    keys = [column for column in _table(contract).properties or [] if column.partitioned]
    folders = [f"{key.name}=*" for key in sorted(keys, key=lambda key: key.partitionKeyPosition)]
    return "/".join([*folders, "*.parquet"])


def _table(contract: OpenDataContractStandard) -> Any:
    (table,) = contract.schema_ or []
    return table


def _custom(properties: Sequence[CustomProperty] | None) -> dict[str | None, Any]:
    return {each.property: each.value for each in properties or []}


if __name__ == "__main__":
    sys.exit(main())
