"""The secrets: named and keyed as the platform's Kubernetes Secrets, with values that their readers understand."""

import base64
import json
import re
import secrets
import ssl
import string

import pytest
import sqlalchemy as sa
import yaml
from cryptography.fernet import Fernet
from kombu.utils.url import parse_url
from pymysql.connections import Connection as MysqlConnection

from cluster.manifests import needed_secrets
from tests.aws.template import PATH, Stack
from tests.helm.rendering import render

KEYS = {
    "airflow-fernet-key": {"fernet-key"},
    "airflow-api-secret-key": {"api-secret-key"},
    "airflow-jwt-secret": {"jwt-secret"},
    "airflow-metadata": {"connection", "async-connection"},
    "airflow-result-backend": {"connection"},
    "airflow-broker-url": {"connection"},
    "airflow-redis-password": {"password"},
    "airflow-pgbouncer-config": {"pgbouncer.ini", "users.txt"},
    "airflow-pgbouncer-stats": {"connection"},
    "airflow-flower-auth": {"basicAuth"},
    "airflow-connections": {"tlc-catalog"},
    "airflow-admin": {"username", "password"},
    "postgres": {"password"},
    "mysql": {"password"},
}
OF_DATABASES = {
    "airflow-metadata",
    "airflow-result-backend",
    "airflow-pgbouncer-config",
    "airflow-pgbouncer-stats",
    "airflow-connections",
    "postgres",
    "mysql",
}


def values(**parameters: str) -> dict[str, dict[str, str]]:
    """Return what the secrets of a stack hold, name → key → value: generated and put together as AWS does it."""
    stack = Stack(**parameters)
    properties = {each["Name"]: each for each in stack.of_type("AWS::SecretsManager::Secret").values()}
    found: dict[str, dict[str, str]] = {}
    for name, each in properties.items():
        if rules := each.get("GenerateSecretString"):
            assert rules["ExcludePunctuation"] is True
            letters = string.ascii_letters + string.digits
            generated = "".join(secrets.choice(letters) for _ in range(rules["PasswordLength"]))
            found[name] = json.loads(rules["SecretStringTemplate"]) | {rules["GenerateStringKey"]: generated}

    def reference(match: re.Match[str]) -> str:
        return found[match[1]][match[2]]

    pattern = (
        r"\{\{resolve:secretsmanager:arn:aws:secretsmanager:[a-z0-9-]+:[0-9]+:secret:([^:]+):SecretString:([^:}]+)\}\}"
    )
    for name, each in properties.items():
        if "SecretString" in each:
            assert not re.search(pattern.replace("secretsmanager:arn", "ssm:arn"), each["SecretString"])
            found[name] = json.loads(re.sub(pattern, reference, each["SecretString"]))
    return {name.removeprefix("taxiway/"): each for name, each in found.items()}


VALUES = values()


def test_names_and_keys() -> None:
    assert {name: set(each) for name, each in VALUES.items() if not name.startswith("seeds/")} == KEYS


def test_external_secrets_find_all_that_they_look_for() -> None:
    chart = PATH.parents[1] / "helm/platform/values.yaml"
    wanted = yaml.safe_load(chart.read_text())["externalSecrets"]
    assert wanted["prefix"] == Stack().outputs()["SecretsPrefix"]
    # What Airflow reads, optional or not; the password of the chart's own Redis is for who has that one.
    assert set(wanted["names"]) == KEYS.keys() - {"postgres", "mysql", "airflow-redis-password"}
    readme = (PATH.parent / "README.md").read_text()
    assert "repeat it with\n   `airflow-redis-password`" in readme


def test_without_databases_of_ours_their_secrets_are_left_to_the_user() -> None:
    assert KEYS.keys() - values(CreateDatabases="false").keys() == OF_DATABASES
    readme = (PATH.parent / "README.md").read_text()
    assert [name for name in OF_DATABASES - {"postgres", "mysql"} if f"`{name}`" not in readme] == []


def test_nothing_secret_stands_in_the_template() -> None:
    text = PATH.read_text()
    assert "NoEcho" not in text  # no password is a parameter
    assert not re.search(r"(?i)password:\s*['\"]?[a-z0-9]{8,}['\"]?\s*$", text, re.MULTILINE)
    assert values() != VALUES


def test_the_fernet_key_is_one() -> None:
    key = VALUES["airflow-fernet-key"]["fernet-key"]
    assert len(base64.urlsafe_b64decode(key)) == 32
    assert Fernet(key).decrypt(Fernet(key).encrypt(b"x")) == b"x"


def test_keys_are_long_enough() -> None:
    assert len(VALUES["airflow-jwt-secret"]["jwt-secret"]) >= 64
    assert len(VALUES["airflow-api-secret-key"]["api-secret-key"]) >= 32
    assert 16 <= len(VALUES["airflow-redis-password"]["password"]) <= 128  # ElastiCache's limits
    assert len(VALUES["mysql"]["password"]) <= 41  # RDS's limit for MySQL
    assert len(VALUES["postgres"]["password"]) <= 128
    user, _, password = VALUES["airflow-flower-auth"]["basicAuth"].partition(":")
    assert user
    assert len(password) >= 16


def test_airflows_database_goes_through_pgbouncer() -> None:
    password = VALUES["postgres"]["password"]
    metadata = sa.make_url(VALUES["airflow-metadata"]["connection"])
    assert (metadata.username, metadata.password, metadata.host, metadata.port) == (
        "airflow",
        password,
        "airflow-pgbouncer.taxiway",
        6543,
    )
    results = sa.make_url(VALUES["airflow-result-backend"]["connection"].removeprefix("db+"))
    assert (results.password, results.database) == (password, "airflow-result-backend")
    assert sa.make_url(VALUES["airflow-pgbouncer-stats"]["connection"]).host == "127.0.0.1"
    ini, users = VALUES["airflow-pgbouncer-config"]["pgbouncer.ini"], VALUES["airflow-pgbouncer-config"]["users.txt"]
    assert users == f'"airflow" "{password}"\n'
    for database in (metadata.database, results.database):
        assert re.search(
            rf"(?m)^{database} = host=postgres\.endpoint\.address port=5432 dbname=airflow pool_size=\d+$", ini
        )
    # asyncpg's named statements live as long as a session.
    sessions = sa.make_url(VALUES["airflow-metadata"]["async-connection"])
    assert (sessions.drivername, sessions.password) == ("postgresql+asyncpg", password)
    assert re.search(rf"(?m)^{sessions.database} = host=.* dbname=airflow pool_mode=session pool_size=\d+$", ini)
    for line in (
        "auth_type = scram-sha-256",
        "auth_file = /etc/pgbouncer/users.txt",
        "server_tls_sslmode = require",
        "listen_port = 6543",
    ):
        assert line in ini.splitlines()
    assert "airflow-pgbouncer.data:" in values(Namespace="data")["airflow-metadata"]["connection"]


def test_the_catalogue_is_reached_with_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk import BaseHook

    monkeypatch.setenv("AIRFLOW_CONN_TLC_CATALOG", VALUES["airflow-connections"]["tlc-catalog"])
    connection = BaseHook.get_connection("tlc_catalog")
    assert (connection.conn_type, connection.login, connection.schema) == ("mysql", "tlc", "tlc")
    assert connection.password == VALUES["mysql"]["password"]
    for tls in ("ssl_check_hostname=false", f"ssl_ca={ssl.get_default_verify_paths().openssl_cafile}"):
        url = sa.make_url(
            values(CatalogueTls=tls)["airflow-connections"]["tlc-catalog"].replace("mysql:", "mysql+pymysql:", 1)
        )
        arguments = sa.create_engine(url).dialect.create_connect_args(url)[1]
        assert MysqlConnection(**arguments, defer_connect=True).ssl  # the driver asks for TLS


def test_the_broker_is_reached_with_tls_and_its_certificate_is_checked() -> None:
    broker = parse_url(VALUES["airflow-broker-url"]["connection"])
    assert (broker["transport"], broker["port"], broker["virtual_host"]) == ("rediss", 6379, "0")
    assert broker["password"] == VALUES["airflow-redis-password"]["password"]
    assert broker["ssl"]["ssl_cert_reqs"] == ssl.CERT_REQUIRED
    own = parse_url(values(CreateRedis="false")["airflow-broker-url"]["connection"])
    assert (own["transport"], own["hostname"]) == ("redis", "airflow-redis")


def test_every_secret_that_the_overlay_asks_for_is_of_the_template() -> None:
    needed = needed_secrets(render("eks").text)
    assert needed
    assert {name: keys for name, keys in needed.items() if not keys <= KEYS.get(name, set())} == {}
