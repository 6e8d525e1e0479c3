"""A small client of Airflow's REST API, as far as the demo needs it."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests

from laptop.config import Config, LaptopError

ACTIVE = ("queued", "running")


class Airflow:
    """Airflow's REST API (v2) on this machine, spoken to as the generated admin user."""

    def __init__(self, config: Config) -> None:
        self._url = config.ui_url
        self._password_file = config.airflow_home / "simple_auth_manager_passwords.json.generated"
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy between two processes of one machine

    def healthy(self) -> bool:
        """Tell whether database, scheduler, triggerer and DAG processor all report healthy."""
        try:
            parts = self._session.get(f"{self._url}/api/v2/monitor/health", timeout=5).json()
        except (requests.RequestException, ValueError):
            return False
        return all(part.get("status") == "healthy" for part in parts.values())

    def password(self) -> str:
        """Return the password that Airflow generated for the user ``admin``."""
        return str(json.loads(self._password_file.read_text())["admin"])

    def has_dag(self, dag_id: str) -> bool:
        """Tell whether the DAG has been parsed.

        Raises:
            LaptopError: a DAG file of ours cannot be imported; the text is Airflow's own.
        """
        errors = self._call("GET", "importErrors")["import_errors"]
        if errors:
            last = errors[0]["stack_trace"].strip().splitlines()[-1]
            raise LaptopError(f"{Path(errors[0]['filename']).name} cannot be imported: {last}")
        return self._send("GET", f"api/v2/dags/{dag_id}").ok

    def unpause(self, dag_id: str) -> None:
        """Switch a DAG on."""
        self._call("PATCH", f"dags/{dag_id}", {"is_paused": False})

    def ensure_pool(self, name: str, slots: int) -> None:
        """Create a pool that counts deferred tasks too, where it is missing; slots chosen in the UI stay."""
        pool = {"name": name, "slots": slots, "description": "EMR steps at once", "include_deferred": True}
        if not self._send("GET", f"api/v2/pools/{name}").ok:
            self._call("POST", "pools", pool)

    def trigger(self, dag_id: str, run_id: str, conf: dict[str, Any]) -> None:
        """Start a run of a DAG."""
        self._call("POST", f"dags/{dag_id}/dagRuns", {"dag_run_id": run_id, "logical_date": None, "conf": conf})

    def runs(self, dag_id: str, since: datetime) -> list[str]:
        """Return the ids of the runs of a DAG that are active or began since a time, oldest first."""
        began = f"start_date_gte={since.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
        found = {}
        for query in (began, "state=queued&state=running"):
            for run in self._call("GET", f"dags/{dag_id}/dagRuns?{query}&limit=100")["dag_runs"]:
                found[run["dag_run_id"]] = run["run_after"]
        return sorted(found, key=found.__getitem__)

    def fail_active_runs(self, dag_id: str) -> set[str]:
        """Mark the runs of a DAG that are queued or running as failed, and return their ids."""
        active = self._call("GET", f"dags/{dag_id}/dagRuns?state=queued&state=running&limit=100")["dag_runs"]
        for run in active:
            self._call("PATCH", f"dags/{dag_id}/dagRuns/{run['dag_run_id']}", {"state": "failed"})
        return {run["dag_run_id"] for run in active}

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return the task instances of a run."""
        return list(self._call("GET", f"dags/{dag_id}/dagRuns/{run_id}/taskInstances?limit=1000")["task_instances"])

    def run_state(self, dag_id: str, run_id: str) -> str:
        """Return the state of a run."""
        return str(self._call("GET", f"dags/{dag_id}/dagRuns/{run_id}")["state"])

    def xcom(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> Any:
        """Return what a task returned; None if it has not returned anything yet."""
        path = (
            f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/return_value"
            f"?deserialize=true&map_index={map_index}"
        )
        answer = self._send("GET", f"api/v2/{path}")
        return answer.json()["value"] if answer.ok else None

    def login(self) -> None:
        """Get a token for all further calls; needs a healthy API server."""
        login = {"username": "admin", "password": self.password()}
        answer = self._send("POST", "auth/token", login)
        answer.raise_for_status()
        self._session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        answer = self._send(method, f"api/v2/{path}", body)
        if not answer.ok:
            raise LaptopError(f"Airflow answered {answer.status_code} to {method} {path}: {answer.text[:300]}")
        return answer.json() if answer.content else None

    def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> requests.Response:
        return self._session.request(method, f"{self._url}/{path}", json=body, timeout=60)
