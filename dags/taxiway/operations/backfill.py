"""Plans a backfill before it runs: which intervals, in which order, which differ from what is published, what it costs.

    python -m taxiway.operations.backfill plan hvfhv_collection --from 2023-01 --to 2023-06

Airflow's own ``airflow backfill create`` runs it; the plan ends with the commands. Nothing is changed by a plan. The
intervals are those of the DAG's timetable; what is published is read from the Glue catalogue. A pipeline that knows how
a published period compares with its sources has ``changed`` in ``taxiway.<pipeline>.backfill``.
"""

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa
from botocore.exceptions import BotoCoreError, ClientError

from taxiway.aws import prices
from taxiway.core import contracts, pipelines
from taxiway.core.contracts import ContractError
from taxiway.core.dataset_list import CatalogueError
from taxiway.core.settings import Settings, SettingsError, settings
from taxiway.lake import Lake, LakeError, Partition, TableSet, open_lake
from taxiway.operations.metrics import end_of

MISSING, CHANGED, SAME, UNKNOWN = "not published", "differs", "as published", "published"
FORMATS = ("%Y", "%Y-%m", "%Y-%m-%d", "%Y-%m-%d-%H")
# Which of some periods differ from their sources, with the reason; None: the pipeline cannot tell here.
Changed = Callable[[Lake, Mapping[str, Partition], Sequence[str]], Mapping[str, str] | None]


class BackfillError(ValueError):
    """A backfill cannot be planned; the text is one sentence."""


class Interval(NamedTuple):
    """A run of a backfill: its logical date, its period, one of the states above, and why."""

    logical: datetime
    period: str
    state: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """What a backfill would do.

    Attributes:
        dag_id: of the DAG.
        intervals: in the order in which Airflow starts them, oldest first.
        at_once: runs at once: the DAG's ``max_active_runs``.
        minutes: median of what published periods took from their plan to their publication; None if none is known.
        usd_per_hour: what a run costs an hour at most, at list prices; 0.0 if it creates nothing that is billed so;
            None if a price is unknown.
    """

    dag_id: str
    intervals: Sequence[Interval]
    at_once: int
    minutes: float | None
    usd_per_hour: float | None

    @property
    def needed(self) -> list[Interval]:
        """Intervals whose published period is missing or differs from its sources."""
        return [each for each in self.intervals if each.state in (MISSING, CHANGED)]

    def ranges(self, chosen: Sequence[Interval]) -> Iterator[tuple[Interval, Interval]]:
        """Yield the first and the last interval of each run of neighbours."""
        neighbours: list[Interval] = []
        for each in self.intervals:
            if each in chosen:
                neighbours.append(each)
            elif neighbours:
                yield neighbours[0], neighbours[-1]
                neighbours = []
        if neighbours:
            yield neighbours[0], neighbours[-1]


def parse_bound(text: str, *, last: bool = False) -> datetime:
    """Return the first or the last instant (UTC) of a year, month, day or hour, such as ``2023-01``.

    Raises:
        BackfillError: it is none.
    """
    for format_ in FORMATS:
        try:
            first = datetime.strptime(text, format_).replace(tzinfo=UTC)
        except ValueError:
            continue
        if not last:
            return first
        try:
            after = first.replace(year=first.year + 1) if format_ == "%Y" else end_of(text)
        except (ValueError, OverflowError):
            break
        return after - timedelta(microseconds=1)
    raise BackfillError(f"{text!r} is no time: write a month 2023-01, a day 2023-01-31 or an hour 2023-01-31-07.")


def plan(dag: Any, begin: datetime, end: datetime, found: Lake, now: datetime) -> Plan:
    """Return the plan of a backfill.

    Args:
        dag: the DAG, as parsed from its file.
        begin: first logical date.
        end: last logical date.
        found: the lake with the tables of the DAG's pipeline.
        now: intervals that have not ended by then are left out.

    Raises:
        BackfillError: the DAG has no intervals, or none within the bounds.
    """
    from airflow.serialization.serialized_objects import DagSerialization

    if begin > end:
        raise BackfillError(f"--from {begin:%Y-%m-%d} is after --to {end:%Y-%m-%d}: exchange them.")
    if not dag.timetable.can_be_scheduled or dag.timetable.__class__.__name__.startswith("Asset"):
        raise BackfillError(
            f"{dag.dag_id} has no intervals: events or people start it, and Airflow backfills schedules only. "
            "Backfill the DAG that emits its event, or trigger it with parameters; docs/backfill.md says how."
        )
    serialised = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    infos = serialised.iter_dagrun_infos_between(begin, end)
    dates = [
        (info.logical_date, info.data_interval)
        for info in infos
        if info.logical_date and info.data_interval and info.data_interval.end <= now
    ]
    if not dates:
        raise BackfillError(
            f"{dag.dag_id} has no interval that has ended between {begin:%Y-%m-%d %H:%M} and {end:%Y-%m-%d %H:%M} UTC "
            f"(it begins at {dag.start_date:%Y-%m-%d}): choose others."
        )
    keyed = next(
        (each for tables in found.tables.sets for each in [tables.anchor] if each.contract.partition_keys), None
    )
    format_ = FORMATS[len(keyed.contract.partition_keys) - 1] if keyed else "%Y-%m-%dT%H:%M"
    published = found.partitions(keyed) if keyed else {}
    intervals = {f"{interval.start:{format_}}": (date, interval) for date, interval in dates}
    for period, (_, interval) in intervals.items():
        if keyed and interval.end < end_of(period):
            raise BackfillError(
                f"{dag.dag_id} runs more often than its tables have periods, such as {period}: its runs do not fill "
                "them one by one; docs/backfill.md says how they are built again."
            )
    logical = {period: date for period, (date, _) in sorted(intervals.items())}
    changed = _comparison(found.tables.pipeline)
    known = [period for period in logical if period in published]
    reasons = changed(found, published, known) if changed and known else None
    return Plan(
        dag_id=dag.dag_id,
        intervals=[Interval(date, period, *_state(period, published, reasons)) for period, date in logical.items()],
        at_once=dag.max_active_runs,
        minutes=_usual_minutes(published.values()),
        usd_per_hour=usd_per_hour(dag, found.settings),
    )


def usd_per_hour(dag: Any, shared: Settings) -> float | None:
    """Return what a run of a DAG costs an hour at most: its EMR cluster, or EMR Serverless at its ceiling."""
    kinds = {each.__name__ for task in dag.tasks for each in getattr(task, "operator_class", type(task)).__mro__}
    try:
        if "EmrCreateJobFlowOperator" in kinds:
            return prices.most_per_hour(shared)
        if "EmrServerlessStartJobOperator" in kinds:
            return prices.serverless_usd(
                shared.serverless_prices,
                shared.serverless_architecture,
                shared.serverless_max_vcpu,
                shared.serverless_max_gb,
                shared.serverless_max_disk_gb,
            )
    except (KeyError, SettingsError):
        return None
    return 0.0


def _comparison(pipeline: str) -> Changed | None:
    module = pipelines.modules("backfill").get(pipeline)
    changed: Changed | None = getattr(module, "changed", None)
    return changed


def _state(period: str, published: Mapping[str, Partition], reasons: Mapping[str, str] | None) -> tuple[str, str]:
    if period not in published:
        return MISSING, ""
    if reasons and period in reasons:
        return CHANGED, reasons[period]
    return UNKNOWN if reasons is None else SAME, f"since {published[period].parameters['published_at']}"


def _usual_minutes(published: Any) -> float | None:
    """Return the median of the minutes from a version's plan, which is its name, to its publication."""
    minutes = []
    for partition in published:
        try:
            planned = datetime.strptime(partition.version.partition(".")[0], "%Y%m%dT%H%M%S%fZ").replace(tzinfo=UTC)
        except ValueError:
            continue
        minutes.append((datetime.fromisoformat(partition.parameters["published_at"]) - planned).total_seconds() / 60)
    return statistics.median(minutes) if minutes else None


def text(planned: Plan, *, everything: bool) -> str:
    """Return a plan for people.

    Args:
        planned: the plan.
        everything: whether to run again what is published as it should be, too.
    """
    chosen = list(planned.intervals) if everything else planned.needed
    lines = [f"{planned.dag_id}: {len(planned.intervals)} intervals, {len(chosen)} to run, oldest first"]
    for each in planned.intervals:
        number = f"{chosen.index(each) + 1:>4}" if each in chosen else "   -"
        lines.append(f"{number}  {each.period:16} {each.state:14} {each.reason}".rstrip())
    if not chosen:
        lines.append("Nothing to do: all is published. With --all it is run again.")
        return "\n".join(lines) + "\n"
    lines.append(_estimate(planned, len(chosen)))
    lines.append("Airflow runs it by:")
    for first, last in planned.ranges(chosen):
        lines.append(
            f"  airflow backfill create --dag-id {planned.dag_id} --from-date {first.logical:%Y-%m-%dT%H:%M:%S+00:00} "
            f"--to-date {last.logical:%Y-%m-%dT%H:%M:%S+00:00} --max-active-runs {planned.at_once} "
            "--reprocess-behavior completed"
        )
    return "\n".join(lines) + "\n"


def _estimate(planned: Plan, runs: int) -> str:
    """Return a sentence on time and cost."""
    if planned.minutes is None:
        took, hours = "How long a run takes is not known yet: nothing is published", None
    else:
        took, hours = f"A run took {planned.minutes:,.0f} minutes (median of what is published)", planned.minutes / 60
    at_once = f"{planned.at_once} at once" if planned.at_once > 1 else "one after the other"
    if planned.usd_per_hour == 0:
        cost = "it starts no EMR; what Athena, S3 and other DAGs that it starts cost is not counted"
    elif planned.usd_per_hour is None:
        cost = "the price of one of TAXIWAY_EMR_WORKER_TYPES is not in taxiway.aws.prices"
    elif hours is None:
        cost = f"an hour of one costs at most {planned.usd_per_hour:.2f} USD at list prices of us-east-1"
    else:
        usd = planned.usd_per_hour * hours * runs
        cost = f"at most {usd:,.2f} USD in all, at list prices of us-east-1 and {planned.usd_per_hour:.2f} USD an hour"
    return f"{took}; {at_once}; {cost}."


def read_dag(dag_id: str) -> Any:
    """Return a DAG from Airflow's folder of DAGs.

    Raises:
        BackfillError: there is none of that name, or it does not parse.
    """
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag()
    if dag_id not in bag.dags:
        broken = "".join(f" {file} does not parse." for file in bag.import_errors)
        raise BackfillError(f"There is no DAG {dag_id!r}: it is one of {', '.join(sorted(bag.dags))}.{broken}")
    return bag.dags[dag_id]


def _lake_of(dag: Any) -> Lake:
    """Return the lake with the tables of the DAG's pipeline, which its tag names."""
    domain = next((tag.removeprefix("domain:") for tag in dag.tags if tag.startswith("domain:")), "")
    if domain not in contracts.pipelines() or not TableSet(domain):
        raise BackfillError(
            f"{dag.dag_id} publishes no table (its domain is {domain or 'not named'}): nothing to plan."
        )
    return open_lake(settings(), TableSet(domain))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m taxiway.operations.backfill", description="Plan a backfill.")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("plan", help="say what a backfill would do; changes nothing")
    command.add_argument("dag_id", metavar="DAG")
    command.add_argument("--from", dest="begin", metavar="TIME", required=True, help="month, day or hour, inclusive")
    command.add_argument("--to", dest="end", metavar="TIME", required=True, help="the same, inclusive")
    command.add_argument("--all", action="store_true", help="run what is published as it should be, too")
    options = parser.parse_args(arguments)
    try:
        begin, end = parse_bound(options.begin), parse_bound(options.end, last=True)
        dag = read_dag(options.dag_id)
        planned = plan(dag, begin, end, _lake_of(dag), datetime.now(UTC))
    except (BackfillError, LakeError, CatalogueError, ContractError, SettingsError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except (BotoCoreError, ClientError) as error:
        sys.stderr.write(f"AWS did not answer as it should: {error}.\n")
        return 1
    except sa.exc.DBAPIError as error:
        sys.stderr.write(f"The database of the catalogue cannot be used: {error.orig}.\n")
        return 1
    sys.stdout.write(text(planned, everything=options.all))
    return 0


if __name__ == "__main__":
    sys.exit(main())
