"""What make results copies: the published tables and the reports of any pipeline, on moto's S3 and Glue over HTTP."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
from moto.server import ThreadedMotoServer

from console import demo as demos
from console.errors import UserError
from laptop.config import Config
from laptop.platform import Platform
from laptop.results import copy_results
from taxiway.core import contracts
from tests.console.parcels import declare

BUCKET = "taxiway-lake"


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Point all AWS clients at an AWS with an empty lake; return a client of its S3."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    client: Any = boto3.client("s3")
    client.create_bucket(Bucket=BUCKET)
    yield client
    requests.post(f"http://{host}:{port}/moto-api/reset", timeout=10)  # all servers of a process have one state
    server.stop()


@pytest.fixture
def parcels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> demos.Demo[Any]:
    declare(tmp_path)
    shutil.copytree(contracts.FOLDER / "hvfhv", tmp_path / "contracts/hvfhv")
    monkeypatch.setattr(contracts, "FOLDER", tmp_path / "contracts")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "demos.parcels", raising=False)
    return demos.discover()["parcels"]


def publish(s3: Any, table: str, month: str, version: str) -> None:
    """Publish a month of a table as its newest version, beside one that is not published."""
    glue: Any = boto3.client("glue")
    year, number = month.split("-")
    folder = f"marts/{table}/year={year}/month={number}"
    for each in (version, "unpublished"):
        s3.put_object(Bucket=BUCKET, Key=f"{folder}/version={each}/part-0.parquet", Body=each.encode())
    storage = {"Location": f"s3://{BUCKET}/{folder}/version={version}", "Columns": []}
    if not glue.get_databases()["DatabaseList"]:
        glue.create_database(DatabaseInput={"Name": "taxiway"})
        glue.create_table(DatabaseName="taxiway", TableInput={"Name": table, "PartitionKeys": []})
    partition = {"Values": [year, number], "StorageDescriptor": storage, "Parameters": {}}
    glue.create_partition(DatabaseName="taxiway", TableName=table, PartitionInput=partition)


def files(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_published_partitions_and_reports_of_any_pipeline_are_copied(
    s3: Any, parcels: demos.Demo[Any], tmp_path: Path
) -> None:
    for month in ("2023-01", "2023-02"):
        publish(s3, "parcels", month, "1")
    s3.put_object(Bucket=BUCKET, Key="reports/parcels/york.html", Body=b"<html>")
    s3.put_object(Bucket=BUCKET, Key="reports/parcels/version/metrics.json", Body=b"{}")
    target = tmp_path / "results"
    (target / "marts/parcels/year=2023/month=01").mkdir(parents=True)
    for name in ("mine.txt", "marts/parcels/year=2023/month=01/old.parquet"):
        (target / name).write_text("old")
    copied = copy_results(demos.discover().values(), target)
    assert {path: count for path, count in copied.items() if "parcels" in path} == {
        "marts/parcels": "2 partitions",
        "reports/parcels": "2 files",
    }
    assert copied["curated/hvfhv_trips"] == "0 partitions"
    assert files(target) == {
        "marts/parcels/year=2023/month=01/part-0.parquet": "1",
        "marts/parcels/year=2023/month=02/part-0.parquet": "1",
        "reports/parcels/york.html": "<html>",
        "reports/parcels/version/metrics.json": "{}",
        "mine.txt": "old",
    }


def test_tables_without_partitions_are_copied_from_where_they_are(
    s3: Any, parcels: demos.Demo[Any], tmp_path: Path
) -> None:
    """One that the lake publishes is in the folder of a version, one that dbt has built where the catalogue says."""
    glue: Any = boto3.client("glue")
    publish(s3, "parcels", "2023-01", "1")
    for name, kind, location in (
        ("towns", "{property: publishAlone, value: true}", "raw/towns/version=2"),
        ("sums", "{property: builtBy, value: dbt}", "elsewhere/sums-2"),
        ("nothing", "{property: builtBy, value: dbt}", "elsewhere/nothing"),
    ):
        (tmp_path / f"contracts/parcels/{name}.yaml").write_text(
            f"schema:\n  - physicalName: {name}\n    customProperties:\n"
            f"      - {{property: path, value: marts/{name}}}\n      - {kind}\n    properties:\n"
            "      - {name: town, logicalType: string, physicalType: string}\n"
        )
        storage = {"Location": f"s3://{BUCKET}/{location}", "Columns": []}
        glue.create_table(DatabaseName="taxiway", TableInput={"Name": name, "StorageDescriptor": storage})
        if name != "nothing":
            suffix = "" if "builtBy" in kind else ".parquet"  # Athena gives none
            s3.put_object(Bucket=BUCKET, Key=f"{location}/part-0{suffix}", Body=name.encode())
    copied = copy_results([parcels], tmp_path / "results")
    assert {path: copied[path] for path in ("marts/towns", "marts/sums")} == {
        "marts/towns": "1 table",
        "marts/sums": "1 table",
    }
    found = files(tmp_path / "results")
    assert {path: text for path, text in found.items() if "year=" not in path} == {
        "marts/towns/part-0.parquet": "towns",
        "marts/sums/part-0.parquet": "sums",
    }


def test_markers_of_folders_and_files_of_a_commit_are_not_copied(
    s3: Any, parcels: demos.Demo[Any], tmp_path: Path
) -> None:
    """Apache Spark's S3A leaves an empty object for each folder, EMRFS one beside it."""
    publish(s3, "parcels", "2023-01", "1")
    folder = "marts/parcels/year=2023/month=01/version=1"
    for key in (f"{folder}/", f"{folder}_$folder$", "marts/parcels_$folder$", f"{folder}/sub", "reports/parcels/"):
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"")
    for key in ("_SUCCESS", "_temporary/0/part-1.parquet", "__magic/part-1.parquet", ".part-0.parquet.crc", "sub/p-1"):
        s3.put_object(Bucket=BUCKET, Key=f"{folder}/{key}", Body=b"2")
    copied = copy_results([parcels], tmp_path / "results")
    assert copied == {"marts/parcels": "1 partition", "reports/parcels": "0 files"}
    assert files(tmp_path / "results") == {
        "marts/parcels/year=2023/month=01/part-0.parquet": "1",
        "marts/parcels/year=2023/month=01/sub/p-1": "2",
    }


def test_a_published_partition_without_data_is_an_error(s3: Any, parcels: demos.Demo[Any], tmp_path: Path) -> None:
    publish(s3, "parcels", "2023-01", "1")
    folder = "marts/parcels/year=2023/month=01/version=1"
    s3.delete_object(Bucket=BUCKET, Key=f"{folder}/part-0.parquet")
    s3.put_object(Bucket=BUCKET, Key=f"{folder}/", Body=b"")
    with pytest.raises(UserError, match=r"version=1 is published and holds no data file: run the DAG"):
        copy_results([parcels], tmp_path / "results")


def test_nothing_published_and_a_folder_that_cannot_be_written_are_one_sentence(
    s3: Any, parcels: demos.Demo[Any], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="Nothing is published yet: run make demo first"):
        copy_results([parcels], tmp_path / "results")
    publish(s3, "parcels", "2023-01", "1")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file cannot be written: Not a directory\. .*DEST="):
        copy_results([parcels], tmp_path / "file")


def test_every_pipelines_settings_reach_the_laptop_unless_a_person_has_set_them(
    parcels: demos.Demo[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config.from_environment({"STATE": str(tmp_path / "state")})
    environment = Platform(config).environment
    assert (environment["TAXIWAY_PARCELS_LIMIT"], environment["TAXIWAY_HVFHV_CATCHUP"]) == ("3", "False")
    monkeypatch.setenv("TAXIWAY_PARCELS_LIMIT", "9")
    assert Platform(config).environment["TAXIWAY_PARCELS_LIMIT"] == "9"
    monkeypatch.setenv("TAXIWAY_JOIN_MINUTES", "7")  # the name that it had before 0.2
    changed = Platform(config).environment
    assert changed["TAXIWAY_JOIN_MINUTES"] == "7"
    assert "TAXIWAY_HVFHV_JOIN_MINUTES" not in changed


def test_a_module_that_does_not_end_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config.from_environment({"STATE": str(tmp_path / "state")})
    if not config.python("airflow").exists():
        pytest.skip("the environment of Airflow is not installed: make setup")
    monkeypatch.setattr("laptop.platform.PATIENCE_S", 1)
    with pytest.raises(UserError, match=r"^http\.server 0 did not end within 1 s\.$"):
        Platform(config).run("http.server", "0")
