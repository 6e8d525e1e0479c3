"""The secrets of an environment: random on kind, from the databases' addresses on EKS; one that is there is kept.

Values go to the cluster through kubectl's standard input and are never shown.
"""

import base64
import getpass
import json
import secrets
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from cluster.config import Config
from cluster.kubectl import Kubectl
from console.errors import UserError

Data = dict[str, str]

PGBOUNCER_PORT = 6543
ADMIN = "admin"
URLS = {
    "METADATA_URL": ("postgresql", 5432, "Airflow's metadata database"),
    "CATALOG_URL": ("mysql", 3306, "the database of the dataset catalogue"),
    "BROKER_URL": ("redis", 6379, "the Celery broker"),
}


@dataclass(frozen=True)
class Address:
    """Where a database is, and who asks."""

    scheme: str
    user: str
    password: str
    host: str
    port: int
    path: str
    query: str

    @classmethod
    def parse(cls, name: str, url: str, kind: str | None = None) -> "Address":
        """Read the URL of METADATA_URL, CATALOG_URL or BROKER_URL.

        Args:
            name: of the variable.
            url: its value.
            kind: of database, if it is not the usual one.

        Raises:
            UserError: it cannot be used; the text does not show it, for it has a password.
        """
        kind, default_port, what = _url(name, kind)
        user, path = ("", "0") if kind == "redis" else ("user", "name")
        example = f"{kind}://{user}:password@host:{default_port}/{path}"
        try:
            parts = urlsplit(url.strip())
            scheme, host, port = parts.scheme.partition("+")[0], parts.hostname, parts.port or default_port
        except ValueError:
            raise UserError(f"{name} is no URL of {what}: write it like {example}.") from None
        accepted = {kind, {"postgresql": "postgres", "redis": "rediss"}.get(kind, kind)}
        path = parts.path.strip("/")
        if scheme not in accepted or not host:
            raise UserError(f"{name} is no URL of {what}: write it like {example}.")
        if kind != "redis" and not (parts.username and parts.password and path):
            raise UserError(f"{name} lacks a user, password or database name: write it like {example}.")
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        return cls(scheme, user, password, host, port, path, parts.query)


def ensure_secrets(config: Config, kubectl: Kubectl) -> tuple[list[str], list[str]]:
    """Make the secrets that are missing.

    Returns:
        the names of those that were made, and of those that were there.

    Raises:
        UserError: the address of a database is needed and was not given, or cannot be used.
    """
    there = {
        each["metadata"]["name"]: {
            key: base64.b64decode(value).decode() for key, value in (each.get("data") or {}).items()
        }
        for each in kubectl.items("secrets", "--field-selector=type=Opaque")
    }
    mysql = config.metadata_kind == "mysql"
    if config.environment == "kind":
        wanted = kind_secrets(config.namespace, there, mysql_metadata=mysql)
    else:
        oidc = "oidc" in config.features
        wanted = eks_secrets(config.namespace, there, config.given, oidc=oidc, mysql_metadata=mysql)
    wanted |= git_secrets(config.features, config.given)
    made = {name: data for name, data in wanted.items() if name not in there}
    if made:
        # create, not apply: apply would keep a second copy of each value in an annotation.
        kubectl.run("create", "-f", "-", text_in=json.dumps(_list(made, config.environment)))
    return sorted(made), sorted(wanted.keys() & there.keys())


def kind_secrets(namespace: str, there: Mapping[str, Data], *, mysql_metadata: bool = False) -> dict[str, Data]:
    """Return all secrets of the platform on kind; what depends on a password that is there already has that one.

    Args:
        namespace: of the platform.
        there: the secrets that the namespace has, name → key → value.
        mysql_metadata: Airflow's own tables are in MySQL (the feature mysql-metadata).
    """
    database, scheme, port = ("metadata-mysql", "mysql", 3306) if mysql_metadata else ("postgres", "postgresql", 5432)
    metadata_server = {"password": _random()} | ({"root-password": _random()} if mysql_metadata else {})
    mysql = {"password": _random(), "root-password": _random()}
    redis = {"password": _random()}
    rides = {"password": (word := _random()), "root-password": _random()}
    service = Address("mysql", "rides", word, "ride-service", 3306, "rides", "")
    metadata_server, mysql, redis = (
        dict(there.get(name, new))
        for name, new in ((database, metadata_server), ("mysql", mysql), ("airflow-redis-password", redis))
    )
    password = _value(metadata_server, database, "password")
    metadata = Address(scheme, "airflow", password, f"{database}.{namespace}", port, "airflow", "")
    catalog = Address("mysql", "tlc", _value(mysql, "mysql", "password"), "mysql", 3306, "tlc", "")
    broker = f"redis://:{quote(_value(redis, 'airflow-redis-password', 'password'), safe='')}@airflow-redis:6379/0"
    return {
        database: metadata_server,
        "mysql": mysql,
        "ride-service": rides | {"connection": mysql_uri(service)},
        "airflow-redis-password": redis,
        **_random_secrets(),
        **_admin(),
        # Nothing between two pods of one node is encrypted on kind: PostgreSQL there has no certificate.
        **(
            mysql_metadata_secrets(metadata)
            if mysql_metadata
            else metadata_secrets(namespace, metadata, sslmode="prefer", metadata_pool=10, result_pool=5, clients=200)
        ),
        "airflow-broker-url": {"connection": broker},
        "airflow-connections": {"tlc-catalog": mysql_uri(catalog)},
    }


def eks_secrets(
    namespace: str,
    there: Mapping[str, Data],
    given: Mapping[str, str],
    *,
    oidc: bool,
    mysql_metadata: bool = False,
) -> dict[str, Data]:
    """Return the secrets of the platform on EKS, as far as they are missing or random.

    Args:
        namespace: of the platform.
        there: the secrets that the namespace has; the addresses that they are made of are not asked for again.
        given: variables METADATA_URL, CATALOG_URL, BROKER_URL; what is missing is asked for at the terminal.
        oidc: people log in by an identity provider, so that there is no first administrator.
        mysql_metadata: Airflow's own tables are in MySQL (the feature mysql-metadata).
    """
    wanted = {**_random_secrets(), **({} if oidc else _admin())}
    names = ["airflow-metadata", "airflow-result-backend"]
    names += [] if mysql_metadata else ["airflow-pgbouncer-config", "airflow-pgbouncer-stats"]
    if any(name not in there for name in names):
        kind = "mysql" if mysql_metadata else None
        metadata = Address.parse("METADATA_URL", _ask("METADATA_URL", given, kind), kind)
        pools = {"metadata_pool": 20, "result_pool": 10, "clients": 400}
        wanted |= (
            mysql_metadata_secrets(metadata)
            if mysql_metadata
            else metadata_secrets(namespace, metadata, sslmode="require", **pools)
        )
    if "airflow-connections" not in there:
        wanted["airflow-connections"] = {
            "tlc-catalog": mysql_uri(Address.parse("CATALOG_URL", _ask("CATALOG_URL", given)))
        }
    if "airflow-broker-url" not in there:
        url = _ask("BROKER_URL", given).strip()
        Address.parse("BROKER_URL", url)
        wanted["airflow-broker-url"] = {"connection": url}
    return wanted | {name: {} for name in there if name in {*names, "airflow-connections", "airflow-broker-url"}}


def git_secrets(features: Collection[str], given: Mapping[str, str]) -> dict[str, Data]:
    """Return what opens a private repository, as far as it was given.

    Args:
        features: ssh-git wants a key, https-git a user and a password (or token), maybe also a CA of the host's own.
        given: variables GIT_SSH_KEY and GIT_CA (files), GIT_USERNAME and GIT_PASSWORD.

    Raises:
        UserError: a file cannot be read or is not what it should be.
    """
    wanted: dict[str, Data] = {}
    if "ssh-git" in features and given.get("GIT_SSH_KEY"):
        key = _file("GIT_SSH_KEY", given, "PRIVATE KEY-----", "a private key")
        wanted["git-ssh-key"] = {"gitSshKey": key.rstrip("\n") + "\n"}  # ssh reads none whose last line has no end
    if "https-git" in features and given.get("GIT_USERNAME") and given.get("GIT_PASSWORD"):
        names = {"USERNAME": given["GIT_USERNAME"], "PASSWORD": given["GIT_PASSWORD"]}
        wanted["git-credentials"] = {
            f"{prefix}_{name}": value for prefix in ("GIT_SYNC", "GITSYNC") for name, value in names.items()
        }
    if given.get("GIT_CA"):
        wanted["git-ca"] = {"ca.crt": _file("GIT_CA", given, "BEGIN CERTIFICATE-----", "a certificate in PEM")}
    return wanted


def metadata_secrets(
    namespace: str, metadata: Address, *, sslmode: str, metadata_pool: int, result_pool: int, clients: int
) -> dict[str, Data]:
    """Return what leads Airflow to its database through PgBouncer.

    Args:
        namespace: of PgBouncer.
        metadata: the database itself.
        sslmode: of PgBouncer's connections to it.
        metadata_pool: connections to it for Airflow's processes.
        result_pool: connections for Celery's results.
        clients: connections to PgBouncer.
    """
    # psycopg2 by name: psycopg 3, which SQLAlchemy takes by itself, prepares statements, which PgBouncer's transactions
    # mix up between clients.
    who = f"{quote(metadata.user, safe='')}:{quote(metadata.password, safe='')}"
    through = f"{who}@airflow-pgbouncer.{namespace}:{PGBOUNCER_PORT}"
    target = f"host={metadata.host} port={metadata.port} dbname={metadata.path}"
    ini = f"""[databases]
airflow-metadata = {target} pool_size={metadata_pool}
airflow-result-backend = {target} pool_size={result_pool}
; asyncpg prepares statements by name, which live as long as a session: it cannot share one a transaction.
airflow-metadata-async = {target} pool_mode=session pool_size={metadata_pool}

[pgbouncer]
pool_mode = transaction
listen_addr = *
listen_port = {PGBOUNCER_PORT}
auth_type = scram-sha-256
auth_file = /etc/pgbouncer/users.txt
stats_users = {metadata.user}
ignore_startup_parameters = extra_float_digits
max_client_conn = {clients}
log_connections = 0
log_disconnections = 0
server_tls_sslmode = {sslmode}
"""
    return {
        "airflow-metadata": {
            "connection": f"postgresql+psycopg2://{through}/airflow-metadata",
            "async-connection": f"postgresql+asyncpg://{through}/airflow-metadata-async",
        },
        "airflow-result-backend": {"connection": f"db+postgresql+psycopg2://{through}/airflow-result-backend"},
        "airflow-pgbouncer-config": {
            "pgbouncer.ini": ini,
            "users.txt": f"{_quoted(metadata.user)} {_quoted(metadata.password)}\n",
        },
        "airflow-pgbouncer-stats": {
            "connection": f"postgresql://{who}@127.0.0.1:{PGBOUNCER_PORT}/pgbouncer?sslmode=disable"
        },
    }


def mysql_metadata_secrets(metadata: Address) -> dict[str, Data]:
    """Return what leads Airflow to its database in MySQL, without a pooler; KEDA's driver has a form of its own."""
    quoted = f"{quote(metadata.user, safe='')}:{quote(metadata.password, safe='')}"
    where = f"{metadata.host}:{metadata.port}"
    target = f"{quoted}@{where}/{metadata.path}"
    return {
        "airflow-metadata": {
            "connection": f"mysql+mysqldb://{target}",
            "async-connection": f"mysql+aiomysql://{target}",
            "kedaConnection": f"{metadata.user}:{metadata.password}@tcp({where})/{metadata.path}",
        },
        "airflow-result-backend": {"connection": f"db+mysql+mysqldb://{target}"},
    }


def mysql_uri(address: Address) -> str:
    """Return a database's address as an Airflow connection, whose type is plain ``mysql``."""
    who = f"{quote(address.user, safe='')}:{quote(address.password, safe='')}"
    query = f"?{address.query}" if address.query else ""
    return f"mysql://{who}@{address.host}:{address.port}/{address.path}{query}"


def _random_secrets() -> dict[str, Data]:
    return {
        "airflow-fernet-key": {"fernet-key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()},
        "airflow-api-secret-key": {"api-secret-key": secrets.token_urlsafe(64)},
        "airflow-jwt-secret": {"jwt-secret": secrets.token_urlsafe(64)},
        "airflow-flower-auth": {"basicAuth": f"flower:{_random()}"},
    }


def _admin() -> dict[str, Data]:
    return {"airflow-admin": {"username": ADMIN, "password": _random()}}


def _random() -> str:
    return secrets.token_urlsafe(24)


def _value(data: Data, name: str, key: str) -> str:
    if not data.get(key):
        raise UserError(
            f"The secret {name!r} is there and lacks the key {key!r}: delete it, with the volume that it was made for, "
            "or add the key."
        )
    return data[key]


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _file(name: str, given: Mapping[str, str], mark: str, what: str) -> str:
    try:
        text = Path(given[name]).expanduser().read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{name}: {given[name]} cannot be read as {what} ({type(error).__name__}).") from None
    if mark not in text:
        raise UserError(f"{name}: {given[name]} is not {what}: name the file that has it.")
    return text


def _url(name: str, kind: str | None) -> tuple[str, int, str]:
    """Return what the URL of a variable is like: kind of database, its usual port, what is there."""
    usual, port, what = URLS[name]
    return (usual, port, what) if kind in (None, usual) else (str(kind), 3306, what)


def _ask(name: str, given: Mapping[str, str], kind: str | None = None) -> str:
    kind, port, what = _url(name, kind)
    if value := given.get(name):
        return value
    if not sys.stdin.isatty():
        raise UserError(
            f"The address of {what} is needed: give it by the variable {name} "
            f"({kind}://user:password@host:{port}/…), or run make secrets at a terminal, which asks for it."
        )
    value = getpass.getpass(f"{name} ({what}, {kind}://user:password@host:{port}/…; not shown): ")
    if not value.strip():
        raise UserError(f"{name} was left empty: no secret was made.")
    return value


def _list(made: Mapping[str, Data], environment: str) -> dict[str, object]:
    labels = {"app.kubernetes.io/managed-by": "make-secrets", "taxiway.io/environment": environment}
    return {
        "apiVersion": "v1",
        "kind": "List",
        "items": [
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "type": "Opaque",
                "metadata": {"name": name, "labels": labels},
                "stringData": data,
            }
            for name, data in made.items()
        ],
    }
