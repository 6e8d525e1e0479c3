"""A training from published months to a version's files, on Apache Spark itself, and what it refuses."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from spark_jobs.eta import frames
from spark_jobs.eta.features import NAMES, ZONES
from spark_jobs.eta.model import FILES, Model
from tests.spark_jobs.conftest import Programs

ROOT = Path(__file__).parents[3]
VERSION = "20230701T000000-2023-05"
MONTHS = ("2023-01", "2023-02", "2023-03", "2023-04", "2023-05")


def month(name: str, rows: int = 3_000) -> pa.Table:
    """Return a month in which waits depend on zone, hour and the hour's luck, which live waits tell."""
    draw = np.random.default_rng(int(name[-2:]))
    hours = draw.integers(0, 24 * 28, 40)  # sampled, as in the repository's samples
    hour = draw.choice(hours, rows)
    luck = draw.normal(0, 150, 24 * 28)[hour]
    zone = draw.choice([4, 13, 48, 79, 132, 138, 161, 230], rows)
    wait = 200 + zone / 2 + 40 * np.sin(hour / 24 * 2 * np.pi) + luck + draw.gamma(1.5, 60, rows)
    at = np.datetime64(f"{name}-01T00:00:00", "us") + (hour * 3600 + draw.integers(0, 3600, rows)).astype("m8[s]")
    return pa.table(
        {
            "company": draw.choice(["uber", "lyft"], rows, p=[0.7, 0.3]),
            "pickup_zone_id": pa.array(zone, pa.int32()),
            "dropoff_zone_id": pa.array(draw.integers(1, 264, rows), pa.int32()),
            "request_datetime": pa.array(at),
            "trip_miles": pa.array(draw.gamma(2, 2, rows), mask=draw.random(rows) < 0.01),
            "wait_s": pa.array(np.clip(wait, 0, 3600).astype(int), pa.int32()),
            "trip_time": pa.array([600] * rows, pa.int64()),
        }
    )


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    for name in MONTHS:
        (folder / name).mkdir()
        parquet.write_table(month(name), folder / name / "part-0.parquet")
    return folder


def arguments(lake: Path, published: Path, months: tuple[str, ...] = MONTHS, version: str = VERSION) -> list[str]:
    given = [f"{name}={published / name}" for name in months]
    return ["--lake", str(lake), "--version", version, "--code", "c0ffee", *(a for m in given for a in ("--month", m))]


@pytest.fixture(scope="module")
def lake(published: Path, on_spark: Programs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a lake with a version: of Apache Spark, in a process of its own."""
    lake = tmp_path_factory.mktemp("lake")
    argv = [sys.executable, str(Path(__file__).with_name("training.py")), str(lake), *arguments(lake, published)]
    done = subprocess.run(argv, env=on_spark.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3_000:]
    return lake


@pytest.fixture(scope="module")
def version(lake: Path) -> Path:
    return lake / "models/eta" / VERSION


@pytest.fixture(scope="module")
def metrics(version: Path) -> dict[str, Any]:
    return dict(json.loads((version / "metrics.json").read_text()))


@pytest.mark.spark
def test_a_version_is_complete(version: Path, metrics: dict[str, Any]) -> None:
    below = sorted(path.relative_to(version).as_posix() for path in version.rglob("*") if path.is_file())
    trees = [
        f"{name}/{file}" for name in ("lightgbm", "spark-ml") for file in ("calibration.json", "p50.txt", "p90.txt")
    ]
    assert below == sorted(
        [*FILES, "card.html", "metrics.json", "predictions.parquet", *(f"candidates/{file}" for file in trees)]
    )
    assert metrics["train_months"] == ["2023-02", "2023-03", "2023-04"]
    assert (metrics["lag_month"], metrics["validation_month"], metrics["test_month"]) == (
        "2023-01",
        "2023-04",
        "2023-05",
    )
    assert (metrics["version"], metrics["code"]) == (VERSION, "c0ffee")
    assert set(metrics["candidates"]) == {"spark-ml", "lightgbm"}


@pytest.mark.spark
def test_metrics_are_those_of_the_published_predictions(
    version: Path, metrics: dict[str, Any], published: Path
) -> None:
    """Computed again from what is published: the baseline from the months before, all else from the predictions."""
    found = parquet.read_table(version / "predictions.parquet")
    test = parquet.read_table(published / "2023-05")
    assert len(found) == len(test) == metrics["rows"]
    order = [
        (name, "ascending") for name in ("request_datetime", "pickup_zone_id", "dropoff_zone_id", "company", "wait_s")
    ]
    same = [name for name, _ in order]
    assert found.sort_by(order).select(same).to_pydict() == test.sort_by(order).select(same).to_pydict()

    waits: dict[Any, list[int]] = {}
    before = pa.concat_tables([parquet.read_table(published / name) for name in MONTHS[:-1]])
    for zone, at, wait in zip(
        *(before[n].to_pylist() for n in ("pickup_zone_id", "request_datetime", "wait_s")), strict=True
    ):
        for key in ((zone, at.hour), zone, None):
            waits.setdefault(key, []).append(wait)

    def rank(values: list[int]) -> int:
        return sorted(values)[(len(values) + 1) // 2 - 1]

    zones, times = found["pickup_zone_id"].to_pylist(), found["request_datetime"].to_pylist()
    keys = [next(k for k in ((z, at.hour), z, None) if k in waits) for z, at in zip(zones, times, strict=True)]
    cached = {key: rank(waits[key]) for key in set(keys)}
    assert found["baseline_s"].to_pylist() == [cached[key] for key in keys]

    wait, p50, p90, base = (found[n].to_numpy() for n in ("wait_s", "p50_s", "p90_s", "baseline_s"))
    companies = np.array(found["company"].to_pylist())
    for rows, said in (
        (wait >= 0, metrics),
        (companies == "lyft", metrics["by_company"]["lyft"]),
        (np.array([ZONES[z] == "Queens" for z in zones]), metrics["by_borough"]["Queens"]),
    ):
        over, base_error = (wait - p50)[rows], (wait - base)[rows]
        assert said["rows"] == rows.sum()
        assert said["mae_s"] == pytest.approx(np.abs(over).mean())
        assert said["baseline_mae_s"] == pytest.approx(np.abs(base_error).mean())
        assert said["pinball_p50"] == pytest.approx(np.abs(over).mean() / 2)
        bound = (wait - p90)[rows]
        assert said["pinball_p90"] == pytest.approx(np.where(bound > 0, 0.9 * bound, -0.1 * bound).mean())
        assert said["p90_coverage"] == (bound <= 0).mean()
    assert metrics["global_median_mae_s"] == pytest.approx(np.abs(wait - rank(waits[None])).mean())


@pytest.mark.spark
def test_the_model_has_learnt_what_live_waits_tell(metrics: dict[str, Any]) -> None:
    for name in ("spark-ml", "lightgbm"):
        for part in ("validation", "test"):
            found = metrics["candidates"][name][part]
            assert found["mae_s"] < 0.9 * found["baseline_mae_s"], (name, part)
    losses = {
        name: found["validation"]["pinball_p50"] + found["validation"]["pinball_p90"]
        for name, found in metrics["candidates"].items()
    }
    assert metrics["winner"] == min(losses, key=lambda name: losses[name])
    # Calibrated there: at least nine tenths, and not much more, as few waits are equal.
    assert 0.9 <= metrics["candidates"]["spark-ml"]["validation"]["p90_coverage"] < 0.92
    assert metrics["candidates"]["lightgbm"]["p90_offset_s"] == 0
    assert 0.8 < metrics["p90_coverage"] < 0.97


@pytest.mark.spark
def test_the_files_of_a_version_predict_what_is_published(version: Path, published: Path) -> None:
    """What a stream reads gives, of one day's requests and pick-ups, the published predictions of that day."""
    from spark_jobs.eta.features import LiveWaits, features, minutes

    model = Model.read(VERSION, {name: (version / name).read_bytes() for name in FILES})
    rows = parquet.read_table(published / "2023-05")
    requests = rows.rename_columns({"request_datetime": "requested_at"})
    picked_up = pa.array(rows["request_datetime"].to_numpy() + rows["wait_s"].to_numpy().astype("m8[s]"))
    live = LiveWaits()
    live.add(rows["pickup_zone_id"].to_numpy(), minutes(picked_up), np.ones(len(rows)), rows["wait_s"].to_numpy())
    p50, p90 = model.predict(features(requests, live, model.lagged))
    stored = parquet.read_table(version / "predictions.parquet")
    keys = ["request_datetime", "pickup_zone_id", "dropoff_zone_id", "company", "wait_s"]
    ours = rows.select(keys).append_column("p50_s", pa.array(p50)).append_column("p90_s", pa.array(p90))
    order = [(name, "ascending") for name in ours.column_names]
    assert ours.sort_by(order).to_pydict() == stored.select(ours.column_names).sort_by(order).to_pydict()


@pytest.mark.spark
def test_spark_mls_trees_predict_the_same_in_lightgbms_format(lake: Path, version: Path) -> None:
    seen = np.load(lake / "spark-ml.npz")
    booster = lightgbm.Booster(model_str=(version / "candidates/spark-ml/p50.txt").read_text())
    assert len(seen["matrix"]) == 6_000
    shift = np.asarray(booster.predict(seen["matrix"])) - seen["prediction"]
    np.testing.assert_allclose(shift, np.full(len(shift), shift[0]), rtol=0, atol=1e-9)
    assert booster.num_trees() > 10


@pytest.mark.spark
def test_rows_of_a_month_do_not_change_when_all_later_ones_are_dropped(lake: Path) -> None:
    half, whole = np.load(lake / "half.npy"), np.load(lake / "whole.npy")
    assert 500 < len(half) < 2_500
    assert half.tolist() == whole.tolist()
    assert (half[:, NAMES.index("live_city_count")] > 0).mean() > 0.5


@pytest.mark.spark
def test_a_version_that_is_complete_stays_as_it_is(
    on_spark: Programs, lake: Path, version: Path, published: Path
) -> None:
    before = {path: path.read_bytes() for path in version.rglob("*") if path.is_file()}
    on_spark("eta/train.py", *arguments(lake, published))
    assert "is complete" in on_spark.output
    assert {path: path.read_bytes() for path in version.rglob("*") if path.is_file()} == before


@pytest.mark.spark
def test_the_card_needs_no_network(version: Path, metrics: dict[str, Any]) -> None:
    page = (version / "card.html").read_text()
    assert page.count("<svg") == 4
    assert "default-src 'none'" in page
    assert f"{metrics['mae_s']:.1f} s" in page
    assert "<script" not in page
    assert "<metadata" not in page
    for name in ("uber", "lyft", "Queens", "spark-ml", "lightgbm", "2023-05", "c0ffee"):
        assert name in page


def test_medians_are_by_nearest_rank_with_the_zones_and_that_of_all() -> None:
    waits = frames.Waits()
    counts = {
        "pickup_zone_id": [4, 4, 4, 7],
        "request_hour": [8, 8, 9, 8],
        "wait_s": [10, 30, 50, 3600],
        "requests": [2, 2, 1, 3],
    }
    waits.add(pa.table(counts))
    found = {
        (row["pickup_zone_id"], row["request_hour"]): (row["wait_s"], row["requests"])
        for row in waits.medians().to_pylist()
    }
    assert found == {
        (4, 8): (10, 4),
        (4, 9): (50, 1),
        (7, 8): (3600, 3),
        (4, None): (30, 5),
        (7, None): (3600, 3),
        (None, 8): (30, 7),
        (None, 9): (50, 1),
        (None, None): (30, 8),
    }
    waits.add(pa.table({"pickup_zone_id": [4], "request_hour": [8], "wait_s": [10], "requests": [100]}))
    assert waits.requests == 108
    buffer = io.BytesIO()
    parquet.write_table(waits.medians(), buffer)
    assert parquet.read_schema(buffer).names == ["pickup_zone_id", "request_hour", "wait_s", "requests"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (["--month", "2023-13=x"], "'2023-13' is not a month"),
        (["--month", "2023-01"], "is not MONTH=FOLDER"),
        (["--candidates", "lightgbm,forest"], "'forest' is not a candidate"),
        (["--month", "2023-01=elsewhere"], "a month is given twice"),
    ],
)
def test_bad_arguments(on_spark: Programs, published: Path, tmp_path: Path, changed: list[str], said: str) -> None:
    assert said in on_spark("eta/train.py", *arguments(tmp_path, published), *changed, status=2)


def test_too_few_months(on_spark: Programs, published: Path, tmp_path: Path) -> None:
    for months in ((), MONTHS[:3]):
        said = on_spark("eta/train.py", *arguments(tmp_path, published, months), status=1)
        assert said.count("\n") == 1
        assert "at least 4 published months" in said
        assert f"there are {len(months)}" in said


@pytest.mark.spark
@pytest.mark.parametrize("fault", ["rows", "columns"])
def test_months_that_cannot_be_used(on_spark: Programs, published: Path, tmp_path: Path, fault: str) -> None:
    short = tmp_path / "2022-12"
    short.mkdir()
    table = month("2022-12", 40) if fault == "rows" else month("2022-12").drop_columns(["wait_s"])
    parquet.write_table(table, short / "part-0.parquet")
    said = on_spark(
        "eta/train.py", *arguments(tmp_path, published, MONTHS[:3]), "--month", f"2022-12={short}", status=1
    ).splitlines()[-1]
    assert said.startswith("2022-12 has 40 timed trips in " if fault == "rows" else f"{short} lacks the column wait_s")
    assert not (tmp_path / "models/eta" / VERSION / "metrics.json").exists()
