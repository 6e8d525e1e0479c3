"""Counts by name, in the order in which people read them."""

from collections.abc import Mapping


def most_first(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return the counts by name, the highest first, and equal ones by name: the same whatever order they came in."""
    return sorted(counts.items(), key=lambda each: (-each[1], each[0]))
