"""awswrangler: data frames to S3, the Glue catalogue and Athena. Argument: a bucket and database that it makes."""

import datetime
import json
import sys

import awswrangler as wr
import boto3
import pandas as pd

(name,) = sys.argv[1:]
boto3.client("s3").create_bucket(Bucket=name)
wr.catalog.create_database(name)
orders = pd.DataFrame(
    {
        "id": [1, 2, 3],
        "name": ["a", 'b,"c', None],
        "amount": [1.5, 2.5, None],
        "day": [datetime.date(2024, 1, 1), datetime.date(2024, 1, 1), datetime.date(2024, 1, 2)],
    }
)
wr.s3.to_parquet(
    orders,
    f"s3://{name}/orders/",
    dataset=True,
    database=name,
    table="orders",
    partition_cols=["day"],
    mode="overwrite",
)
wr.s3.to_csv(orders, f"s3://{name}/files/orders.csv", index=False)
wr.s3.to_json(orders[["id", "name"]], f"s3://{name}/files/orders.json", orient="records", lines=True)
wr.s3.copy_objects([f"s3://{name}/files/orders.csv"], f"s3://{name}/files/", f"s3://{name}/copied/")
found = {
    "table": wr.catalog.table(name, "orders")[["Column Name", "Type", "Partition"]].to_numpy().tolist(),
    "partitions": sorted(wr.catalog.get_partitions(name, "orders").values()),
    "read": sorted(wr.s3.read_parquet_table("orders", database=name)["id"].tolist()),
    "csv": wr.s3.read_csv(f"s3://{name}/copied/orders.csv")["id"].tolist(),
    "json": wr.s3.read_json(f"s3://{name}/files/orders.json", lines=True)["id"].tolist(),
}
wr.s3.delete_objects(f"s3://{name}/copied/")
found["objects"] = wr.s3.list_objects(f"s3://{name}/copied/")

sql = "SELECT id, name, amount, day FROM orders WHERE amount > :least ORDER BY id"
for way, options in {
    "plain": {"ctas_approach": False},
    "ctas": {"ctas_approach": True},
    "unload": {"ctas_approach": False, "unload_approach": True},
}.items():
    frame = wr.athena.read_sql_query(
        sql, database=name, s3_output=f"s3://{name}/{way}/", params={"least": 1}, athena_query_wait_polling_delay=0.1,
        **options,
    )  # fmt: skip
    found[way] = frame.astype(object).to_numpy().tolist()
found["tables"] = wr.catalog.tables(database=name)["Table"].tolist()  # that of ctas is gone

print(json.dumps(found, default=str))
