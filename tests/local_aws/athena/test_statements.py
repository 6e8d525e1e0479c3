"""Statements that change or show the catalogue, and those that write."""

import pytest

from tests.local_aws.athena.lake import Lake


def test_databases(lake: Lake) -> None:
    lake.run("CREATE DATABASE IF NOT EXISTS made COMMENT 'of the test' LOCATION 's3://x/made/'")
    lake.run("CREATE SCHEMA IF NOT EXISTS made")
    assert lake.glue.get_database(Name="made")["Database"]["Description"] == "of the test"
    assert lake.failure("CREATE DATABASE made").startswith("FAILED: Execution Error, return code 1")
    assert ["made"] in lake.rows("SHOW DATABASES")
    assert lake.rows("SHOW SCHEMAS LIKE 'mad*'") == [["made"]]
    lake.run("CREATE EXTERNAL TABLE made.t (a int) LOCATION 's3://x/t/'")
    assert "Database made is not empty" in lake.failure("DROP DATABASE made")
    lake.run("DROP DATABASE made CASCADE")
    lake.run("DROP DATABASE IF EXISTS made")
    assert (
        lake.failure("DROP DATABASE made") == "FAILED: SemanticException [Error 10072]: Database does not exist: made"
    )


def test_create_external_table(lake: Lake) -> None:
    lake.run(
        f"""CREATE EXTERNAL TABLE IF NOT EXISTS `{lake.database}.logs` (  -- a comment
          `id` int COMMENT 'the id', msg string, tags array<struct<k:string,v:map<string,int>>>, cost decimal(10,2)
        )
        COMMENT 'logs' PARTITIONED BY (dt string, `hour` int)
        ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe' WITH SERDEPROPERTIES ('ignore.malformed.json' = 'true')
        LOCATION 's3://{lake.name}/logs/' TBLPROPERTIES ('classification'='json');"""
    )
    table = lake.glue.get_table(DatabaseName=lake.database, Name="logs")["Table"]
    assert [(column["Name"], column["Type"]) for column in table["StorageDescriptor"]["Columns"]] == [
        ("id", "int"),
        ("msg", "string"),
        ("tags", "array<struct<k:string,v:map<string,int>>>"),
        ("cost", "decimal(10,2)"),
    ]
    assert [key["Name"] for key in table["PartitionKeys"]] == ["dt", "hour"]
    assert table["Parameters"] == {"EXTERNAL": "TRUE", "classification": "json"}
    assert lake.rows("DESCRIBE logs")[0] == [f"{'id':<20}\t{'int':<20}\t{'the id':<20}"]
    shown = "\n".join(row[0] or "" for row in lake.rows("SHOW CREATE TABLE logs"))
    lake.run("DROP TABLE logs")
    lake.run(shown)  # what is shown makes the same table
    again = lake.glue.get_table(DatabaseName=lake.database, Name="logs")["Table"]
    for name in ("StorageDescriptor", "PartitionKeys", "Parameters"):
        assert again[name] == table[name]
    assert "AlreadyExistsException(message:Table logs already exists.)" in lake.failure(shown)
    assert "Table not found test_statements.nothing" in lake.failure("DESCRIBE nothing")
    assert "STORED AS AVRO" in lake.failure("CREATE EXTERNAL TABLE a (x int) STORED AS AVRO LOCATION 's3://x/'")


def test_partitions(lake: Lake) -> None:
    lake.run(
        f"CREATE EXTERNAL TABLE parts (a int) PARTITIONED BY (p string) STORED AS PARQUET LOCATION 's3://{lake.name}/parts/'"
    )
    for value in ("one", "two", "a b"):
        lake.parquet(f"parts/p={value}/f.parquet", "SELECT 1 AS a")
    lake.run(
        f"ALTER TABLE parts ADD PARTITION (p='one') PARTITION (p = 'far') LOCATION 's3://{lake.name}/parts/p=two/'"
    )
    assert "Partition already exists" in lake.failure("ALTER TABLE parts ADD PARTITION (p='one')")
    lake.run("ALTER TABLE parts ADD IF NOT EXISTS PARTITION (p='one')")
    assert lake.rows("SHOW PARTITIONS parts") == [["p=far"], ["p=one"]]
    lines = lake.rows("MSCK REPAIR TABLE parts")
    assert lines[0] == ["Partitions not in metastore:\tparts:p=a b parts:p=two"]
    assert lake.rows("SELECT p, count(*) FROM parts GROUP BY p ORDER BY p") == [
        ["a b", "1"], ["far", "1"], ["one", "1"], ["two", "1"],
    ]  # fmt: skip
    lake.run("ALTER TABLE parts DROP PARTITION (p='far'), PARTITION (p='one')")
    lake.run("ALTER TABLE parts DROP IF EXISTS PARTITION (p='never')")
    assert "Partition not found (p = never)" in lake.failure("ALTER TABLE parts DROP PARTITION (p='never')")
    assert lake.rows("SELECT count(*) FROM parts") == [["2"]]
    lake.run(f"CREATE EXTERNAL TABLE plain (a int) LOCATION 's3://{lake.name}/plain/'")
    assert "not a partitioned table" in lake.failure("SHOW PARTITIONS plain")


def test_alter_table(lake: Lake) -> None:
    lake.parquet("altered/f.parquet", "SELECT 1 AS a, 'x' AS b")
    lake.run(f"CREATE EXTERNAL TABLE altered (a int) STORED AS PARQUET LOCATION 's3://{lake.name}/nowhere/'")
    lake.run("ALTER TABLE altered ADD COLUMNS (b string)")
    lake.run(f"ALTER TABLE altered SET LOCATION 's3://{lake.name}/altered/'")
    lake.run("ALTER TABLE altered SET TBLPROPERTIES ('k' = 'v')")
    assert lake.rows("SELECT * FROM altered") == [["1", "x"]]
    assert ["k\tv"] in lake.rows("SHOW TBLPROPERTIES altered")
    assert "ALTER TABLE … RENAME" in lake.failure("ALTER TABLE altered RENAME TO other")


def test_create_table_as(lake: Lake) -> None:
    found = lake.run(
        f"""CREATE TABLE ctas WITH (format = 'PARQUET', write_compression = 'SNAPPY', partitioned_by = ARRAY['year'],
        external_location = 's3://{lake.name}/ctas/') AS SELECT id, name, price, year FROM orders"""
    )
    assert (found["StatementType"], found["SubstatementType"]) == ("DDL", "CREATE_TABLE_AS_SELECT")
    manifest = found["Statistics"]["DataManifestLocation"]
    key = manifest.removeprefix(f"s3://{lake.name}/")
    listed = lake.s3.get_object(Bucket=lake.name, Key=key)["Body"].read().decode().splitlines()
    assert sorted(listed) == [f"s3://{lake.name}/{each}" for each in lake.keys("ctas/")]
    assert lake.athena.get_query_results(QueryExecutionId=found["QueryExecutionId"])["UpdateCount"] == 20
    assert lake.rows("SELECT year, count(*), sum(price) FROM ctas GROUP BY 1 ORDER BY 1") == [
        ["2023", "10", "67.5"], ["2024", "10", "67.5"],
    ]  # fmt: skip
    assert lake.failure("CREATE TABLE ctas AS SELECT 1 AS a").startswith("TABLE_ALREADY_EXISTS: line 1:1: ")
    lake.run("CREATE TABLE IF NOT EXISTS ctas AS SELECT 1 AS a")
    reason = lake.failure(f"CREATE TABLE again WITH (external_location = 's3://{lake.name}/ctas/') AS SELECT 1 AS a")
    assert reason.startswith(
        f"HIVE_PATH_ALREADY_EXISTS: Target directory for table '{lake.database}.again' already exists"
    )
    assert lake.failure("CREATE TABLE x AS SELECT 1").startswith("MISSING_COLUMN_NAME: ")
    assert lake.failure("CREATE TABLE x WITH (table_type = 'ICEBERG') AS SELECT 1 AS a").startswith("NOT_SUPPORTED: ")
    assert lake.failure("CREATE TABLE x WITH (nonsense = 1) AS SELECT 1 AS a").startswith("INVALID_TABLE_PROPERTY: ")
    reason = lake.failure(
        "CREATE TABLE x WITH (partitioned_by = ARRAY['p']) AS SELECT 1 AS a, p FROM unnest(sequence(1, 101)) AS t(p)"
    )
    assert reason == "HIVE_TOO_MANY_OPEN_PARTITIONS: Exceeded limit of 100 open writers for partitions/buckets."
    lake.run("CREATE TABLE empty AS SELECT * FROM ctas WHERE false")
    lake.run("CREATE TABLE nodata AS SELECT id FROM ctas WITH NO DATA")
    assert lake.rows("SELECT count(*) FROM empty, nodata") == [["0"]]


@pytest.mark.parametrize("form", ["PARQUET", "JSON", "TEXTFILE"])
def test_formats_that_are_written_are_read_again(lake: Lake, form: str) -> None:
    lake.run(
        f"""CREATE TABLE as_{form} WITH (format = '{form}') AS SELECT * FROM (VALUES
        (1, 'é, "x"', 1.5e0, true, date '2024-02-29', 12.50), (null, null, null, null, null, null))
        AS t(a, b, c, d, e, f)"""
    )
    assert lake.rows(f"SELECT * FROM as_{form} ORDER BY a") == [
        ["1", 'é, "x"', "1.5", "true", "2024-02-29", "12.50"], [None] * 6,
    ]  # fmt: skip


def test_insert(lake: Lake) -> None:
    lake.run(
        f"CREATE EXTERNAL TABLE target (a bigint, b string) PARTITIONED BY (p string) STORED AS PARQUET LOCATION 's3://{lake.name}/target/'"
    )
    lake.run("INSERT INTO target VALUES (1, 'x', 'one'), (2, null, 'a/b'), (3, 'z', null)")
    lake.run("INSERT INTO target (p, a) SELECT 'one', 4")
    assert lake.rows("SELECT a, b, p FROM target ORDER BY a") == [
        ["1", "x", "one"], ["2", None, "a/b"], ["3", "z", None], ["4", None, "one"],
    ]  # fmt: skip
    assert lake.rows("SHOW PARTITIONS target") == [["p=__HIVE_DEFAULT_PARTITION__"], ["p=a%2Fb"], ["p=one"]]
    assert lake.failure("INSERT INTO target VALUES ('q', 'x', 'one')") == (
        "TYPE_MISMATCH: line 1:1: Insert query has mismatched column types: Table: [bigint, varchar, varchar], "
        "Query: [varchar, varchar, varchar]"
    )
    assert lake.failure("INSERT INTO nothing VALUES (1)").startswith("TABLE_NOT_FOUND: ")
    assert lake.failure("INSERT INTO target SELECT 1 / 0, 'x', 'p'").startswith("DIVISION_BY_ZERO")
    assert lake.rows("SELECT count(*) FROM target") == [["4"]]


def test_unload(lake: Lake) -> None:
    found = lake.run(f"UNLOAD (SELECT id, name FROM orders) TO 's3://{lake.name}/unloaded/' WITH (format = 'PARQUET')")
    assert found["Statistics"]["DataManifestLocation"].endswith("-manifest.csv")
    lake.table("unloaded", {"id": "bigint", "name": "string"}, "unloaded/")
    assert lake.rows("SELECT count(*), max(name) FROM unloaded") == [["20", "n9"]]
    assert lake.failure(f"UNLOAD (SELECT 1 AS a) TO 's3://{lake.name}/unloaded/' WITH (format = 'PARQUET')").startswith(
        "HIVE_PATH_ALREADY_EXISTS: "
    )
    assert "format AVRO" in lake.failure(f"UNLOAD (SELECT 1 AS a) TO 's3://{lake.name}/avro/' WITH (format = 'AVRO')")


def test_views(lake: Lake) -> None:
    lake.run("CREATE VIEW cheap AS SELECT id, price FROM orders WHERE price < 5")
    assert lake.rows("SELECT count(*) FROM cheap") == [["8"]]
    assert lake.failure("CREATE VIEW cheap AS SELECT 1 AS a").startswith(
        "TABLE_ALREADY_EXISTS: line 1:1: View already exists"
    )
    lake.run("CREATE OR REPLACE VIEW cheap AS SELECT id AS number FROM orders WHERE year = 2023 AND price < 5")
    assert lake.rows("SELECT max(number) FROM cheap") == [["3"]]
    assert lake.rows("SHOW VIEWS") == [["cheap"]]
    assert (
        lake.rows("SHOW CREATE VIEW cheap")[1][0] == "SELECT id AS number FROM orders WHERE year = 2023 AND price < 5"
    )
    lake.run("CREATE VIEW broken AS SELECT a FROM (VALUES 1) AS t(a)")
    assert lake.failure("CREATE OR REPLACE VIEW broken AS SELECT nope FROM orders").startswith("COLUMN_NOT_FOUND")
    assert lake.failure("DROP TABLE broken").startswith("FAILED: SemanticException Cannot drop a view with DROP TABLE")
    lake.run("DROP VIEW broken")
    lake.run("DROP VIEW IF EXISTS broken")
    assert lake.failure("SELECT * FROM broken").startswith("TABLE_NOT_FOUND")


def test_show_tables_and_columns(lake: Lake) -> None:
    assert ["orders"] in lake.rows("SHOW TABLES")
    assert lake.rows(f"SHOW TABLES IN {lake.database} 'ord*s'") == [["orders"]]
    assert [row[0].strip() for row in lake.rows("SHOW COLUMNS IN orders") if row[0]][-1] == "year"


def test_explain(lake: Lake) -> None:
    found = lake.run("EXPLAIN SELECT count(*) FROM orders")
    assert (found["StatementType"], found["SubstatementType"]) == ("UTILITY", "EXPLAIN")
    assert found["ResultConfiguration"]["OutputLocation"].endswith(".txt")


def test_prepared_statements(lake: Lake) -> None:
    lake.run("PREPARE cheaper FROM SELECT id FROM orders WHERE year = ? AND price < ? ORDER BY id")
    assert lake.rows("EXECUTE cheaper USING 2024, 2.5e0") == [["0"], ["1"]]
    assert lake.rows("EXECUTE cheaper", ExecutionParameters=["2024", "1e0"]) == [["0"]]
    lake.athena.create_prepared_statement(StatementName="one", WorkGroup="primary", QueryStatement="SELECT ?")
    assert lake.rows("EXECUTE one USING 'a'") == [["a"]]
    names = [
        one["StatementName"] for one in lake.athena.list_prepared_statements(WorkGroup="primary")["PreparedStatements"]
    ]
    assert names == ["cheaper", "one"]
    lake.run("DEALLOCATE PREPARE cheaper")
    assert lake.failure("EXECUTE cheaper").startswith("NOT_FOUND: ")
