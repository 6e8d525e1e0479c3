"""Proposes the columns of a contract from a CSV file: names, types, which are required, and a key."""

import csv
import io
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import date, datetime
from itertools import islice
from typing import Any

from taxiway.core.csv_text import DELIMITERS, FALLBACKS, MARKS, normal

MOST_ROWS = 100_000  # that are looked at
MOST_BYTES = 64 << 20
SAMPLE_ROWS = 400
MOST_LETTERS = 100  # of a name in the header
TRIED_ROWS, TRIED_LETTERS = 1000, 1 << 20  # for each delimiter
# Words that SQL does not take as a name without quotes, in DuckDB and Athena.
SQL_WORDS = """
all alter analyse analyze and anti any array as asc asof asymmetric at authorization between binary both by case
cast check collate collation column concurrently constraint create cross cube current_catalog current_date
current_path current_role current_schema current_time current_timestamp current_user deallocate default deferrable
delete desc describe distinct do drop else end escape except execute exists extract false fetch for foreign freeze
from full glob grant group grouping having ilike in initially inner insert intersect into is isnull join json_array
json_exists json_object json_query json_table json_value lambda lateral leading left like limit listagg localtime
localtimestamp natural normalize not notnull null offset on only or order outer overlaps pivot pivot_longer
pivot_wider placing positional prepare primary qualify recursive references returning right rollup row rows select
semi show similar skip some summarize symmetric table tablesample then to trailing trim true uescape union unique
unnest unpack unpivot using values variadic verbose when where window with
"""
# Columns that tables have besides, by their name.
_TAKEN_NAMES = ("reject_column", "reject_reason", "rowid", "year", "month", "version")
_KINDS = {"bigint": "integer", "double": "number", "date": "date", "timestamp": "timestamp", "string": "string"}


class CsvFault(ValueError):
    """The file cannot be used; the text is the end of a sentence that begins with its address."""


@dataclass(frozen=True)
class Column:
    """A column as the template takes it.

    Attributes:
        name: in the lake.
        header: in the file.
        type: Glue's.
        kind: the standard's logical type.
        required: it is never empty in the file.
        key: it is the first column whose values are all there and differ.
    """

    name: str
    header: str
    type: str
    kind: str
    required: bool
    key: bool


@dataclass(frozen=True)
class Proposal:
    """What was found in a file.

    Attributes:
        columns: in its order, as plain data.
        rows: that were looked at.
        sample: a CSV file of the header and the first rows, in UTF-8, with the delimiter of the file.
    """

    columns: list[dict[str, Any]]
    rows: int
    sample: bytes


def propose(content: bytes) -> Proposal:
    """Return what a pipeline for a CSV file needs to know of it.

    Args:
        content: of the file, or its first :data:`MOST_BYTES`.

    Raises:
        CsvFault: it is no CSV with a header and a row.
    """
    text = _decoded(content)
    if "\0" in text or not text.strip():
        raise CsvFault("is empty" if not text.strip() else "is no text: give the address of a CSV file")
    if text.lstrip()[:1] in "<{[":
        raise CsvFault("is no CSV but HTML, XML or JSON: give the address of the file itself")
    text = text.replace("\r\n", "\n").replace("\r", "\n")  # as the DAG reads it
    text = re.sub(r"\A\s*\n", "", text)  # blank lines before the header
    delimiter = max(DELIMITERS, key=lambda mark: _fit(text, mark))
    header, *rows = _records(text, delimiter, cut=len(content) >= MOST_BYTES) or [[""]]
    header = [name.strip() for name in header]
    if len(header) < 2 or max(map(len, header)) > MOST_LETTERS:
        raise CsvFault("is not CSV: its first line is no header with two or more names, separated by , ; | or tabs")
    if not rows:
        raise CsvFault("has a header and no row")
    whole = [row for row in rows if len(row) == len(header)]
    if not whole:
        raise CsvFault("has no row with as many fields as its header")
    names = _names(header)
    columns, key = [], True
    for place, (name, title) in enumerate(zip(names, header, strict=True)):
        values = [row[place].strip() for row in whole]
        given = [value for value in values if value]
        type_, required = _type(given), len(given) == len(values)
        is_key = key and required and type_ != "double" and len(set(values)) == len(values)
        key = key and not is_key
        columns.append(asdict(Column(name, title.lower(), type_, _KINDS[type_], required, is_key)))
    sample = io.StringIO()
    csv.writer(sample, delimiter=delimiter, lineterminator="\n").writerows([header, *whole[:SAMPLE_ROWS]])
    return Proposal(columns, len(rows), sample.getvalue().encode())


def _decoded(content: bytes) -> str:
    mark = next((each for each in MARKS if content.startswith(each)), b"")
    for encoding in (MARKS.get(mark, "utf-8"), *FALLBACKS):
        try:
            return content.removeprefix(mark).decode(encoding)
        except UnicodeDecodeError as error:
            if len(content) >= MOST_BYTES and error.start >= MOST_BYTES - 8:  # a character that is cut in two
                return content.removeprefix(mark).decode(encoding, errors="ignore")
    raise AssertionError("the last of the fallbacks has a character for every byte")


def _fields(text: str, delimiter: str) -> Iterator[list[str]]:
    return (row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True) if row)


def _fit(text: str, delimiter: str) -> tuple[int, bool]:
    """Return how well a delimiter fits: rows as wide as the header; and whether the header has none within prose."""
    rows: list[list[str]] = []
    with suppress(csv.Error):
        rows.extend(islice(_fields(text[:TRIED_LETTERS], delimiter), TRIED_ROWS))
    if not rows or len(rows[0]) < 2:
        return 0, False
    return sum(len(row) == len(rows[0]) for row in rows), all(name == name.strip() for name in rows[0])


def _records(text: str, delimiter: str, *, cut: bool) -> list[list[str]]:
    """Return the header and the first rows; without the last one if the text is cut, because so may be the row."""
    rows = []
    try:
        for row in islice(_fields(text, delimiter), MOST_ROWS + 1):
            rows.append(row)  # noqa: PERF402 - those before an error are kept
    except csv.Error as error:
        if cut and "unexpected end of data" in str(error):
            return rows
        raise CsvFault(f"is not CSV: {error}") from None
    return rows[:-1] if cut and len(rows) <= MOST_ROWS else rows


def _names(header: list[str]) -> list[str]:
    """Return names in snake case, which SQL takes without quotes."""
    names = []
    for place, title in enumerate(header, 1):
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", title) if not title.isupper() else title
        name = re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_") or f"column_{place}"
        name = f"c_{name}" if name[0].isdigit() else name
        names.append(f"{name}_" if name in (*SQL_WORDS.split(), *_TAKEN_NAMES) else name)
    if header.count("") > 1:
        raise CsvFault("has more than one column without a name: give each a name of its own")
    headers = [normal(title) for title in header]
    if twice := next((title for title in headers if headers.count(title) > 1), None):
        raise CsvFault(f"has the column {twice} twice: give each a name of its own")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise CsvFault(f"has the column {twice} twice: give each a name of its own")
    return names


def _type(values: Iterable[str]) -> str:
    """Return the narrowest of Glue's types that all values have."""
    left = {"bigint", "double", "date", "timestamp"}
    seen = False
    for value in values:
        seen = True
        left = {type_ for type_ in left if _CHECKS[type_](value)}
        if not left:
            break
    return next((type_ for type_ in ("bigint", "double", "date", "timestamp") if seen and type_ in left), "string")


def _is_date(value: str) -> bool:
    try:
        return bool(re.fullmatch(r"\d{4}-\d\d-\d\d", value) and date.fromisoformat(value))
    except ValueError:
        return False


def _is_timestamp(value: str) -> bool:
    try:
        pattern = r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d{1,6})?"
        return bool(re.fullmatch(pattern, value) and datetime.fromisoformat(value.partition(".")[0]))
    except ValueError:
        return False


_CHECKS = {
    # A number with a zero before it, or one that is too long, is a name.
    "bigint": lambda value: bool(re.fullmatch(r"-?(0|[1-9]\d{0,17})", value)),
    "double": lambda value: (
        bool(re.fullmatch(r"[+-]?(0|[1-9]\d{0,17})?(\.\d+)?([eE][+-]?\d{1,3})?", value))
        and any(each.isdigit() for each in value)
    ),
    "date": _is_date,
    "timestamp": _is_timestamp,
}
