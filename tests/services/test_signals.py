"""A signal sets the event, and leaves nothing behind."""

import os
import signal
import threading

import pytest

from console.processes import ENDING
from services.signals import set_by_signals


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_sets_the_event_and_handlers_are_put_back(number: int) -> None:
    before = {each: signal.getsignal(each) for each in ENDING}
    stop = threading.Event()
    with set_by_signals(stop):
        os.kill(os.getpid(), number)
        assert stop.wait(5)
    assert {each: signal.getsignal(each) for each in ENDING} == before
