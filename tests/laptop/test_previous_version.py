"""The state folder of the version before demos/ existed: what of it is used, replaced or refused.

data/catalogue_before_demos.sql is its dataset catalogue as SQLite dumped it: the sample was below laptop/sample/.
"""

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa

from console.errors import UserError
from demos.hvfhv import DEMO
from laptop.config import Config
from laptop.platform import Platform
from taxiway import catalogue

RECORDED = Path(__file__).parent / "data/catalogue_before_demos.sql"
KEYS = {"fernet": "Zm9yIHRlc3RzIG9ubHksIGZvciB0ZXN0cyBvbmx5ISE=", "api": "a" * 64, "jwt": "b" * 64}
SAMPLED = [f"fhvhv_tripdata_sample_2023-0{number}" for number in (1, 2, 3)]


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    """Return the platform of such a state folder, which does not run."""
    (tmp_path / "keys.json").write_text(json.dumps(KEYS))
    (tmp_path / "supervisor.json").write_text(json.dumps({"pid": os.getpid(), "created": 1.0, "engine": "sail"}))
    with closing(sqlite3.connect(tmp_path / "tlc_catalog.sqlite")) as database:
        database.executescript(RECORDED.read_text())
    return Platform(Config.from_environment({"STATE": str(tmp_path)}))


def urls(engine: sa.Engine) -> dict[str, str]:
    return {dataset.name: dataset.url for dataset, _ in catalogue.latest_attempts(engine)}


def test_it_counts_as_ended_and_keeps_its_keys(platform: Platform) -> None:
    assert not platform.running
    assert platform.environment["AIRFLOW__CORE__FERNET_KEY"] == KEYS["fernet"]


def test_up_names_the_moved_files_of_the_sample_anew_and_touches_nothing_else(
    platform: Platform, tmp_path: Path
) -> None:
    engine = platform.catalogue()
    catalogue.migrate(engine)
    moved = DEMO.initial_input(platform)
    assert moved
    assert not moved.whole_months, "other data sets of those months stay"
    copy = tmp_path / moved.name
    copy.write_text(moved.as_csv())
    catalogue.load(engine, copy)
    found = urls(engine)
    assert found.pop("my own") == "https://example.com/my-own.parquet"
    assert list(found) == SAMPLED
    assert all(Path(url.removeprefix("file://")).is_file() for url in found.values())
    assert DEMO.initial_input(platform) is None
    with engine.connect() as connection:
        [logged] = connection.execute(catalogue.ingestion_log.select())
    assert "/gone/taxiway/laptop/sample/" in logged.url, "the log says what was true then"


def test_a_months_files_elsewhere_that_still_exist_stay(platform: Platform, tmp_path: Path) -> None:
    (tmp_path / "mine.parquet").write_text("")
    engine = platform.catalogue()
    with engine.begin() as connection:
        mine = catalogue.datasets.update().values(url=(tmp_path / "mine.parquet").as_uri())
        connection.execute(mine.where(catalogue.datasets.c.name == SAMPLED[1]))
    moved = DEMO.initial_input(platform)
    assert moved
    assert [dataset.name for dataset in moved.datasets] == [SAMPLED[0], SAMPLED[2]]


def test_a_new_catalogue_gets_the_whole_sample(tmp_path: Path) -> None:
    platform = Platform(Config.from_environment({"STATE": str(tmp_path)}))
    catalogue.migrate(platform.catalogue())
    data = DEMO.initial_input(platform)
    assert data
    assert data.whole_months
    assert [dataset.name for dataset in data.datasets] == SAMPLED


def test_the_demo_loads_its_list_through_the_platforms_own_environment(platform: Platform) -> None:
    if not platform.config.python("airflow").exists():
        pytest.skip("the environment of Airflow is not installed: make setup")
    output = DEMO.load(platform, DEMO.read_input(None, str))
    assert (
        output == "catalogue.csv names 3 months, 2023-01, 2023-02, 2023-03: 0 added, 3 changed, 0 unchanged, 1 removed."
    )
    assert list(urls(platform.catalogue())) == SAMPLED, "a list has its months whole"


def test_a_module_that_fails_is_one_sentence(platform: Platform) -> None:
    if not platform.config.python("airflow").exists():
        pytest.skip("the environment of Airflow is not installed: make setup")
    with pytest.raises(UserError, match=r"^taxiway\.catalogue load failed: .*list\.csv is empty.*$"):
        platform.run("taxiway.catalogue", "load", file=("list.csv", ""))


def test_a_platform_of_the_version_before_that_still_runs_has_to_end_first(platform: Platform, tmp_path: Path) -> None:
    record = {"pid": os.getpid(), "created": psutil.Process().create_time(), "engine": "sail"}
    (tmp_path / "supervisor.json").write_text(json.dumps(record))
    assert platform.running
    with pytest.raises(UserError, match=r"another version of this checkout: run make down, then repeat"):
        platform.attach()
