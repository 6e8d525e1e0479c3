"""s3fs, the S3 of fsspec."""

from pathlib import Path

from tests.clients.conftest import Client


def test_files(clients: Client, tmp_path: Path) -> None:
    """read, write, append, multipart uploads, trees with empty files, copies, `glob`, `find`, metadata, presigned \
addresses"""
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/empty").touch()
    (tmp_path / "tree/full").write_text("full")
    assert clients.program("s3fs_files", "s3fs-files", f"{tmp_path}/tree/") == {
        "presigned": "hello\nmore\n",
        "text": "hello\nmore\n",
        "block": "aabb",
        "tree": ["s3fs-files/tree/empty", "s3fs-files/tree/full"],
        "sizes": {"s3fs-files/tree/empty": 0, "s3fs-files/tree/full": 4},
        "globbed": ["s3fs-files/a/text"],
        "listed": ["s3fs-files/a", "s3fs-files/large", "s3fs-files/moved", "s3fs-files/tree"],
        "metadata": {"colour": "blue"},
        "left": False,
        "missing": "FileNotFoundError",
    }
