"""Waits for what comes about by itself."""

import socket
import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")


def eventually(condition: Callable[[], Value], within_s: float = 60) -> Value:
    """Return what `condition` returns as soon as it is true; fail after `within_s` seconds."""
    deadline = time.monotonic() + within_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"still {value!r} after {within_s} s"
        time.sleep(0.05)
    return value


def listens(port: int) -> bool:
    """Return whether something listens on a port of 127.0.0.1."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
