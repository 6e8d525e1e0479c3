"""SELECT through the API: tables, partitions, results, statistics."""

import csv
import io
from pathlib import Path

import duckdb
import pytest

from tests.local_aws.athena.lake import Lake

JSON = "org.openx.data.jsonserde.JsonSerDe"
LAZY = "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe"
CSV = "org.apache.hadoop.hive.serde2.OpenCSVSerde"


def test_the_result_is_a_csv_file_and_pages(lake: Lake) -> None:
    found = lake.run(
        "SELECT id, name, CASE WHEN id = 8 THEN 'a, \"b\"' WHEN id = 9 THEN '' END AS x FROM orders WHERE year = "
        "2024 AND id > 6 ORDER BY id"
    )
    assert (found["StatementType"], found["SubstatementType"], found["WorkGroup"]) == ("DML", "SELECT", "primary")
    assert found["ResultConfiguration"]["OutputLocation"] == f"{lake.output}{found['QueryExecutionId']}.csv"
    key = found["ResultConfiguration"]["OutputLocation"].removeprefix(f"s3://{lake.name}/")
    text = lake.s3.get_object(Bucket=lake.name, Key=key)["Body"].read().decode()
    assert text == '"id","name","x"\n"7","n7",\n"8","n8","a, ""b"""\n"9","n9",""\n'
    assert f"{key}.metadata" in lake.keys("results/")
    answer = lake.athena.get_query_results(QueryExecutionId=found["QueryExecutionId"], MaxResults=2)
    assert [row["Data"] for row in answer["ResultSet"]["Rows"]] == [
        [{"VarCharValue": "id"}, {"VarCharValue": "name"}, {"VarCharValue": "x"}],
        [{"VarCharValue": "7"}, {"VarCharValue": "n7"}, {}],
    ]
    columns = answer["ResultSet"]["ResultSetMetadata"]["ColumnInfo"]
    assert [(column["Name"], column["Type"]) for column in columns] == [
        ("id", "bigint"),
        ("name", "varchar"),
        ("x", "varchar"),
    ]
    last = lake.athena.get_query_results(QueryExecutionId=found["QueryExecutionId"], NextToken=answer["NextToken"])
    assert [row["Data"][2] for row in last["ResultSet"]["Rows"]] == [{"VarCharValue": 'a, "b"'}, {"VarCharValue": ""}]
    assert "NextToken" not in last


def test_many_rows_come_in_pages_of_a_thousand(lake: Lake) -> None:
    found = lake.run("SELECT n, 'text ' || cast(n AS varchar) AS t FROM unnest(sequence(1, 2500)) AS u(n) ORDER BY n")
    pages = lake.athena.get_paginator("get_query_results").paginate(QueryExecutionId=found["QueryExecutionId"])
    sizes, numbers = [], []
    for page in pages:
        rows = page["ResultSet"]["Rows"]
        sizes.append(len(rows))
        numbers += [row["Data"][0]["VarCharValue"] for row in rows]
    assert sizes == [1000, 1000, 501]
    assert numbers == ["n", *map(str, range(1, 2501))]


def test_values_of_all_types_are_printed_as_athena_does(lake: Lake) -> None:
    assert lake.rows("SELECT * FROM orders WHERE year = 2023 AND id = 3") == [
        ["3", "n3", "4.5", "2023-01-01 03:00:00.000", "[3, 4]", "{x=3}", "2023"]
    ]
    assert lake.rows(
        "SELECT 1e7, 1e-4, true, date '2024-01-05', 1.50, null, map(array['a'], array[1]), real '0.1'"
    ) == [["1.0E7", "1.0E-4", "true", "2024-01-05", "1.50", None, "{a=1}", "0.1"]]


def test_partitions_are_pruned_and_only_used_columns_count(lake: Lake) -> None:
    with_all = lake.run("SELECT id FROM orders")["Statistics"]["DataScannedInBytes"]
    with_one = lake.run("SELECT id FROM orders WHERE year = 2024")["Statistics"]["DataScannedInBytes"]
    path = lake.folder / "stored.parquet"
    lake.s3.download_file(lake.name, "orders/year=2024/part.parquet", str(path))
    (chunk,) = duckdb.execute(
        f"SELECT total_compressed_size FROM parquet_metadata('{path}') WHERE path_in_schema = 'id'"
    ).fetchone() or (0,)
    assert (with_one, with_all) == (chunk, 2 * chunk)
    assert lake.run("SELECT count(*) FROM orders")["Statistics"]["DataScannedInBytes"] == 0
    assert lake.rows("SELECT count(*), min(year) FROM orders WHERE year BETWEEN 2024 AND 2030") == [["10", "2024"]]
    assert lake.rows("SELECT count(*) FROM orders WHERE year IN (2022, 2023) AND id < 5 OR year = 1999") == [["5"]]
    assert lake.rows('SELECT DISTINCT "$path" FROM orders WHERE year + 1 = 2024') == [
        [f"s3://{lake.name}/orders/year=2023/part.parquet"]
    ]


def test_a_partition_may_be_anywhere_and_its_value_anything(lake: Lake) -> None:
    lake.parquet("odd/a/f.parquet", "SELECT 1 AS v")
    lake.parquet("odd/b/f.parquet", "SELECT 2 AS v")
    partitions = [(["a/b=c %d"], "odd/a/"), (["__HIVE_DEFAULT_PARTITION__"], "odd/b/"), (["gone"], "odd/nowhere/")]
    lake.table("odd", {"v": "int"}, "odd/", keys={"k": "string"}, partitions=partitions)
    assert lake.rows("SELECT v, k FROM odd ORDER BY v") == [["1", "a/b=c %d"], ["2", None]]
    assert lake.rows("SELECT v FROM odd WHERE k IS NULL") == [["2"]]


def test_projected_partitions(lake: Lake) -> None:
    for day, hour in (("2024-01-01", "00"), ("2024-01-01", "07"), ("2024-01-02", "00")):
        lake.put(f"events/{day.replace('-', '/')}/{hour}/app/f.json", f'{{"N": 1, "who": "{day}-{hour}"}}\n')
    lake.table(
        "events",
        {"n": "int", "who": "string"},
        "events/",
        keys={"day": "string", "hour": "string", "kind": "string", "source": "string"},
        serde="org.openx.data.jsonserde.JsonSerDe",
        parameters={
            "projection.enabled": "true",
            "projection.day.type": "date", "projection.day.range": "2024/01/01,NOW",
            "projection.day.format": "yyyy/MM/dd",
            "projection.hour.type": "integer", "projection.hour.range": "0,23", "projection.hour.digits": "2",
            "projection.kind.type": "enum", "projection.kind.values": "app",
            "projection.source.type": "injected",
            "storage.location.template": f"s3://{lake.name}/events/${{day}}/${{hour}}/${{kind}}/",
        },
    )  # fmt: skip
    where = "source = 's' AND day <= '2024/01/02'"
    assert lake.rows(f"SELECT who, hour, kind, n FROM events WHERE {where} AND day > '2024/01/01'") == [
        ["2024-01-02-00", "00", "app", "1"]
    ]
    assert lake.rows(f"SELECT count(*) FROM events WHERE {where} AND hour = '07'") == [["1"]]
    assert lake.failure("SELECT count(*) FROM events WHERE day = '2024/01/01'").startswith(
        "CONSTRAINT_VIOLATION: For the injected"
    )


@pytest.mark.parametrize(
    ("name", "serde", "parameters", "properties", "content", "rows"),
    [
        ("json1", JSON, {}, {}, '{"A": 1, "b": "x", "c": 2.5}\n{"a": null}\n', [["1", "x", "2.5"], [None, None, None]]),
        ("json2", "org.apache.hive.hcatalog.data.JsonSerDe", {}, {}, '{"a": 3, "b": "é"}', [["3", "é", None]]),
        (
            "json3",
            JSON,
            {"ignore.malformed.json": "true"},
            {},
            '{"a": 4}\nnonsense\n',
            [["4", None, None], [None, None, None]],
        ),
        (
            "text1",
            LAZY,
            {"field.delim": ","},
            {"skip.header.line.count": "1"},
            'a,b,c\n5,"q,7.5\nx,\\N,1.0,more\n\n',
            [["5", '"q', "7.5"], [None, None, "1.0"]],
        ),
        ("text2", LAZY, {}, {}, "6\x01y\x010.5\n", [["6", "y", "0.5"]]),
        ("csv1", CSV, {}, {}, '7,"a, ""b""",1.5\n8,"",2.0\n', [["7", 'a, "b"', "1.5"], ["8", "", "2.0"]]),
        ("csv3", CSV, {}, {}, '7,"a\\"b",1.5\n', [["7", 'a"b', "1.5"]]),
        ("csv2", CSV, {"separatorChar": ";", "quoteChar": "'"}, {}, "8;'x;y';2.0\n", [["8", "x;y", "2.0"]]),
        (
            "regex1",
            "org.apache.hadoop.hive.serde2.RegexSerDe",
            {"input.regex": "(\\d+) (\\w+) ([\\d.]+)"},
            {},
            "9 z 3.5\nother\n",
            [["9", "z", "3.5"], [None, None, None]],
        ),
    ],
)
def test_formats(
    lake: Lake,
    name: str,
    serde: str,
    parameters: dict[str, str],
    properties: dict[str, str],
    content: str,
    rows: list[list[str]],
) -> None:
    lake.put(f"{name}/f.txt", content)
    lake.put(f"{name}/_hidden", "never read")
    lake.table(
        name,
        {"a": "int", "b": "string", "c": "double"},
        f"{name}/",
        serde=serde,
        serde_parameters=parameters,
        parameters=properties,
    )
    found = lake.rows(f"SELECT a, b, c FROM {name}")
    # No order is promised.
    assert sorted((row for row in found if row != [None, None, None]), key=str) == sorted(
        (row for row in rows if row != [None, None, None]), key=str
    )
    assert lake.run(f"SELECT a FROM {name}")["Statistics"]["DataScannedInBytes"] == len(content.encode())


def test_files_with_fewer_columns_or_narrower_types(lake: Lake) -> None:
    lake.parquet("grown/a.parquet", "SELECT 1::INTEGER AS id, 'x' AS NAME")
    lake.parquet("grown/b.parquet", "SELECT 2::BIGINT AS id, 'y' AS name, 1.25::DECIMAL(5,2) AS price, 9 AS more")
    lake.table("grown", {"id": "bigint", "name": "string", "price": "decimal(10,3)", "never": "string"}, "grown/")
    assert lake.rows("SELECT id, name, price, never FROM grown ORDER BY id") == [
        ["1", "x", None, None],
        ["2", "y", "1.250", None],
    ]


def test_a_timestamp_is_rounded_to_milliseconds(lake: Lake) -> None:
    lake.parquet("times/f.parquet", "SELECT TIMESTAMP '2024-01-01 10:59:59.999600' AS t")
    lake.table("times", {"t": "timestamp"}, "times/")
    assert lake.rows("SELECT t, hour(t) FROM times") == [["2024-01-01 11:00:00.000", "11"]]


def test_joins_views_and_subqueries(lake: Lake) -> None:
    lake.run("CREATE OR REPLACE VIEW recent AS SELECT id, price AS cost, year FROM orders WHERE year = 2024")
    assert lake.rows(
        """WITH big AS (SELECT id FROM orders WHERE year = 2023 AND price > 9)
        SELECT r.id, r.cost FROM recent r JOIN big USING (id) WHERE r.id IN (SELECT max(id) FROM big) -- the last"""
    ) == [["9", "13.5"]]
    assert lake.rows(
        "SELECT o.id, u.n FROM orders o CROSS JOIN UNNEST(list) WITH ORDINALITY AS u(v, n) WHERE o.year = 2024 "
        "AND u.v = 5 ORDER BY 1"
    ) == [["4", "2"], ["5", "1"]]


def test_parameters(lake: Lake) -> None:
    assert lake.rows("SELECT name FROM orders WHERE year = ? AND name = ?", ExecutionParameters=["2024", "'n5'"]) == [
        ["n5"]
    ]
    assert "Incorrect number of parameters: expected 1 but found 0" in lake.failure("SELECT ?")
    for wrong in ("1, 2", "1 FROM orders", "1 AS x WHERE true"):
        assert lake.failure("SELECT ?", ExecutionParameters=[wrong]).startswith("INVALID_PARAMETER_USAGE")


def test_a_result_of_no_rows_has_a_header(lake: Lake) -> None:
    found = lake.run("SELECT id FROM orders WHERE year = 1")
    rows = lake.athena.get_query_results(QueryExecutionId=found["QueryExecutionId"])["ResultSet"]["Rows"]
    assert rows == [{"Data": [{"VarCharValue": "id"}]}]


def test_the_csv_reads_as_csv(lake: Lake, tmp_path: Path) -> None:
    found = lake.run("SELECT 'a\nb' AS \"x,y\", 'c\"d' AS z")
    key = found["ResultConfiguration"]["OutputLocation"].removeprefix(f"s3://{lake.name}/")
    text = lake.s3.get_object(Bucket=lake.name, Key=key)["Body"].read().decode()
    assert list(csv.reader(io.StringIO(text))) == [["x,y", "z"], ["a\nb", 'c"d']]


def test_columns_may_have_the_names_that_duckdb_uses(lake: Lake) -> None:
    lake.run(
        """CREATE TABLE named WITH (partitioned_by = ARRAY['line']) AS SELECT 'f' AS filename, 1 AS k0,
        2 AS c0, 3 AS one, 4 AS json, 5 AS place, 'p' AS line"""
    )
    assert lake.rows("SELECT * FROM named") == [["f", "1", "2", "3", "4", "5", "p"]]
    lake.put("named2/f.json", '{"filename": "f", "k0": 1, "json": {"a": 1}, "C0": 2, "c0": null}')
    columns = {"filename": "string", "k0": "int", "c0": "int"}
    there = [(["p"], "named2/")]
    lake.table("named2", columns, "named2/", keys={"line": "string"}, partitions=there, serde=JSON)
    assert lake.rows('SELECT filename, k0, c0, line, "$file_size" > 0 FROM named2') == [["f", "1", "2", "p", "true"]]
