"""The plan of a run of ``eta_model_training``: its months, their published tables, and the version that it makes."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, TypedDict

from taxiway.eta.settings import EtaSettings
from taxiway.lake import Partition, Table, join_inputs

if TYPE_CHECKING:
    from taxiway.catalogue import Input

TRAINING_TABLE = Table("hvfhv", "eta_training")
LEAST_MONTHS = 4  # one for the first lagged statistics alone, then at least one each to train, validate and test


class PlanError(RuntimeError):
    """The run cannot be planned as requested; the text is one sentence."""


class TooFewMonthsError(PlanError):
    """There are not yet the months that a model needs."""


class Job(TypedDict):
    """What a run trains, as plain data that Airflow passes between tasks.

    Keys:
        version: of the model, ``YYYYMMDDTHHMMSS-<test month>``.
        tables: month → folder of its published training table, earliest first; the last one is the test month.
    """

    version: str
    tables: dict[str, str]


def awaited_months(
    requested: Collection[str],
    published: Mapping[str, Partition],
    listed: Collection[str],
    complete: Mapping[str, Sequence["Input"]],
) -> list[str]:
    """Return the months that a run has to wait for: not published, or not from the files that are listed by now.

    Args:
        requested: months that the run is asked for.
        published: month → its published training table.
        listed: months with data sets in the catalogue.
        complete: month → its files, where all of its data sets are collected.
    """
    ready = {month for month in requested if month in published and month not in listed}
    for month in {*requested} & published.keys() & complete.keys():
        if join_inputs([file.sha256 for file in complete[month]]) in published[month].processed_inputs:
            ready.add(month)
    return sorted({*requested} - ready)


def choose(
    published: Mapping[str, Partition], month: str | None, months: Sequence[str], now: datetime, limits: EtaSettings
) -> Job:
    """Return the job of a run.

    Args:
        published: month → its published training table.
        month: the test month; None for the newest.
        months: to choose from, beside the test month; empty for all that are published.
        now: determines the version.
        limits: how many months, and how many rows each.

    Raises:
        TooFewMonthsError: there are fewer than a model needs, or none.
        PlanError: a month has too few rows.
    """
    known = [each for each in sorted(published) if not months or each in months or each == month]
    test = month or (known[-1] if known else None)
    chosen = [each for each in known if test and each <= test][-limits.months :]
    name = TRAINING_TABLE.name
    if not known:
        raise TooFewMonthsError(
            f"No month of {name} is published: run hvfhv_collection for at least {LEAST_MONTHS} months, which has "
            "hvfhv_analysis publish them."
        )
    if len(chosen) < LEAST_MONTHS:
        raise TooFewMonthsError(
            f"A model needs {LEAST_MONTHS} months of {name}, and up to {test} there "
            f"{'is' if len(chosen) == 1 else 'are'} only {', '.join(chosen) or 'none'}: collect more, or name a later "
            "test month."
        )
    for each in chosen:
        rows = int(published[each].parameters["rows"])
        if rows < limits.month_rows:
            raise PlanError(
                f"{each} has {rows:,} rows of {name}, fewer than TAXIWAY_ETA_MONTH_ROWS={limits.month_rows}: name the "
                "months to learn from by the parameter months, or lower that setting."
            )
    return Job(version=f"{now:%Y%m%dT%H%M%S}-{test}", tables={each: published[each].location for each in chosen})
