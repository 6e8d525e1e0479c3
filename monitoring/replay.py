"""Replays a recorded run: its lines go to a real exporter, in their order and pace, which a real Prometheus scrapes.

The replay is ``speed`` times as fast, so that minutes of a run take seconds; Prometheus scrapes twice a second.
"""

import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from monitoring.capture import Packet
from monitoring.exporter import exporter
from monitoring.prometheus import Prometheus, PrometheusError, running

SCRAPE_S = 0.5
LIMIT_S = 60  # for the last scrapes, on a busy machine


@dataclass(frozen=True)
class Replay:
    """A replayed run: the Prometheus that scraped every ``scrape_s``, and when it began and ended (Unix time)."""

    prometheus: Prometheus
    start: float
    end: float
    scrape_s: float = SCRAPE_S

    def filled_in(self, expr: str) -> str:
        """Return a panel's expression with Grafana's variables replaced: all choices, and the time of the replay."""
        for name, value in (
            ("$__rate_interval", f"{max(self.step + self.scrape_s, 4 * self.scrape_s):.1f}s"),
            ("$__range", f"{self.end - self.start:.0f}s"),
        ):
            expr = expr.replace(name, _duration(value))
        return re.sub(r'"\$\w+"', '".+"', expr)

    @property
    def first(self) -> float:
        """Time of the first point of a graph, so that the last one is the end: what began shortly before is on it."""
        return self.end - (int((self.end - self.start) / self.step) - 1) * self.step

    @property
    def step(self) -> float:
        """Seconds between two points of a graph."""
        return max((self.end - self.start) / 24, 4 * self.scrape_s)

    def ever(self, expr: str) -> bool:
        """Return whether a panel's expression had a value at any time of the replay."""
        first = self.start + (self.end - self.start) % self.scrape_s  # so that the last point is the end
        found = self.prometheus.query_range(self.filled_in(expr), first, self.end, self.scrape_s)
        return any(value == value for series in found for _, value in series.points)  # NaN is none


@contextmanager
def replay(packets: Sequence[Packet], mappings: str, *, speed: float) -> Iterator[Replay]:
    """Send packets to an exporter that Prometheus scrapes, wait until it has seen all, and yield the result.

    Args:
        packets: a recording (:mod:`monitoring.capture`).
        mappings: text of the exporter's mappings.
        speed: seconds of the recording that are replayed in one second.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        exporter(mappings) as target,
        running(Path(folder), {"airflow-statsd": [target.address]}, interval=f"{SCRAPE_S * 1000:.0f}ms") as prometheus,
    ):
        start = time.time()
        time.sleep(2 * SCRAPE_S)
        begun, first = time.monotonic(), packets[0].seconds
        pending: list[str] = []
        for packet in packets:
            ahead = (packet.seconds - first) / speed - (time.monotonic() - begun)
            if ahead > 0.1:
                target.send(pending)
                pending.clear()
                time.sleep(ahead)
            pending.append(packet.line)
        target.send(pending)
        _wait_for_scrapes(prometheus, target.sent)
        yield Replay(prometheus, start, time.time())


def _wait_for_scrapes(prometheus: Prometheus, lines: int) -> None:
    """Wait until Prometheus has scraped the exporter after all lines, and twice more."""
    scraped, deadline = set[float](), time.monotonic() + LIMIT_S
    name = "statsd_exporter_lines_total"
    while len(scraped) < 3:
        if time.monotonic() > deadline:
            raise PrometheusError(f"Prometheus has not seen all {lines} lines, and twice more, within {LIMIT_S} s.")
        scraped |= {series.value for series in prometheus.query(f"timestamp({name}) and {name} >= {lines}")}
        time.sleep(SCRAPE_S / 5)


def _duration(text: str) -> str:
    return f"{round(float(text.removesuffix('s')) * 1000)}ms"
