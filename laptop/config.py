"""Where the platform of this machine lives: folders, ports, and the environment of its processes."""

import json
import logging
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from console.aws import local_environment
from console.options import ROOT, engine, port
from console.proxies import is_socks, without_loopback


@dataclass(frozen=True)
class Config:
    """Folders, ports and engine of one platform on this machine."""

    state: Path
    venvs: Path
    ui_port: int
    aws_port: int
    engine: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Config":
        """Read STATE, VENVS, UI_PORT, AWS_PORT and ENGINE; each has a default.

        Raises:
            UserError: a value cannot be used.
        """
        local = ROOT / ".local"
        return cls(
            state=Path(environment.get("STATE") or local / "platform").resolve(),
            venvs=Path(environment.get("VENVS") or local / "venvs").resolve(),
            ui_port=port(environment, "UI_PORT", 8080),
            aws_port=port(environment, "AWS_PORT", 4566),
            engine=engine(environment),
        )

    @property
    def airflow_home(self) -> Path:
        """AIRFLOW_HOME: metadata database, task logs, generated password."""
        return self.state / "airflow"

    @property
    def password_file(self) -> Path:
        """Where Airflow writes the password that it generates for the user ``admin``."""
        return self.airflow_home / "simple_auth_manager_passwords.json.generated"

    @property
    def metadata_file(self) -> Path:
        """Airflow's metadata database."""
        return self.airflow_home / "airflow.db"

    @property
    def logs(self) -> Path:
        """Logs of the platform's own processes, a file each."""
        return self.state / "logs"

    @property
    def ended_file(self) -> Path:
        """Where a platform leaves why it ended."""
        return self.state / "ended.txt"

    @property
    def catalogue_file(self) -> Path:
        """The SQLite database of Airflow's connection ``tlc_catalog``."""
        return self.state / "tlc_catalog.sqlite"

    @property
    def ride_service_file(self) -> Path:
        """The SQLite database of Airflow's connection ``ride_service``: a service's own, read and served by us."""
        return self.state / "ride_service.sqlite"

    @property
    def ui_url(self) -> str:
        """Address of Airflow's web page and REST API."""
        return f"http://127.0.0.1:{self.ui_port}"

    @property
    def aws_url(self) -> str:
        """Address of the local AWS endpoint."""
        return f"http://127.0.0.1:{self.aws_port}"

    def python(self, venv: str) -> Path:
        """Return the interpreter of one of our virtual environments."""
        return self.venvs / venv / "bin" / "python"

    def aws_environment(self) -> dict[str, str]:
        """Return the standard variables that point every AWS SDK at the local endpoint."""
        return local_environment(self.aws_url)

    def aws_is_healthy(self) -> bool:
        """Return whether the local AWS endpoint answers."""
        import requests

        try:
            with requests.Session() as session:
                session.trust_env = False  # no proxy between two processes of one machine
                return session.get(f"{self.aws_url}/_local_aws/health", timeout=30).ok
        except requests.RequestException:
            return False

    def apply_aws_environment(self) -> None:
        """Point the AWS SDK of this very process at the local endpoint."""
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            if name != "AWS_PORT":
                del os.environ[name]
        os.environ.update(self.aws_environment() | without_loopback(os.environ))
        # Where Airflow has set up logging, it would tell of each client that its endpoint is from the environment.
        logging.getLogger("botocore").setLevel(logging.WARNING)

    def environment(self, pipelines: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of Airflow's processes, laid over that of the user.

        Args:
            pipelines: TAXIWAY_… variables that the pipelines and their published Spark programs need here.
        """
        from taxiway.operations.lineage import VARIABLES

        keys = self._keys()
        settings = {
            "TAXIWAY_POLL_S": "1",
            "TAXIWAY_EMR_STEP_CONCURRENCY": "4",  # local AWS limits what really runs at once
            "TAXIWAY_DBT": str(self.venvs / "warehouse/bin/dbt"),
            **pipelines,
        }
        airflow = {
            "XDG_CACHE_HOME": str(self.state / "cache"),  # nothing outside the state folder
            "AIRFLOW_HOME": str(self.airflow_home),
            "AIRFLOW_CONN_TLC_CATALOG": json.dumps({"conn_type": "sqlite", "host": str(self.catalogue_file)}),
            "AIRFLOW_CONN_RIDE_SERVICE": json.dumps({"conn_type": "sqlite", "host": str(self.ride_service_file)}),
            "AIRFLOW_CONN_AWS_DEFAULT": "aws://",
            "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "laptop/airflow_plugins"),
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": str(max(4, 2 * (os.cpu_count() or 2))),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__FERNET_KEY": keys["fernet"],
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.ui_url}/execution/",
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(self.ui_port),
            "AIRFLOW__API__BASE_URL": self.ui_url,
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API__SECRET_KEY": keys["api"],
            "AIRFLOW__API_AUTH__JWT_SECRET": keys["jwt"],
            # A process that finds the database locked waits: the scheduler does not survive an error here.
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.metadata_file}?timeout=60",
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(self.airflow_home / "logs"),
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "10",
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "15",
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
            # A laptop is switched off in the middle of things: find tasks whose process is gone soon.
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
            # By default 5 seconds, which a busy laptop may not answer in: the task would fail.
            "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "30",
            # A supervisor may wait that long, by default 5 seconds, before it sees that its process has ended. If the
            # trigger of a deferred task fires meanwhile, as those of short job runs do here, the try is lost.
            "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            **VARIABLES,  # lineage is told, and kept in the lake
        }
        inherited = {
            k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW_", "AWS_")) and not is_socks(k, v)
        }
        inherited |= without_loopback(os.environ)
        inherited.pop("PYTHONDONTWRITEBYTECODE", None)  # compiled files halve the start of every process
        return inherited | settings | _chosen_by_user() | airflow | self.aws_environment()

    def _keys(self) -> dict[str, str]:
        """Random keys of this platform, made once and kept for its owner alone."""
        path = self.state / "keys.json"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            import base64

            keys = {
                "fernet": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
                "api": secrets.token_urlsafe(64),
                "jwt": secrets.token_urlsafe(64),
            }
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                json.dump(keys, file)
        return dict(json.loads(path.read_text()))


def _chosen_by_user() -> dict[str, str]:
    """Return the settings and the connection to Slack that the user has set."""
    return {k: v for k, v in os.environ.items() if k.startswith(("TAXIWAY_", "AIRFLOW_CONN_SLACK_"))}
