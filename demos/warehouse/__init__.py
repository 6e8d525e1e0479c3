"""The demo of the warehouse: loads a service's tables and name lists, builds summaries, and serves one of them back."""

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from console.airflow import Pool
from console.aws import patient_call
from console.demo import Demo, SeenAs
from console.errors import UserError
from console.follow import Goal, Plan, Run
from console.output import Reporter
from console.patience import say_on_stderr
from console.platform import LocalPlatform, Platform
from demos.datasets import ANALYSIS, COLLECTION, DatasetList, load_datasets, planned_months, read_datasets
from taxiway.core.csv_text import MARKS, header_of
from taxiway.core.s3 import split

SAMPLE = Path(__file__).parent / "sample"
REFERENCE = ("name_gender.csv", "taxi_zone_lookup.csv", "fhv_bases.csv")
LOADS, SUMMARIES, SERVING = "warehouse_loads", "warehouse_summaries", "warehouse_serving"
DATA_DOCS = "data_docs"
TRIPS = "hvfhv_trend"  # the mart whose partition says that a month of trips is published
RATINGS = "ride_ratings"


@dataclass
class Sources:
    """What the warehouse reads, as a platform sees it.

    Attributes:
        names: the CSV of names on this machine, or its address.
        given: whether a person named it.
        months: of trips that the ratings are joined to.
        missing: those that were not published when the demo began.
        address: of the names, once they are where the load finds them.
    """

    names: str
    given: bool
    months: DatasetList
    missing: list[str] = field(default_factory=list)
    address: str = ""


class WarehouseDemo(Demo[Sources]):
    """Loads everything, then changes the service's data and loads what changed."""

    name = "warehouse"
    title = "a service's tables and name lists: loaded whole or by what changed, summed up by dbt, served from SQL"
    option = "NAMES"
    dags = (COLLECTION, ANALYSIS, LOADS, SUMMARIES, SERVING, DATA_DOCS)
    pools = (Pool(name="emr_steps", slots=16, description="Steps on EMR at once, over all DAGs"),)
    reports = "reports/data-docs"
    settings = {  # noqa: RUF012 - read only
        # A person says when, and the service's time is that of its rides, not of the calendar.
        "TAXIWAY_WAREHOUSE_SCHEDULED": "False",
        "TAXIWAY_WAREHOUSE_ZONES": "{lake}/reference/taxi_zone_lookup.csv",
    }

    def read_input(self, given: str | None, seen_as: SeenAs) -> Sources:
        """Return the list of names (CSV: name, gender), a file or an address, and the months of trips."""
        months = read_datasets(SAMPLE / "catalogue.csv", seen_as)
        if given and "://" in given:
            if not given.startswith(("https://", "http://", "s3://")):
                raise UserError(f"NAMES={given} cannot be read: give a CSV file, or an address https://… or s3://….")
            return Sources(given, given=True, months=months, address=given)
        file = Path(given).expanduser() if given else SAMPLE / REFERENCE[0]
        _require_names(file)
        return Sources(str(file), given=bool(given), months=months)

    def load(self, platform: Platform, data: Sources) -> str:
        """Bring the files to where loads find them, and the months of trips into the dataset catalogue."""
        for name in REFERENCE:
            _upload(platform, SAMPLE / name, f"reference/{name}")
        if not data.address:
            file = Path(data.names)
            data.address = _upload(platform, file, f"reference/{'given/' if data.given else ''}{file.name}")
        data.missing = [
            month
            for month in data.months.months
            if not _exists(platform, "get_partition", TableName=TRIPS, PartitionValues=month.split("-"))
        ]
        if data.missing:
            load_datasets(platform, data.months)
        trips = f"trips of {', '.join(data.missing)} are still to come" if data.missing else "all trips are published"
        return f"names are those of {data.names}; {trips}"

    def rounds(self, platform: Platform, data: Sources, report: Reporter) -> Iterator[Plan]:
        """Publish missing trips; load the service's tables; have it change them, and load that; document all of it."""
        if data.missing:
            platform.airflow.pause(SUMMARIES)  # the trips alone are not worth a run
            yield self._trips(data, datetime.now(UTC))
            platform.airflow.unpause(SUMMARIES)
        # Made once: raw tables follow the service's own time, in which nothing is made anew.
        loaded = _exists(platform, "get_table", Name=RATINGS)
        for command in ("play" if loaded else "create", "play"):
            report(f"the service's database ({command}): {platform.run('services.ride_ratings', command).strip()}")
            yield self.plan(data, datetime.now(UTC))
        report(f"what the service's database serves:\n{platform.run('taxiway.warehouse', 'show').rstrip()}")
        began = datetime.now(UTC)
        yield Plan(
            runs=[Run(DATA_DOCS, f"demo__{began:%Y%m%dT%H%M%S}", {}, "")],
            followers={},
            goals=frozenset([Goal(DATA_DOCS, "write", "")]),
            reports=["index.html"],
        )

    def plan(self, data: Sources, began: datetime) -> Plan:
        """Load all tables; summaries and serving follow by their assets."""
        # A list that a person gives may be much smaller than the one before.
        conf = {"names": data.address, "force": data.given}
        return Plan(
            runs=[Run(LOADS, f"demo__{began:%Y%m%dT%H%M%S}", conf, "")],
            followers={SUMMARIES: _no_labels, SERVING: _no_labels},
            goals=frozenset([Goal(LOADS, "complete", ""), Goal(SUMMARIES, "complete", ""), Goal(SERVING, "swap", "")]),
        )

    def _trips(self, data: Sources, began: datetime) -> Plan:
        return Plan(
            runs=[
                Run(COLLECTION, f"demo__{month}__{began:%Y%m%dT%H%M%S}", {"month": month, "again": True}, month)
                for month in data.missing
            ],
            followers={ANALYSIS: planned_months},
            goals=frozenset(Goal(ANALYSIS, "release.publish", month) for month in data.missing),
        )

    def initial_input(self, platform: LocalPlatform) -> Sources | None:
        """Return nothing: what a warehouse loads is a matter of the demo, or of the person's settings."""
        return None

    def show_summary(self, report: Reporter, lake: Any, data: Sources, since: datetime) -> None:
        """Print what was loaded, the summaries, and what the service reads; all of it asked from Athena or by SQL."""
        from demos.warehouse.summary import show_summary

        show_summary(report, lake)


def _no_labels(*_: object) -> tuple[str, ...]:
    return ()


def _require_names(file: Path) -> None:
    """Refuse a file that is no list of names, before anything is started."""
    advice = "give a CSV file with the columns name and gender"
    try:
        with file.open("rb") as opened:
            head = opened.read(1 << 16)
    except OSError as error:
        raise UserError(f"NAMES={file} cannot be read ({error.strerror}): {advice}.") from None
    mark = next((each for each in MARKS if head.startswith(each)), b"")
    text = head.removeprefix(mark).decode(MARKS.get(mark, "utf-8"), "replace")
    _, columns = header_of(io.StringIO(text, newline=None), ("name", "gender"))
    if missing := [name for name in ("name", "gender") if name not in columns]:
        raise UserError(f"NAMES={file} has no column {' and no column '.join(missing)} in its first line: {advice}.")


def _upload(platform: Platform, file: Path, path: str) -> str:
    """Copy a file into the lake, and return its address."""
    address = f"{platform.lake}/{path}"
    bucket, key = split(address)
    patient_call(lambda: platform.client("s3").upload_file(str(file), bucket, key), say_on_stderr)
    return address


def _exists(platform: Platform, call: str, **wanted: Any) -> bool:
    """Return whether the Glue catalogue has what a call asks for."""
    from botocore.exceptions import ClientError

    def look() -> bool:
        database = os.environ.get("TAXIWAY_GLUE_DATABASE") or "taxiway"
        try:
            getattr(platform.client("glue"), call)(DatabaseName=database, **wanted)
        except ClientError as error:
            if error.response["Error"]["Code"] != "EntityNotFoundException":
                raise
            return False
        return True

    return patient_call(look, say_on_stderr)


DEMO = WarehouseDemo()
