"""Writes events at a rate, as if they occurred now."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import msgspec

from services.log_generator.delivery import Delivery, Objects
from services.log_generator.events import EventFile
from taxiway.api_logs import hours, records
from taxiway.api_logs.records import NotOfSchema


def play(
    events: EventFile,
    objects: Objects,
    *,
    rate: float,
    object_s: float,
    limit: int | None = None,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> Delivery:
    """Write the events of a file over and over, each as a new event of the present.

    An object is written when its hour ends, when it has enough records, and after some seconds. On Ctrl-C what is held
    is written too.

    Args:
        events: the file.
        objects: takes the records.
        rate: records a second.
        object_s: seconds after which an object is written.
        limit: number of records; None is no end.
        clock: seconds since 1970.
        sleep: waits some seconds.
    """
    began = clock()
    hour, opened = "", began
    try:
        for number, plaintext in _endless(events):
            if number == limit:
                break
            if (wait := began + number / rate - clock()) > 0:
                sleep(wait)
            now = clock()
            present = hours.of(datetime.fromtimestamp(now, UTC))
            if hour and (present != hour or now - opened >= object_s):
                objects.write_held()
                opened = now
            hour = present
            objects.add(hour, _as_of(plaintext, now, number))
    except KeyboardInterrupt:
        pass
    return objects.close()


def _endless(events: EventFile) -> Iterator[tuple[int, bytes]]:
    number = 0
    while True:
        for event in events:
            yield number, event.plaintext
            number += 1


def _as_of(plaintext: bytes, now: float, number: int) -> bytes:
    """Return a record with the present time and an id of its own; what is no record is left as it is."""
    try:
        record = records.read(plaintext)
    except NotOfSchema:
        return plaintext
    time_ = datetime.fromtimestamp(now, UTC).isoformat(timespec="microseconds")
    return records.write(msgspec.structs.replace(record, time=time_, id=f"{record.id}@{time_}.{number}"))
