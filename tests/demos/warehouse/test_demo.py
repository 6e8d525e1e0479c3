"""The declaration of the warehouse's demo: its input, what runs in which order, and what is refused beforehand."""

import csv
import hashlib
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from rich.console import Console

from console.errors import UserError
from console.follow import Goal
from console.output import Reporter
from demos.hvfhv import DEMO as HVFHV
from demos.warehouse import DEMO, LOADS, REFERENCE, SAMPLE, SERVING, SUMMARIES, WarehouseDemo

BEGAN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class Recorded:
    """A platform that has some months, and remembers what it is asked for."""

    lake = "s3://lake/x"

    def __init__(self, *published: str) -> None:
        self.published, self.calls = published, list[str]()

    @property
    def airflow(self) -> Any:
        return self

    def pause(self, dag_id: str) -> None:
        self.calls.append(f"pause {dag_id}")

    def unpause(self, dag_id: str) -> None:
        self.calls.append(f"unpause {dag_id}")

    def client(self, service: str) -> Any:
        return self

    def upload_file(self, file: str, bucket: str, key: str) -> None:
        self.calls.append(f"{Path(file).name} to {bucket}/{key}")

    def get_partition(self, **wanted: Any) -> None:
        self.require("-".join(wanted["PartitionValues"]))

    def get_table(self, **wanted: Any) -> None:
        self.require(wanted["Name"])

    def require(self, name: str) -> None:
        if name not in self.published:
            refused: Any = {
                "Error": {"Code": "EntityNotFoundException"},
                "ResponseMetadata": {"HTTPStatusCode": 400},
            }
            raise ClientError(refused, "Get")

    def run(self, module: str, *arguments: str, file: tuple[str, str] | None = None) -> str:
        self.calls.append(" ".join([module, *arguments]))
        return "done\n"


def rounds(platform: Recorded, demo: WarehouseDemo = DEMO, given: str | None = None) -> list[Any]:
    data = demo.read_input(given, str)
    demo.load(platform, data)  # type: ignore[arg-type]
    return list(demo.rounds(platform, data, Reporter(Console(file=StringIO()))))  # type: ignore[arg-type]


def test_the_sample_is_what_its_readme_says() -> None:
    readme = (SAMPLE / "README.md").read_text()
    for name in REFERENCE:
        content = (SAMPLE / name).read_bytes()
        rows = sum(1 for _ in csv.reader(StringIO(content.decode()))) - 1
        assert f"| `{name}` | {rows:,} | `{hashlib.sha256(content).hexdigest()}` |" in readme


def test_the_trips_are_those_of_hvfhvs_demo() -> None:
    assert DEMO.read_input(None, str).months.datasets == HVFHV.read_input(None, str).datasets


def test_months_that_are_missing_are_published_first_and_the_service_changes_between_two_loads() -> None:
    platform = Recorded("2023-01", "2023-03")
    trips, first, second, page = rounds(platform)

    assert [run.conf["month"] for run in trips.runs] == ["2023-02"]
    assert trips.goals == {Goal("hvfhv_analysis", "release.publish", "2023-02")}
    assert ([run.dag for run in page.runs], page.reports) == (["data_docs"], ["index.html"])
    for plan in (first, second):
        (run,) = plan.runs
        assert (run.dag, run.conf) == (LOADS, {"names": "s3://lake/x/reference/name_gender.csv", "force": False})
        assert {goal.dag for goal in plan.goals} == {LOADS, SUMMARIES, SERVING} == {LOADS, *plan.followers}
    commands = [call for call in platform.calls if call.startswith(("pause", "unpause", "services", "taxiway.w"))]
    assert commands == [
        *("pause warehouse_summaries", "unpause warehouse_summaries"),
        *("services.ride_ratings create", "services.ride_ratings play", "taxiway.warehouse show"),
    ]


def test_months_that_are_published_are_not_published_again() -> None:
    platform = Recorded("2023-01", "2023-02", "2023-03")
    assert len(rounds(platform)) == 3
    assert not [call for call in platform.calls if call.startswith("taxiway.catalogue")]


def test_the_service_goes_on_where_its_tables_are_loaded_already() -> None:
    platform = Recorded("2023-01", "2023-02", "2023-03", "ride_ratings")
    rounds(platform)
    assert [call for call in platform.calls if call.startswith("services")] == ["services.ride_ratings play"] * 2


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_a_list_of_ones_own_is_uploaded_and_may_be_smaller(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("Name;GENDER\nZoë;F\n", encoding=encoding)
    platform = Recorded()
    plan = rounds(platform, given=str(file))[-2]
    assert plan.runs[0].conf == {"names": "s3://lake/x/reference/given/mine.csv", "force": True}
    assert "mine.csv to lake/x/reference/given/mine.csv" in platform.calls


def test_a_list_on_the_web_is_left_to_the_load() -> None:
    data = DEMO.read_input("https://example.com/names.csv", str)
    assert DEMO.plan(data, BEGAN).runs[0].conf["names"] == "https://example.com/names.csv"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ["cannot be read", "No such file"]),
        ("", ["no column name and no column gender"]),
        ("name,sex\nAda,F\n", ["no column gender"]),
        ("PAR1\x00\x00", ["no column name"]),
    ],
)
def test_a_list_that_cannot_be_used_is_one_sentence(tmp_path: Path, content: str | None, words: list[str]) -> None:
    file = tmp_path / "names.csv"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UserError) as raised:
        DEMO.read_input(str(file), str)
    assert "\n" not in str(raised.value)
    for word in [f"NAMES={file}", "columns name and gender", *words]:
        assert word in str(raised.value)


def test_an_address_of_another_kind_is_one_sentence() -> None:
    with pytest.raises(UserError, match=r"NAMES=ftp://x/names\.csv cannot be read: give a CSV file, or an address"):
        DEMO.read_input("ftp://x/names.csv", str)
