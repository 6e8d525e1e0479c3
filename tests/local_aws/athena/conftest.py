"""A lake for each test file of this folder."""

import pytest

from tests.local_aws.athena.lake import Lake
from tests.local_aws.endpoint import Endpoint


@pytest.fixture(scope="module")
def lake(endpoint: Endpoint, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Lake:
    """A bucket and a database of this file, with the table `orders`: 20 rows in the partitions 2023 and 2024."""
    name = request.module.__name__.rpartition(".")[2].replace("_", "-")
    made = Lake(endpoint, name, tmp_path_factory.mktemp("lake"))
    for year in (2023, 2024):
        made.parquet(
            f"orders/year={year}/part.parquet",
            f"""SELECT i::BIGINT AS id, 'n' || i AS name, (i * 1.5)::DOUBLE AS price,
            TIMESTAMP '{year}-01-01 00:00:00' + INTERVAL (i) HOUR AS "at", [i, i + 1] AS list, {{'x': i::INTEGER}} AS st
            FROM range(10) AS t(i)""",
        )
    made.table(
        "orders",
        {
            "id": "bigint",
            "name": "string",
            "price": "double",
            "at": "timestamp",
            "list": "array<bigint>",
            "st": "struct<x:int>",
        },
        "orders/",
        keys={"year": "int"},
        partitions=[([str(year)], f"orders/year={year}/") for year in (2023, 2024)],
    )
    return made
