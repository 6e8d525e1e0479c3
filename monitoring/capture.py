"""Records the StatsD lines of a real run of the demo: ``python -m monitoring.capture FILE.statsd.gz``.

The platform runs as ``make demo`` does, in a folder of its own, with Airflow's metrics settings of the overlay. Each
line of the file is ``seconds<TAB>port<TAB>line``: when it arrived, and from which port, which identifies the process.
"""

import argparse
import gzip
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from console.ports import free_port
from monitoring.metrics import ROOT

OVERLAY = ROOT / "helm/airflow/base.yaml"
# What the chart sets in addition.
CHART = {"statsd_on": "True", "statsd_host": "127.0.0.1", "statsd_prefix": "airflow"}


@dataclass(frozen=True)
class Packet:
    """A line that came ``seconds`` after the start, from a process' port."""

    seconds: float
    port: int
    line: str


def read(path: Path) -> list[Packet]:
    """Read a record, in the order in which the lines came."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [Packet(float(seconds), int(port), line) for seconds, port, line in _split(file)]


def write(path: Path, packets: list[Packet]) -> None:
    """Write a record; the same packets make the same file."""
    text = "".join(f"{each.seconds:.3f}\t{each.port}\t{each.line}\n" for each in packets)
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


def _split(file: Iterator[str]) -> Iterator[list[str]]:
    for line in file:
        yield line.rstrip("\n").split("\t", 2)


def settings(overlay: Path = OVERLAY) -> dict[str, str]:
    """Return section [metrics] of Airflow's configuration as the overlay has it."""
    return {**CHART, **yaml.safe_load(overlay.read_text())["config"]["metrics"]}


def write_local_settings(home: Path, overlay: Path = OVERLAY) -> None:
    """Write the functions that the overlay's configuration names to where Airflow imports them from, below its home."""
    folder = home / "config"
    folder.mkdir(parents=True)
    text = yaml.safe_load(overlay.read_text())["airflowLocalSettings"]
    (folder / "airflow_local_settings.py").write_text(text)


def record(command: list[str], state: Path, environment: dict[str, str], metrics: dict[str, str]) -> list[Packet]:
    """Run a command of the laptop's with Airflow's metrics on, and return what it sent.

    Args:
        command: such as ``python -m laptop demo``.
        state: the empty folder of its platform, named by STATE in ``environment``.
        environment: of the command.
        metrics: Airflow's section [metrics].

    Raises:
        subprocess.CalledProcessError: the command failed.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(0.2)
        # The laptop passes on no AIRFLOW_ variable, and does not touch this file.
        home = state / "airflow"
        write_local_settings(home)
        lines = [
            f"{key} = {value}" for key, value in (metrics | {"statsd_port": str(receiver.getsockname()[1])}).items()
        ]
        (home / "airflow.cfg").write_text("\n".join(["[metrics]", *lines, ""]))
        packets: list[Packet] = []
        done = threading.Event()
        listener = threading.Thread(target=_listen, args=(receiver, done, packets))
        listener.start()
        try:
            subprocess.run(command, env=environment, cwd=ROOT, check=True, stdin=subprocess.DEVNULL)
        finally:
            time.sleep(0.5)
            done.set()
            listener.join()
    return packets


def _listen(receiver: socket.socket, done: threading.Event, packets: list[Packet]) -> None:
    began = time.monotonic()
    while not done.is_set():
        try:
            data, (_, port) = receiver.recvfrom(65535)
        except TimeoutError:
            continue
        packets += [Packet(time.monotonic() - began, port, line) for line in data.decode().splitlines()]


def main() -> None:
    """Record a demo."""
    parser = argparse.ArgumentParser(prog="python -m monitoring.capture", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--state", type=Path, help="folder of the platform, empty (by default one that is removed)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="taxiway-") as folder:
        state = arguments.state or Path(folder) / "platform"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "AWS_"))}
        environment = {
            **kept,
            "STATE": str(state),
            "UI_PORT": str(free_port()),
            "AWS_PORT": str(free_port()),
            "TAXIWAY_PLATFORM_DAGS": "True",
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'dags'}",
        }
        command = [str(ROOT / ".local/venvs/airflow/bin/python"), "-m", "laptop", "demo"]
        try:
            packets = record(command, state, environment, settings())
        except subprocess.CalledProcessError as error:
            sys.exit(f"The demo ended with status {error.returncode}: nothing is written.")
    write(arguments.file, packets)
    print(f"{len(packets)} lines of {len({each.port for each in packets})} processes in {arguments.file}")  # noqa: T201


if __name__ == "__main__":
    main()
