"""Calendar months: most tables of the lake have one partition for each month, written ``YYYY-MM``."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

PATTERN = r"^20\d\d-(0[1-9]|1[0-2])$"  # for JSON Schema and pydantic as well


@dataclass(frozen=True, order=True)
class Month:
    """A month of the calendar, ordered by time."""

    year: int
    month: int

    @classmethod
    def parse(cls, text: str) -> "Month":
        """Read ``YYYY-MM``.

        Raises:
            ValueError: the text is not a month; the message is one sentence.
        """
        if not re.fullmatch(PATTERN, text):
            raise ValueError(f"{text!r} is not a month; write it as YYYY-MM, for example 2023-01")
        return cls(int(text[:4]), int(text[5:]))

    def __str__(self) -> str:
        return f"{self.year}-{self.month:02d}"

    def plus(self, months: int) -> "Month":
        """Return the month that is ``months`` later (earlier if negative)."""
        year, month = divmod(self.year * 12 + self.month - 1 + months, 12)
        return Month(year, month + 1)

    @property
    def start(self) -> datetime:
        """The month's first instant, wall-clock time without a zone."""
        return datetime(self.year, self.month, 1)  # noqa: DTZ001

    @property
    def end(self) -> datetime:
        """The first instant after the month."""
        return self.plus(1).start

    @property
    def repeated_hour(self) -> tuple[datetime, datetime] | None:
        """The wall-clock hour that occurs twice because daylight saving time ends, or None in other months.

        United States since 2007: 01:00 to 02:00 of the first Sunday of November.
        """
        if self.month != 11:
            return None
        first_sunday = self.start + timedelta(days=(6 - self.start.weekday()) % 7)
        return first_sunday + timedelta(hours=1), first_sunday + timedelta(hours=2)


def shift(month: str, by: int) -> str:
    """Return the month ``YYYY-MM`` that is ``by`` months after another (before it, if negative)."""
    return str(Month.parse(month).plus(by))
