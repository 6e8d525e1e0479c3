"""Pages of results, read from the files that Athena has put on S3."""

import base64
import re
from pathlib import Path
from typing import Any

_VALUE = re.compile(rb'(?:"((?:[^"]|"")*)")?([,\n])')


class TokenError(Exception):
    """A token for the next page that is none."""


def csv_page(path: Path, token: str | None, most: int) -> tuple[list[dict[str, Any]], str | None]:
    """Return rows of a CSV result, as the API has them, and the token of the next page."""
    start = _offset(token, path)
    rows: list[dict[str, Any]] = []
    with path.open("rb") as file:
        file.seek(start)
        buffer = b""
        while len(rows) < most:
            chunk = file.read(1 << 20)
            buffer += chunk
            place = 0
            row: list[dict[str, str]] = []
            begun = 0
            while len(rows) < most and (match := _VALUE.match(buffer, place)):
                value = match[1]
                row.append({} if value is None else {"VarCharValue": value.replace(b'""', b'"').decode()})
                place = match.end()
                if match[2] == b"\n":
                    rows.append({"Data": row})
                    row, begun = [], place
            start += begun
            buffer = buffer[begun:]
            if not chunk:
                break
        more = start < path.stat().st_size
    return rows, _token(start) if more else None


def text_page(path: Path, token: str | None, most: int, width: int) -> tuple[list[dict[str, Any]], str | None]:
    """Return rows of a text result; of `width` columns, separated by tabs."""
    start = _offset(token, path)
    lines = path.read_bytes()[start:].split(b"\n")
    rows: list[dict[str, Any]] = []
    for line in lines[:most]:
        if line or len(lines) > 1:
            values = line.decode().split("\t") if width > 1 else [line.decode()]
            rows.append({"Data": [{"VarCharValue": value} for value in values]})
        start += len(line) + 1
    return rows, _token(start) if len(lines) > most else None


def _token(offset: int) -> str:
    return base64.urlsafe_b64encode(str(offset).encode()).decode()


def _offset(token: str | None, path: Path) -> int:
    if not token:
        return 0
    try:
        offset = int(base64.urlsafe_b64decode(token.encode()))
    except ValueError:
        raise TokenError from None
    if not 0 <= offset <= path.stat().st_size:
        raise TokenError
    return offset
