"""Data contracts: the only definition of a table's columns, keys, bounds and location.

A contract is a file of the Open Data Contract Standard, ``contracts/<pipeline>/<table>.yaml``, beside ``dags/`` in the
repository, which git-sync and Git bundles deliver as a whole. Spark programs read all of them from their archive, as
JSON that ``spark_jobs.publish`` generates. See docs/adr/0012-data-contracts.md.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

PACKAGED = "contracts.json"
NUMBERS = ("int", "bigint", "double")  # types of columns that may have bounds
FOLDER = Path(__file__).parents[3] / "contracts"


class ContractError(ValueError):
    """A contract is missing or cannot be used; the text is one sentence that names it, the fault and the remedy."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: in the lake.
        type: as Glue writes it: string, int, bigint, double, timestamp (without a zone), date.
        source: its name in the source (``sourceColumn``; of a file's contract, ``physicalName``); else ``name``.
        kind: the standard's logical type, such as ``number``.
        required: never null.
        optional: may be missing from the source's files.
        minimum, maximum: inclusive bounds of its values; None if unbounded.
        valid_values: allowed values in order, with their label or meaning; empty if any value is allowed.
        rules: the custom properties of each of its quality rules, such as ``groupBy``.
        properties: its custom properties.
    """

    name: str
    type: str
    source: str
    kind: str
    required: bool
    optional: bool
    minimum: float | None
    maximum: float | None
    valid_values: Mapping[str, str]
    rules: tuple[Mapping[str, Any], ...]
    properties: Mapping[str, Any]

    @property
    def bounds(self) -> tuple[float, float]:
        """The minimum and the maximum.

        Raises:
            ContractError: the contract lacks one of them.
        """
        if self.minimum is None or self.maximum is None:
            raise ContractError(f"The contract of the column {self.name} needs a minimum and a maximum.")
        return self.minimum, self.maximum


@dataclass(frozen=True)
class Contract:
    """The contract of a table.

    Attributes:
        pipeline: whose table it is.
        name: of the contract's file, such as ``trips``.
        table: its name in the Glue catalogue.
        path: of its folder below the lake.
        columns: columns of the files by name, in order.
        partition_keys: partition columns, outermost first, such as ``("year", "month")``.
        key: columns that identify a row; empty if there are none.
        properties: the table's custom properties.
        raw: the parsed file.
    """

    pipeline: str
    name: str
    table: str
    path: str
    columns: Mapping[str, Column]
    partition_keys: tuple[str, ...]
    key: tuple[str, ...]
    properties: Mapping[str, Any]
    raw: Mapping[str, Any]

    def partition_folder(self, lake: str, period: str) -> str:
        """Return the folder of a partition, ``…/year=2023/month=01``.

        Args:
            lake: ``s3://bucket[/prefix]`` or a local folder.
            period: a value for each partition key, joined by ``-``, such as ``2023-01``; empty for a table without
                partitions, whose folder this is.
        """
        parts = zip(self.partition_keys, period.split("-") if period else (), strict=True)
        return "/".join([lake.rstrip("/"), self.path, *(f"{key}={value}" for key, value in parts)])

    def version_folder(self, lake: str, period: str, version: str) -> str:
        """Return the folder of one version of a partition; arguments as in :meth:`partition_folder`."""
        return f"{self.partition_folder(lake, period)}/version={version}"


def compacted(contract: Contract) -> Contract | None:
    """Return the contract of the table of compacted days that the property ``compactedPath`` names; None without.

    It has the same columns and promises, and a partition a day.
    """
    path = contract.properties.get("compactedPath")
    if path is None:
        return None
    keys = contract.partition_keys[:3]
    return replace(contract, table=str(path).rpartition("/")[2], path=str(path), partition_keys=keys)


def names(pipeline: str) -> list[str]:
    """Return the names of a pipeline's contracts, in alphabetical order; empty if there is no such pipeline."""
    if packaged := _packaged():
        return sorted(packaged.get(pipeline, {}))
    return sorted(file.stem for file in (FOLDER / pipeline).glob("*.yaml"))


def pipelines() -> list[str]:
    """Return the names of the pipelines that have contracts, in alphabetical order."""
    return sorted(_packaged() or {file.parent.name for file in FOLDER.glob("*/*.yaml")})


@cache
def read(pipeline: str, name: str) -> Contract:
    """Return a contract, cached for the process.

    Raises:
        ContractError: there is no contract of that name, or it is invalid.
    """
    raw = _load(pipeline, name)
    try:
        return _contract(pipeline, name, raw)
    except ContractError as error:
        raise ContractError(f"contracts/{pipeline}/{name}.yaml cannot be used: {error}") from None
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ContractError(
            f"contracts/{pipeline}/{name}.yaml cannot be used ({type(error).__name__}: {error}): run make contracts."
        ) from None


def packaged_text() -> str:
    """Return all contracts as the text of :data:`PACKAGED`, for an archive of programs."""
    return json.dumps(
        {pipeline: {name: _load(pipeline, name) for name in names(pipeline)} for pipeline in pipelines()},
        sort_keys=True,
        default=str,  # dates
    )


@cache
def _packaged() -> dict[str, dict[str, Any]]:
    file = resources.files(__package__) / PACKAGED
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}


def _load(pipeline: str, name: str) -> dict[str, Any]:
    if packaged := _packaged():
        found = packaged.get(pipeline, {}).get(name)
    else:
        import yaml

        file = FOLDER / pipeline / f"{name}.yaml"
        # The C parser is ten times as fast, but not in every build of the library.
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        try:
            found = yaml.load(file.read_text(encoding="utf-8"), loader) if file.is_file() else None  # noqa: S506
        except yaml.YAMLError as error:
            raise ContractError(
                f"contracts/{pipeline}/{name}.yaml is not valid YAML: {' '.join(str(error).split())}."
            ) from None
        if found is not None and not isinstance(found, dict):
            raise ContractError(f"contracts/{pipeline}/{name}.yaml is not a contract: it is a {type(found).__name__}.")
    if found is None:
        raise ContractError(
            f"There is no contract contracts/{pipeline}/{name}.yaml, or it is empty: "
            "deliver the folder contracts/ of the repository beside dags/."
        )
    return dict(found)


def _contract(pipeline: str, name: str, raw: Mapping[str, Any]) -> Contract:
    (table,) = raw["schema"]
    properties = _custom(table)
    columns = table["properties"]
    partitions = sorted(
        (column for column in columns if column.get("partitioned")), key=lambda each: int(each["partitionKeyPosition"])
    )
    keys = sorted(
        (column for column in columns if column.get("primaryKey")), key=lambda each: int(each["primaryKeyPosition"])
    )
    in_files = [column for column in columns if not column.get("partitioned")]
    return Contract(
        pipeline=pipeline,
        name=name,
        table=table["physicalName"],
        path=properties["path"],
        columns={column["name"]: _column(column) for column in in_files},
        partition_keys=tuple(column["name"] for column in partitions),
        key=tuple(column["name"] for column in keys if not column.get("partitioned")),
        properties=properties,
        raw=raw,
    )


def _column(column: Mapping[str, Any]) -> Column:
    bounds = column.get("logicalTypeOptions") or {}
    given = [each for each in map(bounds.get, ("minimum", "maximum")) if each is not None]
    # A Boolean is an int in Python.
    if given and (column["physicalType"] not in NUMBERS or not all(type(each) in (int, float) for each in given)):
        raise ContractError(
            f"the column {column['name']} ({column['physicalType']}) has the minimum or maximum {given[0]}, but bounds "
            f"are numbers, of columns of the types {', '.join(NUMBERS)}: correct or remove them."
        )
    return Column(
        name=column["name"],
        type=column["physicalType"],
        source=str(_custom(column).get("sourceColumn", column.get("physicalName", column["name"]))),
        kind=column["logicalType"],
        required=bool(column.get("required")),
        optional=bool(_custom(column).get("mayBeMissing")),
        minimum=bounds.get("minimum"),
        maximum=bounds.get("maximum"),
        valid_values={
            str(each["value"]): each.get("label", each.get("description", "")) for each in column.get("enum", [])
        },
        rules=tuple(map(_custom, column.get("quality", []))),
        properties=_custom(column),
    )


def _custom(thing: Mapping[str, Any]) -> dict[str, Any]:
    return {each["property"]: each["value"] for each in thing.get("customProperties", [])}
