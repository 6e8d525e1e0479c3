"""Hours in UTC, written ``YYYY-MM-DD-HH`` as partitions name them, and ranges of them, written ``FIRST/LAST``."""

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

FORMAT = "%Y-%m-%d-%H"
HOUR = r"20\d\d-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])-([01]\d|2[0-3])"
PATTERN = rf"^{HOUR}$"  # for JSON Schema and pydantic as well
RANGE_PATTERN = rf"^{HOUR}(/{HOUR})?$"
MOST = 24 * 31  # hours of a range: publishing an hour takes some requests, and a task ends within an hour


def parse(hour: str) -> datetime:
    """Return the first instant of an hour.

    Raises:
        ValueError: the text is not an hour; the message is one sentence.
    """
    try:
        if re.fullmatch(PATTERN, hour):
            return datetime.strptime(hour, FORMAT).replace(tzinfo=UTC)
    except ValueError:  # such as the 31st of June
        pass
    raise ValueError(f"{hour!r} is not an hour: write it as YYYY-MM-DD-HH, for example 2026-01-31-07.")


def of(time: datetime) -> str:
    """Return the hour that an instant is in."""
    return time.astimezone(UTC).strftime(FORMAT)


def shift(hour: str, by: int) -> str:
    """Return the hour that is ``by`` hours after another (before it, if negative)."""
    return of(parse(hour) + timedelta(hours=by))


def end(hour: str) -> datetime:
    """Return the first instant after an hour."""
    return parse(hour) + timedelta(hours=1)


def day(hour: str) -> str:
    """Return the day of an hour, ``YYYY-MM-DD``."""
    return hour[:10]


def expand(given: Iterable[str]) -> list[str]:
    """Return the hours that a list of hours and ranges names, each once, in order.

    Raises:
        ValueError: one of them is no hour or range, or there are too many; the message is one sentence.
    """
    return sorted({hour for text in given for hour in _range(text)})


def _range(text: str) -> Iterator[str]:
    first, _, last = text.partition("/")
    begin, final = parse(first), parse(last or first)
    count = int((final - begin) / timedelta(hours=1)) + 1
    if count < 1:
        raise ValueError(f"{text!r} ends before it begins: write the earlier hour first.")
    if count > MOST:
        raise ValueError(f"{text!r} has {count:,} hours: ask for at most {MOST:,} at once.")
    return (of(begin + timedelta(hours=number)) for number in range(count))
