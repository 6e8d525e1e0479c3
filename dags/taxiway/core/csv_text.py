"""How CSV files are written: encodings, line ends, what stands between values, and how a value of a type reads.

DuckDB (``taxiway.warehouse``) and Spark (``spark_jobs.common.typed``) judge rows of such files; both by these rules.
"""

import codecs
import csv
from collections.abc import Collection, Iterator
from contextlib import suppress
from itertools import dropwhile
from pathlib import Path
from typing import TextIO

DELIMITERS = ",;\t|"
MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
# Of text without a mark that is no UTF-8. Windows' programs write the first; the second has a character for every byte.
FALLBACKS = ("cp1252", "latin-1")

# What is wrong with a row as such: more or fewer values than the header, or a stray quote; the header once more.
MALFORMED, HEADER_AGAIN = "malformed", "header_again"
# Why a row is rejected; the first that applies, in this order, is given.
REASONS = (
    MALFORMED,
    HEADER_AGAIN,
    "wrong_type",
    "missing_key",
    "missing_value",
    "not_allowed",
    "out_of_bounds",
    "duplicate_key",
)

# Regular expressions of texts that are values of a type of Glue; others are strings. No number is rounded to fit.
WHOLE_NUMBER = r"[+-]?[0-9]+(\.0*)?"
NUMBER = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"
NOT_FINITE = r"(?i)[+-]?(nan|inf|infinity)"  # a missing value of a double column
DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
TIMESTAMP = DATE + r"([ T][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?Z?)?"  # UTC
_CHUNK = 1 << 20


class TextError(ValueError):
    """A file is no text; the words are the end of a sentence that begins with its name."""


def as_utf8(file: Path) -> str:
    """Rewrite a file in UTF-8, without a mark and with plain line ends, unless it is so.

    Args:
        file: in UTF-8 or UTF-16, with or without a byte order mark (UTF-16 with one), or in a code page of the West.

    Returns:
        the encoding that it came in, as Python names it.

    Raises:
        TextError: it is no text, or not what its mark says.
    """
    with file.open("rb") as stream:
        start = stream.read(4096)
    mark = next((each for each in MARKS if start.startswith(each)), b"")
    encoding = MARKS.get(mark, "utf-8")
    if encoding == "utf-8":
        if b"\0" in start:
            raise TextError("is no text: give the address of a CSV file")
        if start.removeprefix(mark).lstrip()[:1] == b"<":
            raise TextError("is a web page or XML, not a CSV file: correct the address")
        if not _is(encoding, file):
            encoding = next(each for each in FALLBACKS if _is(each, file))
        elif not mark and not any(b"\r" in chunk for chunk in _chunks(file)):
            return encoding
    rewritten = file.with_suffix(".utf8")
    try:
        with file.open("rb") as stream:
            stream.seek(len(mark))
            with codecs.getreader(encoding)(stream) as reader, rewritten.open("w", encoding="utf-8", newline="") as out:
                last = ""
                while decoded := reader.read(_CHUNK, _CHUNK):
                    text = last + decoded
                    last = "\r" if text.endswith("\r") else ""  # its line feed may be in the next part
                    out.write(text.removesuffix(last).replace("\r\n", "\n").replace("\r", "\n"))
                out.write("\n" if last else "")
                if reader.bytebuffer:
                    raise TextError("ends within a character: deliver the whole file")
    except UnicodeDecodeError as error:
        raise TextError(f"says that it is in {encoding.upper()}, and is not ({error.reason})") from None
    rewritten.replace(file)
    return encoding


def header_of(text: TextIO, names: Collection[str]) -> tuple[str, list[str]]:
    """Return what stands between the values of a file, and the names in its header, in lower case.

    The header is the first row after blank lines; a name in quotes may have line breaks.

    Args:
        text: of the file, read from its start.
        names: in lower case, that it should have; what gives most of them is the delimiter.
    """
    headers = {}
    for mark in DELIMITERS:
        text.seek(0)
        lines = dropwhile(lambda line: not line.strip(), text)
        with suppress(csv.Error):  # a name that is too long, as all of a file without line breaks
            headers[mark] = [normal(cell) for cell in next(csv.reader(lines, delimiter=mark), [])]
    delimiter = max(headers, key=lambda mark: sum(cell in names for cell in headers[mark]), default=DELIMITERS[0])
    return delimiter, headers.get(delimiter, [])


def normal(name: str) -> str:
    """Return a name of a column as it is compared: without white space around it, in lower case."""
    return name.strip().lower()


def _is(encoding: str, file: Path) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        for chunk in _chunks(file):
            decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _chunks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            yield chunk
