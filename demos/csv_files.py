"""The demo of a pipeline that loads a CSV file as a whole; ``make new-pipeline`` makes such pipelines."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from console.demo import Demo, SeenAs
from console.errors import UserError
from console.follow import Goal, Plan, Run
from console.output import Reporter, summary_table
from console.platform import LocalPlatform, Platform

_ROWS, _COLUMNS, _LETTERS = 5, 8, 24  # that are shown


@dataclass(frozen=True)
class CsvFile:
    """A CSV file as the platform sees it.

    Attributes:
        name: of the file.
        url: its address.
    """

    name: str
    url: str


class CsvDemo(Demo[CsvFile]):
    """Loads a file by the DAG ``<name>_load``, again even if nothing changed.

    Attributes:
        sample: the file that it takes where a person gives none.
    """

    option = "CSV"

    def __init__(self, name: str, title: str, sample: Path, settings: Mapping[str, str] | None = None) -> None:
        """Declare the demo of a pipeline.

        Args:
            name: of the pipeline.
            title: one line on what it shows.
            sample: a CSV file.
            settings: further TAXIWAY_… variables on a laptop and on kind.
        """
        self.name, self.title, self.sample = name, title, sample
        self.dags = (f"{name}_load",)
        self.settings = {
            f"TAXIWAY_{name.upper()}_SCHEDULED": "False",  # a person says when
            "TAXIWAY_SERVERLESS_ROLE": "arn:aws:iam::123456789012:role/local",
            **(settings or {}),
        }

    def read_input(self, given: str | None, seen_as: SeenAs) -> CsvFile:
        """Return the address of a file: one on the web as it is, one of this machine as the platform sees it."""
        if given and given.startswith(("https://", "http://")):
            return CsvFile(given.partition("?")[0].rpartition("/")[2] or given, given)
        file = Path(given).expanduser().absolute() if given else self.sample
        if not file.is_file():
            raise UserError(f"CSV={given} is no file: give the path or the address (https://…) of a CSV file.")
        if not file.stat().st_size:
            raise UserError(f"CSV={given} is empty: give a CSV file with a header and rows.")
        return CsvFile(file.name, Path(seen_as(file)).as_uri())

    def load(self, platform: Platform, data: CsvFile) -> str:
        """Do nothing: the DAG fetches the file."""
        return f"loads {data.name}"

    def plan(self, data: CsvFile, began: datetime) -> Plan:
        """Load the file, however many rows it has."""
        (dag,) = self.dags
        run = Run(
            dag, f"demo__{began:%Y%m%dT%H%M%S}", {"url": data.url, "again": True, "accept_fewer": True}, data.name
        )
        return Plan(runs=[run], followers={}, goals=frozenset([Goal(dag, "publish", data.name)]))

    def initial_input(self, platform: LocalPlatform) -> CsvFile | None:
        """Return None: the file is loaded when a person asks for it."""
        return None

    def show_summary(self, report: Reporter, lake: Any, data: CsvFile, since: datetime) -> None:
        """Print the first rows of the table, how many rows were rejected and why, and what the job run would cost."""
        from demos.costs import cost_of_job_runs

        *_, rejected, accepted = lake.tables
        rows, quarantine = (lake.read(lake.partition(table, "").location) for table in (accepted, rejected))
        names = rows.schema.names[:_COLUMNS]
        shown = summary_table(f"{accepted.name}: the first of {rows.num_rows:,} rows", *names, texts=set(names))
        for row in rows.slice(0, _ROWS).to_pylist():
            shown.add_row(*(_short(row[name]) for name in names))
        reasons = Counter(quarantine.column("reject_reason").to_pylist())
        counts = summary_table("Rows", "of the file", "accepted", "rejected", "by reason", texts={"by reason"})
        by_reason = ", ".join(f"{reason} {count:,}" for reason, count in reasons.most_common()) or "–"
        total = rows.num_rows + quarantine.num_rows
        counts.add_row(f"{total:,}", f"{rows.num_rows:,}", f"{quarantine.num_rows:,}", by_reason)
        report.console.print(shown, counts, sep="\n")
        if len(rows.schema.names) > _COLUMNS:
            report.plain(f"{len(rows.schema.names) - _COLUMNS} more columns are not shown.")
        report.console.print(cost_of_job_runs(lake.settings.serverless_prices, since, report.seconds), highlight=False)


def _short(value: object) -> str:
    """Return a value for a terminal: printable, not too long, without markup."""
    text = "–" if value is None else str(value)
    plain = "".join(each if each.isprintable() else "?" for each in text)
    return (plain if len(plain) <= _LETTERS else f"{plain[: _LETTERS - 1]}…").replace("[", "\\[")
