"""Airflow's REST API in the cluster, through a port-forward, as the user of the secret ``airflow-admin``."""

import base64
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from cluster.config import ClusterError
from cluster.kubectl import Forward, Kubectl
from laptop.airflow_api import Airflow

ADMIN_SECRET = "airflow-admin"  # noqa: S105 - the name of a secret
API_SERVER = ("service/airflow-api-server", 8080)
# A replaced pod of the API server is back within this time.
PATIENCE_S = 90


class ClusterAirflow(Airflow):
    """The REST API behind a port-forward, which is opened again where the pod behind it was replaced."""

    def __init__(self, forward: Forward, username: str, password: str) -> None:
        self._forward = forward
        self._login = {"username": username, "password": password}
        self._session = requests.Session()
        self._session.trust_env = False  # the port-forward is on loopback: no proxy

    @property
    def _url(self) -> str:  # type: ignore[override]
        return self._forward.url

    def password(self) -> str:
        """Return the administrator's password."""
        return self._login["password"]

    def login(self) -> None:
        """Get a token for all further calls.

        Raises:
            ClusterError: the user or password is not accepted, or Airflow does not answer.
        """
        answer = self._send("POST", "auth/token", self._login)
        if answer.status_code in (401, 403):
            raise ClusterError(
                f"Airflow does not accept the user {self._login['username']!r} of the secret {ADMIN_SECRET}: its "
                "password was changed in the web page; change the secret too."
            )
        if not answer.ok:
            raise ClusterError(f"Airflow answered {answer.status_code} to the log-in: {answer.text[:300]}")
        self._session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def dags(self) -> list[dict[str, Any]]:
        """Return all DAGs that are listed."""
        return list(self._call("GET", "dags?limit=500&exclude_stale=true")["dags"])

    def import_errors(self) -> list[dict[str, Any]]:
        """Return the files that cannot be imported."""
        return list(self._call("GET", "importErrors?limit=100")["import_errors"])

    def has_dag(self, dag_id: str) -> bool:
        """Tell whether a DAG is listed; ClusterError if its file cannot be imported."""
        for error in self.import_errors():
            if dag_id in (error.get("filename") or ""):
                raise ClusterError(import_error(error))
        return any(dag["dag_id"] == dag_id for dag in self.dags())

    def trigger(self, dag_id: str, run_id: str, conf: dict[str, Any]) -> None:
        """Start a run of a DAG; once, also where the answer to a first try was lost."""
        body = {"dag_run_id": run_id, "logical_date": None, "conf": conf}
        answer = self._send("POST", f"api/v2/dags/{dag_id}/dagRuns", body)
        if not answer.ok and answer.status_code != requests.codes.conflict:
            raise ClusterError(f"Airflow answered {answer.status_code} to a run of {dag_id}: {answer.text[:300]}")

    def task_log(self, task: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the entries of the log of a task instance's last try; none if there is no log."""
        path = (
            f"dags/{task['dag_id']}/dagRuns/{task['dag_run_id']}/taskInstances/{task['task_id']}/logs/"
            f"{max(1, task['try_number'])}?full_content=true&map_index={task['map_index']}"
        )
        answer = self._send("GET", f"api/v2/{path}", accept="application/json")
        if not answer.ok:
            return [{"event": f"(Airflow answered {answer.status_code} to the question for the log)"}]
        content = answer.json().get("content") or []
        return [entry if isinstance(entry, dict) else {"event": str(entry)} for entry in content]

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        answer = self._send(method, f"api/v2/{path}", body)
        if answer.status_code == 401:  # the token has expired
            self.login()
            answer = self._send(method, f"api/v2/{path}", body)
        if not answer.ok:
            raise ClusterError(f"Airflow answered {answer.status_code} to {method} {path}: {answer.text[:300]}")
        return answer.json() if answer.content else None

    def _send(
        self, method: str, path: str, body: dict[str, Any] | None = None, accept: str | None = None
    ) -> requests.Response:
        deadline = time.monotonic() + PATIENCE_S
        headers = {"Accept": accept} if accept else {}
        while True:
            try:
                url = f"{self._forward.url}/{path}"
                answer = self._session.request(method, url, json=body, headers=headers, timeout=60)
                if answer.status_code not in (502, 503, 504) or time.monotonic() > deadline:
                    return answer
            except (requests.ConnectionError, requests.Timeout, ClusterError) as error:
                if time.monotonic() > deadline:
                    raise ClusterError(
                        f"Airflow's API server has not answered for {PATIENCE_S} s ({error}): "
                        "make status tells what runs."
                    ) from None
                self._forward.restart()
            time.sleep(2)


@contextmanager
def open_airflow(kubectl: Kubectl) -> Iterator[ClusterAirflow]:
    """Reach Airflow's REST API for the length of a ``with`` block, logged in.

    Raises:
        ClusterError: there is no such user, or Airflow does not answer.
    """
    username, password = admin(kubectl)
    with kubectl.forward(*API_SERVER) as forward:
        airflow = ClusterAirflow(forward, username, password)
        airflow.login()
        yield airflow


def admin(kubectl: Kubectl) -> tuple[str, str]:
    """Return name and password of the first administrator; ClusterError if there is no such secret."""
    data = secret(kubectl, ADMIN_SECRET)
    if not {"username", "password"} <= data.keys():
        raise ClusterError(
            f"The secret {ADMIN_SECRET} is missing or lacks username and password: make secrets makes it."
        )
    return data["username"], data["password"]


def secret(kubectl: Kubectl, name: str) -> dict[str, str]:
    """Return the values of a secret, none if it is not there."""
    found = kubectl.find("secret", name) or {}
    return {key: base64.b64decode(value).decode() for key, value in (found.get("data") or {}).items()}


def import_error(error: dict[str, Any]) -> str:
    """Return a sentence on a DAG file that cannot be imported."""
    trace = (error.get("stack_trace") or "").strip().splitlines()
    return (
        f"{Path(error.get('filename') or '?').name} cannot be imported: {trace[-1] if trace else 'no reason is given'}"
    )


def reason(entries: list[dict[str, Any]]) -> str:
    """Return what the exception of a task says, from the entries of its log; empty if it tells of none."""
    said = ""
    for entry in entries:
        for detail in (entry.get("error_detail") or [])[:1]:
            said = str(detail.get("exc_value") or detail.get("exc_type") or "")
    return said.strip().splitlines()[0] if said.strip() else ""


def lines(entries: list[dict[str, Any]], count: int) -> list[str]:
    """Return the last entries of a task's log as lines."""
    told = [
        f"{entry.get('level', '')} {entry.get('event', '')}".strip()
        for entry in entries
        if not str(entry.get("event", "")).startswith("::") and not entry.get("sources")
    ]
    return [line[:300] for text in told for line in (text.splitlines() or [""])][-count:] or [
        json.dumps(entries[-1])[:300] if entries else "(there is no log)"
    ]
