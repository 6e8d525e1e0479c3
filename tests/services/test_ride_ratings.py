"""The ride service's database: the same seed makes the same history, and its changes are those that it says."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from services.ride_ratings.__main__ import main
from services.ride_ratings.history import EXPERIMENT, HistoryError, create, play, true_lift
from services.ride_ratings.schema import experiment_assignments, experiment_exposures, ride_ratings
from taxiway.core.databases import open_engine

FIRST, LAST = datetime(2023, 1, 1), datetime(2023, 4, 1)  # noqa: DTZ001


def made(tmp_path: Path, name: str, seed: int = 1, rows: int = 3000) -> sa.Engine:
    engine = open_engine(f"sqlite:///{tmp_path}/{name}.db")
    create(engine, seed=seed, rows=rows, first=FIRST, last=LAST)
    return engine


def rows_of(engine: sa.Engine, table: sa.Table = ride_ratings) -> dict[int, Any]:
    with engine.connect() as connection:
        return {row[0]: row for row in connection.execute(sa.select(table).order_by(*table.primary_key))}


def test_the_same_seed_makes_the_same_history(tmp_path: Path) -> None:
    one, again, other = made(tmp_path, "one"), made(tmp_path, "again"), made(tmp_path, "other", seed=2)
    assert rows_of(one) == rows_of(again) != rows_of(other)
    play(one, seed=3, changes=100)
    play(again, seed=3, changes=100)
    assert rows_of(one) == rows_of(again)


def test_a_history_is_one_of_rides(tmp_path: Path) -> None:
    rows = rows_of(made(tmp_path, "rides")).values()
    assert len(rows) == 3000
    assert {row.created_at.month for row in rows} == {1, 2, 3}
    assert all(FIRST <= row.created_at <= row.modified_at <= LAST for row in rows)
    assert all(row.deleted_at in (None, row.modified_at) for row in rows)
    assert all(1 <= row.pickup_zone_id <= 263 for row in rows)
    assert 0 < sum(row.stars == 0 for row in rows) < 20, "what the warehouse rejects"
    assert all(timedelta(hours=4) <= row.created_at - row.requested_at <= timedelta(hours=6) for row in rows)


def test_the_treatment_lifts_the_stars_as_it_says(tmp_path: Path) -> None:
    engine = made(tmp_path, "experiment", rows=20_000)
    variants = {rider: row.variant for rider, row in rows_of(engine, experiment_assignments).items()}
    exposed = {row.rider_id: row.exposed_at for row in rows_of(engine, experiment_exposures).values()}
    assert {row.experiment for row in rows_of(engine, experiment_exposures).values()} == {EXPERIMENT}
    stars: dict[str, list[int]] = {"control": [], "treatment": []}
    for row in rows_of(engine).values():
        if row.stars and row.rider_id in exposed and row.created_at > exposed[row.rider_id]:
            stars[variants[row.rider_id]].append(row.stars)
    lift = sum(stars["treatment"]) / len(stars["treatment"]) - sum(stars["control"]) / len(stars["control"])
    assert true_lift() == pytest.approx(0.15)
    assert lift == pytest.approx(true_lift(), abs=0.06), "3 standard errors"


def test_changes_are_those_that_are_told(tmp_path: Path) -> None:
    engine = made(tmp_path, "changes")
    before = rows_of(engine)
    last = max(row.modified_at for row in before.values())
    counts = play(engine, seed=1, changes=400)
    after = rows_of(engine)
    new = [row for key, row in after.items() if key not in before]
    changed = [(before[key], row) for key, row in after.items() if key in before and row != before[key]]
    silent = [row for old, row in changed if row.modified_at == old.modified_at]
    deleted = [row for old, row in changed if row.deleted_at != old.deleted_at]
    assert sum(counts.values()) == 400
    assert set(counts) == {"inserted", "late", "updated", "deleted", "removed", "silent"}
    assert len(before.keys() - after.keys()) == counts["removed"]
    assert len(new) == counts["inserted"] + counts["late"]
    assert sum(row.created_at < last for row in new) == counts["late"]
    assert all(last < row.modified_at < last + timedelta(days=1) for row in new)
    assert len(silent) == counts["silent"]
    assert len(deleted) == counts["deleted"]
    assert len(changed) == counts["updated"] + counts["deleted"] + counts["silent"]


def test_time_does_not_go_back(tmp_path: Path) -> None:
    engine = made(tmp_path, "time")
    with pytest.raises(HistoryError, match="give a later --until"):
        play(engine, seed=1, changes=1, until=FIRST)


@pytest.mark.parametrize(
    "variable", ['{{"conn_type": "sqlite", "host": "{file}"}}', "sqlite:///{file}"], ids=["JSON", "URI"]
)
def test_the_command_finds_the_database_of_airflows_connection(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rides.db"
    monkeypatch.setenv("AIRFLOW_CONN_RIDE_SERVICE", variable.format(file=file))
    assert main(["play"]) == 1
    assert "run python -m services.ride_ratings create first" in capsys.readouterr().err
    assert main(["create", "--rows", "100"]) == 0
    assert "100 ride_ratings" in capsys.readouterr().out
    assert main(["play", "--changes", "10"]) == 0
    assert len(rows_of(open_engine(f"sqlite:///{file}"))) > 90


def test_a_database_that_cannot_be_opened_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_RIDE_SERVICE", raising=False)
    assert main(["create"]) == 1
    assert "Name the database by --url" in capsys.readouterr().err
    assert main(["create", "--url", "sqlite:////nowhere/rides.db"]) == 1
    assert "The database refuses: unable to open database file" in capsys.readouterr().err
