"""Turns rows of text into the types of a contract, or says why a row is not accepted.

The rows are those of a file as ``taxiway.lake.csv_file`` stores it: the contract's columns as text, null where a field
is empty, with the row's number, the row as it came and what is wrong with it as such. Reasons, and what is a value of a
type, are those of ``taxiway.core.csv_text``; ``taxiway.warehouse.rows`` says the same in DuckDB.
"""

from collections.abc import Callable
from functools import reduce

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F  # noqa: N812

from taxiway.core.contracts import Column as ContractColumn
from taxiway.core.contracts import Contract
from taxiway.core.csv_text import DATE, MALFORMED, NOT_FINITE, NUMBER, TIMESTAMP, WHOLE_NUMBER

ROW, RAW, FAULT = "_row", "_raw", "_fault"
REASON, COLUMN = "reject_reason", "reject_column"
_PATTERNS = {
    **dict.fromkeys(("int", "bigint"), WHOLE_NUMBER),
    "double": NUMBER,
    "date": DATE,
    "timestamp": TIMESTAMP,
}
_SPARK_TYPES = {"timestamp": "timestamp_ntz"}


def with_reject_reason(rows: DataFrame, contract: Contract) -> DataFrame:
    """Return the contract's columns in their types, and why a row is not accepted.

    Args:
        rows: of text.
        contract: of the file. NaN and infinity are missing values. Of rows with the same key, the first that is
            accepted otherwise is kept.

    Returns:
        ``_row``, ``_raw``, ``_fault``, the columns, and null for a row that is accepted: ``reject_reason`` and
        ``reject_column``, which is null too if it is the row that is wrong.
    """
    columns = list(contract.columns.values())
    values = rows.select(
        ROW, RAW, FAULT, *(F.col(each.name).alias(f"_text_{each.name}") for each in columns), *map(_value, columns)
    )
    broken = [(F.col(FAULT).isNotNull(), F.col(FAULT), F.lit(None).cast("string"))]
    for is_wrong in (_wrong_type, _missing_key(contract), _missing_value(contract), _not_allowed, _out_of_bounds):
        for each in columns:
            if (found := is_wrong(each)) is not None:
                wrong, reason = found
                broken.append((wrong, F.lit(reason), F.lit(each.name)))
    checked = values.select(
        *(ROW, RAW, FAULT, *contract.columns),
        _first([(wrong, reason) for wrong, reason, _ in broken]).alias(REASON),
        _first([(wrong, column) for wrong, _, column in broken]).alias(COLUMN),
    )
    if not contract.key:
        return checked
    place = F.row_number().over(Window.partitionBy(*contract.key, F.col(REASON).isNull()).orderBy(ROW))
    again = F.col(REASON).isNull() & (F.col("_place") > 1)
    return checked.withColumn("_place", place).select(
        *(ROW, RAW, FAULT, *contract.columns),
        F.when(again, "duplicate_key").otherwise(F.col(REASON)).alias(REASON),
        COLUMN,
    )


def accepted(checked: DataFrame, contract: Contract) -> DataFrame:
    """Return the contract's columns of the rows that are accepted."""
    return checked.where(F.col(REASON).isNull()).select(*contract.columns)


def rejected(checked: DataFrame) -> DataFrame:
    """Return the rows that are not accepted: ``source_line``, ``source_row``, ``reject_column``, ``reject_reason``."""
    return checked.where(F.col(REASON).isNotNull()).select(
        F.when(F.col(FAULT) == MALFORMED, F.col(ROW)).alias("source_line"),
        F.col(RAW).alias("source_row"),
        COLUMN,
        REASON,
    )


def _first(cases: list[tuple[Column, Column]]) -> Column:
    (condition, value), *others = cases
    return reduce(lambda chain, case: chain.when(*case), others, F.when(condition, value))


def _value(column: ContractColumn) -> Column:
    text = F.col(column.name)
    if column.type == "string":
        return text
    written = text
    if column.type in ("int", "bigint"):
        written = F.regexp_replace(text, r"\.0*$", "")
    elif column.type == "timestamp":
        written = F.regexp_replace(text, "Z$", "")
    value = written.try_cast(_SPARK_TYPES.get(column.type, column.type))
    if pattern := _PATTERNS.get(column.type):
        value = F.when(text.rlike(f"^({pattern})$"), value)
    if column.type == "double":
        value = F.when(F.abs(value) < float("inf"), value)  # of 1e999
    return value.alias(column.name)


def _text(column: ContractColumn) -> Column:
    return F.col(f"_text_{column.name}")


def _wrong_type(column: ContractColumn) -> tuple[Column, str] | None:
    if column.type == "string":
        return None
    wrong = _text(column).isNotNull() & F.col(column.name).isNull()
    if column.type == "double":
        wrong &= ~_text(column).rlike(f"^({NOT_FINITE})$")
    return wrong, "wrong_type"


def _missing_key(contract: Contract) -> Callable[[ContractColumn], tuple[Column, str] | None]:
    return lambda column: (F.col(column.name).isNull(), "missing_key") if column.name in contract.key else None


def _missing_value(contract: Contract) -> Callable[[ContractColumn], tuple[Column, str] | None]:
    needed = {column.name for column in contract.columns.values() if column.required}.difference(contract.key)
    return lambda column: (F.col(column.name).isNull(), "missing_value") if column.name in needed else None


def _not_allowed(column: ContractColumn) -> tuple[Column, str] | None:
    if not column.valid_values:
        return None
    return ~F.col(column.name).cast("string").isin(*column.valid_values), "not_allowed"


def _out_of_bounds(column: ContractColumn) -> tuple[Column, str] | None:
    limits = [F.col(column.name) < column.minimum] if column.minimum is not None else []
    limits += [F.col(column.name) > column.maximum] if column.maximum is not None else []
    return (reduce(Column.__or__, limits), "out_of_bounds") if limits else None
