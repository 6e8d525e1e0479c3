"""A user's proxy is for downloads: nothing on loopback asks it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from requests.utils import get_environ_proxies

from console.aws import local_client
from console.options import ROOT
from console.proxies import VARIABLES, without_loopback
from laptop.config import Config
from tests.console.airflow_server import AirflowServer

REFUSES = "http://127.0.0.1:1"
LOOPBACK = ("http://127.0.0.1:4566/x", "http://localhost:4566/x", "http://[::1]:4566/x")


@pytest.fixture(params=[str.lower, str.upper], ids=["lower", "upper"])
def proxied(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set all proxies to an address where nothing listens, and name one host without a proxy."""
    for name in (*VARIABLES, "no_proxy"):
        for spelling in (name, name.upper()):
            monkeypatch.delenv(spelling, raising=False)
    for name in VARIABLES:
        monkeypatch.setenv(request.param(name), REFUSES)
    monkeypatch.setenv(request.param("no_proxy"), "intra.example, .example.org")


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ({}, "127.0.0.1,localhost,::1"),
        ({"NO_PROXY": "a, b"}, "a,b,127.0.0.1,localhost,::1"),
        ({"no_proxy": "localhost,a", "NO_PROXY": "b"}, "localhost,a,b,127.0.0.1,::1"),
        ({"no_proxy": "*"}, "*"),
    ],
)
def test_what_the_user_has_excepted_stays(given: dict[str, str], value: str) -> None:
    assert without_loopback(given) == {"NO_PROXY": value, "no_proxy": value}


@pytest.mark.usefixtures("proxied")
def test_the_platforms_processes_use_it_for_downloads_and_not_for_loopback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = Config.from_environment({"STATE": str(tmp_path)}).environment({})
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for url in LOOPBACK:
        assert not get_environ_proxies(url), url
    assert not get_environ_proxies("https://intra.example/x")
    assert get_environ_proxies("https://d37ci6vzurychx.cloudfront.net/x")["https"] == REFUSES


@pytest.mark.parametrize("name", ["ALL_PROXY", "all_proxy"])
def test_a_socks_proxy_which_airflows_client_does_not_start_with_is_left_out(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "socks5h://127.0.0.1:1")
    assert name not in Config.from_environment({"STATE": str(tmp_path)}).environment({})


def test_our_own_clients_do_not_ask_it(server: AirflowServer, aws: str, proxied: None, tmp_path: Path) -> None:
    """Neither before a command has begun, nor what a command starts."""
    from console.airflow import Airflow
    from tests.console.conftest import ServerAccess

    airflow = Airflow(ServerAccess(server))
    airflow.login()
    assert airflow.dags() == []
    assert local_client("s3", aws).list_buckets()["Buckets"] == []
    script = (
        "import os, subprocess, sys, urllib.request\n"
        "from console.output import run_command\n"
        "def command(console):\n"
        "    import boto3\n"
        "    print(boto3.client('s3', endpoint_url=sys.argv[1]).list_buckets()['Buckets'])\n"
        "    return subprocess.run([sys.executable, '-c', 'import sys, urllib.request;'\n"
        "        ' print(urllib.request.urlopen(sys.argv[1]).status)', sys.argv[1]]).returncode\n"
        "sys.exit(run_command(command, ''))\n"
    )
    keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1"}
    result = subprocess.run(
        [sys.executable, "-c", script, aws],
        env={**os.environ, **keys, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (result.returncode, result.stdout.split()[0]) == (0, "[]"), result.stderr
