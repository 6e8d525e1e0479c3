"""pyarrow's own S3 client. Argument: a bucket that it makes."""

import json
import os
import sys

import pyarrow as pa
import pyarrow.dataset
import pyarrow.fs
import pyarrow.parquet

(bucket,) = sys.argv[1:]
s3 = pyarrow.fs.S3FileSystem(
    region="us-east-1", endpoint_override=os.environ["AWS_ENDPOINT_URL"], allow_bucket_creation=True
)
s3.create_dir(bucket)
table = pa.table({"id": range(1000), "day": [f"2024-01-0{1 + n % 2}" for n in range(1000)]})
pyarrow.parquet.write_to_dataset(table, f"{bucket}/orders", partition_cols=["day"], filesystem=s3)
orders = pyarrow.dataset.dataset(f"{bucket}/orders", filesystem=s3, format="parquet", partitioning="hive")
day = pyarrow.dataset.field("day") == "2024-01-02"
with s3.open_output_stream(f"{bucket}/large") as stream:
    for _ in range(3):
        stream.write(b"x" * 5 * 2**20)
s3.copy_file(f"{bucket}/large", f"{bucket}/copied")
s3.move(f"{bucket}/copied", f"{bucket}/moved")
found = {
    "ids": sum(orders.to_table(filter=day)["id"].to_pylist()),
    "size": s3.get_file_info(f"{bucket}/moved").size,
    "folders": sorted(info.path for info in s3.get_file_info(pyarrow.fs.FileSelector(f"{bucket}/orders"))),
}
with s3.open_input_file(f"{bucket}/moved") as file:
    file.seek(15 * 2**20 - 3)
    found["end"] = file.read().decode()
s3.delete_dir(f"{bucket}/orders")
found["left"] = s3.get_file_info(f"{bucket}/orders").type.name

print(json.dumps(found))
