"""DuckDB's httpfs, and DuckDB with s3fs. Arguments: a bucket, the endpoint's host and port."""

import json
import sys
from pathlib import Path

import duckdb
import duckdb_extension_httpfs
import s3fs

bucket, address = sys.argv[1:]
duck = duckdb.connect()
# INSTALL httpfs would download this file.
(extension,) = Path(duckdb_extension_httpfs.__file__).parent.rglob("httpfs.duckdb_extension")
duck.execute(f"LOAD '{extension}'")
duck.execute(
    "CREATE SECRET (TYPE s3, KEY_ID 'any', SECRET 'any', REGION 'us-east-1', URL_STYLE 'path', USE_SSL false, "
    f"ENDPOINT '{address}')"
)
numbers = "SELECT i, i % 3 AS k, hash(i) AS h FROM range(1000000) AS t (i)"
duck.execute(f"COPY ({numbers}) TO 's3://{bucket}/parts' (FORMAT parquet, PARTITION_BY k)")
duck.execute(f"COPY ({numbers}) TO 's3://{bucket}/one.parquet'")
found = {
    "parts": duck.sql(f"SELECT k, count(*) FROM 's3://{bucket}/parts/*/*.parquet' GROUP BY k ORDER BY k").fetchall(),
    "last": duck.sql(f"SELECT i FROM 's3://{bucket}/one.parquet' WHERE i > 999997 ORDER BY i").fetchall(),
    "csv": duck.sql("SELECT zone, count(*) FROM 's3://shared/trips/*.csv' GROUP BY zone ORDER BY zone").fetchall(),
}
other = duckdb.connect()
other.register_filesystem(s3fs.S3FileSystem())
found["s3fs"] = other.sql(f"SELECT sum(i) FROM 's3://{bucket}/one.parquet'").fetchall()

print(json.dumps(found, default=int))
