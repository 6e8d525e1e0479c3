"""What contracts keep, what may go, and that nothing else does: against a local AWS, with contracts of its own."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from taxiway.core import contracts
from taxiway.core.contracts import ContractError
from taxiway.core.settings import Settings
from taxiway.operations import retention
from taxiway.operations.lineage import Reader
from taxiway.operations.retention import Old, delete, rule_of, survey, unused

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
LAKE = "taxiway-lake"


def contract(
    name: str,
    retention: Any,
    unit: str = "",
    kind: str = "table",
    keys: tuple[str, ...] = ("year", "month"),
    **more: Any,
) -> dict[str, Any]:
    """Return a contract as far as it is read here."""
    custom = {"path": f"marts/{name}", **more}
    columns: list[dict[str, Any]] = [{"name": "n", "logicalType": "integer", "physicalType": "bigint"}]
    columns += [
        {
            "name": key,
            "logicalType": "string",
            "physicalType": "string",
            "partitioned": True,
            "partitionKeyPosition": place,
        }
        for place, key in enumerate(keys, 1)
    ]
    level = {"property": "retention", "value": retention} | ({"unit": unit} if unit else {})
    table = {"name": name, "physicalName": name, "physicalType": kind, "properties": columns}
    table["customProperties"] = [{"property": key, "value": value} for key, value in custom.items()]
    return {"schema": [table], "slaProperties": [level]}


@pytest.fixture
def shop(aws: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator["Shop"]:
    monkeypatch.setattr(contracts, "FOLDER", tmp_path)
    contracts.read.cache_clear()
    yield Shop(tmp_path / "shop")
    contracts.read.cache_clear()


class Shop:
    """A pipeline with contracts, stored months and a catalogue."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder, self.session, self.settings = folder, boto3.Session(), Settings()
        self.s3, self.glue = self.session.client("s3"), self.session.client("glue")
        self.s3.create_bucket(Bucket=LAKE)
        self.glue.create_database(DatabaseInput={"Name": "taxiway"})

    def declare(self, name: str, *rule: Any, **more: Any) -> None:
        (self.folder / f"{name}.yaml").write_text(yaml.safe_dump(contract(name, *rule, **more)))
        contracts.read.cache_clear()

    def publish(self, table: str, *periods: str, files: int = 1) -> None:
        keys = [{"Name": key, "Type": "string"} for key in ("year", "month", "day")[: periods[0].count("-") + 1]]
        storage = {"Location": f"s3://{LAKE}/marts/{table}"}
        self.glue.create_table(
            DatabaseName="taxiway", TableInput={"Name": table, "PartitionKeys": keys, "StorageDescriptor": storage}
        )
        for period in periods:
            self.glue.create_partition(
                DatabaseName="taxiway",
                TableName=table,
                PartitionInput={"Values": period.split("-"), "StorageDescriptor": storage},
            )
            self.store(table, period, files)

    def store(self, table: str, period: str, files: int = 1) -> None:
        names = zip(("year", "month", "day", "hour"), period.split("-"), strict=False)
        folder = "/".join(f"{key}={value}" for key, value in names)
        for number in range(files):
            self.s3.put_object(Bucket=LAKE, Key=f"marts/{table}/{folder}/version=1/{number}.parquet", Body=b"1234")

    def stored(self, table: str) -> list[str]:
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=LAKE, Prefix=f"marts/{table}/")
        return sorted({each["Key"].split("/version")[0] for page in pages for each in page.get("Contents", [])})

    def published(self, table: str) -> list[str]:
        found = self.glue.get_partitions(DatabaseName="taxiway", TableName=table)["Partitions"]
        return sorted("-".join(each["Values"]) for each in found)

    def old(self, **more: Any) -> list[tuple[str, str]]:
        found = survey(self.session, self.settings, NOW, more.pop("readers", {}))
        return [(each["table"], each["period"]) for each in found.old]


@pytest.mark.parametrize(
    ("rule", "old"),
    [
        (("unlimited",), []),
        ((1, "month"), ["2026-09"]),  # October has ended within the month before this one
        ((2, "month"), []),
        ((30, "d"), ["2026-09"]),
        ((25, "d"), ["2026-09", "2026-10"]),
        ((1, "y"), []),
    ],
)
def test_a_period_goes_when_it_ended_that_long_ago(shop: Shop, rule: tuple[Any, ...], old: list[str]) -> None:
    shop.declare("sales", *rule)
    shop.publish("sales", "2026-09", "2026-10", "2026-11")
    assert [period for _, period in shop.old()] == old


def test_what_may_go_is_listed_with_its_size_and_reader(shop: Shop) -> None:
    shop.declare("sales", 12, "month")
    shop.publish("sales", "2025-01", "2026-11", files=3)
    (found,) = survey(
        shop.session, shop.settings, NOW, {"sales": Reader("report", datetime(2026, 3, 1, tzinfo=UTC), "lineage")}
    ).old
    assert (found["objects"], found["bytes"], found["published"], found["reader"]) == (
        3,
        12,
        True,
        "report, 2026-03-01 (lineage)",
    )
    assert found["folder"] == f"s3://{LAKE}/marts/sales/year=2025/month=01/"


def test_days_and_files_without_a_catalogue_are_found_too(shop: Shop) -> None:
    shop.declare("logs", 30, "d", keys=("year", "month", "day"))
    shop.declare("files", 30, "d", kind="file", keys=())
    shop.publish("logs", "2026-10-01", "2026-11-25")
    shop.store("files", "2026-10-01-07")
    shop.store("logs", "2026-10-02")  # left by a deletion that was killed after the catalogue
    assert shop.old() == [("files", "2026-10-01-07"), ("logs", "2026-10-01"), ("logs", "2026-10-02")]


def test_staged_records_and_compacted_days_go_too(shop: Shop) -> None:
    shop.declare("staged", 30, "d", kind="staging", keys=("year", "month", "day", "hour"))
    shop.declare("events", 30, "d", keys=("year", "month", "day", "hour"), compactedPath="marts/events_daily")
    shop.store("staged", "2026-10-01-07")
    shop.publish("events_daily", "2026-10-01", "2026-11-25")
    assert shop.old() == [("events_daily", "2026-10-01"), ("staged", "2026-10-01-07")]
    delete(shop.session, shop.settings, survey(shop.session, shop.settings, NOW, {}).old, NOW)
    assert shop.published("events_daily") == ["2026-11-25"]
    assert shop.stored("staged") == []


@pytest.mark.parametrize("period", ["2026-13-01-00", "2026-02-31-00", "2026-01-31-24"])
def test_a_folder_that_is_no_time_stays_and_stops_nothing(shop: Shop, period: str) -> None:
    shop.declare("files", 30, "d", kind="file", keys=())
    shop.store("files", "2026-10-01-07")
    shop.store("files", period)
    found = survey(shop.session, shop.settings, NOW, {})
    assert [each["period"] for each in found.old] == ["2026-10-01-07"]
    assert found.kept == [
        f"files of {period} stays: it is no time, so nobody knows how old it is; move it, or delete it by hand."
    ]


def test_only_what_was_approved_goes_from_catalogue_and_lake(shop: Shop) -> None:
    shop.declare("sales", 12, "month")
    shop.publish("sales", "2024-01", "2024-02", "2026-11", files=2)
    shop.store("sales_other", "2024-01")
    approved = survey(shop.session, shop.settings, NOW, {}).old[:1]

    gone, stays = delete(shop.session, shop.settings, approved, NOW)

    assert gone == ["sales of 2024-01 is deleted: 2 objects, 0.0 MB."]
    assert stays == []
    assert shop.published("sales") == ["2024-02", "2026-11"]
    assert shop.stored("sales") == ["marts/sales/year=2024/month=02", "marts/sales/year=2026/month=11"]
    assert shop.stored("sales_other"), "a table whose name begins alike"
    assert delete(shop.session, shop.settings, approved, NOW)[0] == [], "again: nothing is left to delete"


def test_an_object_of_a_folder_is_no_period_of_all_below_it(shop: Shop) -> None:
    """Such as consoles and EMRFS leave: an approval of it would take what stays within it."""
    shop.declare("visits", 30, "d", keys=("year", "month", "day"))
    shop.publish("visits", "2026-08-01", "2026-08-02")
    for name in ("", "day=01_$folder$"):
        shop.s3.put_object(Bucket=LAKE, Key=f"marts/visits/year=2026/month=08/{name}", Body=b"")
    approved = survey(shop.session, shop.settings, NOW, {}).old
    assert [each["period"] for each in approved] == ["2026-08-01", "2026-08-02"]
    changed = [Old(**{**each, "written": ""}) if each["period"] == "2026-08-02" else each for each in approved]
    gone, stays = delete(shop.session, shop.settings, changed, NOW)
    assert (len(gone), len(stays)) == (1, 1)
    assert "marts/visits/year=2026/month=08/day=02" in shop.stored("visits")


def test_what_changed_after_it_was_listed_stays(shop: Shop) -> None:
    shop.declare("sales", 12, "month")
    shop.publish("sales", "2024-01", "2024-02")
    first, second = survey(shop.session, shop.settings, NOW, {}).old
    written = (datetime.fromisoformat(first["written"]) - timedelta(hours=1)).isoformat()

    _, stays = delete(shop.session, shop.settings, [Old(**{**first, "written": written})], NOW)
    assert stays == ["sales of 2024-01 stays: it was written to after it was listed."]

    shop.declare("sales", 24 * 12, "month")
    _, stays = delete(shop.session, shop.settings, [second], NOW)
    assert stays == ["sales of 2024-02 stays: it is gone already, or its contract keeps it now."]
    assert shop.published("sales") == ["2024-01", "2024-02"]
    assert len(shop.stored("sales")) == 2


def test_a_catalogue_that_refuses_keeps_the_objects(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.declare("sales", 12, "month")
    shop.publish("sales", "2024-01")
    approved = survey(shop.session, shop.settings, NOW, {}).old
    error = {
        "PartitionValues": ["2024", "01"],
        "ErrorDetail": {"ErrorCode": "InternalServiceException", "ErrorMessage": "x"},
    }
    clients = {"glue": shop.session.client("glue"), "s3": shop.s3}
    monkeypatch.setattr(clients["glue"], "batch_delete_partition", lambda **_: {"Errors": [error]})
    monkeypatch.setattr(shop.session, "client", clients.get)
    with pytest.raises(retention.RetentionError, match="their objects were not touched"):
        delete(shop.session, shop.settings, approved, NOW)
    assert shop.stored("sales")


# ── What stays although it is old ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("hold", "sentence"),
    [
        ({"until": date(2026, 11, 26), "why": "a court asks"}, "until 2026-11-26 (a court asks)."),
        ({"why": "a court asks"}, "it is under a legal hold (a court asks)."),
    ],
)
def test_a_legal_hold_keeps_everything(shop: Shop, hold: dict[str, Any], sentence: str) -> None:
    shop.declare("sales", 12, "month", legalHold=hold)
    shop.publish("sales", "2024-01", "2024-02")
    found = survey(shop.session, shop.settings, NOW, {})
    assert found.old == []
    assert [kept.startswith("sales of 2024-0") and kept.endswith(sentence) for kept in found.kept] == [True, True]


def test_a_legal_hold_ends(shop: Shop) -> None:
    shop.declare("sales", 12, "month", legalHold={"until": date(2026, 11, 25), "why": "a court asked"})
    shop.publish("sales", "2024-01")
    assert shop.old() == [("sales", "2024-01")]


def test_a_hold_that_comes_after_the_approval_keeps_the_data(shop: Shop) -> None:
    shop.declare("sales", 12, "month")
    shop.publish("sales", "2024-01")
    approved = survey(shop.session, shop.settings, NOW, {}).old
    shop.declare("sales", 12, "month", legalHold={"why": "a court asks"})
    gone, stays = delete(shop.session, shop.settings, approved, NOW)
    assert (gone, len(stays), shop.published("sales")) == ([], 1, ["2024-01"])


def test_what_another_table_reads_stays(shop: Shop) -> None:
    shop.declare("sales", 12, "month")
    shop.declare("trends", "unlimited", reads=[{"table": "sales", "months": 2}])
    shop.publish("sales", "2024-01", "2024-02", "2024-03")  # nothing newer: the next month is built from these
    found = survey(shop.session, shop.settings, NOW, {})
    assert [each["period"] for each in found.old] == ["2024-01"]
    assert found.kept == [
        f"sales of 2024-0{month} stays: trends reads its newest 2 months, and it is one of them." for month in (2, 3)
    ]


def test_what_a_table_reads_of_itself_stays(shop: Shop) -> None:
    shop.declare("rising", 1, "month", baselineMonths=3)
    shop.publish("rising", "2026-05", "2026-06", "2026-07", "2026-08")
    assert shop.old() == [("rising", "2026-05")]


# ── Rules, storage classes, what nobody reads ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "rule",
    [
        {"retention": "forever"},
        {"retention": 12},
        {"retention": 0, "unit": "month"},
        {"retention": 1.5, "unit": "y"},
        {"retention": "unlimited", "legalHold": {"until": date(2027, 1, 1)}},
        {"retention": "unlimited", "legalHold": {"until": "soon", "why": "x"}},
        {"retention": "unlimited", "coldAfterMonths": "3"},
    ],
)
def test_a_rule_that_is_none_is_one_sentence(shop: Shop, rule: dict[str, Any]) -> None:
    shop.declare("sales", rule.pop("retention"), rule.pop("unit", ""), **rule)
    with pytest.raises(ContractError, match=r"^contracts/shop/sales\.yaml .*: write "):
        rule_of(contracts.read("shop", "sales"))


@pytest.mark.parametrize("reads", [{"table": "sale", "months": 2}, {"table": "sales"}, {"table": "sales", "months": 0}])
def test_what_a_table_reads_is_a_table_and_a_number_of_months(shop: Shop, reads: dict[str, Any]) -> None:
    shop.declare("sales", 1, "month")
    shop.declare("trend", "unlimited", reads=[reads])
    with pytest.raises(
        ContractError, match=r"contracts/shop/trend\.yaml reads .* months of 'sales?': write the name of a"
    ):
        shop.old()


def test_every_contract_of_the_repository_has_a_rule() -> None:
    every = [contracts.read(pipeline, name) for pipeline in contracts.pipelines() for name in contracts.names(pipeline)]
    kept = {each.table: rule_of(each) for each in every if each.raw["schema"][0]["physicalType"] != "topic"}
    assert (kept["api_events"].amount, kept["api_events"].unit) == (400, "days")
    assert kept["hvfhv_trips"].amount == 0
    assert retention.needed_months(every)["hvfhv_rising_zones"] == (3, "hvfhv_rising_zones")


def test_old_periods_become_cold_and_stay_readable(shop: Shop) -> None:
    shop.declare("sales", "unlimited", coldAfterMonths=6)
    shop.publish("sales", "2026-01", "2026-10")
    found = survey(shop.session, shop.settings, NOW, {})
    assert [key for _, key in found.cold] == ["marts/sales/year=2026/month=01/version=1/0.parquet"]

    assert retention.cool(shop.session, found.cold) == 4

    key = "marts/sales/year=2026/month=01/version=1/0.parquet"
    answer = shop.s3.get_object(Bucket=LAKE, Key=key)
    assert (answer["StorageClass"], answer["Body"].read()) == (retention.COLD, b"1234")
    assert survey(shop.session, shop.settings, NOW, {}).cold == {}


def test_tables_that_nobody_reads_are_named() -> None:
    readers = {
        "a": Reader("report", NOW - timedelta(days=1), "lineage"),
        "b": Reader("old_report", NOW - timedelta(days=200), "lineage"),
    }
    assert unused(["a", "b", "c"], readers, 180, NOW) == [
        "b: last read on 2026-05-10, by old_report (lineage).",
        "c: no reader is known.",
    ]


def test_the_command_lists_and_changes_nothing(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.declare("sales", 1, "month")
    shop.publish("sales", "2020-01", "2020-02")
    monkeypatch.setenv("TAXIWAY_AWS_CONN_ID", "")
    assert retention.main(["list"]) == 0
    output = capsys.readouterr().out
    assert "sales  2: 2020-01 to 2020-02  2        0.0  –" in output
    assert shop.published("sales") == ["2020-01", "2020-02"]

    shop.declare("sales", "a while")
    assert retention.main(["list"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_what_a_person_has_to_approve_is_readable() -> None:
    size = {"folder": "", "objects": 1, "bytes": 10**6, "written": "", "published": True, "reader": ""}
    old: Any = [{"table": "sales", "period": f"2024-0{month}", **size} for month in (1, 2)]
    text = retention.as_markdown(old, ["x of 2024-01 stays: y."])
    assert text.splitlines() == [
        "| table | periods | objects | MB | last reader |",
        "| --- | --- | --- | --- | --- |",
        "| sales | 2: 2024-01 to 2024-02 | 2 | 2.0 | – |",
        "",
        "* x of 2024-01 stays: y.",
    ]
