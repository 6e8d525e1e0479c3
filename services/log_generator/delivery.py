"""Seals events and puts them into objects of the hour in which they arrive."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta

import msgspec

from services.log_generator.events import Event, EventFile
from services.log_generator.secrets import MasterKeys
from services.log_generator.targets import Put
from taxiway.api_logs import hours, records
from taxiway.api_logs.envelope import Sealer
from taxiway.api_logs.records import EPOCH, HOUR_US, Record
from taxiway.api_logs.tables import late_hours

RECORDS_PER_OBJECT = 10_000
MOST_HELD_BYTES = 128 << 20
FAULTY_HOURS = 3  # that get a record of each kind


@dataclass
class Delivery:
    """What was delivered.

    Attributes:
        records: arrival hour → records.
        objects: number of objects.
        faults: reason → records that were added to be rejected for it.
    """

    records: Counter[str] = field(default_factory=Counter)
    objects: int = 0
    faults: Counter[str] = field(default_factory=Counter)


class Objects:
    """Objects that are being written, several hours at a time.

    Args:
        put: writes an object.
        keys: give each object its master key.
        name: objects are called this and a number.
        records_per_object: records after which an object is written.
    """

    def __init__(self, put: Put, keys: MasterKeys, name: str, records_per_object: int = RECORDS_PER_OBJECT) -> None:
        self._put, self._keys, self._name, self._limit = put, keys, name, records_per_object
        self._held: dict[str, tuple[Sealer, list[bytes]]] = {}
        self._bytes: Counter[str] = Counter()
        self._numbers: Counter[str] = Counter()
        self.delivery = Delivery()

    def add(self, hour: str, plaintext: bytes) -> bytes:
        """Seal a record that arrives in an hour, and return its line."""
        if hour not in self._held:
            self._held[hour] = (Sealer(*self._keys.for_next_object()), [])
        sealer, lines = self._held[hour]
        lines.append(sealer.seal(plaintext))
        self._bytes[hour] += len(lines[-1])
        if len(lines) >= self._limit:
            self.write(hour)
        elif self._bytes.total() > MOST_HELD_BYTES:
            self.write(self._bytes.most_common(1)[0][0])
        return lines[-1]

    def write(self, hour: str) -> None:
        """Write the object of an hour that is being filled."""
        _, lines = self._held.pop(hour)
        del self._bytes[hour]
        self._numbers[hour] += 1
        self.write_lines(hour, f"{self._name}-{self._numbers[hour]:06}.jsonl", lines)

    def write_lines(self, hour: str, name: str, lines: list[bytes], end: bytes = b"\n") -> None:
        """Write an object of some lines."""
        self._put(f"{folder_of(hour)}/{name}", b"\n".join(lines) + end)
        self.delivery.records[hour] += len(lines)
        self.delivery.objects += 1

    def write_held(self) -> None:
        """Write all objects that are being filled."""
        for hour in sorted(self._held):
            self.write(hour)

    def close(self) -> Delivery:
        """Write what is held, and return what was delivered."""
        self.write_held()
        return self.delivery


def folder_of(hour: str) -> str:
    """Return the folder of an arrival hour, ``year=…/month=…/day=…/hour=…``."""
    return "/".join(
        f"{key}={value}" for key, value in zip(("year", "month", "day", "hour"), hour.split("-"), strict=True)
    )


def deliver(
    events: EventFile,
    put: Put,
    keys: MasterKeys,
    *,
    records_per_object: int = RECORDS_PER_OBJECT,
    faults: bool = False,
) -> Delivery:
    """Deliver each event of a file in the hour in which it occurred; one without a usable time with the line before it.

    Args:
        events: the file.
        put: writes an object below the folder of the raw objects.
        keys: give each object its master key.
        records_per_object: records of an object at most.
        faults: add some records of each kind that the pipeline rejects.
    """
    objects = Objects(put, keys, events.name, records_per_object)
    hour = _hour(events.first_us)
    chosen: dict[str, tuple[Event, bytes]] = {}
    for event in events:
        hour = hour if event.occurred_us is None else _hour(event.occurred_us)
        line = objects.add(hour, event.plaintext)
        if faults and event.occurred_us is not None and len(chosen) < FAULTY_HOURS and hour not in chosen:
            chosen[hour] = (event, line)
    delivery = objects.close()
    if faults:
        for number, (hour, lines, end) in enumerate(_faults(chosen, keys, delivery.faults)):
            objects.write_lines(hour, f"{events.name}-faults-{number}.jsonl", lines, end)
    return delivery


def _hour(us: int) -> str:
    return hours.of(EPOCH + timedelta(microseconds=us))


def _faults(
    chosen: dict[str, tuple[Event, bytes]], keys: MasterKeys, counted: Counter[str]
) -> Iterator[tuple[str, list[bytes], bytes]]:
    """Yield objects of faults made from delivered events: hour, lines, what follows the last of them."""
    sealer, stranger = Sealer(*keys.for_next_object()), Sealer(*keys.make(store=False))
    late_us = (late_hours() + 1) * HOUR_US
    for number, (hour, (event, line)) in enumerate(chosen.items()):
        record = records.read(event.plaintext)
        lines = {
            "tampered": _changed(line),
            "unknown_key": stranger.seal(event.plaintext),
            "wrong_schema": sealer.seal(_other(record, number, time="yesterday")),
            "late": sealer.seal(_other(record, number, time=_iso(event.occurred_us, -late_us))),
            "in_future": sealer.seal(_other(record, number, time=_iso(event.occurred_us, 3 * HOUR_US))),
            "duplicate": line,
        }
        counted.update(lines.keys())
        yield hour, list(lines.values()), b"\n"
        counted["truncated"] += 1
        yield hour, [line[: len(line) // 2]], b""


def _other(record: Record, number: int, time: str) -> bytes:
    """Return a record of its own id that occurred at another time."""
    return records.write(msgspec.structs.replace(record, id=f"fault-{number}-{time}", time=time))


def _iso(us: int | None, by: int) -> str:
    return (EPOCH + timedelta(microseconds=(us or 0) + by)).isoformat()


def _changed(line: bytes) -> bytes:
    """Return a line of which one character of the ciphertext is another."""
    at = len(line) - 60
    return line[:at] + (b"A" if line[at : at + 1] != b"A" else b"B") + line[at + 1 :]
