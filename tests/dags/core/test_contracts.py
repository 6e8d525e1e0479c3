"""Reading data contracts: from the folder, from an archive of programs, and what is said of a bad one."""

import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from spark_jobs import publish
from taxiway.core import contracts
from taxiway.core.contracts import ContractError
from taxiway.lake import TableSet

TABLE = """
schema:
  - name: visits
    physicalName: shop_visits
    customProperties:
      - {property: path, value: curated/visits}
      - {property: publishOrder, value: 1}
      - {property: anchor, value: true}
    properties:
      - {name: shop, logicalType: string, physicalType: string, required: true, primaryKey: true, primaryKeyPosition: 1}
      - {name: seconds, logicalType: integer, physicalType: int, logicalTypeOptions: {minimum: 0, maximum: 60}}
      - {name: day, logicalType: string, physicalType: string, partitioned: true, partitionKeyPosition: 2}
      - {name: month, logicalType: string, physicalType: string, partitioned: true, partitionKeyPosition: 1}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of contracts with one pipeline of one table."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "visits.yaml").write_text(TABLE)
    monkeypatch.setattr(contracts, "FOLDER", tmp_path)
    contracts.read.cache_clear()
    yield tmp_path
    contracts.read.cache_clear()


def test_a_new_file_is_a_new_table_of_a_new_pipeline(folder: Path) -> None:
    assert contracts.pipelines() == ["shop"]
    tables = TableSet("shop")
    assert [table.name for table in tables] == ["shop_visits"]
    assert tables.anchor.columns == {"shop": "string", "seconds": "int"}
    assert tables.anchor.key == ("shop",)
    assert tables.anchor.contract.columns["seconds"].bounds == (0, 60)
    where = tables.anchor.contract.version_folder("s3://lake", "01-31", "v1")
    assert where == "s3://lake/curated/visits/month=01/day=31/version=v1"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("- a list", "contracts/shop/visits.yaml is not a contract: it is a list."),
        ("", "There is no contract contracts/shop/visits.yaml, or it is empty: deliver the folder contracts/"),
        (
            TABLE.replace("physicalType: int,", "physicalType: date,"),
            "contracts/shop/visits.yaml cannot be used: the column seconds (date) has the minimum or maximum 0, but ",
        ),
        (
            TABLE.replace("minimum: 0", 'minimum: "2020-01-01"'),
            "contracts/shop/visits.yaml cannot be used: the column seconds (int) has the minimum or maximum 2020-01-01",
        ),
        (
            TABLE.replace("minimum: 0", "minimum: 2020-01-01"),
            "contracts/shop/visits.yaml cannot be used: the column seconds (int) has the minimum or maximum 2020-01-01",
        ),
        (
            TABLE.replace("minimum: 0", "minimum: true"),
            "contracts/shop/visits.yaml cannot be used: the column seconds ",
        ),
        ("a: [", "contracts/shop/visits.yaml is not valid YAML: "),
        ("schema: []", "contracts/shop/visits.yaml cannot be used (ValueError"),
        (
            TABLE.replace("physicalType: int,", ""),
            "contracts/shop/visits.yaml cannot be used (KeyError: 'physicalType')",
        ),
    ],
)
def test_a_bad_contract_is_named(content: str, sentence: str, folder: Path) -> None:
    (folder / "shop" / "visits.yaml").write_text(content)
    with pytest.raises(ContractError) as caught:
        contracts.read("shop", "visits")
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


def test_a_set_without_an_anchor_at_its_end_is_refused(folder: Path) -> None:
    (folder / "shop" / "visits.yaml").write_text(TABLE.replace("- {property: anchor, value: true}", ""))
    with pytest.raises(ContractError, match="contracts/shop the one with the highest publishOrder"):
        _ = TableSet("shop").anchor


def test_programs_find_the_same_contracts_in_their_archive(tmp_path: Path) -> None:
    """In a process that has nothing but the archive and Python's standard library."""
    archive = tmp_path / "spark_jobs.zip"
    archive.write_bytes(publish.archive())
    program = (
        "import json, sys; sys.path.insert(0, sys.argv[1])\n"
        "from taxiway.core import contracts\n"
        "names = {p: contracts.names(p) for p in contracts.pipelines()}\n"
        "trips = contracts.read('hvfhv', 'trips')\n"
        "print(json.dumps([names, trips.path, list(trips.columns), trips.columns['trip_miles'].bounds]))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, str(archive)], capture_output=True, text=True, check=True
    )
    trips = contracts.read("hvfhv", "trips")
    names = {pipeline: contracts.names(pipeline) for pipeline in contracts.pipelines()}
    bounds = list(trips.columns["trip_miles"].bounds)
    assert json.loads(done.stdout) == [names, trips.path, list(trips.columns), bounds]
    assert not any(name.endswith((".yaml", "settings.pyc")) for name in zipfile.ZipFile(archive).namelist())
