"""How long the data-docs page takes for 60 tables: ``python -m benchmarks.data_docs --write``.

A lake is made on local AWS: each table with 20 columns, 24 published months, and two jobs with lineage events; in the
catalogue's database ten results of checks a table, and 20 open incidents. The time is of reading all of it and of
writing the page, in a process that has read nothing of it before.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import boto3
import yaml

from benchmarks.measure import goal, keep, machine
from taxiway import catalogue
from taxiway.catalogue import checks
from taxiway.core import contracts, lineage
from taxiway.core.settings import Settings
from taxiway.data_docs import page as pages
from taxiway.data_docs.gathering import gather
from taxiway.data_docs.settings import DataDocsSettings
from taxiway.operations import incidents
from taxiway.operations.lineage import keep as keep_event

TABLES, COLUMNS, MONTHS, CHECKS, INCIDENTS, REPEAT = 60, 20, 24, 10, 20, 3
LAKE = "s3://taxiway-lake"
COMMAND = "python -m benchmarks.data_docs --write"


def make_contracts(folder: Path) -> None:
    """Write the contracts of :data:`TABLES` tables: the columns of a real one under other names."""
    example: dict[str, Any] = dict(contracts.read("hvfhv", "trend").raw)
    (table,) = example["schema"]
    partitions = [column for column in table["properties"] if column.get("partitioned")]
    columns = [{**table["properties"][0], "name": f"column_{number}"} for number in range(COLUMNS)]
    (folder / "bench").mkdir()
    for number in range(TABLES):
        name = f"bench_{number:02}"
        own = {
            **table,
            "name": name,
            "physicalName": name,
            "properties": [*columns, *partitions],
            "customProperties": [{"property": "path", "value": f"marts/bench/{name}"}],
        }
        text = yaml.safe_dump({**example, "id": name, "name": name, "domain": "bench", "schema": [own]})
        (folder / "bench" / f"{name}.yaml").write_text(text, encoding="utf-8")


def make_lake(database: Any) -> None:
    """Publish the tables, and tell of runs, checks and incidents."""
    s3, glue = boto3.client("s3"), boto3.client("glue")
    s3.create_bucket(Bucket="taxiway-lake")
    glue.create_database(DatabaseInput={"Name": "taxiway"})
    known = [contracts.read("bench", name) for name in contracts.names("bench")]
    published = {"published_at": "2026-11-20T08:00:00+00:00", "rows": "1000"}

    def make(number: int) -> None:
        contract = known[number]
        keys = [{"Name": key, "Type": "string"} for key in contract.partition_keys]
        described = {"Name": contract.table, "PartitionKeys": keys, "StorageDescriptor": {"Columns": []}}
        glue.create_table(DatabaseName="taxiway", TableInput=described)
        parts = [[f"{2023 + month // 12}", f"{month % 12 + 1:02}"] for month in range(MONTHS)]
        glue.batch_create_partition(
            DatabaseName="taxiway",
            TableName=contract.table,
            PartitionInputList=[
                {"Values": values, "Parameters": published, "StorageDescriptor": {"Columns": []}} for values in parts
            ],
        )
        for year, month in parts:
            key = f"{contract.path}/year={year}/month={month}/version=1/part-0.parquet"
            s3.put_object(Bucket="taxiway-lake", Key=key, Body=b"x" * 1000)
        read = [lineage.described(known[number // 2], LAKE)] if number else []
        for job in ("spark", "airflow"):
            event = lineage.run_event(
                state="COMPLETE",
                at="2026-11-26T09:00:00+00:00",
                run_id="0192f6a8-0000-7000-8000-000000000000",
                namespace="taxiway",
                job=f"{job}.{contract.table}",
                inputs=read,
                outputs=[lineage.described(contract, LAKE)],
            )
            keep_event(s3, event, LAKE)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(make, range(TABLES)))
    now = datetime.datetime.now(datetime.UTC)
    results = [
        checks.Result(
            pipeline="bench", table=each.table, check=f"check_{number}", passed=True, period="2024-12", checked_at=now
        )
        for each in known
        for number in range(CHECKS)
    ]
    failed = [
        checks.Result(pipeline="bench", table=each.table, check="fails", passed=False, checked_at=now)
        for each in known[:INCIDENTS]
    ]
    checks.write(database, [*results, *failed])
    incidents.follow(database, failed, None)


def once(folder: Path) -> None:
    """Make the page in this process, and print as JSON how long it took and what is on it."""
    contracts.FOLDER = folder / "contracts"
    began = time.monotonic()
    database = catalogue.open_engine(f"sqlite:///{folder}/catalogue.db")
    now = datetime.datetime.now(datetime.UTC)
    page = gather(Settings(), boto3.Session(), DataDocsSettings(), now=now, database=database)
    text = pages.render(page)
    (folder / "index.html").write_text(text, encoding="utf-8")
    took = time.monotonic() - began
    found = {"tables": len(page.tables), "links": len(page.edges), "faults": page.faults, "bytes": len(text)}
    print(json.dumps({"s": took, **found, "incidents": len(page.incidents)}))


def measure() -> list[dict[str, Any]]:
    """Make the lake, and then the page a few times, each in a process of its own."""
    from tests.dags.runs import local_aws

    with tempfile.TemporaryDirectory() as name, local_aws(Path(name) / "aws") as endpoint:
        folder = Path(name)
        (folder / "contracts").mkdir()
        make_contracts(folder / "contracts")
        os.environ |= {"AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
        os.environ |= {"AWS_DEFAULT_REGION": "us-east-1"}
        contracts.FOLDER = folder / "contracts"
        contracts.read.cache_clear()
        lineage.tables.cache_clear()
        lineage._paths.cache_clear()
        database = catalogue.open_engine(f"sqlite:///{folder}/catalogue.db")
        catalogue.migrate(database)
        make_lake(database)
        command = [sys.executable, "-m", "benchmarks.data_docs", "--once", name]
        runs = (subprocess.run(command, capture_output=True, text=True, check=True) for _ in range(REPEAT))
        return [dict(json.loads(run.stdout.splitlines()[-1])) for run in runs]


def main() -> None:
    """Measure, print, and write the figures if asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.data_docs", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write the figures to benchmarks/README.md")
    parser.add_argument("--once", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        once(options.once)
        return
    found = measure()
    if any(each["tables"] != TABLES or each["faults"] or each["incidents"] != INCIDENTS for each in found):
        raise RuntimeError(f"The page lacks something: {found}")
    seconds = median(each["s"] for each in found)
    text = (
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {machine()}. {TABLES} tables of {COLUMNS} columns and "
        f"{MONTHS} months, {found[0]['links']} links of lineage, {TABLES * CHECKS} results of checks, {INCIDENTS} "
        f"open incidents; the page has {found[0]['bytes'] / 1e3:,.0f} kB. Middle of {REPEAT} runs.\n\n"
    )
    text += goal("the data-docs page in seconds, at most 5", seconds, 5)
    print(text)
    if options.write:
        keep(COMMAND, text)


if __name__ == "__main__":
    main()
