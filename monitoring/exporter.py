"""A real StatsD exporter: started with mappings, sent lines to, and read."""

import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from console.ports import free_port
from monitoring.metrics import ROOT

# Of one line of the text format; label values escape \\, " and line ends.
_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")
_LABEL = re.compile(r'(\w+)="((?:\\.|[^"\\])*)"')
_OF_ITSELF = ("statsd_", "go_", "process_", "promhttp_")
_BATCH = 200
_LIMIT_S = 60  # for what takes a moment on a machine that is not busy


class ProgramError(Exception):
    """A program is unavailable or does not start; the text is one clear sentence."""


@dataclass(frozen=True)
class Sample:
    """One series and its value."""

    name: str
    labels: tuple[tuple[str, str], ...]
    value: float


@dataclass(frozen=True)
class Page:
    """What ``/metrics`` shows: samples, and the type of each metric."""

    samples: tuple[Sample, ...]
    types: dict[str, str]

    @property
    def sent(self) -> tuple[Sample, ...]:
        """Samples of what was sent, without the exporter's own."""
        return tuple(each for each in self.samples if not each.name.startswith(_OF_ITSELF))

    def own(self, name: str) -> float:
        """Return the sum of one of the exporter's own metrics."""
        return sum(each.value for each in self.samples if each.name == name)


def program(name: str) -> str:
    """Return where one of the programs of ``helm/tools/install.sh`` is.

    Raises:
        ProgramError: it is not installed.
    """
    places = os.pathsep.join((str(ROOT / ".local/bin"), os.environ.get("PATH", "")))
    if found := shutil.which(name, path=places):
        return found
    raise ProgramError(f"{name} is not on the PATH: helm/tools/install.sh {name} builds it where Go is installed.")


class Exporter:
    """A running exporter; made by :func:`exporter`."""

    def __init__(self, process: "subprocess.Popen[bytes]", web: int, statsd: int) -> None:
        self.pid = process.pid
        self.address = f"127.0.0.1:{web}"
        self.statsd_port = statsd
        self._sent = 0

    def send(self, lines: Iterable[str]) -> None:
        """Send lines and wait until all were received and the page shows them.

        Raises:
            ProgramError: some did not arrive.
        """
        todo = list(lines)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect(("127.0.0.1", self.statsd_port))
            for start in range(0, len(todo), _BATCH):
                for line in todo[start : start + _BATCH]:
                    client.send(line.encode())
                # UDP drops what exceeds the receiver's buffer: send no faster than it reads.
                self._sent += len(todo[start : start + _BATCH])
                self._wait()
        if todo:
            self._settle()

    @property
    def sent(self) -> int:
        """Number of the lines that were sent."""
        return self._sent

    def page(self) -> Page:
        """Read ``/metrics``."""
        return parse(self._get("/metrics"))

    def text(self) -> str:
        """Return ``/metrics`` as it is."""
        return self._get("/metrics")

    def _wait(self) -> None:
        deadline = time.monotonic() + _LIMIT_S
        while time.monotonic() < deadline:
            found = re.search(r"^statsd_exporter_lines_total (\S+)$", self._get("/metrics"), re.MULTILINE)
            if found and float(found[1]) >= self._sent:
                return
            time.sleep(0.02)
        raise ProgramError(f"The exporter did not receive all of {self._sent} lines within {_LIMIT_S} s.")

    def _settle(self) -> None:
        """Wait until no more events are handled: lines are counted before their events are."""
        handled = -1.0
        while (found := self.page().own("statsd_exporter_events_total")) != handled:
            handled = found
            time.sleep(0.25)

    def _get(self, path: str) -> str:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://{self.address}{path}", timeout=30) as answer:
            return str(answer.read().decode())


@contextmanager
def exporter(mappings: str, *arguments: str) -> Iterator[Exporter]:
    """Run the exporter with the text of a mappings file, and end it.

    Args:
        mappings: such as the chart's ConfigMap ``airflow-statsd`` has in ``mappings.yml``.
        arguments: more of its flags.

    Raises:
        ProgramError: it is not installed, or refuses the mappings.
    """
    path = program("statsd_exporter")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "mappings.yml"
        file.write_text(mappings)
        web, statsd = free_port(socket.SOCK_STREAM), free_port(socket.SOCK_DGRAM)
        command = [
            path,
            f"--statsd.mapping-config={file}",
            f"--web.listen-address=127.0.0.1:{web}",
            f"--statsd.listen-udp=127.0.0.1:{statsd}",
            "--statsd.listen-tcp=",
            "--statsd.event-flush-threshold=1",  # at once, not when its timer gets round to it
            *arguments,
        ]
        log = Path(folder) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output)
            try:
                running = Exporter(process, web, statsd)
                _until_ready(process, running, log)
                yield running
            finally:
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def _until_ready(process: "subprocess.Popen[bytes]", running: Exporter, log: Path) -> None:
    deadline = time.monotonic() + _LIMIT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            running.text()
        except OSError:
            time.sleep(0.05)
        else:
            return
    lines = log.read_text(errors="replace").strip().splitlines()
    raise ProgramError(f"statsd_exporter does not start: {lines[-1] if lines else 'its log is empty.'}")


def parse(text: str) -> Page:
    """Read Prometheus' text format."""
    samples, types = [], {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            types[name] = kind
        elif found := _SAMPLE.match(line):
            labels = tuple(sorted((key, _plain(value)) for key, value in _LABEL.findall(found[2] or "")))
            samples.append(Sample(found[1], labels, float(found[3])))
    return Page(tuple(samples), types)


def _plain(value: str) -> str:
    return re.sub(r"\\(.)", lambda each: "\n" if each[1] == "n" else each[1], value)
