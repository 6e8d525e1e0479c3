"""Athena as a run uses it: its workgroup, and tables of what is built and not yet published."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from taxiway.api_logs.queries import PREFIX, queries
from taxiway.api_logs.settings import ApiLogsSettings, api_logs_settings
from taxiway.api_logs.tables import EVENTS, QUARANTINE, STAGED
from taxiway.aws.athena import Answer, Workgroup
from taxiway.core.contracts import Contract
from taxiway.core.settings import settings
from taxiway.lake import Lake, Table
from taxiway.lake.glue import GlueCatalogue

POLL_S = 0.5  # most queries take a second or two
MOST_DELETED = 25  # partitions of one request
REMEDY = (
    "aws/platform.yaml has it; on a laptop or kind python -m taxiway.api_logs set-up makes it; or name another one by "
    + ApiLogsSettings.variable("workgroup")
)


@dataclass(frozen=True)
class Candidates(Table):
    """A table in Glue of versions that are not published, for checks: a partition has the plan's time, and hours."""

    hours: tuple[str, ...] = ("",)

    @cached_property
    def contract(self) -> Contract:
        """The contract of the table that the versions are of, with other partitions."""
        keys = ("plan", *(f"{of}{key}" for of in self.hours for key in ("year", "month", "day", "hour")))
        own = super().contract
        return replace(own, table=f"{own.table}_candidate", partition_keys=keys)


EVENTS_CANDIDATE = Candidates(EVENTS.pipeline, EVENTS.contract_name)
QUARANTINE_CANDIDATE = Candidates(QUARANTINE.pipeline, QUARANTINE.contract_name)
STAGED_CANDIDATE = Candidates(STAGED.pipeline, STAGED.contract_name, ("", "event_"))
CANDIDATES = (EVENTS_CANDIDATE, QUARANTINE_CANDIDATE, STAGED_CANDIDATE)

# (table, hours joined by "-") → folder
Folders = Mapping[tuple[Candidates, str], str]


def workgroup(client: Any = None) -> Workgroup:
    """Return the workgroup of all queries.

    Args:
        client: a boto3 client for Athena; by default that of Airflow's AWS connection.
    """
    own, shared = api_logs_settings(), settings()
    if client is None:
        from airflow.providers.amazon.aws.hooks.athena import AthenaHook

        client = AthenaHook(aws_conn_id=shared.aws_conn_id).get_conn()
    return Workgroup(client, own.workgroup, shared.glue_database, POLL_S, own.query_minutes * 60, REMEDY)


def ask(group: Workgroup | None = None, **questions: Sequence[str]) -> dict[str, Answer]:
    """Ask named queries at the same time, after keeping in Athena those that changed; return their answers.

    Args:
        group: their workgroup; by default that of tasks.
        questions: name of the query's file → its parameters.

    Raises:
        taxiway.aws.athena.AthenaError: one of them has no answer.
    """
    group, known = group or workgroup(), queries()
    group.keep(known)
    return group.ask({name: (known[f"{PREFIX}{name}"], parameters) for name, parameters in questions.items()})


def show_candidates(lake: Lake, plan: str, folders: Folders) -> None:
    """Put versions where checks find them, in place of those of other runs.

    Args:
        lake: of the versions.
        plan: its time.
        folders: what to show.
    """
    client: Any = lake.session.client("glue")
    glue = GlueCatalogue(client, lake.settings.glue_database, lake.settings.lake)
    glue.ensure_tables(CANDIDATES)
    for table in CANDIDATES:
        here = glue.partitions(table)
        wanted = {f"{plan}-{hours}": folder for (of, hours), folder in folders.items() if of == table}
        gone = [{"Values": period.split("-")} for period in here.keys() - wanted.keys()]
        for start in range(0, len(gone), MOST_DELETED):
            client.batch_delete_partition(
                DatabaseName=glue.database, TableName=table.name, PartitionsToDelete=gone[start : start + MOST_DELETED]
            )
        for period, folder in wanted.items():
            if period not in here or here[period].location != folder:
                glue.move(table, period, folder, {}, exists=period in here)
