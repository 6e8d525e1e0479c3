"""What a pipeline declares so that ``make demo``, ``make kind-demo``, ``make up`` and ``make results`` serve it.

A folder ``demos/<pipeline>/`` whose package has an object ``DEMO`` of a class derived from :class:`Demo` is all that
it takes; nothing lists the folders by name. A declaration is imported by the cluster's commands too, whose environment
has neither Airflow, pyarrow nor SQLAlchemy: what needs those is imported by the methods that only a laptop calls.
"""

import importlib
import os
import pkgutil
import sys
import time
import webbrowser
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

import demos
from console.airflow import Pool
from console.aws import patient_call
from console.errors import UserError
from console.follow import Follower, Plan
from console.output import Reporter
from console.patience import PATIENCE_S, Say, say_on_stderr
from console.platform import LocalPlatform, Platform

DEFAULT = "hvfhv"
ALL = "all"  # as PIPELINE
DAG_TIMEOUT_S = PATIENCE_S

Input = TypeVar("Input")
# A file of this machine → its path as the platform's processes see it; UserError if they do not.
SeenAs = Callable[[Path], str]


class Demo(ABC, Generic[Input]):
    """A pipeline's demo.

    Attributes:
        name: of the pipeline, as PIPELINE= gives it.
        title: one line on what it shows.
        option: the variable by which a person gives other input than the sample, such as ``CATALOG``; demos that take
            the same kind of input share it, and where several run, each gets what is given.
        dags: that must be listed and switched on.
        pools: that those DAGs need.
        settings: TAXIWAY_… variables of this pipeline on a laptop and on kind, where a person has not set them.
        reports: folder of its reports below the lake; empty where it writes none.
        stream_s: seconds for which its stream is shown at the end, on a laptop; 0 where it has none.
        pod: deployment of the cluster in whose pod :meth:`in_pod`'s commands run; empty where it has none.
        feature: of the overlay that brings this deployment.
    """

    name: str
    title: str
    option: str
    dags: tuple[str, ...]
    pools: tuple[Pool, ...] = ()
    settings: Mapping[str, str] = {}
    reports: str = ""
    stream_s: int = 0
    pod: str = ""
    feature: str = ""

    @abstractmethod
    def read_input(self, given: str | None, seen_as: SeenAs) -> Input:
        """Return the input that a person gives, by default the sample; nothing has been started yet.

        Args:
            given: value of the variable ``option``.
            seen_as: tells where the platform sees a file.

        Raises:
            UserError: it cannot be used.
        """

    @abstractmethod
    def load(self, platform: Platform, data: Input) -> str:
        """Bring the input into a platform, and return a sentence on what that changed."""

    @abstractmethod
    def plan(self, data: Input, began: datetime) -> Plan:
        """Return what to run for the input; run ids have the time ``began`` in them."""

    def rounds(self, platform: Platform, data: Input, report: Reporter) -> Iterator[Plan]:  # noqa: ARG002
        """Yield what to run, one plan after the other has reached its goals; what is between them is done meanwhile."""
        yield self.plan(data, datetime.now(UTC))

    @abstractmethod
    def initial_input(self, platform: LocalPlatform) -> Input | None:
        """Return the input that ``make up`` loads unasked: that of a new platform, or what an update has moved."""

    def in_pod(self, platform: Platform, data: Input) -> Sequence[Sequence[str]]:  # noqa: ARG002
        """Return the commands that follow the runs on a cluster, in a pod of the deployment :attr:`pod`."""
        return ()

    @abstractmethod
    def show_summary(self, report: Reporter, lake: Any, data: Input, since: datetime) -> None:
        """Print what the published tables say; on a laptop.

        Args:
            report: prints, and knows how long the demo took.
            lake: a ``taxiway.lake.Lake``.
            data: what was loaded.
            since: when the command began.
        """


def discover() -> dict[str, Demo[Any]]:
    """Return the demos that are there, by name.

    Raises:
        UserError: a declaration cannot be imported or is incomplete, or two have the same name.
    """
    found: dict[str, Demo[Any]] = {}
    folders: dict[str, str] = {}
    for module in pkgutil.iter_modules(demos.__path__):
        if not module.ispkg:  # what demos share
            continue
        try:
            demo = getattr(importlib.import_module(f"demos.{module.name}"), "DEMO", None)
        except Exception as error:
            raise UserError(f"demos/{module.name} cannot be imported ({type(error).__name__}: {error}).") from error
        if demo is None:
            continue
        if not isinstance(demo, Demo):
            raise UserError(
                f"DEMO of demos/{module.name} is a {type(demo).__name__}: derive it from console.demo.Demo."
            )
        if missing := [name for name in ("name", "title", "option", "dags") if not hasattr(demo, name)]:
            raise UserError(f"The demo of demos/{module.name} lacks {', '.join(missing)}: see console.demo.Demo.")
        if other := folders.get(demo.name):
            raise UserError(f"demos/{other} and demos/{module.name} are both named {demo.name!r}: change one of them.")
        folders[demo.name] = module.name
        found[demo.name] = demo
    return dict(sorted(found.items()))


def choose(given: Mapping[str, str], default: str = DEFAULT) -> list[Demo[Any]]:
    """Return the demo that ``PIPELINE`` names, or all of them, the main one first.

    Args:
        given: the variables of the command.
        default: stands for a ``PIPELINE`` that is not given.

    Raises:
        UserError: there is none of that name.
    """
    found = discover()
    name = given.get("PIPELINE") or default
    if name == ALL:
        return sorted(found.values(), key=lambda demo: demo.name != DEFAULT)
    if name not in found:
        raise UserError(f"PIPELINE={name} has no demo; there are: {', '.join([*found, ALL])}.")
    return [found[name]]


def given_input(demo: Demo[Any], given: Mapping[str, str]) -> str | None:
    """Return the value of the variable by which a person gives a demo's input; None if there is none."""
    return given.get(demo.option, "").strip() or None


def prepare(
    platform: Platform, chosen: Iterable[Demo[Any]], report: Reporter, *, fresh: bool = False
) -> frozenset[str]:
    """Make the pools that demos need, wait until their DAGs are listed, and switch these on.

    Args:
        platform: a running one.
        chosen: demos.
        report: prints.
        fresh: the platform has just been started: runs that are under way are those of an earlier session. They are
            given up, before the scheduler starts others.

    Returns:
        the ids of the runs that were given up.

    Raises:
        UserError: a DAG's file cannot be imported, or it is not listed in time.
    """
    given_up: set[str] = set()
    for demo in chosen:
        for pool in demo.pools:
            platform.airflow.ensure_pool(pool)
        for dag in demo.dags:
            _wait_for_dag(platform, dag, report)
            if fresh:
                given_up |= platform.airflow.fail_active_runs(dag)
            platform.airflow.unpause(dag)
    if given_up:
        report(f"Gave up {len(given_up)} run{'s' * (len(given_up) != 1)} that an earlier session left unfinished")
    return frozenset(given_up)


def run(
    platform: Platform,
    demo: Demo[Input],
    data: Input,
    report: Reporter,
    *,
    since: datetime,
    ignored: Collection[str] = (),
) -> Plan:
    """Load a demo's input, start its runs and follow them to their end, round by round, reporting what happens.

    Args:
        platform: one that is prepared for the demo.
        demo: what to run.
        data: its input.
        report: prints.
        since: when the command began.
        ignored: ids of runs that were given up.

    Returns:
        what was run, in the last round.

    Raises:
        UserError: a task failed; the text says which, why, and what its log has.
    """
    report(demo.load(platform, data))
    for plan in demo.rounds(platform, data, report):
        for started in plan.runs:
            platform.airflow.trigger(started.dag, started.run_id, started.conf)
        Follower(platform, plan, report, since, ignored).follow()
        since = datetime.now(UTC)  # what a follower of the next plan did before is no news
    return plan


def copy_reports(platform: Platform, demo: Demo[Any], plan: Plan, folder: Path, say: Say = say_on_stderr) -> list[Path]:
    """Copy the reports of a plan to a folder, and return their paths."""
    names = plan.reports(platform.airflow) if callable(plan.reports) else plan.reports
    if not names:
        return []
    place = urlsplit(f"{platform.lake}/{demo.reports}")

    def copy() -> None:
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            platform.client("s3").download_file(place.netloc, f"{place.path[1:]}/{name}", str(folder / name))

    patient_call(copy, say)
    return [folder / name for name in names]


def show_reports(paths: Sequence[Path], report: Reporter) -> None:
    """Print where reports are; a single one is opened too where somebody sits at a desktop."""
    if paths:
        report.plain("\n".join(["", "Reports (open them in a browser):", *(f"  {path}" for path in paths)]))
    has_desktop = sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if len(paths) == 1 and has_desktop and report.console.is_terminal:
        webbrowser.open(paths[0].absolute().as_uri())


def _wait_for_dag(platform: Platform, dag: str, report: Reporter) -> None:
    pause_s = platform.poll_s / 3
    waited_s = 0.0  # between looks: an Airflow that does not answer is waited for elsewhere
    while not platform.airflow.has_dag(dag):
        platform.require_alive()
        if not waited_s:
            report(f"waits for the DAG {dag} to be listed")
        if waited_s > DAG_TIMEOUT_S:
            raise UserError(f"The DAG {dag} is not listed after {DAG_TIMEOUT_S} s: {platform.parsing_hint}")
        time.sleep(pause_s)
        waited_s += pause_s
