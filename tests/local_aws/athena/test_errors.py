"""What is wrong, in the way in which Athena says it."""

from typing import Any

import pytest

from tests.local_aws.athena.lake import Lake
from tests.local_aws.endpoint import error_of


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELEKT nonsense", "line 1:1: mismatched input 'SELEKT'. Expecting: <statement>"),
        ("SELECT 1 FROM t x y", "line 1:19: mismatched input 'y'"),
        ("SELECT a, FROM t", "line 1:11: mismatched input 'FROM'"),
        ("SELECT 'open", "line 1:1: Error tokenizing 'SELECT '"),
        ("SELECT 1 LIMIT 5 OFFSET 2", "line 1:18: mismatched input 'OFFSET'"),
        ("SELECT a::int FROM t", "line 1:9: mismatched input '::'"),
        ("SELECT `a` FROM t", "line 1:10: mismatched input '`'"),
        ("SELECT 1; SELECT 2", "Only one sql statement is allowed. Got: SELECT 1; SELECT 2"),
        ("CREATE EXTERNAL TABLE t (a int", "line 1:31: mismatched input '<EOF>'"),
        ("DROP TABL t", "line 1:6: mismatched input 'TABL'"),
        ("ALTER TABLE t ADD PARTITION (a > 1)", "line 1:32: mismatched input '>'"),
        ("INSERT INTO t SELEKT 1", "line 1:15: mismatched input 'SELEKT'"),
        ("PRAGMA version", "line 1:1: mismatched input 'PRAGMA'. Expecting: <statement>"),
        ("COPY t TO 'x'", "line 1:1: mismatched input 'COPY'. Expecting: <statement>"),
    ],
)
def test_a_text_that_does_not_parse_is_refused_at_once(lake: Lake, sql: str, message: str) -> None:
    answer = error_of(lake.start, sql=sql)
    assert answer["Error"]["Code"] == "InvalidRequestException"
    assert answer["Error"]["Message"].startswith(message)
    assert answer["AthenaErrorCode"] == "MALFORMED_QUERY"


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT nope FROM orders", "COLUMN_NOT_FOUND: line 1:8: Column 'nope' cannot be resolved"),
        ("SELECT *\nFROM nope", "TABLE_NOT_FOUND: line 2:6: Table 'awsdatacatalog.test_errors.nope' does not exist"),
        ("SELECT * FROM nope.t", "SCHEMA_NOT_FOUND: line 1:1: Schema 'nope' does not exist"),
        ("SELECT * FROM other.test_errors.orders", "CATALOG_NOT_FOUND: line 1:15: Catalog 'other' does not exist"),
        ("SELECT id FROM orders a, orders b", "AMBIGUOUS_NAME: line 1:8: Column 'id' is ambiguous"),
        ("SELECT id / 0 FROM orders", "DIVISION_BY_ZERO: Division by zero"),
        ("SELECT id / (id - id) FROM orders", "DIVISION_BY_ZERO: Division by zero"),
        ("SELECT cast(name AS bigint) FROM orders", "INVALID_CAST_ARGUMENT: Cannot cast 'n0' to BIGINT"),
        ("SELECT name = 1 FROM orders", "TYPE_MISMATCH: line 1:8: Cannot apply operator: varchar = integer"),
        ("SELECT name + 1 FROM orders", "TYPE_MISMATCH: line 1:8: Cannot apply operator: varchar + integer"),
        ("SELECT lower(id) FROM orders", ("FUNCTION_NOT_FOUND: line 1:8: Unexpected parameters (bigint) for "
                                         "function lower. Expected: lower(varchar)")),
        ("SELECT 1 WHERE 5", "TYPE_MISMATCH: line 1:16: WHERE clause must evaluate to a boolean: actual type integer"),
        ("SELECT id, count(*) FROM orders", ("EXPRESSION_NOT_AGGREGATE: line 1:8: 'id' must be an aggregate "
                                            "expression or appear in GROUP BY clause")),
        ("SELECT name FROM orders GROUP BY id", ("EXPRESSION_NOT_AGGREGATE: line 1:8: 'name' must be an aggregate "
                                                "expression or appear in GROUP BY clause")),
        ("SELECT id AS x FROM orders WHERE x > 1", "COLUMN_NOT_FOUND: line 1:34: Column 'x' cannot be resolved"),
        ("SELECT id AS x FROM orders GROUP BY x", "COLUMN_NOT_FOUND: line 1:37: Column 'x' cannot be resolved"),
        ("SELECT id FROM orders WHERE count(*) > 1", ("EXPRESSION_NOT_SCALAR: line 1:29: WHERE clause cannot "
                                                     "contain aggregations")),
        ("SELECT 1 UNION SELECT 'a'", ("TYPE_MISMATCH: line 1:8: column 1 in UNION query has incompatible types: "
                                      "integer, varchar")),
        ("SELECT 1, 2 UNION SELECT 1", "TYPE_MISMATCH: line 1:8: UNION query has different number of fields: 2, 1"),
        ("SELECT soundex(name) FROM orders", "NOT_SUPPORTED: not supported by the local Athena: function soundex"),
        ("SELECT * FROM read_csv('/etc/passwd')", ("NOT_SUPPORTED: not supported by the local Athena: table "
                                                  "function read_csv")),
        ("SELECT * FROM orders TABLESAMPLE BERNOULLI (10)", ("NOT_SUPPORTED: not supported by the local Athena: "
                                                            "TABLESAMPLE")),
        ("SELECT list[5] FROM orders", ("INVALID_FUNCTION_ARGUMENT: Array subscript must be less than or equal to "
                                       "array length: 5 > 2")),
        ("SELECT * FROM orders ORDER BY 9", ("INVALID_COLUMN_REFERENCE: line 1:31: ORDER BY position 9 is not in "
                                            "select list")),
        (("SELECT 9223372036854775807 + id FROM orders WHERE "
         "id = 1"), "NUMERIC_VALUE_OUT_OF_RANGE: bigint addition overflow"),
        ("EXECUTE nothing", "NOT_FOUND: Prepared statement not found: nothing"),
        ("MERGE INTO orders USING x ON true WHEN MATCHED THEN DELETE", ("NOT_SUPPORTED: not supported by the local "
                                                                       "Athena: statement MERGE")),
    ],
)  # fmt: skip
def test_a_query_that_fails_says_why(lake: Lake, sql: str, reason: str) -> None:
    assert lake.failure(sql).startswith(reason)


def test_the_error_has_a_category(lake: Lake) -> None:
    found = lake.wait(lake.start("SELECT 1 / 0"))
    error = found["Status"]["AthenaError"]
    assert (error["ErrorCategory"], error["Retryable"]) == (2, False)
    answer = error_of(lake.athena.get_query_results, QueryExecutionId=found["QueryExecutionId"])
    assert answer["Error"]["Message"] == "Query did not finish successfully. Final query state: FAILED"


def test_files_that_are_not_what_the_table_says(lake: Lake) -> None:
    lake.put("bad/f.parquet", "this is not Parquet")
    lake.table("bad", {"a": "int"}, "bad/")
    assert lake.failure("SELECT a FROM bad").startswith("HIVE_BAD_DATA: Not valid Parquet file: ")
    assert f"s3://{lake.name}/bad/f.parquet" in lake.failure("SELECT a FROM bad")
    lake.put("nojson/f.json", '{"a": 1}\nnonsense\n')
    lake.table("nojson", {"a": "int"}, "nojson/", serde="org.openx.data.jsonserde.JsonSerDe")
    assert lake.failure("SELECT a FROM nojson").startswith("HIVE_CURSOR_ERROR: Row is not a valid JSON Object")
    lake.parquet("wrong/f.parquet", "SELECT 'x' AS a, 5 AS b")
    lake.table("wrong", {"a": "int", "b": "int"}, "wrong/")
    assert lake.failure("SELECT a FROM wrong") == (
        f"HIVE_BAD_DATA: Field a's type VARCHAR in parquet file s3://{lake.name}/wrong/f.parquet is incompatible "
        "with type "
        "integer defined in table schema"
    )
    assert lake.rows("SELECT b FROM wrong") == [["5"]]
    lake.table("orc", {"a": "int"}, "orc/", serde="org.apache.hadoop.hive.ql.io.orc.OrcSerde")
    assert "serde 'org.apache.hadoop.hive.ql.io.orc.OrcSerde'" in lake.failure("SELECT a FROM orc")


def test_a_location_that_is_gone(lake: Lake) -> None:
    lake.table("gone", {"a": "int"}, "nothing/here/")
    assert lake.rows("SELECT count(*) FROM gone") == [["0"]]
    storage = {
        "Columns": [{"Name": "a", "Type": "int"}],
        "Location": "s3://no-such-bucket/x/",
        "SerdeInfo": {"SerializationLibrary": "x.ParquetHiveSerDe"},
    }
    lake.glue.create_table(DatabaseName=lake.database, TableInput={"Name": "nobucket", "StorageDescriptor": storage})
    assert lake.failure("SELECT a FROM nobucket") == "NoSuchBucket: The specified bucket does not exist: no-such-bucket"


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"ResultConfiguration": {}}, "No output location provided."),
        ({"ResultConfiguration": {"OutputLocation": "/tmp/x"}}, "outputLocation is not a valid S3 path"),
        ({"ResultConfiguration": {"OutputLocation": "s3://no-such-bucket/"}}, "Unable to verify/create output bucket"),
        ({"WorkGroup": "nope"}, "WorkGroup nope is not found."),
        ({"QueryExecutionContext": {"Catalog": "hive2"}}, "Data catalog hive2 was not found"),
    ],
)
def test_a_request_that_is_wrong(lake: Lake, request_: dict[str, Any], message: str) -> None:
    answer = error_of(lake.start, sql="SELECT 1", **request_)
    assert answer["Error"]["Code"] == "InvalidRequestException"
    assert answer["Error"]["Message"].startswith(message)


def test_unknown_queries(lake: Lake) -> None:
    for operation in (lake.athena.get_query_execution, lake.athena.stop_query_execution, lake.athena.get_query_results):
        answer = error_of(operation, QueryExecutionId="nope")
        assert answer["Error"]["Code"] == "InvalidRequestException"
        assert answer["Error"]["Message"] == "QueryExecution nope was not found"
