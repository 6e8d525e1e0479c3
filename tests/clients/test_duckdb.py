"""DuckDB with its httpfs extension."""

from tests.clients.conftest import Client
from tests.local_aws.endpoint import Endpoint


def test_httpfs(clients: Client, endpoint: Endpoint, job: str) -> None:
    """httpfs: `COPY … TO` one Parquet file and partitions, reads with globs and filters; the same by s3fs"""
    endpoint.client("s3").create_bucket(Bucket="duckdb")
    assert clients.program("duck", "duckdb", endpoint.url.removeprefix("http://")) == {
        "parts": [[0, 333_334], [1, 333_333], [2, 333_333]],
        "last": [[999_998], [999_999]],
        "csv": [[1, 2], [2, 1]],
        "s3fs": [[499_999_500_000]],
    }
    uploads = endpoint.client("s3").list_multipart_uploads(Bucket="duckdb")
    assert "Uploads" not in uploads
