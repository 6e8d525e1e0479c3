"""Options that a person gives by variables, such as ``make demo ENGINE=spark``."""

from collections.abc import Mapping
from pathlib import Path

from console.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
ENGINES = {"sail": "Sail", "spark": "Apache Spark"}


def engine(given: Mapping[str, str]) -> str:
    """Return what runs Spark programs locally: ``ENGINE``, by default ``sail``.

    Raises:
        UserError: there is no such engine.
    """
    name = given.get("ENGINE") or "sail"
    if name not in ENGINES:
        raise UserError(f"ENGINE={name} is not known: use ENGINE=sail (default, no Java) or ENGINE=spark.")
    return name


def number(given: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    """Return a whole number that a variable gives.

    Raises:
        UserError: it is no number, or outside ``low`` to ``high``.
    """
    value = given.get(name) or str(default)
    if not value.isdecimal() or not low <= int(value) <= high:
        raise UserError(f"{name}={value} cannot be used: give a number from {low} to {high}, such as {default}.")
    return int(value)


def port(given: Mapping[str, str], name: str, default: int) -> int:
    """Return a port that needs no privileges, as a variable gives it; raises as :func:`number` does."""
    return number(given, name, default, 1024, 65535)
