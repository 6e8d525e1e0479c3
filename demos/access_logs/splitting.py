"""Splits access logs by the UTC day of their lines: every byte of a file ends up in exactly one day, in its order."""

import gzip
import re
import zlib
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

from console.errors import UserError

# The frame of the contract access_file; what the request holds does not matter.
_QUOTED = rb'"(?:[^"\\]|\\.)*"'
_FRAME = re.compile(
    rb"\S+ \S+ (?:[^\"\\]|\\.)+? \[(\d\d)/([A-Za-z]{3})/(\d{4}):(\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)\] "
    + _QUOTED
    + rb" \d{3} (?:-|\d+)(?: "
    + _QUOTED
    + rb" "
    + _QUOTED
    + rb")?",
    re.DOTALL,
)
_MONTHS = {name: number for number, name in enumerate(b"jan feb mar apr may jun jul aug sep oct nov dec".split(), 1)}
_MOST_BYTES = 65_536
_BLANK = b" \t\r\n\v\f"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_GZIP = b"\x1f\x8b"
_MOST_OPEN = 64  # files at once


@dataclass
class Days:
    """Log files by UTC day, in a temporary folder that lives as long as this object.

    Attributes:
        name: of what they were made of.
        files: day ``YYYY-MM-DD`` → its files, at least one; in order.
    """

    name: str
    files: dict[str, list[Path]]
    _folder: TemporaryDirectory[str] = field(repr=False, default_factory=lambda: TemporaryDirectory("taxiway-logs"))


def split_logs(given: Path) -> Days:
    """Split a file, or all files of a folder.

    Args:
        given: a file or a folder; files are plain or gzip.

    Raises:
        UserError: there is nothing, or a file that is no access log or cut short.
    """
    if given.is_dir():
        sources = sorted(path for path in given.rglob("*") if path.is_file())
    elif given.is_file():
        sources = [given]
    else:
        raise UserError(f"LOGS={given} does not exist: give a file with access logs, or a folder of such files.")
    if not sources:
        raise UserError(f"LOGS={given} is a folder without files: put access logs into it.")
    days = Days(given.name, {})
    names: set[str] = set()
    for source in sources:
        relative = source.relative_to(given).as_posix() if given.is_dir() else source.name
        try:
            _split(source, _free_name(relative, names), days)
        except OSError as error:  # gzip's errors of damaged data are such, too
            raise UserError(f"{source} cannot be read: {error.strerror or error}.") from None
    if not days.files:
        what = "has only empty files" if given.is_dir() else "is empty"
        raise UserError(f"LOGS={given} {what}: give access logs with lines.")
    days.files = dict(sorted(days.files.items()))
    return days


def day_of(line: bytes) -> str | None:
    """Return the UTC day of a line, ``YYYY-MM-DD``; None for one that does not parse."""
    text = line.removesuffix(b"\n").removesuffix(b"\r").removeprefix(_BYTE_ORDER_MARK)
    frame = _FRAME.fullmatch(text) if len(text) <= _MOST_BYTES else None
    if frame is None:
        return None
    day, month, year, hour, minute, second, sign, zone_h, zone_m = frame.groups()
    try:
        zone = timedelta(hours=int(zone_h), minutes=int(zone_m)) * (1 if sign == b"+" else -1)
        time = datetime(
            *(int(year), _MONTHS[month.lower()], int(day), int(hour), int(minute), int(second)), tzinfo=timezone(zone)
        )
        return f"{time.astimezone(UTC):%Y-%m-%d}"
    except (KeyError, ValueError, OverflowError):
        return None


def _split(source: Path, name: str, days: Days) -> None:
    """Write the lines of a file to a file a day; a line without a day to that of the line before it."""
    with source.open("rb") as file:
        packed = file.read(len(_GZIP)) == _GZIP
    name = name.removesuffix(".gz") + ".gz" * packed
    day = _first_day(source, packed)
    if day is None:
        return
    folder = Path(days._folder.name)
    written: dict[str, IO[bytes]] = {}
    with ExitStack() as opened:
        for line in _lines(source, packed):
            day = day_of(line) or day
            if day not in written:
                if len(written) == _MOST_OPEN:  # gzip data may have many members
                    opened.close()
                    written.clear()
                path = folder / day / name
                path.parent.mkdir(exist_ok=True)
                if not path.exists():
                    days.files.setdefault(day, []).append(path)
                written[day] = opened.enter_context(_appended(path, packed))
            written[day].write(line)


def _appended(path: Path, packed: bool) -> Any:
    # Without a time in it, the same lines make the same object: a day that is delivered again has not changed.
    return gzip.GzipFile(path, "ab", compresslevel=1, mtime=0) if packed else path.open("ab")


def _first_day(source: Path, packed: bool) -> str | None:
    """Return the day of the first line that has one; None for a file without lines.

    Raises:
        UserError: no line parses.
    """
    empty = True
    for line in _lines(source, packed):
        if day := day_of(line):
            return day
        empty = empty and not line.removeprefix(_BYTE_ORDER_MARK).strip(_BLANK)
    if empty:
        return None
    raise UserError(
        f"{source} is no access log: none of its lines is in the common or combined format, such as "
        '127.0.0.1 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 2326.'
    )


def _lines(source: Path, packed: bool) -> Iterable[bytes]:
    with gzip.open(source) if packed else source.open("rb") as file:
        try:
            yield from file
        except EOFError:
            raise UserError(f"{source} is gzip data that is cut short: give the whole file.") from None
        except (zlib.error, gzip.BadGzipFile) as error:
            raise UserError(f"{source} is damaged gzip data ({error}): give the whole file.") from None


def _free_name(relative: str, taken: set[str]) -> str:
    """Return a name for an object: without what S3, Spark and Athena give a meaning to, and not taken yet."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", relative)
    name = f"log{name}" if name.startswith(("_", ".")) else name
    stem, count = name, 1
    while name.removesuffix(".gz") in taken:
        count += 1
        name = f"{count}-{stem}"
    taken.add(name.removesuffix(".gz"))
    return name
