"""The platform's processes: found again, ended, and none left, whichever of them is killed."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from console.errors import UserError
from console.options import ROOT
from laptop.commands import status
from laptop.config import Config
from laptop.processes import Supervisor
from tests.processes import alive, of_session, wait_for_end
from tests.waiting import eventually

linux = pytest.mark.skipif(sys.platform != "linux", reason="system: only Linux has subreapers and parent-death signals")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config.from_environment({"STATE": str(tmp_path)})


def record(config: Config, pid: int, created: float) -> None:
    (config.state / "supervisor.json").write_text(f'{{"pid": {pid}, "created": {created}, "engine": "sail"}}')


def test_a_reused_pid_is_not_taken_for_the_platform(config: Config) -> None:
    record(config, os.getpid(), psutil.Process().create_time() - 1000)
    supervisor = Supervisor(config)
    assert supervisor.process() is None
    assert supervisor.stop() is False


def test_stop_ends_the_whole_family_even_if_it_does_not_listen(config: Config) -> None:
    program = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit())\n"
        "deaf = 'import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(600)'\n"
        "child = subprocess.Popen([sys.executable, '-c', deaf], stdout=subprocess.PIPE, start_new_session=True)\n"
        "child.stdout.readline()\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout
        child = psutil.Process(int(parent.stdout.readline()))
        record(config, parent.pid, psutil.Process(parent.pid).create_time())
        assert Supervisor(config).stop() is True
        assert not alive(child)
        assert not (config.state / "supervisor.json").exists()
    finally:
        parent.kill()
        parent.wait()


# A supervisor of which each component is a stub with workers that do not listen, one of them in a session of its own.
STUBS = """
import os, signal, subprocess, sys, time
from laptop import supervisor

def work():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)

def stub(name):
    for own_session in (False, True):
        if not os.fork():
            if own_session:
                os.setsid()
            work()
    with open(os.environ["STATE"] + "/started", "a") as file:
        file.write(f"{name} {os.getpid()}\\n")
    if name == os.environ.get("FAULTY"):
        print("first\\nIt is broken.", flush=True)
        os._exit(3)
    time.sleep(600)

def fork(arguments, log):
    parent = os.getpid()
    pid = os.fork()
    if not pid:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        supervisor.end_with_parent(parent)
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT), 1)
        stub(arguments[0])
    return pid

class Aws:
    def __init__(self, config):
        self.pid = fork(["local-aws"], config.logs / "local-aws.log")

supervisor._start_aws = lambda config, memory: Aws(config)
supervisor._migrate_database = lambda config: None
supervisor._fork = fork
supervisor.PRELOADED = ()
supervisor.importlib.import_module = lambda name: None
with open(os.environ["STATE"] + "/started", "a") as file:
    file.write(f"guardian {os.getpid()}\\n")
real = supervisor._watch
def watch(*arguments):
    with open(os.environ["STATE"] + "/started", "a") as file:
        file.write(f"supervisor {os.getpid()}\\n")
    return real(*arguments)
supervisor._watch = watch
sys.exit(supervisor.main())
"""
LAUNCHER = """
import os, subprocess, sys, time
child = subprocess.Popen(
    [sys.executable, "-c", os.environ["STUBS"], "--parent", str(os.getpid())], start_new_session=True,
    stdout=sys.stderr,
)
print(child.pid, flush=True)
child.wait()
time.sleep(600)
"""
COMPONENTS = ["local-aws", "api-server", "scheduler", "dag-processor", "triggerer"]


class Stubs:
    """A platform of stubs, started by a command as :meth:`Supervisor.start` starts the real one."""

    def __init__(self, config: Config, variables: Mapping[str, str]) -> None:
        self.config = config
        config.logs.mkdir()
        own = {"STATE": str(config.state), "PYTHONPATH": str(ROOT), "STUBS": STUBS}
        with (config.logs / "supervisor.log").open("wb") as log:
            self.command = subprocess.Popen(
                [sys.executable, "-c", LAUNCHER],
                cwd=ROOT,
                env={**os.environ, **own, **variables},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.command.stdout
        pid = int(self.command.stdout.readline())
        record(config, pid, psutil.Process(pid).create_time())

    def pids(self) -> dict[str, int]:
        """Return the pids of all parts, once all have started."""
        file = self.config.state / "started"
        eventually(lambda: file.exists() and len(file.read_text().splitlines()) == len(COMPONENTS) + 2)
        found = (line.split() for line in file.read_text().splitlines())
        return {name: int(pid) for name, pid in found}

    def processes(self) -> list[psutil.Process]:
        """Return every live process of it, whoever its parent is."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                own = process.environ().get("STATE") == str(self.config.state)
                if own and process.pid != self.command.pid and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def in_session(self, leader: int) -> list[psutil.Process]:
        return of_session(leader, self.processes())

    def close(self) -> None:
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.command.kill()
        self.command.communicate()


@pytest.fixture
def start(config: Config) -> Iterator[Callable[..., Stubs]]:
    started = []

    def start(**variables: str) -> Stubs:
        started.append(Stubs(config, variables))
        return started[-1]

    yield start
    for each in started:
        each.close()


def status_of(config: Config, capsys: pytest.CaptureFixture[str]) -> str:
    eventually(lambda: Supervisor(config).process() is None)  # a process that just ends has no environment any more
    capsys.readouterr()
    assert status(config, Console(width=500)) == 3
    return capsys.readouterr().out


@pytest.mark.slow
@linux
@pytest.mark.parametrize("killed", [*COMPONENTS, "supervisor", "guardian"])
def test_whatever_is_killed_takes_all_down_and_is_named(
    start: Callable[..., Stubs], config: Config, killed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    stubs = start()
    pids = stubs.pids()
    eventually(lambda: len(stubs.processes()) == 3 * len(COMPONENTS) + 2)
    os.kill(pids[killed], signal.SIGKILL)
    eventually(lambda: not stubs.processes())
    said = status_of(config, capsys)
    name = {"supervisor": "its supervisor", "guardian": "its guardian"}.get(killed, killed)
    assert f"Not running: {name} was killed" in said
    assert re.search(r"this was at 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC\.\nmake up starts it again", said)
    assert f"{name} was killed" in (config.logs / "supervisor.log").read_text()
    with pytest.raises(UserError, match=f"The platform has ended: {name} was killed"):
        Supervisor(config).require_alive()
    assert Supervisor(config).stop() is False
    assert status_of(config, capsys) == "Not running: make up starts it.\n"


@linux
def test_a_component_that_fails_is_named_with_its_status_and_last_words(
    start: Callable[..., Stubs], config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    stubs = start(FAULTY="triggerer")
    eventually(lambda: Supervisor(config).process() is None)
    eventually(lambda: not stubs.processes())
    log = re.escape(str(config.logs / "triggerer.log"))
    assert re.match(
        rf"Not running: triggerer ended with exit status 3: It is broken\. \(see {log}\); this was at 20",
        status_of(config, capsys),
    )


@linux
def test_it_ends_when_it_is_asked_to_and_then_there_is_no_reason_to_tell(
    start: Callable[..., Stubs], config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    stubs = start()
    stubs.pids()
    assert Supervisor(config).stop() is True
    eventually(lambda: not stubs.processes())
    assert status_of(config, capsys) == "Not running: make up starts it.\n"


@pytest.mark.slow
@linux
@pytest.mark.parametrize("kept", [False, True])
def test_it_ends_with_the_command_that_started_it_unless_it_is_kept(
    start: Callable[..., Stubs], config: Config, kept: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    stubs = start()
    stubs.pids()
    if kept:
        Supervisor(config).keep()
    stubs.command.kill()
    if kept:
        time.sleep(1)
        assert len(stubs.processes()) == 3 * len(COMPONENTS) + 2
        assert Supervisor(config).stop() is True
        eventually(lambda: not stubs.processes())
    else:
        eventually(lambda: not stubs.processes())
        assert "Not running: the command that had started it is gone" in status_of(config, capsys)


@linux
def test_what_is_left_where_both_outermost_processes_were_killed_ends_with_the_next_command(
    start: Callable[..., Stubs], config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    stubs = start()
    pids = stubs.pids()
    # All but the workers that have sessions of their own.
    eventually(lambda: len(stubs.processes()) - len(stubs.in_session(pids["guardian"])) == len(COMPONENTS))
    for name in ("guardian", "supervisor"):
        os.kill(pids[name], signal.SIGSTOP)
    for name in ("guardian", "supervisor"):
        os.kill(pids[name], signal.SIGKILL)
    eventually(lambda: Supervisor(config).process() is None)
    assert "Not running: all its processes were killed, or the machine was switched off" in status_of(config, capsys)
    left = stubs.in_session(pids["guardian"])
    assert left
    assert Supervisor(config).stop() is False
    wait_for_end(left)


@linux
@pytest.mark.parametrize(
    "child",
    [
        "end_with_parent(parent); os.write(write, b'.')",
        # The parent is gone before the child can ask for its signal.
        "os.write(write, b'.')\n    while os.getppid() == parent: time.sleep(0.01)\n    end_with_parent(parent)",
    ],
    ids=["later", "before"],
)
def test_a_forked_part_ends_when_its_parent_is_killed(child: str) -> None:
    program = (
        "import os, time\n"
        "from console.processes import end_with_parent\n"
        "ready, write = os.pipe()\n"
        "parent, pid = os.getpid(), os.fork()\n"
        "if not pid:\n"
        f"    {child}; time.sleep(600)\n"
        "os.read(ready, 1); print(pid, flush=True); time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    forked = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    wait_for_end([forked])


def test_a_status_asked_while_it_starts_is_one_sentence(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    record(config, os.getpid(), psutil.Process().create_time())
    with pytest.raises(UserError, match=r"Airflow has not written the password of its page yet.*api-server\.log\.$"):
        status(config, Console(width=500))
    assert capsys.readouterr().out == "Running, with Spark programs on Sail.\n"
