"""Which changes of a contract need which version."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.contracts.command import ROOT, contracts

pytestmark = pytest.mark.slow  # each call of the tools takes seconds

RELEASED = "released.yaml"
Change = Callable[[dict[str, dict[str, Any]]], object]
"""Changes the columns (name → definition) of a table, in place."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a copy of one pipeline's contracts, as a check of all takes half a minute."""
    folder = tmp_path / "contracts"
    shutil.copytree(ROOT / "contracts/hvfhv", folder / "hvfhv")
    text = (ROOT / "contracts" / RELEASED).read_text()
    own = [each for each in yaml.safe_load(text) if each["id"].startswith("hvfhv_")]
    (folder / RELEASED).write_text(yaml.safe_dump(own, sort_keys=False))
    return folder


def _change(folder: Path, name: str, change: Change, version: str = "1.0.0") -> None:
    """Change a released contract of version 1.0.0."""
    file = folder / "hvfhv" / f"{name}.yaml"
    contract = yaml.safe_load(file.read_text())
    contract["version"] = version
    (table,) = contract["schema"]
    columns = {column["name"]: column for column in table["properties"]}
    change(columns)
    table["properties"] = [*columns.values()]
    file.write_text(yaml.safe_dump(contract, sort_keys=False))


def _add(columns: dict[str, dict[str, Any]]) -> None:
    columns["surge"] = {"name": "surge", "logicalType": "number", "physicalType": "double", "description": "surge"}


# Each in a table of its own, so that one run sees them all.
BREAKING: dict[str, Change] = {
    "trips": lambda columns: columns.pop("tips"),
    "eta_training": lambda columns: columns["trip_time"].update(physicalType="int"),
    "market_share": lambda columns: columns["trip_share"].pop("required"),
    "service_quality": lambda columns: columns["request_hour"].pop("primaryKey"),
    "rising_zones": lambda columns: columns["zone_id"].update(logicalTypeOptions={"minimum": 1, "maximum": 300}),
    "trend": lambda columns: columns["company"]["enum"].append({"value": "revel"}),
    "trip_file": lambda columns: columns["pickup_zone_id"].update(physicalName="pickup_location"),
    "popular_zones": lambda columns: columns["zone_name"].update(name="zone"),
}


def test_what_breaks_readers_needs_a_new_major_version(folder: Path) -> None:
    for name, change in BREAKING.items():
        _change(folder, name, change, "1.1.0")
    quarantine = (folder / "hvfhv/trips_quarantine.yaml").rename(folder / "gone")
    before = (folder / RELEASED).read_text()
    status, faults = contracts("--contracts", folder, "release")
    assert status == 1
    assert "hvfhv_trips_quarantine is gone, which breaks its readers" in faults
    for name in BREAKING:
        assert f"hvfhv_{name} breaks its readers (" in faults
    assert faults.count("breaks its readers") == len(BREAKING) + 1
    assert "set the version to 2.0.0" in faults
    assert (folder / RELEASED).read_text() == before

    quarantine.rename(folder / "hvfhv/trips_quarantine.yaml")
    for name in BREAKING:
        _change(folder, name, lambda columns: None, "2.0.0")
    assert contracts("--contracts", folder, "release") == (0, "")
    assert (folder / RELEASED).read_text().count("version: 2.0.0") == len(BREAKING)


def test_what_readers_need_not_notice_needs_a_new_minor_version(folder: Path) -> None:
    _change(folder, "trips", _add, "1.0.1")
    _change(folder, "trend", lambda columns: columns["wait_s_mean"].update(required=True))
    _change(folder, "market_share", lambda columns: columns["trips"].update(description="other words"))
    _change(folder, "popular_zones", lambda columns: None, "0.9.0")
    status, faults = contracts("--contracts", folder, "lint")
    assert status == 1
    assert "hvfhv_trips was changed (Added property surge), but its version is 1.0.1 and 1.0.0 is released" in faults
    assert "hvfhv_trend was changed (" in faults
    assert "hvfhv_popular_zones went back to an earlier version" in faults
    assert len(faults.splitlines()) == 3

    for name in ("trips", "trend", "popular_zones"):
        _change(folder, name, lambda columns: None, "1.1.0")
    status, faults = contracts("--contracts", folder, "lint")
    assert (status, faults.count("\n")) == (1, 1)
    assert "does not record the contracts' present versions: run make contracts" in faults


def test_invalid_contract_is_named(folder: Path) -> None:
    _change(folder, "trips", lambda columns: columns["tips"].update(logicalType="money"))
    status, faults = contracts("--contracts", folder, "lint")
    assert status == 1
    assert "trips.yaml: " in faults
    assert "logicalType" in faults


def test_what_the_project_asks_for_beyond_the_standard_is_checked(folder: Path) -> None:
    def replace(name: str, old: str, new: str) -> None:
        file = folder / "hvfhv" / f"{name}.yaml"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new, 1))

    replace("trend", "id: hvfhv_trend", "id: hvfhv_market_share")
    replace("popular_zones", "domain: hvfhv", "domain: taxis")
    replace("rising_zones", "team:\n  name: data-platform\n", "team:\n")
    replace("trips", "      - {property: anchor, value: true}\n", "")
    replace("service_quality", "{property: publishOrder, value: 1}", "{property: publishOrder, value: 9}")
    replace("eta_training", "role: owner", "role: reader")
    replace("market_share", "{property: requester, value: mobility-analytics}", "{property: asked, value: yes}")
    replace("popular_zones", "  purpose: ", "  limitations: ")
    replace(
        "trips", "physicalType: timestamp\n", "physicalType: timestamp\n        logicalTypeOptions: {minimum: '2019'}\n"
    )
    status, faults = contracts("--contracts", folder, "lint")
    assert status == 1
    for part in (
        "eta_training.yaml has no owner: name who answers for the table",
        "market_share.yaml has no requester: say who asked for the table",
        "popular_zones.yaml has no purpose: say what the table is for",
        "trend.yaml has the id 'hvfhv_market_share' of ",
        "popular_zones.yaml has the domain 'taxis': it must be that of its folder, 'hvfhv'.",
        "rising_zones.yaml names no team",
        "publishOrder must be 1 to 8, each once",
        "which is no number: remove them.",
        "the table that is published last, and no other, must have the property anchor.",
    ):
        assert part in faults


def test_a_file_that_is_no_yaml_is_one_sentence(folder: Path) -> None:
    (folder / "hvfhv/trend.yaml").write_text("schema: [")
    status, faults = contracts("--contracts", folder, "lint")
    assert status == 1
    (sentence,) = faults.splitlines()
    assert "trend.yaml is no YAML: " in sentence
