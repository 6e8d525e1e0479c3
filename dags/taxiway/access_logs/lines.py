"""Counts the lines of raw files in a stream, plain or gzip, independently of the Spark program that parses them."""

import zlib
from collections.abc import Iterable, Iterator
from itertools import chain

BLANK = b" \t\r\v\f"  # a line of nothing else is no line
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_GZIP = b"\x1f\x8b"
# First bytes of formats that are delivered by mistake; a text log begins with none of them.
_OTHERS = {
    b"PAR1": "Parquet",
    b"PK\x03\x04": "a zip archive",
    b"BZh": "bzip2",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ\x00": "xz",
    b"\x04\x22\x4d\x18": "lz4",
    b"SQLite format 3": "SQLite",
    b"%PDF-": "PDF",
}


class FileError(RuntimeError):
    """A file cannot be read as a log; the text is one sentence that names it."""


def count_lines(name: str, chunks: Iterable[bytes]) -> int:
    """Return the number of lines of a file that are not blank; the last one needs no line feed.

    Args:
        name: of the file, for errors; one that ends in ``.gz`` is gzip.
        chunks: its bytes.

    Raises:
        FileError: it is no text, or gzip data that is cut short or damaged.
    """
    lines, rest = 0, b""
    for chunk in _text(name, chunks):
        *whole, rest = (rest + chunk).split(b"\n")
        lines += sum(map(_is_line, whole))
        if len(rest) > 1 << 20:  # of a very long line only whether it is one has to be known
            rest = b"x" if _is_line(rest) else b" "
    return lines + _is_line(rest)


def _is_line(line: bytes) -> bool:
    return bool(line.removeprefix(_BYTE_ORDER_MARK).strip(BLANK))


def _text(name: str, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the text of a file, a part at a time, uncompressed."""
    stream = iter(chunks)
    first = b""
    while len(first) < 16 and (more := next(stream, b"")):
        first += more
    for magic, kind in _OTHERS.items():
        if first.startswith(magic):
            raise FileError(f"{name} is {kind}, not a log of lines: deliver it as text, plain or gzip.")
    if first.startswith(_GZIP) != name.endswith(".gz"):
        fault = (
            "is no gzip file, as its name says" if name.endswith(".gz") else "is a gzip file without .gz in its name"
        )
        raise FileError(f"{name} {fault}: deliver it under the right name.")
    if not name.endswith(".gz"):
        yield first
        yield from stream
        return
    member = zlib.decompressobj(wbits=31)
    try:
        for chunk in chain((first,), stream):
            data = chunk
            while data:
                if member.eof:  # a file may have several, one after the other; padding ends it
                    data = data.lstrip(b"\x00")
                    if not data:
                        break
                    member = zlib.decompressobj(wbits=31)
                yield member.decompress(data)
                data = member.unused_data
    except zlib.error as error:
        raise FileError(f"{name} is damaged gzip data ({error}): deliver it again.") from None
    if not member.eof:
        raise FileError(f"{name} is gzip data that is cut short: deliver the whole file again.")
