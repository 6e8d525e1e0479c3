"""pyarrow.fs.S3FileSystem."""

from tests.clients.conftest import Client


def test_files(clients: Client) -> None:
    """`S3FileSystem(endpoint_override=…)`: buckets, streams, copies, moves, folders; a partitioned dataset, written \
and read with a filter"""
    assert clients.program("arrow_files", "pyarrow") == {
        "ids": sum(range(1, 1000, 2)),
        "size": 15 * 2**20,
        "folders": ["pyarrow/orders/day=2024-01-01", "pyarrow/orders/day=2024-01-02"],
        "end": "xxx",
        "left": "NotFound",
    }
