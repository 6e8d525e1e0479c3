"""The plan of a training: which months, and one sentence where there are none to learn from."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from taxiway.catalogue import Input
from taxiway.eta.plan import TRAINING_TABLE, PlanError, TooFewMonthsError, awaited_months, choose
from taxiway.eta.settings import EtaSettings
from taxiway.lake import Partition

NOW = datetime(2026, 11, 26, 4, 15, tzinfo=UTC)
LIMITS = EtaSettings()


def published(*months: str, rows: int = 50_000) -> dict[str, Partition]:
    return {
        month: Partition(
            TRAINING_TABLE,
            month,
            f"s3://lake/eta_training/{month}/version=1",
            {"rows": str(rows), "inputs": "old"},
        )
        for month in months
    }


SIX = published("2023-06", "2023-01", "2023-02", "2023-03", "2023-04", "2023-05")


def test_the_newest_month_is_the_test_month() -> None:
    job = choose(SIX, None, [], NOW, LIMITS)

    assert job["version"] == "20261126T041500-2023-06"
    assert list(job["tables"]) == sorted(SIX)
    assert job["tables"]["2023-02"] == "s3://lake/eta_training/2023-02/version=1"


def test_a_month_is_trained_on_those_before_it_alone() -> None:
    job = choose(SIX, "2023-05", [], NOW, LIMITS)

    assert job["version"] == "20261126T041500-2023-05"
    assert list(job["tables"]) == ["2023-01", "2023-02", "2023-03", "2023-04", "2023-05"]


def test_the_months_can_be_named() -> None:
    named = ["2023-05", "2023-02", "2023-03", "2023-04"]

    assert list(choose(SIX, None, named, NOW, LIMITS)["tables"]) == sorted(named)
    assert list(choose(SIX, "2023-06", named, NOW, LIMITS)["tables"]) == [*sorted(named), "2023-06"], "the test month"
    assert list(choose(SIX, None, [], NOW, EtaSettings(months=5))["tables"]) == sorted(SIX)[1:], "the newest"


@pytest.mark.parametrize(
    ("months", "test", "sentence"),
    [
        ([], None, "No month of hvfhv_eta_training is published: run hvfhv_collection for at least 4 months"),
        (["2023-01"], None, "A model needs 4 months of hvfhv_eta_training, and up to 2023-01 there is only 2023-01:"),
        (sorted(SIX), "2023-03", "up to 2023-03 there are only 2023-01, 2023-02, 2023-03: collect more, or name"),
    ],
    ids=["none", "one", "too early a test month"],
)
def test_too_few_months_are_one_sentence(months: list[str], test: str | None, sentence: str) -> None:
    with pytest.raises(TooFewMonthsError, match=sentence):
        choose(published(*months), test, [], NOW, LIMITS)


def test_a_month_without_enough_rows_is_named() -> None:
    with pytest.raises(PlanError, match="2023-04 has 999 rows of hvfhv_eta_training, fewer than TAXIWAY_ETA_MONTH_R"):
        choose(SIX | published("2023-04", rows=999), None, [], NOW, LIMITS)


def test_a_run_waits_for_the_months_that_it_is_asked_for() -> None:
    """They are published, and from the files that the catalogue lists by now."""
    file = Input(dataset="a", uri="s3://lake/raw/a.parquet", sha256="a" * 64, rows=1, bytes=1)
    current = {"2023-05": replace(SIX["2023-05"], parameters={"rows": "50000", "inputs": "a" * 64})}

    def awaited(requested: list[str], listed: list[str], complete: list[str]) -> list[str]:
        return awaited_months(requested, SIX | current, listed, {month: [file] for month in complete})

    assert awaited(["2023-06", "2023-07", "2023-08"], [], []) == ["2023-07", "2023-08"], "not published"
    assert awaited(["2023-05"], ["2023-05"], ["2023-05"]) == []
    assert awaited(["2023-05"], ["2023-05"], []) == ["2023-05"], "another file of it is being collected"
    assert awaited(["2023-06"], ["2023-06"], ["2023-06"]) == ["2023-06"], "it was built from another file"
    assert awaited([], ["2023-05"], []) == []
