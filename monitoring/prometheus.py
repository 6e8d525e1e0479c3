"""A real Prometheus on the loopback interface, for tests, previews and benchmarks."""

import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from console.ports import free_port

PROGRAM = Path(__file__).parents[1] / ".local" / "bin" / "prometheus"
# A counter that the exporter makes with its first event has no value before it, so its first event would not count.
# With these, Prometheus takes the moment of creation from the exporter and puts a zero there.
FEATURES = ("created-timestamp-zero-ingestion",)
PROTOCOLS = ("PrometheusProto", "OpenMetricsText1.0.0", "PrometheusText0.0.4")

# Whatever proxy the user has: it is on loopback.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class PrometheusError(Exception):
    """Prometheus cannot be started, or refuses a query; the text says which and why."""


@dataclass(frozen=True)
class Series:
    """One series of an answer: its labels and its points, as (Unix time, value)."""

    labels: Mapping[str, str]
    points: Sequence[tuple[float, float]]

    @property
    def value(self) -> float:
        """Return the last value."""
        return self.points[-1][1]


@dataclass(frozen=True)
class Prometheus:
    """A server that answers at ``url``."""

    url: str

    def query(self, expr: str, at: float | None = None) -> list[Series]:
        """Return an expression's value at a time (Unix time), by default now.

        Raises:
            PrometheusError: the expression is wrong.
        """
        found = self._get("query", query=expr, **({} if at is None else {"time": at}))
        if found["resultType"] == "scalar":
            return [Series({}, [_point(found["result"])])]
        return [Series(each["metric"], [_point(each["value"])]) for each in found["result"]]

    def query_range(self, expr: str, start: float, end: float, step: float) -> list[Series]:
        """Return an expression's values from a time to another, a point a step (seconds).

        Raises:
            PrometheusError: the expression is wrong.
        """
        found = self._get("query_range", query=expr, start=start, end=end, step=step)
        return [Series(each["metric"], [_point(point) for point in each["values"]]) for each in found["result"]]

    def _get(self, what: str, **parameters: object) -> Any:
        url = f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        try:
            with DIRECT.open(url, timeout=60) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            reason = json.load(error).get("error", error.reason)
            raise PrometheusError(f"Prometheus refuses {parameters.get('query', what)!r}: {reason}") from None


@contextmanager
def running(
    folder: Path, targets: Mapping[str, Sequence[str]], *, interval: str = "1s", rules: Sequence[Path] = ()
) -> Iterator[Prometheus]:
    """Start a Prometheus that scrapes ``targets`` (job → addresses, host:port), and end it afterwards.

    It has scraped each of them once when it is yielded.

    Args:
        folder: empty; for its configuration, data and log.
        targets: what to scrape.
        interval: between two scrapes and between two evaluations of rules.
        rules: rule files.

    Raises:
        PrometheusError: there is no Prometheus, it does not start, or a target does not answer.
    """
    if not PROGRAM.exists():
        raise PrometheusError(f"There is no {PROGRAM.name} in {PROGRAM.parent}: run helm/tools/install.sh prometheus.")
    configuration = {
        "global": {"scrape_interval": interval, "evaluation_interval": interval, "scrape_protocols": PROTOCOLS},
        "rule_files": [str(path.resolve()) for path in rules],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": list(addresses)}]} for job, addresses in targets.items()
        ],
    }
    file, log = folder / "prometheus.json", folder / "prometheus.log"  # JSON is YAML
    file.write_text(json.dumps(configuration), encoding="utf-8")
    address = f"127.0.0.1:{free_port()}"
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            [
                str(PROGRAM),
                f"--config.file={file}",
                f"--storage.tsdb.path={folder / 'tsdb'}",
                f"--web.listen-address={address}",
                f"--enable-feature={','.join(FEATURES)}",
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait(process, f"http://{address}", log)
            server = Prometheus(f"http://{address}")
            _wait_for_targets(server, sum(map(len, targets.values())))
            yield server
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        try:
            with DIRECT.open(f"{url}/-/ready", timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    last = log.read_text(encoding="utf-8").strip().splitlines()[-1:]
    raise PrometheusError(f"Prometheus does not start: {' '.join(last) or 'its log is empty'}")


def _wait_for_targets(server: Prometheus, wanted: int) -> None:
    end = time.monotonic() + 120  # it takes up its targets some seconds after it is ready
    while len(server.query("up == 1")) < wanted:
        if time.monotonic() > end:
            raise PrometheusError(f"Prometheus reaches {len(server.query('up == 1'))} of {wanted} targets.")
        time.sleep(0.1)


def _point(pair: Sequence[Any]) -> tuple[float, float]:
    return float(pair[0]), float(pair[1])
