"""How a service ends: a signal asks it to, and it ends in order."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from console.processes import ENDING


@contextmanager
def set_by_signals(stop: threading.Event) -> Iterator[None]:
    """Set an event at the first signal that asks the process to end; in the main thread only."""
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
