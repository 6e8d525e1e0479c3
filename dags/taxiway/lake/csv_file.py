"""CSV files that are loaded as a whole, read by DuckDB as rows of text.

A row is as wide as the header and has a text for each column of the contract, without white space around it, null if
nothing is left; or it is ``malformed``, or the header again. What a text means, and whether its row is accepted, is
said by :mod:`taxiway.warehouse.rows` or, of a file that :func:`store` has kept, by the Spark program:
:mod:`spark_jobs.common.typed`.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypedDict

from taxiway.core.contracts import Contract
from taxiway.core.csv_text import HEADER_AGAIN, MALFORMED, TextError, as_utf8, header_of, normal
from taxiway.core.dataset_list import public_url
from taxiway.core.s3 import split
from taxiway.core.sql import identifier, literal
from taxiway.lake.source import SourceError, fetch
from taxiway.lake.store import Lake
from taxiway.lake.tables import Table

if TYPE_CHECKING:
    import duckdb

log = logging.getLogger(__name__)

# Of a row that is stored: its number (of a malformed one, its line), the row as it came, and what is wrong with it as
# such.
ROW, RAW, FAULT = "_row", "_raw", "_fault"
_LONGEST_LINE = 1 << 24
# Lines that DuckDB has left out of `CsvFile.rows`, once these were read; an empty line before one is not part of it.
_LEFT_OUT = "select line, ltrim(coalesce(csv_line, ''), chr(10)) as text, error_type from reject_errors"


@dataclass(frozen=True)
class CsvFile:
    """A CSV file whose header has been read.

    Attributes:
        name: its address without secrets, for messages.
        path: of the file in UTF-8.
        encoding: that it came in.
        delimiter: between its values.
        blank: lines before the header.
        header: its names, in lower case.
        places: of the contract's columns in the header.
        missing: columns of the contract that it does not have.
    """

    name: str
    path: Path
    encoding: str
    delimiter: str
    blank: int
    header: list[str]
    places: dict[str, int]
    missing: list[str]

    @property
    def rows(self) -> str:
        """A query of the rows in their order: the contract's columns as text, ``_fault``, and what ``raw`` reads."""
        texts = (f"""nullif(trim(_c{place}), '') as "{column}\"""" for column, place in self.places.items())
        nulls = (f'null::varchar as "{column}"' for column in self.missing)
        first, *others = (f"lower(trim(_c{place})) = {literal(self.header[place])}" for place in self.places.values())
        again = f"case when {first} then {' and '.join(others) or 'true'} else false end"  # most rows end at the first
        columns = "{" + ", ".join(f"'_c{place}': 'VARCHAR'" for place in range(len(self.header))) + "}"
        return f"""
            select {", ".join([*texts, *nulls])},
                if({again}, '{HEADER_AGAIN}', null) as {FAULT}, *
            from read_csv({literal(str(self.path))}, auto_detect = false, skip = {self.blank}, header = true,
                delim = {literal(self.delimiter)}, quote = '"', escape = '"', columns = {columns},
                store_rejects = true, rejects_limit = 0, null_padding = false, strict_mode = true,
                max_line_size = {_LONGEST_LINE})
        """

    @property
    def raw(self) -> str:
        """The expression of a row as it came, a JSON object, in a query of ``rows``."""
        cells = ", ".join(f"{literal(cell)}: _c{place}" for place, cell in enumerate(self.header))
        return f"to_json({{{cells}}})::varchar"

    @property
    def malformed(self) -> str:
        """A query of the lines that are no rows: ``_row``, ``_fault`` and ``_raw``, after :func:`read` of the rows."""
        return f"""
            select line::bigint as {ROW}, '{MALFORMED}' as {FAULT}, min(text) as {RAW} from ({_LEFT_OUT})
            group by line order by line
        """

    @property
    def note(self) -> str:
        """What people should know of how the file is written; may be empty."""
        told = []
        if self.encoding != "utf-8":
            told.append(f"The source is in {self.encoding.upper()}.")
        if self.delimiter != ",":
            told.append(f"Its values are between {self.delimiter!r}.")
        names = {self.header[place] for place in self.places.values()}
        if ignored := [cell or "''" for cell in self.header if cell not in names]:
            told.append(f"Columns that the contract does not have are left out: {', '.join(ignored)}.")
        if self.missing:
            told.append(f"Columns that it does not have are null: {', '.join(self.missing)}.")
        return " ".join(told)


def open_csv(file: Path, address: str, contract: Contract) -> CsvFile:
    """Read the header of a CSV file, and rewrite the file in UTF-8.

    It may be in UTF-8 or UTF-16, with or without a byte order mark (UTF-16 with one), or in Windows-1252 or Latin-1;
    its values are between commas, semicolons, tabs or bars, whichever its header is written with; names of columns may
    be in any case and order.

    Args:
        file: the file.
        address: of the source, for messages.
        contract: with its columns.

    Raises:
        SourceError: it is no such file, or lacks a column that may not be missing.
    """
    name = public_url(address)
    try:
        encoding = as_utf8(file)
    except TextError as error:
        raise SourceError(f"{name} {error}.") from None
    with file.open(encoding="utf-8", newline="") as text:
        blank, first = next(((number, line) for number, line in enumerate(text) if line.strip()), (0, ""))
        if not first:
            raise SourceError(f"{name} is empty: it needs a header and rows. What is published stays.")
        wanted = {normal(column.source): column for column in contract.columns.values()}
        delimiter, header = header_of(text, wanted)
    places = {column.name: header.index(cell) for cell, column in wanted.items() if cell in header}
    missing = [column for column in contract.columns.values() if column.name not in places]
    if needed := [repr(column.source) for column in missing if not column.optional]:
        raise SourceError(
            f"{name} has no column {', '.join(needed)}: its first line is {first.strip()[:80]!r}. Give it the columns "
            f"of the contract {contract.name}, or another source."
        )
    if len(set(header)) < len(header):
        twice = next(cell for cell in header if header.count(cell) > 1)
        raise SourceError(f"{name} has the column {twice!r} twice: leave one.")
    return CsvFile(name, file, encoding, delimiter, blank, header, places, [column.name for column in missing])


def read(database: "duckdb.DuckDBPyConnection", csv: CsvFile, *statements: str) -> None:
    """Run statements, of which the first reads ``csv.rows``, and the second may read ``csv.malformed``.

    Raises:
        SourceError: nobody can say where the file's rows end.
    """
    import duckdb

    first, *others = statements
    try:
        database.execute(first)
    except duckdb.Error as error:
        sentence = str(error).splitlines()[0].rstrip(".")
        raise SourceError(f"{csv.name} is no CSV file that can be read ({sentence}): correct it.") from None
    broken: Any = database.execute(
        f"select line from ({_LEFT_OUT}) where error_type = 'UNQUOTED VALUE' and text like '%\n%' order by line limit 1"
    ).fetchone()
    if broken:
        raise SourceError(
            f"{csv.name} has a quote in line {broken[0]:,} that does not end where it should, so nobody knows where "
            "its rows end: correct the line, or deliver the whole file if it is cut."
        )
    for statement in others:
        database.execute(statement)


class Stored(TypedDict):
    """A file that was stored, as plain data that Airflow passes between tasks.

    Keys:
        uri: of the Parquet file.
        rows: of the file, without its header and blank lines.
        sha256: of the file as it came, in hexadecimal.
    """

    uri: str
    rows: int
    sha256: str


def store(
    lake: Lake, address: str, table: Table, version: str, *, is_known: Callable[[str], bool] | None = None
) -> Stored | None:
    """Fetch a file and store it, for a Spark program, as a version of the table that describes it.

    Args:
        lake: to write to.
        address: ``https``, ``http``, ``file`` or ``s3``.
        table: with the file's contract; its versions are kept apart from others and never published.
        version: names the folder to write.
        is_known: tells by its SHA-256 whether a file need not be stored.

    Returns:
        what was stored; None if the file is known.

    Raises:
        SourceError: the file is not there, is not CSV, or has other columns than its contract.
    """
    location = f"{lake.settings.lake}/{table.path}/version={version}"
    with TemporaryDirectory(prefix="taxiway-csv") as folder:
        file, parquet = Path(folder, "file.csv"), Path(folder, "rows.parquet")
        sha256 = fetch(address, file, lake.session)
        if is_known and is_known(sha256):
            return None
        csv = open_csv(file, address, table.contract)
        rows = convert(csv, parquet)
        uri = f"{location}/{parquet.name}"
        lake.session.client("s3").upload_file(str(parquet), *split(uri))
    log.info("%s has %s rows: stored as %s. %s", csv.name, f"{rows:,}", uri, csv.note)
    return Stored(uri=uri, rows=rows, sha256=sha256)


def convert(csv: CsvFile, target: Path) -> int:
    """Write the rows of a CSV file as Parquet: the contract's columns as text, and ``_row``, ``_raw`` and ``_fault``.

    Args:
        csv: the file.
        target: to write.

    Returns:
        the number of its rows.

    Raises:
        SourceError: it is not CSV, or has no row.
    """
    columns = [*csv.places, *csv.missing]
    names, place = ", ".join(map(identifier, columns)), place_in(columns)
    with open_scratch(target.parent) as database:
        read(
            database,
            csv,
            # Their place in the table is their number: to count them while they are read would take one processor.
            f"create table rows as "
            f"select null::bigint as {ROW}, {names}, {FAULT}, {csv.raw} as {RAW} from ({csv.rows})",
            f"insert into rows by name {csv.malformed}",
            f"copy (select * replace (coalesce({ROW}, {place} + 1) as {ROW}) from rows) to {literal(str(target))} "
            "(format parquet, compression zstd)",
        )
        (count,) = database.execute("select count(*) from rows").fetchone() or (0,)
    if not count:
        raise SourceError(f"{csv.name} has a header and no row. What is published stays.")
    return int(count)


def place_in(columns: Iterable[str]) -> str:
    """Return the SQL of a row's place in a table of the scratch database, from 0.

    DuckDB's own number of a row is hidden by a column of its name. To count rows takes one processor.
    """
    return "(row_number() over () - 1)" if "rowid" in map(str.lower, columns) else "rowid"


def open_scratch(folder: Path) -> "duckdb.DuckDBPyConnection":
    """Return a database in a folder, so that what does not fit into memory is on disk."""
    import duckdb  # takes a moment, which a DAG's file must not

    return duckdb.connect(
        folder / "load.duckdb", config={"temp_directory": str(folder), "autoinstall_known_extensions": False}
    )
