"""Rows of text become a contract's types, or have the first reason that applies."""

import csv
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pyspark.sql import SparkSession

from spark_jobs.common import tables, typed
from taxiway.core import contracts
from taxiway.core.contracts import Column, Contract
from taxiway.core.csv_text import REASONS
from taxiway.lake.csv_file import CsvFile, convert, open_csv, open_scratch
from taxiway.warehouse import rows
from tests.tools import ROOT


def column(name: str, type_: str, **more: Any) -> Column:
    given: dict[str, Any] = {
        "source": name,
        "kind": "any",
        "required": False,
        "optional": False,
        "minimum": None,
        "maximum": None,
        "valid_values": {},
        "rules": (),
        "properties": {},
    }
    return Column(name=name, type=type_, **{**given, **more})


COLUMNS = [
    column("id", "bigint", required=True),
    column("share", "double", minimum=0, maximum=1),
    column("must", "double", required=True),
    column("day", "date"),
    column("at", "timestamp"),
    column("kind", "string", valid_values={"a": "", "b": ""}),
]
CONTRACT = Contract("any", "any", "any", "any", {each.name: each for each in COLUMNS}, (), ("id",), {}, {})
GOOD = ("1", "0.5", "2", "2024-02-29", "2024-01-01 10:00:00", "a")


def row(**changed: str | None) -> tuple[str | None, ...]:
    return tuple(changed.get(each.name, good) for each, good in zip(COLUMNS, GOOD, strict=True))


GIVEN: list[tuple[tuple[str | None, ...], str | None, str | None]] = [
    (row(), None, None),
    (row(id="2", share=None, day=None, at=None, kind=None), None, None),
    (row(id="3", share="NaN"), None, None),
    (row(id=None), "missing_key", "id"),
    (row(id="4", must="-Infinity"), "missing_value", "must"),
    (row(id="5", must=None), "missing_value", "must"),
    (row(id="8", share="-0.1"), "out_of_bounds", "share"),
    (row(id="9", share="1.1", kind="c"), "not_allowed", "kind"),
    (row(id="10", kind="c"), "not_allowed", "kind"),
    (row(id="1", kind="b"), "duplicate_key", None),
    (row(id="8", share="0"), None, None),  # the other row of this key is not accepted
    (row(id="+11", share=".5e0", must="-1E-3"), None, None),
    (row(id="12.00", at="2024-01-01T10:00:00.25Z"), None, None),
    (row(id="13", at="2024-01-01"), None, None),
    *((row(id=text), "wrong_type", "id") for text in ("4.5", "1e3", "1_000", "0x10", "99999999999999999999", "1 2")),
    *(
        (row(id="20", share=text), "wrong_type", "share")
        for text in ("half", "1,5", "1_0", "1d", "0x1p3", "1e999", "e1")
    ),
    *(
        (row(id="21", day=text), "wrong_type", "day")
        for text in ("2023-02-30", "2023-2-3", "2023-02", "01/02/2023", "2023-01-01 10:00:00", "today")
    ),
    *(
        (row(id="22", at=text), "wrong_type", "at")
        for text in ("noon", "2024-01-01 25:00:00", "2024-01-01 10:00:00+02:00", "10:00:00", "2024-01-01 10", "epoch")
    ),
]
REJECTED = [(reason, column) for _, reason, column in GIVEN if reason] + [("header_again", None), ("malformed", None)]


def stored(folder: Path) -> CsvFile:
    """Write the rows, the header once more, and a line that is none, to a CSV file."""
    with (folder / "rows.csv").open("w", encoding="utf-8", newline="") as file:
        header = [each.name for each in COLUMNS]
        csv.writer(file).writerows([header, *(values for values, _, _ in GIVEN), header, ["1"]])
    return open_csv(folder / "rows.csv", "file:///rows.csv", CONTRACT)


def test_every_row_is_accepted_or_has_its_reason(spark: SparkSession, tmp_path: Path) -> None:
    count = convert(stored(tmp_path), tmp_path / "rows.parquet")
    checked = typed.with_reject_reason(tables.read(spark, str(tmp_path / "rows.parquet")), CONTRACT)

    rejected = typed.rejected(checked).collect()
    assert sorted(map(str, ((each.reject_reason, each.reject_column) for each in rejected))) == sorted(
        map(str, REJECTED)
    )
    assert [each.source_line for each in rejected if each.source_line] == [count + 1], "the header is line 1"
    assert {json.loads(each.source_row)["share"] for each in rejected if each.reject_column == "kind"} == {"1.1", "0.5"}
    accepted = {each.id: each for each in typed.accepted(checked, CONTRACT).collect()}
    assert sorted(accepted) == [1, 2, 3, 8, 11, 12, 13]
    assert len(accepted) + len(rejected) == count
    assert accepted[3].share is None
    assert (accepted[11].share, accepted[11].must) == (0.5, -0.001)
    assert str(accepted[12].at) == "2024-01-01 10:00:00.250000"


def test_duckdb_says_the_same(spark: SparkSession, tmp_path: Path) -> None:
    convert(stored(tmp_path), tmp_path / "rows.parquet")
    checked = typed.with_reject_reason(tables.read(spark, str(tmp_path / "rows.parquet")), CONTRACT)
    names = ", ".join(f'"{each.name}"' for each in COLUMNS)
    (tmp_path / "load.duckdb").unlink()
    with open_scratch(tmp_path) as database:
        table: Any = SimpleNamespace(
            contract=CONTRACT, key=CONTRACT.key, columns={each.name: each.type for each in COLUMNS}
        )
        rows.read(database, table, stored(tmp_path))
        rows.judge(database, table)
        judged = database.execute(f"select {names}, _reason, _column from judged").fetchall()

    spark_says = checked.select(*(each.name for each in COLUMNS), typed.REASON, typed.COLUMN).collect()
    taken = [tuple(each) for each in spark_says if each[typed.REASON] is None]
    assert sorted(map(str, taken)) == sorted(str(each) for each in judged if each[-2] is None)
    assert sorted(str(tuple(each)[-2:]) for each in spark_says) == sorted(str(each[-2:]) for each in judged)


def test_the_contracts_allow_every_reason() -> None:
    template = (ROOT / "templates/pipeline/contracts/{{name}}/{{name}}_rejected.yaml.jinja").read_text()
    assert tuple(re.findall(r"value: (\w+), description", template)) == REASONS
    assert tuple(contracts.read("warehouse", "raw_rejected").columns["reject_reason"].valid_values) == REASONS
