"""Pseudonyms of users: a keyed hash whose key changes from period to period.

A pseudonym is the first day of its period and 128 bits of an HMAC-SHA256 of the text, such as ``20150913-1f0c9a…``.
The key of a period is derived from the secret key of the pseudonyms and that day. So events of one user can be joined
within a period, and not over two, whoever holds the data alone; who destroys the secret key makes every pseudonym
unlinkable for good.
"""

import hmac
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache

DAY_US = 86_400_000_000
KNOWN = 50_000  # pseudonyms that a process remembers


class Pseudonyms:
    """Makes pseudonyms.

    Args:
        key: the secret key, 32 bytes.
        days: length of a period; periods are counted from 1970-01-01.
    """

    def __init__(self, key: bytes, days: int) -> None:
        self._key, self._days = key, days
        self._maker: Callable[[int], tuple[str, bytes]] = cache(self._made)
        self._hashed = lru_cache(KNOWN)(self._hash)

    def of(self, text: str, occurred_us: int) -> str:
        """Return the pseudonym of a text, such as a user's name.

        Args:
            text: what is hidden.
            occurred_us: when its event occurred, in microseconds since 1970, UTC.
        """
        return self._hashed(text, occurred_us // (self._days * DAY_US))

    def _hash(self, text: str, period: int) -> str:
        label, key = self._maker(period)
        return f"{label}-{hmac.digest(key, text.encode(), 'sha256').hex()[:32]}"

    def _made(self, period: int) -> tuple[str, bytes]:
        """Return the label and the key of a period."""
        label = f"{datetime.fromtimestamp(0, UTC) + timedelta(days=period * self._days):%Y%m%d}"
        return label, hmac.digest(self._key, f"pseudonyms of {label}".encode(), "sha256")
