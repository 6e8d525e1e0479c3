"""dbt with dbt-athena: build a project twice, and its documentation. Arguments: the project, a folder for results."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import boto3
from dbt.cli.main import dbtRunner

project, folder = Path(sys.argv[1]), Path(sys.argv[2]) / "project"
shutil.copytree(project, folder)
glue, s3, athena = (boto3.client(name) for name in ("glue", "s3", "athena"))
words = ["--project-dir", str(folder), "--profiles-dir", str(folder), "--quiet"]


def dbt(command: str) -> Any:
    done = dbtRunner().invoke([*command.split(), *words])
    if not done.success:
        raise SystemExit(f"dbt {command}: {done.exception} {[result.message for result in done.result or []]}")
    return done.result


def location(table: str) -> str:
    found = glue.get_table(DatabaseName="dbt", Name=table)["Table"]["StorageDescriptor"]["Location"]
    return str(found)


def query(sql: str) -> None:
    results = {"OutputLocation": "s3://dbt/results/"}
    started = athena.start_query_execution(QueryString=sql, ResultConfiguration=results)["QueryExecutionId"]
    while True:
        status = athena.get_query_execution(QueryExecutionId=started)["QueryExecution"]["Status"]
        if status["State"] not in ("QUEUED", "RUNNING"):
            break
    if status["State"] != "SUCCEEDED":
        raise SystemExit(f"{sql}: {status}")


found: dict[str, Any] = {"built": sorted((each.node.name, str(each.status)) for each in dbt("build"))}
before = location("orders")
query(
    "CREATE OR REPLACE VIEW raw.orders AS SELECT * FROM (VALUES (BIGINT '1', 'a', 1.5e0, DATE '2024-01-01'), "
    "(2, 'b', 2.75e0, DATE '2024-01-02'), (4, 'd', 4.5e0, DATE '2024-01-02')) AS t (id, name, amount, day)"
)
found["again"] = sorted((each.node.name, str(each.status)) for each in dbt("build"))
found["replaced"] = location("orders") != before
dbt("docs generate --static")
catalog = json.loads((folder / "target/catalog.json").read_text())
found["columns"] = {name: column["type"] for name, column in catalog["nodes"]["model.shop.orders"]["columns"].items()}
found["page"] = (folder / "target/static_index.html").exists()

print(json.dumps(found))
