import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from laptop.config import Config
from laptop.processes import Supervisor


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
        "deaf = 'import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(60)'\n"
        "child = subprocess.Popen([sys.executable, '-c', deaf], stdout=subprocess.PIPE, start_new_session=True)\n"
        "child.stdout.readline()\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout
        child = psutil.Process(int(parent.stdout.readline()))
        record(config, parent.pid, psutil.Process(parent.pid).create_time())
        assert Supervisor(config).stop() is True
        assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
        assert not (config.state / "supervisor.json").exists()
    finally:
        parent.kill()
        parent.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="system: only Linux can end a child with its parent")
def test_a_forked_part_ends_when_its_parent_is_killed() -> None:
    program = (
        "import os, signal, time\n"
        "from laptop.supervisor import end_with_parent\n"
        "ready, write = os.pipe()\n"
        "pid = os.fork()\n"
        "if not pid:\n"
        "    end_with_parent(); os.write(write, b'.'); time.sleep(60)\n"
        "os.read(ready, 1); print(pid, flush=True); time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    child = psutil.Process(int(parent.stdout.readline()))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 5
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
