"""Files of events: a JSON object a line, plain or gzip."""

import gzip
import hashlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import msgspec

from taxiway.api_logs import records
from taxiway.api_logs.records import Record

TIME_FIELD, USER_FIELD = "time", "user"
MOST_LINE_BYTES = 4 << 20  # sealed and in base64 it still is a line that the pipeline takes
_GZIP = b"\x1f\x8b"


class EventsError(ValueError):
    """A file of events cannot be used; the text is one sentence that names it, the fault and the remedy."""


@dataclass(frozen=True)
class Event:
    """A line of a file of events.

    Attributes:
        line: its number, from 1.
        plaintext: the record that is sealed: what :mod:`taxiway.api_logs.records` reads; the line itself if it is no
            JSON object.
        occurred_us: in microseconds since 1970; None if its time cannot be used.
    """

    line: int
    plaintext: bytes
    occurred_us: int | None


@dataclass(frozen=True)
class EventFile:
    """A file of events that was read once to its end.

    Attributes:
        path: of the file.
        time_field, user_field: names of the members that hold time and user; ``a.b`` is the member b of a.
        events: number of lines that are not blank.
        first_us: the first time that can be used.
    """

    path: Path
    time_field: str
    user_field: str
    events: int = 0
    first_us: int = 0

    @property
    def name(self) -> str:
        """The file's name without suffixes, to name objects by."""
        return self.path.name.partition(".")[0] or "events"

    def __iter__(self) -> Iterator[Event]:
        for number, line in self._lines():
            try:
                event = msgspec.json.decode(line)
                found = self._event(number, event) if isinstance(event, dict) else None
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                found = None
            yield found or Event(number, line, None)

    def _event(self, number: int, event: dict[str, Any]) -> Event:
        time, user = _take(event, self.time_field), _take(event, self.user_field)
        given = event.pop("id", None)
        if given is None or given == "":
            given = hashlib.sha256(f"{self.path.name}:{number}".encode()).hexdigest()
        record = Record(id=given, time=time, user=user, event=event)
        return Event(number, records.write(record), records.parse_time(time))

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield the lines that are not blank with their numbers.

        Raises:
            EventsError: the file cannot be read to its end.
        """
        try:
            with self._open() as stream:
                number = 0
                while line := stream.readline(MOST_LINE_BYTES + 1):
                    number += 1
                    if len(line) > MOST_LINE_BYTES:
                        raise EventsError(
                            f"{self.path}, line {number}: it is longer than {MOST_LINE_BYTES >> 20} MiB; "
                            "write one JSON object a line."
                        )
                    if line.strip():
                        yield number, line.strip()
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise EventsError(f"{self.path} is a damaged or cut gzip file ({error}): copy it again.") from None
        except OSError as error:
            raise EventsError(f"{self.path} cannot be read: {error.strerror or error}.") from None

    def _open(self) -> IO[bytes]:
        with self.path.open("rb") as stream:
            compressed = stream.read(2) == _GZIP
        return gzip.open(self.path) if compressed else self.path.open("rb")  # type: ignore[return-value]


def open_events(path: Path, time_field: str = TIME_FIELD, user_field: str = USER_FIELD) -> EventFile:
    """Read a file of events to its end, and return what can be delivered.

    Lines that are no JSON object, or whose time cannot be used, are delivered too: the pipeline quarantines them.

    Raises:
        EventsError: it cannot be read, is empty, is no file of JSON lines, or no line has one of the fields.
    """
    found = EventFile(path, time_field, user_field)
    events = 0
    first_us = None
    for event in found:
        if not events and event.plaintext[:1] != b"{":
            raise EventsError(f"{path}, line {event.line}: it is no JSON object; write one a line.")
        events += 1
        first_us = event.occurred_us if first_us is None else first_us
    if not events:
        raise EventsError(f"{path} is empty: write one JSON object a line.")
    if first_us is None:
        raise EventsError(
            f"No event of {path} has a time that can be used in the field {time_field!r}: name another by TIME_FIELD; "
            "times are ISO 8601, or seconds, milliseconds or microseconds since 1970."
        )
    if user_field != USER_FIELD and not any(_has(line, user_field) for _, line in found._lines()):
        raise EventsError(f"No event of {path} has the field {user_field!r}: name another by USER_FIELD.")
    return EventFile(path, time_field, user_field, events, first_us)


def _has(line: bytes, name: str) -> bool:
    try:
        event = msgspec.json.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return isinstance(event, dict) and _take(event, name) is not None


def _take(event: dict[str, Any], name: str) -> Any:
    """Remove a member, ``a.b`` of a nested object, and return its value; None if there is none."""
    if name in event:
        return event.pop(name)
    *path, last = name.split(".")
    for part in path:
        inner = event.get(part)
        if not isinstance(inner, dict):
            return None
        event = inner
    return event.pop(last, None)
