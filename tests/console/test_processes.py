"""Programs that commands start: a signal that comes while they are started is not lost."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from console.processes import run_program, signals_held, start_program
from tests.processes import name_of

# Sends itself a signal in a function that runs within each fork, where Python ignores what handlers raise.
AT_FORK = """
import os, signal, sys
from console import processes
number = int(sys.argv[1])

class Ended(BaseException):
    pass

def end(*_):
    raise Ended

signal.signal(number, end)
os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), number))
try:
    WHAT
except Ended:
    import psutil
    print("ended", len(psutil.Process().children()))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(
    "what",
    ['processes.start_program(["sleep", "60"])', 'processes.run_program(["sleep", "60"], timeout=5)'],
    ids=["start", "run"],
)
def test_a_signal_that_comes_within_a_fork_is_not_lost(what: str, number: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", AT_FORK.replace("WHAT", what), str(int(number))],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("ended 0\n", "")


def test_a_child_does_not_take_the_signal_of_its_parent() -> None:
    program = AT_FORK.replace(
        "WHAT",
        "with processes.signals_held():\n        pid = os.fork()\n    os._exit(7)",
    )
    program = program.replace("after_in_parent", "before")  # so that both have it
    program = program.replace("import psutil\n", "print(os.waitstatus_to_exitcode(os.wait()[1]))\n    import psutil\n")
    done = subprocess.run(
        [sys.executable, "-c", program, "15"], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.stdout, done.stderr) == ("7\nended 0\n", "")


def test_what_a_program_says_and_how_it_ended(tmp_path: Path) -> None:
    done = run_program(
        [sys.executable, "-c", "import os, sys; print(os.getcwd()); sys.exit(3)"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, f"{tmp_path}\n", None)
    with pytest.raises(FileNotFoundError):
        run_program([tmp_path / "none"])


def test_a_program_that_takes_too_long_is_ended() -> None:
    began = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired):
        run_program(["sleep", "60"], timeout=0.2)
    assert time.monotonic() - began < 10
    assert [each for each in psutil.Process().children() if name_of(each) == "sleep"] == []


def test_in_another_thread_nothing_is_held() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def hold() -> None:
        with signals_held():
            seen.append(signal.getsignal(signal.SIGTERM))
        process = start_program(["true"])
        seen.append(process.wait())

    thread = threading.Thread(target=hold)
    thread.start()
    thread.join()
    assert seen == [before, 0]


def test_what_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals_held():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
