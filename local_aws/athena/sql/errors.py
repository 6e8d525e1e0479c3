"""The failures of a query, with Trino's names and texts."""

import re
from typing import Any

USER, SYSTEM = 2, 1  # AthenaError.ErrorCategory

# AthenaError.ErrorType by error name; others have the general type of their category.
_TYPES = {
    "NOT_SUPPORTED": 1006,
    "SYNTAX_ERROR": 1006,
    "TYPE_MISMATCH": 1006,
    "COLUMN_NOT_FOUND": 1006,
    "TABLE_NOT_FOUND": 1301,
    "SCHEMA_NOT_FOUND": 1301,
    "FUNCTION_NOT_FOUND": 1006,
    "DIVISION_BY_ZERO": 1100,
    "INVALID_CAST_ARGUMENT": 1100,
    "INVALID_FUNCTION_ARGUMENT": 1100,
    "NUMERIC_VALUE_OUT_OF_RANGE": 1100,
    "HIVE_BAD_DATA": 1200,
    "HIVE_CURSOR_ERROR": 1200,
    "HIVE_CANNOT_OPEN_SPLIT": 1200,
    "HIVE_PARTITION_SCHEMA_MISMATCH": 1200,
    "HIVE_PATH_ALREADY_EXISTS": 1200,
    "EXCEEDED_MEMORY_LIMIT": 1005,
}


class QueryError(Exception):
    """A query fails: the text is the reason for its user, with the error's name in front."""

    def __init__(self, name: str, message: str, *, category: int = USER) -> None:
        super().__init__(f"{name}: {message}")
        self.name = name
        self.category = category

    def document(self) -> dict[str, Any]:
        """Return it as an `AthenaError` of the API."""
        return {
            "ErrorCategory": self.category,
            "ErrorType": _TYPES.get(self.name, 1000 if self.category == USER else 1),
            "Retryable": False,
            "ErrorMessage": str(self),
        }


def not_supported(what: str) -> QueryError:
    """Return the failure for what Athena can do and this cannot."""
    return QueryError("NOT_SUPPORTED", f"not supported by the local Athena: {what}")


def from_duckdb(error: Exception) -> QueryError:
    """Return the failure that a DuckDB error means to the user of Athena."""
    text = str(error)
    raised = re.search(r"\b([A-Z][A-Z_]{4,}): (.*)", text, re.DOTALL)  # by error() in a translated query
    if raised and "Error: " not in raised[0]:
        return QueryError(raised[1], raised[2].split("\n\nLINE")[0].strip())
    first = text.split("\n")[0]
    if "ivision by zero" in text:
        return QueryError("DIVISION_BY_ZERO", "Division by zero")
    if "magic bytes" in text or "No magic bytes" in text or "too small to be a Parquet file" in text:
        return QueryError("HIVE_BAD_DATA", f"Not valid Parquet file: {first}")
    if "Map keys must be unique" in text:
        return QueryError("INVALID_FUNCTION_ARGUMENT", "Duplicate map keys are not allowed")
    if "More than one row returned by a subquery" in text:
        return QueryError("SUBQUERY_MULTIPLE_ROWS", "Scalar sub-query has returned multiple rows")
    kind = type(error).__name__
    if kind == "OutOfMemoryException":
        return QueryError(
            "EXCEEDED_MEMORY_LIMIT", f"Query exhausted resources at this scale factor: {first}", category=USER
        )
    overflow = re.search(r"Overflow in (\w+) of (INT\d+) \((.*)\)", first)
    if overflow:
        name = {"INT8": "tinyint", "INT16": "smallint", "INT32": "integer"}.get(overflow[2], "bigint")
        return QueryError("NUMERIC_VALUE_OUT_OF_RANGE", f"{name} {overflow[1]} overflow: {overflow[3]}")
    if "INT128" in first and "destination type INT64" in first:
        return QueryError("NUMERIC_VALUE_OUT_OF_RANGE", "bigint addition overflow")
    outside = re.search(r"with value (\S+) can't be cast .* destination type (INT\d+)", first)
    if outside:
        name = {"INT8": "tinyint", "INT16": "smallint", "INT32": "integer"}.get(outside[2], "bigint")
        if "Type DOUBLE" in first or "Type FLOAT" in first:
            return QueryError("INVALID_CAST_ARGUMENT", f"Unable to cast {outside[1]} to {name}")
        return QueryError("NUMERIC_VALUE_OUT_OF_RANGE", f"Out of range for {name}: {outside[1]}")
    if kind == "OutOfRangeException":
        return QueryError("NUMERIC_VALUE_OUT_OF_RANGE", first.removeprefix("Out of Range Error: "))
    if kind == "ConversionException":
        return QueryError("INVALID_CAST_ARGUMENT", first.removeprefix("Conversion Error: "))
    if kind == "BinderException" and ("must appear in the GROUP BY" in text or "aggregate" in text.lower()):
        column = re.search(r'column "([^"]+)"', text)
        subject = f"'{column[1]}'" if column else "an expression"
        return QueryError(
            "EXPRESSION_NOT_AGGREGATE", f"{subject} must be an aggregate expression or appear in GROUP BY clause"
        )
    if kind in ("BinderException", "ParserException", "CatalogException", "NotImplementedException"):
        return QueryError("NOT_SUPPORTED", f"not supported by the local Athena: {first}")
    if kind == "InvalidInputException" and ("JSON" in text or "json" in text):
        return QueryError("HIVE_CURSOR_ERROR", f"Row is not a valid JSON Object: {first}")
    if kind == "InvalidInputException" and "CSV Error" in text:
        return QueryError("HIVE_BAD_DATA", f"Error reading CSV: {first}")
    if kind == "IOException":
        return QueryError("HIVE_CANNOT_OPEN_SPLIT", f"Error opening Hive split: {first}")
    return QueryError("GENERIC_INTERNAL_ERROR", first, category=SYSTEM)
