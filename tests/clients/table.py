"""The table of clients in local_aws/README.md: `python -m tests.clients.table` writes it.

Versions are those of the lock files; what was run is what the docstrings of the tests say.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement

from tests.tools import ROOT

README = ROOT / "local_aws/README.md"
_TABLE = re.compile(r"(?s)(?<=<!-- clients -->\n).*(?=<!-- /clients -->)")


@dataclass(frozen=True)
class Row:
    """A client.

    Attributes:
        test: its file of tests, `test_<test>.py`.
        name: what people call it.
        packages: (lock file, package): the versions that the tests run.
        fails: what is known not to work.
    """

    test: str
    name: str
    packages: tuple[tuple[str, str], ...]
    fails: str = ""


ROWS = (
    Row(
        "aws_cli",
        "AWS CLI, version 1",
        (("clients", "awscli"),),
        "`emr ssh`, `put`, `get` and `socks`: there are no instances. Version 2 is not on PyPI and was not run",
    ),
    Row("boto3", "boto3", (("boto3-oldest", "boto3"), ("boto3-newest", "boto3"))),
    Row(
        "awswrangler",
        "awswrangler",
        (("clients", "awswrangler"),),
        "Iceberg tables (`athena.to_iceberg`), `s3.select_query`; `emr.submit_ecr_credentials_refresh` calls `sudo`",
    ),
    Row(
        "pyathena",
        "PyAthena",
        (("clients", "pyathena"), ("dev", "pyathena")),
        "Its Arrow cursors read results with pyarrow, which has to be told the endpoint: see below. "
        "`pandas.util.to_sql` asks `information_schema`, which is not supported",
    ),
    Row(
        "dbt",
        "dbt-athena",
        (("clients", "dbt-athena"), ("clients", "dbt-core")),
        "Iceberg tables, so no `merge`; Python models, which run in notebooks of Athena",
    ),
    Row(
        "dagster",
        "dagster-aws",
        (("clients", "dagster-aws"),),
        "Pipes on ECS, Lambda and Glue. Not run: `emr_pyspark_step_launcher`, readers of logs on S3",
    ),
    Row(
        "mrjob",
        "mrjob",
        (("clients", "mrjob"),),
        "mappers, reducers and jars need Hadoop, jobs on RDDs `--engine spark`; with `cloud_log_dir` and a step that "
        "fails it waits ten minutes for logs",
    ),
    Row("s3fs", "s3fs", (("clients", "s3fs"),)),
    Row(
        "duckdb",
        "DuckDB, httpfs",
        (("clients", "duckdb"),),
        "It does not look at `AWS_ENDPOINT_URL`: `CREATE SECRET (TYPE s3, ENDPOINT '127.0.0.1:4566', USE_SSL false, "
        "URL_STYLE 'path', …)`. `INSTALL httpfs` downloads the extension; the test loads the same file from a wheel",
    ),
    Row(
        "pyarrow",
        "pyarrow",
        (("clients", "pyarrow"),),
        'It does not look at `AWS_ENDPOINT_URL`: `S3FileSystem(endpoint_override="http://127.0.0.1:4566")`',
    ),
    Row(
        "airflow",
        "Airflow's Amazon provider",
        (("dev", "apache-airflow-providers-amazon"),),
        "what this endpoint refuses (Glue jobs and crawlers, Redshift Data, …); faults of its own: see EMR Serverless",
    ),
)


def _version(lock: str, package: str) -> str:
    """Return the version of a package that a lock file has for this machine."""
    text = (ROOT / f"requirements/{lock}.txt").read_text(encoding="utf-8")
    found = [Requirement(line) for line in re.findall(rf"(?m)^{re.escape(package)}==[^\\\n]+", text)]
    (version,) = [str(each.specifier)[2:] for each in found if each.marker is None or each.marker.evaluate()]
    return version


def file_of(row: Row) -> Path:
    """Return a client's file of tests."""
    return Path(__file__).with_name(f"test_{row.test}.py")


def runs(row: Row) -> Iterator[str]:
    """Yield what each of a client's tests runs: its docstring."""
    for node in ast.parse(file_of(row).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            yield ast.get_docstring(node) or ""


def with_table(readme: str) -> str:
    """Return the text of README.md with the table as it is in the tests."""
    lines = ["| client | version | what was run | known not to work |", "|---|---|---|---|"]
    for row in ROWS:
        versions = dict.fromkeys(
            _version(lock, package) + (f" ({package})" if package in ("dbt-core",) else "")
            for lock, package in row.packages
        )
        lines.append(f"| {row.name} | {', '.join(versions)} | {'; '.join(runs(row))} | {row.fails} |")
    return _TABLE.sub(lambda _: "\n".join([*lines, ""]), readme)


if __name__ == "__main__":
    README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")
