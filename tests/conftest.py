"""What all tests need."""

import signal


def pytest_sessionstart() -> None:
    """Hear Ctrl-C as programs at a terminal do: a background shell has its children ignore it, and theirs too."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
