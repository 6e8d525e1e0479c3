"""Formats values for people; each function returns ``–`` for a missing value."""

import calendar
from datetime import datetime

NONE = "–"

_COMPANIES = {"uber": "Uber", "lyft": "Lyft", "via": "Via", "juno": "Juno"}


def number(value: float | None) -> str:
    """12345 -> ``12,345``."""
    return NONE if value is None else f"{value:,.0f}"


def share(value: float | None, digits: int = 1) -> str:
    """0.7294 -> ``72.9%``; a small positive value is not shown as 0: ``<0.1%``."""
    if value is None:
        return NONE
    least = 10.0 ** -(digits + 2)
    return f"<{least:.{digits}%}" if 0 < value < least / 2 else f"{value:.{digits}%}"


def growth(value: float | None) -> str:
    """0.252 -> ``+25%``."""
    return NONE if value is None else f"{value:+,.0%}".replace("-", "−")


def dollars(value: float | None, digits: int = 0) -> str:
    """443202.4 -> ``$443,202``."""
    if value is None:
        return NONE
    return f"{'−' if value < 0 else ''}${abs(value):,.{digits}f}"


def duration(seconds: float | None) -> str:
    """251 -> ``4 min 11 s``; 48 -> ``48 s``; 7250 -> ``2 h 0 min``; with no-break spaces."""
    if seconds is None:
        return NONE
    whole = round(seconds)
    if whole < 60:
        words = f"{whole} s"
    elif whole < 3600:
        words = f"{whole // 60} min {whole % 60} s"
    else:
        words = f"{whole // 3600} h {whole % 3600 // 60} min"
    return words.replace(" ", "\N{NO-BREAK SPACE}")


def month(value: str) -> str:
    """``2023-01`` -> ``January 2023``."""
    return f"{calendar.month_name[int(value[5:])]} {value[:4]}"


def company(value: str) -> str:
    """``uber`` -> ``Uber``; an unknown name is returned unchanged."""
    return _COMPANIES.get(value, value)


def moment(value: datetime) -> str:
    """Return a UTC time to the minute."""
    return f"{value:%Y-%m-%d %H:%M} UTC"
