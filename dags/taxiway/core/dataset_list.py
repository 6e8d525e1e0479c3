"""Data sets and the CSV files that list them."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from taxiway.core.month import PATTERN

REQUIRED_COLUMNS = ("name", "month", "url")
OPTIONAL_COLUMNS = ("expected_bytes", "expected_sha256")


# The rest of a URL in a text: to white space, or to a quote that ends it.
_REST = r"(?:[^\s'\"]|['\"](?=[\w%&=+/]))*"


def without_secrets(text: str) -> str:
    """Return a text without the user names, passwords and query strings of URLs, which may hold secrets."""
    text = re.sub(r"(?<=://)[^\s/?#'\"]*@", "", text)
    text = re.sub(rf"(://[^\s?#'\"]*)[?#]{_REST}", r"\1", text)
    return re.sub(rf"\?{_REST}={_REST}", "", text)  # of a path alone


class CatalogueError(ValueError):
    """The catalogue or a list of data sets cannot be used; the text is one sentence that says why and where."""

    def __init__(self, text: str) -> None:
        super().__init__(without_secrets(text))


@dataclass(frozen=True, slots=True)
class Dataset:
    """One file to collect.

    Attributes:
        name: unique name.
        month: the month of its trips, ``YYYY-MM``.
        url: absolute ``https``, ``http`` or ``file`` URL. Its query string may hold a signature: see :attr:`source`.
        expected_bytes: size, if known in advance.
        expected_sha256: checksum (64 lower-case hex digits), if known in advance.
    """

    name: str
    month: str
    url: str = field(repr=False)
    expected_bytes: int | None = None
    expected_sha256: str | None = None

    @property
    def source(self) -> str:
        """The URL for messages and logs: without its query string."""
        return public_url(self.url)

    @property
    def file(self) -> str:
        """The name of the file in the lake: that of the URL, with ``.parquet`` appended if it is missing."""
        name = quote(unquote(PurePosixPath(urlsplit(self.url).path).name), safe="-_.")
        return name if name.endswith(".parquet") else f"{name}.parquet"


def public_url(url: str) -> str:
    """Return a URL without user name, password, query string and fragment."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def read_list(file: Path) -> list[tuple[int, Dataset]]:
    """Read a CSV of data sets: columns name, month, url and, if known, expected_bytes, expected_sha256.

    A URL is ``https``, ``http`` or ``file``; a relative path, with or without ``file:``, starts at the CSV's folder.

    Returns:
        (line number, data set) of each line.

    Raises:
        CatalogueError: the file is not such a CSV, or a line is invalid.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            lines = csv.reader(stream, strict=True, skipinitialspace=True)
            rows = [(lines.line_num, [cell.strip() for cell in row]) for row in lines if any(map(str.strip, row))]
    except OSError as error:
        raise CatalogueError(f"{file} cannot be read: {error.strerror}.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise CatalogueError(f"{file} is not a CSV file in UTF-8: {error}.") from None
    if not rows:
        raise CatalogueError(
            f"{file} is empty: give it the header {','.join(REQUIRED_COLUMNS)} and one line per data set."
        )
    (_, header), *rows = rows
    _check_header(header, file)
    if not rows:
        raise CatalogueError(f"{file} lists no data set below its header.")
    listed = []
    for line, row in rows:
        if len(row) != len(header):
            raise CatalogueError(f"{file}, line {line}: it has {len(row)} values for {len(header)} columns.")
        try:
            listed.append((line, _dataset(dict(zip(header, row, strict=True)), file.resolve().parent)))
        except ValueError as error:
            raise CatalogueError(f"{file}, line {line}: {error}.") from None
    check_unique(listed, file)
    return listed


def _check_header(header: list[str], file: Path) -> None:
    allowed = ", ".join(REQUIRED_COLUMNS + OPTIONAL_COLUMNS)
    if missing := [column for column in REQUIRED_COLUMNS if column not in header]:
        raise CatalogueError(f"{file}, line 1: the column {missing[0]!r} is missing; a list has the columns {allowed}.")
    if unknown := [column for column in header if column not in REQUIRED_COLUMNS + OPTIONAL_COLUMNS]:
        raise CatalogueError(f"{file}, line 1: the column {unknown[0]!r} is unknown; a list has the columns {allowed}.")
    if len(set(header)) != len(header):
        raise CatalogueError(f"{file}, line 1: a column appears twice.")


def check_unique(listed: Sequence[tuple[int | None, Dataset]], file: Path) -> None:
    """Check that no two data sets share a name, a URL, or a month and a file's name.

    Args:
        listed: each with its line number; None if it is in the catalogue already.
        file: the list, for the error message.

    Raises:
        CatalogueError: two do.
    """
    seen: dict[object, tuple[str, str]] = {}
    for line, dataset in listed:
        place = "the catalogue" if line is None else f"line {line}"
        for key, what in (
            (dataset.name, f"the name {dataset.name!r}"),
            ((dataset.url,), f"the URL {dataset.source}"),
            ((dataset.month, dataset.file), f"a file {dataset.file} of {dataset.month}"),
        ):
            if key in seen:
                raise CatalogueError(f"{file}, {place}: {what} is already that of {seen[key][0]!r} ({seen[key][1]}).")
            seen[key] = (dataset.name, place)


def _dataset(cells: dict[str, str], folder: Path) -> Dataset:
    if empty := [column for column in REQUIRED_COLUMNS if not cells[column]]:
        raise ValueError(f"it has no {empty[0]}")
    if len(cells["name"]) > 200:
        raise ValueError("the name is longer than 200 characters")
    if not re.fullmatch(PATTERN, cells["month"]):
        raise ValueError(f"{cells['month']!r} is not a month like 2023-01")
    size, sha256 = cells.get("expected_bytes"), cells.get("expected_sha256", "").lower()
    if size and not re.fullmatch(r"[1-9]\d{0,17}", size):
        raise ValueError(f"expected_bytes {size!r} is not a number of bytes")
    if sha256 and not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise ValueError(f"expected_sha256 {sha256!r} is not 64 hexadecimal digits")
    url = _absolute_url(cells["url"], folder)
    return Dataset(cells["name"], cells["month"], url, int(size) if size else None, sha256 or None)


def _absolute_url(url: str, folder: Path) -> str:
    try:
        parts = urlsplit(url)
        host, shown = parts.hostname, public_url(url)
    except ValueError:  # whose text may have a password
        raise ValueError(f"the URL {without_secrets(url)!r} cannot be read") from None
    if parts.scheme in ("http", "https"):
        if not host:
            raise ValueError(f"the URL {shown!r} names no host")
        if parts.username or parts.password:
            raise ValueError(f"the URL of {host} carries a user name or password, which would end up in logs")
        if not PurePosixPath(parts.path).name:
            raise ValueError(f"the URL {shown!r} names no file")
        return url
    if parts.scheme not in ("", "file"):
        raise ValueError(
            f"the URL {shown!r} begins with {parts.scheme}://, but only https, http and file can be collected"
        )
    if host and host != "localhost":
        raise ValueError(
            f"the URL {shown!r} names the host {host!r}; a file URL has three slashes, file:///folder/file"
        )
    # A plain path is used literally: it may contain % or #.
    path = unquote(parts.path) if parts.scheme else url
    if not PurePosixPath(path).name:
        raise ValueError(f"the URL {shown!r} names no file")
    return (folder / path).resolve().as_uri()
