"""A second parser of access logs, by hand and in plain Python: what a file's bytes must become, after the contracts."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
TOKEN = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass
class Tables:
    """Rows of access_requests and of its quarantine, without their source_file, in the order of the lines."""

    requests: list[tuple[Any, ...]]
    quarantine: list[tuple[str, str]]


def tables(content: bytes, day: date) -> Tables:
    """Return the rows that the lines of a file must become."""
    found = Tables([], [])
    for ended in content.split(b"\n"):
        line = ended.removesuffix(b"\r").removeprefix(b"\xef\xbb\xbf")
        if not line.strip(b" \t\r\v\f"):
            continue
        fields = _fields(line) if len(line) <= 65_536 else None
        if len(line) > 65_536:
            found.quarantine.append((text(line), "too_long"))
        elif fields is None:
            found.quarantine.append((text(line), "unparsed"))
        elif fields[2].date() != day:
            found.quarantine.append((text(line), "outside_day"))
        else:
            found.requests.append(fields)
    return found


def text(line: bytes) -> str:
    """Return bytes as the text that tables hold: U+FFFD and two digits for each byte that is not UTF-8."""
    out, position = [], 0
    while position < len(line):
        character = _character(line[position : position + 4])
        if character in ("", "\ufffd"):
            out.append(f"\ufffd{line[position]:02X}")
            position += 1
            # The other bytes of a U+FFFD are no characters by themselves.
        else:
            out.append(character)
            position += len(character.encode())
    return "".join(out)


def _character(start: bytes) -> str:
    """Return the character that bytes begin with; empty if it is none."""
    for size in range(1, len(start) + 1):
        try:
            return start[:size].decode()
        except UnicodeDecodeError:
            continue
    return ""


def _fields(line: bytes) -> tuple[Any, ...] | None:
    quoted = _quoted(line)
    if len(quoted) not in (3, 7):
        return None
    head, request, answer, *rest = quoted
    referrer: bytes | None = None
    agent: bytes | None = None
    if rest:
        referrer, between, agent, end = rest
        if between != b" " or end != b"" or not answer.endswith(b" "):
            return None
        answer = answer[:-1]
    client = _client(head)
    parts = answer.split(b" ")
    if client is None or len(parts) != 3 or parts[0] != b"":
        return None
    _, status, size = parts
    if len(status) != 3 or not _digits(status) or not (size == b"-" or (_digits(size) and len(size) <= 15)):
        return None
    return (
        *client,
        *_request(request),
        int(status),
        None if size == b"-" else int(size),
        None if referrer is None else text(referrer),
        None if agent is None else text(agent),
    )


def _quoted(line: bytes) -> list[bytes]:
    """Split a line at its quotes; a backslash makes the next byte an ordinary one."""
    parts, start, position = [], 0, 0
    while position < len(line):
        if line[position] == ord('"'):
            parts.append(line[start:position])
            start = position + 1
        position += 2 if line[position] == ord("\\") else 1
    return [*parts, line[start:]]


def _client(head: bytes) -> tuple[str, str, datetime] | None:
    if not head.endswith(b"] ") or b" [" not in head:
        return None
    before, _, time = head[:-2].rpartition(b" [")
    words = before.split(b" ", 2)
    at = _time(time)
    if at is None or len(words) != 3 or not all(words):
        return None
    return text(words[0]), text(words[2]), at


def _time(time: bytes) -> datetime | None:
    found = re.fullmatch(
        r"([0-9]{2})/([A-Za-z]{3})/([0-9]{4}):([0-9]{2}):([0-9]{2}):([0-9]{2}) ([+-])([0-9]{2})([0-9]{2})",
        time.decode("latin-1"),
    )
    if not found or found[2].title() not in MONTHS or int(found[3]) < 1000 or int(found[8]) > 23 or int(found[9]) > 59:
        return None
    try:
        year, month = int(found[3]), MONTHS.index(found[2].title()) + 1
        local = datetime(year, month, int(found[1]), int(found[4]), int(found[5]), int(found[6]), tzinfo=UTC)
        offset = timedelta(hours=int(found[8]), minutes=int(found[9]))
        return (local + offset if found[7] == "-" else local - offset).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return None


def _request(request: bytes) -> tuple[str | None, str | None, str | None]:
    words = request.split(b" ")
    if len(words) == 3 and words[0] and words[1] and not words[0].strip(TOKEN):
        name, slash, number = words[2].partition(b"/")
        major, point, minor = number.partition(b".")
        letters = name.isalpha() and name.isascii()
        if letters and slash and _digits(major) and (_digits(minor) if point else not minor):
            return words[0].decode(), text(words[1]), words[2].decode()
    return None, None, None


def _digits(word: bytes) -> bool:
    return word.isdigit()
