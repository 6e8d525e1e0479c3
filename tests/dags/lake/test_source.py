"""Files that come from elsewhere: they come as a whole, or one sentence says why not."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from taxiway.lake.source import SourceError, UnavailableError, fetch


class Pages(http.server.BaseHTTPRequestHandler):
    """Answers with a file, a file that is cut, or an error."""

    def do_GET(self) -> None:
        if self.path.startswith("/moved"):
            self.send_response(302)
            self.send_header("Location", "/file.csv")
            self.end_headers()
        elif self.path[1:].isdecimal():
            self.send_error(int(self.path[1:]))
        else:
            self.send_response(200)
            self.send_header("Content-Length", "8" if self.path.startswith("/file") else "800")
            self.end_headers()
            self.wfile.write(b"day\n2023")

    def log_message(self, *arguments: object) -> None: ...


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_file_is_downloaded_with_its_digest(web: str, tmp_path: Path) -> None:
    digests = {fetch(f"{web}{path}", tmp_path / "file", None) for path in ("/file.csv", "/moved")}
    digests.add(fetch((tmp_path / "file").as_uri(), tmp_path / "copy", None))
    assert len(digests) == 1
    assert (tmp_path / "copy").read_bytes() == b"day\n2023"


@pytest.mark.parametrize(
    ("path", "kind", "fault"),
    [
        ("/404?token=secret", SourceError, "/404 was answered by 404 Not Found: check the address."),
        ("/503", UnavailableError, "/503 was answered by 503 Service Unavailable"),
        ("/cut", UnavailableError, "/cut is cut short: 8 of 800 bytes came."),
    ],
)
def test_a_file_that_does_not_come_is_one_sentence(
    web: str, path: str, kind: type[SourceError], fault: str, tmp_path: Path
) -> None:
    with pytest.raises(SourceError) as caught:
        fetch(f"{web}{path.partition('?')[0]}", tmp_path / "file", None)
    assert type(caught.value) is kind
    assert str(caught.value).startswith(f"{web}{fault}")


@pytest.mark.parametrize(
    ("url", "kind", "fault"),
    [
        ("ftp://x/y.csv", SourceError, "is no address of a file"),
        ("weather.csv", SourceError, "is no address of a file"),
        ("file:///no/such/file.csv", SourceError, "cannot be read"),
        ("http://127.0.0.1:1/x.csv", UnavailableError, "cannot be read"),
    ],
)
def test_an_address_that_is_none(url: str, kind: type[SourceError], fault: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        fetch(url, tmp_path / "file", None)
    assert type(caught.value) is kind
    assert str(caught.value).startswith(f"{url} {fault}")


def test_no_secret_of_an_address_is_told(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        fetch("ftp://me:word@x/y.csv?token=abc", tmp_path / "file", None)
    assert "word" not in str(caught.value)
    assert "abc" not in str(caught.value)


def test_a_file_on_s3_is_fetched_with_its_digest(aws: str, tmp_path: Path) -> None:
    boto3.client("s3").create_bucket(Bucket="taxiway-lake")
    boto3.client("s3").put_object(Bucket="taxiway-lake", Key="in/file.csv", Body=b"day\n2023")
    (tmp_path / "same").write_bytes(b"day\n2023")
    digest = fetch("s3://taxiway-lake/in/file.csv", tmp_path / "file", boto3.Session())
    assert digest == fetch((tmp_path / "same").as_uri(), tmp_path / "copy", None)
    for key in ("taxiway-lake/in/gone.csv", "taxiway-nowhere/file.csv"):
        with pytest.raises(SourceError, match="is not there: put the file there, or name another source"):
            fetch(f"s3://{key}", tmp_path / "file", boto3.Session())
