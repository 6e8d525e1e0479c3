"""HTTP as AWS speaks it, by a socket."""

import re
import socket
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest

from tests.local_aws.endpoint import Endpoint

AUTHORIZATION = "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
Send = Callable[..., list[int]]


@pytest.fixture
def put(endpoint: Endpoint) -> Send:
    """Send a PUT on one connection; return the statuses that come back."""
    client = endpoint.client("s3")
    client.create_bucket(Bucket="http")
    address = urlsplit(endpoint.url)
    connection = socket.create_connection((address.hostname or "", address.port or 0), timeout=5)

    def send(path: str, body: bytes, *, head: str = "Expect: 100-continue", at_once: bool = False) -> list[int]:
        lines = f"PUT {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {AUTHORIZATION}\r\n{head}\r\n"
        request = f"{lines}Content-Length: {len(body)}\r\n\r\n".encode()
        answer = b""
        connection.sendall(request + (body if at_once else b""))
        if not at_once and body:
            answer = connection.recv(1000)
            if not re.match(rb"HTTP/1.1 100 Continue\r\n\r\n$", answer):
                return [int(status) for status in re.findall(rb"HTTP/1.1 (\d+)", answer)]
            connection.sendall(body)
        while not re.search(rb"HTTP/1.1 [2-5]\d\d [^\0]*\r\n\r\n", answer):
            piece = connection.recv(1000)
            assert piece, answer
            answer += piece
        return [int(status) for status in re.findall(rb"HTTP/1.1 (\d+)", answer)]

    return send


def test_continue_is_said_whatever_the_length_of_the_body(put: Send, endpoint: Endpoint) -> None:
    """Else older versions of botocore read the answer to the next request for that of this one, and wait 60 s."""
    for at_once in (False, True):
        assert put("/http/empty", b"", at_once=at_once) == [100, 200]
        assert put("/http/full", b"text", at_once=at_once) == [100, 200]
    assert put("/http/empty", b"", head="X: y") == [200]
    assert put("/nowhere/empty", b"") == [100, 404]
    s3 = endpoint.client("s3")
    assert [s3.get_object(Bucket="http", Key=key)["Body"].read() for key in ("empty", "full")] == [b"", b"text"]


def test_an_answer_to_head_has_no_body(endpoint: Endpoint) -> None:
    address = urlsplit(endpoint.url)
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=5) as connection:
        lines = (
            f"HEAD /http/{'k' * 1025} HTTP/1.1\r\nHost: x\r\nAuthorization: {AUTHORIZATION}\r\nConnection: close\r\n"
        )
        connection.sendall(f"{lines}\r\n".encode())
        answer = b""
        while piece := connection.recv(1000):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.endswith(b"\r\n\r\n")
