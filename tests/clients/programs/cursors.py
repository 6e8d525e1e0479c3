"""PyAthena's cursors. Arguments: the database of awswrangler's table `orders`, a folder on S3 for results."""

import functools
import json
import os
import sys
from typing import Any

import pyarrow.fs
from pyathena import OperationalError, connect
from pyathena.arrow.cursor import ArrowCursor
from pyathena.async_cursor import AsyncCursor
from pyathena.cursor import Cursor, DictCursor
from pyathena.pandas.cursor import PandasCursor
from sqlalchemy import create_engine, inspect, text

database, results = sys.argv[1:]
SQL = "SELECT id, name, amount FROM orders WHERE amount > %(least)s ORDER BY id"


def cursor(kind: Any, **options: Any) -> Any:
    connection = connect(s3_staging_dir=results, region_name="us-east-1", schema_name=database, poll_interval=0.05)
    return connection.cursor(kind, **options)


found: dict[str, Any] = {"default": cursor(Cursor).execute(SQL, {"least": 1}).fetchall()}
found["dict"] = cursor(DictCursor).execute(
    "SELECT name FROM orders WHERE id = ?", ["2"], paramstyle="qmark"
).fetchall()  # fmt: skip
_, future = cursor(AsyncCursor).execute(SQL, {"least": 1})
found["async"] = future.result().fetchall()
for unload in (False, True):
    frame = cursor(PandasCursor, unload=unload).execute(SQL, {"least": 1}).as_pandas()
    found[f"pandas{' unload' * unload}"] = frame.astype(object).to_numpy().tolist()

# pyarrow has an S3 client of its own, which knows no AWS_ENDPOINT_URL, and PyAthena has no argument for it.
filesystem = pyarrow.fs.S3FileSystem
pyarrow.fs.S3FileSystem = functools.partial(filesystem, endpoint_override=os.environ["AWS_ENDPOINT_URL"])
for unload in (False, True):
    table = cursor(ArrowCursor, unload=unload).execute(SQL, {"least": 1}).as_arrow()
    found[f"arrow{' unload' * unload}"] = [list(row.values()) for row in table.to_pylist()]
pyarrow.fs.S3FileSystem = filesystem

try:
    cursor(Cursor).execute("SELECT nope FROM orders")
except OperationalError as error:
    found["error"] = str(error)

folder = results.replace(":", "%3A").replace("/", "%2F")
engine = create_engine(f"awsathena+rest://:@athena.us-east-1.amazonaws.com:443/{database}?s3_staging_dir={folder}")
with engine.connect() as connection:
    found["count"] = connection.execute(text("SELECT count(*) FROM orders")).scalar_one()
found["columns"] = [(column["name"], str(column["type"])) for column in inspect(engine).get_columns("orders")]

print(json.dumps(found))
