"""The warehouse through the commands that a person types: loaded, summed up, served, changed, and loaded again."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import duckdb
import pytest

from tests.contracts.command import contracts
from tests.laptop.person import Person

# Two rounds of loads, dbt on Athena and serving take many minutes on two cores.
pytestmark = [pytest.mark.e2e, pytest.mark.full, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def demo(person: Person) -> Iterator[str]:
    """Run the demo on a platform of its own, and bring the platform up again for questions."""
    status, output = person.type("demo", PIPELINE="warehouse")
    assert status == 0, output
    yield output
    assert not person.left_after(10)


@pytest.fixture(scope="module")
def results(person: Person, demo: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    status, output = person.type("results", "--to", str(folder), PIPELINE="warehouse")
    assert status == 0, output
    return folder


def test_the_demo_shows_what_it_loaded_and_summed_up(demo: str) -> None:
    for words in ("Loaded (raw)", "zone_summary", "company_month", "driver_photo", "name_gender_summary"):
        assert words in demo


def test_every_row_of_the_source_is_accepted_or_rejected(demo: str, results: Path) -> None:
    loaded = duckdb.execute(f"SELECT count(*) FROM '{results}/raw/warehouse/name_gender/*.parquet'").fetchone()
    rejected = re.search(r"name_gender +([\d,]+) +([\d,]+)", demo)
    assert loaded
    assert rejected
    assert int(rejected[1].replace(",", "")) == loaded[0]
    assert loaded[0] + int(rejected[2].replace(",", "")) == 91_723


def test_raw_ratings_are_those_of_the_service(person: Person, demo: str, results: Path) -> None:
    """After changes, deletions included: the loads of what changed add up to the service's own table."""
    with closing(sqlite3.connect(person.state / "ride_service.sqlite")) as service:
        own = service.execute("SELECT rating_id, stars, deleted_at IS NULL FROM ride_ratings ORDER BY 1").fetchall()
    files = f"{results}/raw/warehouse/ride_ratings/**/*.parquet"
    raw = duckdb.execute(f"SELECT rating_id, stars, (deleted_at IS NULL)::int FROM '{files}' ORDER BY 1").fetchall()
    rejected = re.search(r"ride_ratings +[\d,]+ +([\d,]+)", demo)
    assert rejected
    assert set(raw) <= set(own)
    assert len(own) - len(raw) == int(rejected[1].replace(",", ""))


def test_the_service_serves_the_summary(person: Person, results: Path) -> None:
    with closing(sqlite3.connect(person.state / "ride_service.sqlite")) as service:
        served = service.execute("SELECT zone_id, trips, ratings FROM zone_summary ORDER BY 1").fetchall()
    files = f"{results}/marts/warehouse/zone_summary/*.parquet"
    assert served == duckdb.execute(f"SELECT zone_id, trips, ratings FROM '{files}' ORDER BY 1").fetchall()
    assert len(served) > 200


def test_published_tables_keep_their_contracts(results: Path) -> None:
    assert contracts("test", "warehouse", results) == (0, "")


@pytest.mark.parametrize(("names", "words"), [("/nowhere.csv", "/nowhere.csv"), ("Makefile", "no column name")])
def test_names_that_cannot_be_used_are_one_sentence(person: Person, demo: str, names: str, words: str) -> None:
    status, output = person.type("demo", PIPELINE="warehouse", NAMES=names)
    assert (status, len(output.strip().splitlines())) == (1, 1)
    assert words in output
