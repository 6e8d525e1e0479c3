import json
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.local_aws.endpoint import ROOT, Endpoint


def refused(*words: object) -> tuple[int, list[str]]:
    done = subprocess.run(
        [sys.executable, "-m", "local_aws", *map(str, words)], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr.splitlines()


def test_health(endpoint: Endpoint) -> None:
    with urllib.request.urlopen(f"{endpoint.url}/_local_aws/health") as answer:
        health = json.load(answer)
    assert health["status"] == "ok"
    assert health["endpoint"] == endpoint.url
    assert health["engine"] == "sail"
    assert "elasticmapreduce" in health["services"]


def test_it_listens_on_loopback_only(endpoint: Endpoint, tmp_path: Path) -> None:
    port = int(endpoint.url.rpartition(":")[2])
    others = [str(address[4][0]) for address in socket.getaddrinfo(socket.gethostname(), port, socket.AF_INET)]
    for address in others:
        if not address.startswith("127."):
            with pytest.raises(OSError, match="refused"):
                socket.create_connection((address, port), timeout=1)
    code, lines = refused("--host", "0.0.0.0", "--data", tmp_path)
    assert code == 1
    assert lines == [
        (
            "local_aws: --host 0.0.0.0 can be reached by other machines, and there is no password: "
            "add --listen-beyond-loopback if you want that."
        )
    ]


def test_a_port_that_is_in_use(endpoint: Endpoint, tmp_path: Path) -> None:
    port = endpoint.url.rpartition(":")[2]
    code, lines = refused("--port", port, "--data", tmp_path)
    assert code == 1
    assert lines == [
        (
            f"local_aws: Port {port} on 127.0.0.1 is in use by another program: "
            "stop that one, or choose another port with --port."
        )
    ]


def test_a_data_folder_that_is_in_use(endpoint: Endpoint) -> None:
    code, lines = refused("--port", "0", "--data", endpoint.data)
    assert code == 1
    (line,) = lines
    assert f"{endpoint.data} is in use by another local_aws (process {endpoint.process.pid})" in line


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--step-memory", "lots"), "'lots' is not a size such as 6g or 800m"),
        (("--max-steps", "0"), "'0' is not a whole number from 1"),
        (("--port", "99999"), "'99999' is not a port"),
        (("--engine", "hive"), "invalid choice: 'hive'"),
        (("--host", "my host"), "--host 'my host' is not an IP address."),
        (("--data", "/proc/none"), "The data folder /proc/none cannot be used"),
    ],
)
def test_wrong_arguments(words: tuple[str, ...], text: str) -> None:
    code, lines = refused(*words)
    assert code in (1, 2)
    assert text in lines[-1]


def test_moto_cannot_be_reset(endpoint: Endpoint) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(urllib.request.Request(f"{endpoint.url}/moto-api/reset", data=b""))


def test_control_c_ends_it(new_endpoint: Callable[..., Endpoint]) -> None:
    endpoint = new_endpoint("--grace-seconds", "300").start()  # it does not wait for that
    endpoint.process.send_signal(signal.SIGINT)
    assert endpoint.process.wait(timeout=60) == 0
