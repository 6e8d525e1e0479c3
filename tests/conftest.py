"""What all tests need: Ctrl-C, an Airflow of their own, and skips that cannot pass unnoticed."""

import os
import signal
import sys
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests import airflow_home
from tests.tools import ALLOWED, REQUIRE

airflow_home.set_up()
pytest_plugins = ["local_aws.pytest_plugin", "tests.kafka"]

# Folders of which every test is slow.
SLOW = {"clients", "e2e", "local_aws", "oracle"}
# Fixtures that start Spark, Airflow, a server or the platform: a test that uses one is slow.
STARTING = {
    *("airflow_db", "created", "endpoint", "everything", "local_aws", "moto_url", "mysql_url", "new_endpoint"),
    *("kafka", "kafka_broker", "page_of", "person", "platform", "s3", "sail", "seen"),
}
# Folders whose tests start whole platforms, measure time or need much memory: one worker of xdist runs them one after
# the other, those on a cluster last, while the others run the rest, a file at a time. Both have about as much to do
# before those on a cluster, which need the machine to themselves.
HEAVY = tuple(f"tests/{folder}/" for folder in ("laptop", "local_aws", "spark_jobs/eta", "templates", "e2e"))


@pytest.fixture(autouse=True)
def tables_of_contracts() -> Generator[None]:
    """Forget the tables' names after a test, which may have had contracts of its own."""
    yield
    if lineage := sys.modules.get("taxiway.core.lineage"):
        for cached in (lineage.tables, lineage._by_contract, lineage._paths):
            cached.cache_clear()


@pytest.fixture(autouse=True)
def signal_handlers() -> Generator[None]:
    """Put back the handlers of signals after a test: a command that ran in this process may have set its own."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def pytest_sessionstart() -> None:
    """Handle Ctrl-C as programs at a terminal do: a background shell has its children ignore it, and theirs too."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import the tests of slow folders where none is to run."""
    return True if config.option.markexpr == "not slow" and collection_path.name in SLOW else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what make test-fast leaves out, and put the tests on a cluster last."""
    for item in items:
        file = item.nodeid.partition("::")[0]
        used = {*getattr(item, "fixturenames", ()), *item.keywords}
        if used & (STARTING | {"mysql", "spark"}) or SLOW.intersection(file.split("/")):
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: item.nodeid.startswith("tests/e2e/"))


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Keep bytes out of the tests' names: packed data holds the time, and workers must collect the same names."""
    return argname if isinstance(val, bytes) else None


def group_of(nodeid: str) -> str:
    """Return the group of a test, which one worker runs as a whole."""
    file = nodeid.partition("::")[0]
    return "heavy" if file.startswith(HEAVY) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand out the tests by groups, the largest first."""
    from xdist.scheduler import LoadScopeScheduling

    # Not --dist loadgroup, which has no effect with pytest 9.2: xdist 3.8 sets names of tests that it does not read.
    scheduler = LoadScopeScheduling(config, log)
    scheduler._split_scope = group_of
    return scheduler


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Return the reason of a skip."""
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")


def _kind(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Return what is absent: a key of ``ALLOWED``, or ``tool`` for everything else."""
    kind, colon, _ = _reason(report).partition(":")
    return kind if colon and kind in ALLOWED else "tool"


def _fail_unless_allowed(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure where tools are required and its reason is not accepted."""
    if (
        os.environ.get(REQUIRE) == "1"
        and report.skipped
        and not hasattr(report, "wasxfail")
        and _kind(report) == "tool"
    ):
        report.outcome = "failed"
        report.longrepr = f"{REQUIRE}=1 does not let this be skipped: {_reason(report)}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Judge the skip of a test."""
    report = yield
    _fail_unless_allowed(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Judge the skip of a whole module."""
    report = yield
    _fail_unless_allowed(report)
    return report


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Count the skips by what was absent."""
    skipped = Counter(_kind(report) for report in terminalreporter.stats.get("skipped", []))
    if terminalreporter.config.option.collectonly:
        return
    names = {"chart": "the chart", "cluster": "the cluster", "tool": f"missing tools (a failure with {REQUIRE}=1)"}
    shown = {
        kind: names.get(kind, kind) for kind in ("chart", "cluster", *sorted(skipped.keys() - {"chart", "cluster"}))
    }
    terminalreporter.write_line("skipped: " + ", ".join(f"{skipped[kind]} for {name}" for kind, name in shown.items()))
