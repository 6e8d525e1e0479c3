"""A client of Airflow's REST API (v2), as far as people's commands need it."""

import ast
import contextlib
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TypedDict

import requests
from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

from console.errors import UserError
from console.patience import NotNowError, Say, patiently, say_on_stderr

ACTIVE = ("queued", "running")
TIMEOUT_S = 60
# A log is an extra: a failure is told without it where it cannot be had.
LOG_PATIENCE_S = 60
# The provider wraps what EMR says of a failed step into the text of a dictionary.
STEP_MESSAGE = re.compile(r"""'Message': ("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')""")

LogEntry = dict[str, Any]


class Dag(TypedDict):
    """A DAG, as far as it is used here."""

    dag_id: str
    relative_fileloc: str
    last_parsed_time: str | None
    tags: list[dict[str, str]]


class DagRun(TypedDict):
    """A run of a DAG, as far as it is used here."""

    dag_run_id: str
    state: str
    run_after: str


class TaskInstance(TypedDict):
    """A task instance, as far as it is used here; ``duration`` is in seconds.

    ``map_index`` is -1 if it is not mapped; ``rendered_map_index`` is what a mapped one is about, if its DAG says so.
    """

    dag_id: str
    dag_run_id: str
    task_id: str
    map_index: int
    rendered_map_index: str | None
    try_number: int
    state: str | None
    duration: float | None
    executor: str | None
    operator_name: str | None
    queued_when: str | None
    start_date: str | None


class ImportFault(TypedDict):
    """A DAG file that cannot be imported."""

    filename: str | None
    stack_trace: str | None
    timestamp: str | None


class Pool(TypedDict):
    """A pool that counts deferred tasks too."""

    name: str
    slots: int
    description: str


class Access(Protocol):
    """Where an Airflow's API is, and who asks."""

    @property
    def url(self) -> str:
        """Address of the API server, without a slash at its end; UserError while it cannot be reached."""

    @property
    def origin(self) -> str:
        """Where the password comes from, such as ``the secret airflow-admin``."""

    @property
    def hint(self) -> str:
        """A sentence on what to look at if the API server does not answer."""

    def credentials(self) -> tuple[str, str]:
        """Return user and password."""

    def recover(self) -> None:
        """Prepare another try after a connection failed; UserError if none can succeed."""


class Airflow:
    """Airflow's REST API.

    A call waits while the API server cannot be reached, does not answer in time, or answers that it cannot answer now
    (429, 5xx), and says so; UserError if that takes longer than ``console.patience.PATIENCE_S``.
    """

    def __init__(self, access: Access, say: Say = say_on_stderr) -> None:
        self._access, self._say = access, say
        self._session = requests.Session()
        self._session.trust_env = False  # the address is on loopback: no proxy

    def healthy(self) -> bool:
        """Return at once whether database, scheduler, triggerer and DAG processor all report healthy."""
        try:
            answer = self._session.get(f"{self._access.url}/api/v2/monitor/health", timeout=5)
            parts = answer.json() if answer.ok else {}
        except (requests.RequestException, UserError):
            return False
        return bool(parts) and all(part.get("status") == "healthy" for part in parts.values())

    def login(self) -> None:
        """Get a token for all further calls.

        Raises:
            UserError: user or password are not accepted, or Airflow does not answer.
        """
        username, password = self._access.credentials()
        answer = self._send("POST", "auth/token", {"username": username, "password": password})
        if answer.status_code in (401, 403):
            raise UserError(
                f"Airflow does not accept the user {username!r} with the password of {self._access.origin}: if it was "
                "changed in the web page, change it there too."
            )
        if not answer.ok:
            raise UserError(f"Airflow answered {answer.status_code} to the log-in: {answer.text[:300]}")
        self._session.headers["Authorization"] = f"Bearer {_content(answer)['access_token']}"

    def dags(self) -> list[Dag]:
        """Return all DAGs that are listed."""
        return list(self._call("GET", "dags?limit=500&exclude_stale=true")["dags"])

    def import_faults(self) -> list[ImportFault]:
        """Return the files that cannot be imported."""
        return list(self._call("GET", "importErrors?limit=100")["import_errors"])

    def has_dag(self, dag_id: str) -> bool:
        """Return whether a DAG is listed.

        Raises:
            UserError: the file of that name cannot be imported; the text is Airflow's own.
        """
        for fault in self.import_faults():
            if Path(fault["filename"] or "").stem == dag_id:
                raise UserError(import_sentence(fault))
        return any(dag["dag_id"] == dag_id for dag in self.dags())

    def unpause(self, dag_id: str) -> None:
        """Switch a DAG on."""
        self._call("PATCH", f"dags/{dag_id}", {"is_paused": False})

    def pause(self, dag_id: str) -> None:
        """Switch a DAG off: no asset event starts it until it is on again."""
        self._call("PATCH", f"dags/{dag_id}", {"is_paused": True})

    def ensure_pool(self, pool: Pool) -> None:
        """Create a pool where it is missing; slots chosen in the web page stay."""
        if not self._send("GET", f"api/v2/pools/{pool['name']}").ok:
            self._create("pools", {**pool, "include_deferred": True})

    def variable(self, key: str) -> str | None:
        """Return the value of a Variable; None if there is none."""
        answer = self._send("GET", f"api/v2/variables/{key}")
        return str(_content(answer)["value"]) if answer.ok else None

    def set_variable(self, key: str, value: str, description: str) -> None:
        """Set a Variable, new or not."""
        body = {"key": key, "value": value, "description": description}
        self._create("variables", body)
        self._call("PATCH", f"variables/{key}", body)

    def trigger(self, dag_id: str, run_id: str, conf: Mapping[str, Any]) -> None:
        """Start a run of a DAG; once, also where the answer to a first try was lost."""
        self._create(f"dags/{dag_id}/dagRuns", {"dag_run_id": run_id, "logical_date": None, "conf": dict(conf)})

    def runs(self, dag_id: str, query: str = "") -> list[DagRun]:
        """Return at most 100 runs of a DAG; ``query`` is as the API has it, such as ``order_by=-run_after``."""
        return list(self._call("GET", f"dags/{dag_id}/dagRuns?{query}&limit=100")["dag_runs"])

    def active_runs(self, dag_id: str) -> list[DagRun]:
        """Return the runs of a DAG that are queued or running."""
        return self.runs(dag_id, "&".join(f"state={state}" for state in ACTIVE))

    def runs_since(self, dag_id: str, since: datetime) -> list[str]:
        """Return the ids of the runs of a DAG that are active or began since a time, oldest first."""
        began = self.runs(dag_id, f"start_date_gte={since.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}")
        found = {run["dag_run_id"]: run["run_after"] for run in [*began, *self.active_runs(dag_id)]}
        return sorted(found, key=found.__getitem__)

    def fail_active_runs(self, dag_id: str) -> set[str]:
        """Mark the runs of a DAG that are queued or running as failed, and return their ids."""
        active = {run["dag_run_id"] for run in self.active_runs(dag_id)}
        for run_id in active:
            self.fail_run(dag_id, run_id)
        return active

    def fail_run(self, dag_id: str, run_id: str) -> None:
        """Mark a run as failed, which ends its tasks."""
        self._call("PATCH", f"dags/{dag_id}/dagRuns/{run_id}", {"state": "failed"})

    def run_state(self, dag_id: str, run_id: str) -> str:
        """Return the state of a run."""
        return str(self._call("GET", f"dags/{dag_id}/dagRuns/{run_id}")["state"])

    def task_instances(self, dag_id: str, run_id: str) -> list[TaskInstance]:
        """Return the task instances of a run."""
        return list(self._call("GET", f"dags/{dag_id}/dagRuns/{run_id}/taskInstances?limit=1000")["task_instances"])

    def xcom(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> Any:
        """Return what a task returned; None if it has not returned anything yet."""
        path = (
            f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/return_value"
            f"?deserialize=true&map_index={map_index}"
        )
        answer = self._send("GET", f"api/v2/{path}")
        return _content(answer)["value"] if answer.ok else None

    def task_log(self, task: TaskInstance) -> list[LogEntry]:
        """Return the entries of the log of a task instance's last try; none if there is no log."""
        path = (
            f"dags/{task['dag_id']}/dagRuns/{task['dag_run_id']}/taskInstances/{task['task_id']}/logs/"
            f"{max(1, task['try_number'])}?full_content=true&map_index={task['map_index']}"
        )
        try:
            answer = self._send("GET", f"api/v2/{path}", accept="application/json", patience_s=LOG_PATIENCE_S)
        except UserError as error:
            return [{"event": f"(the log cannot be read: {error})"}]
        if not answer.ok:
            return [{"event": f"(Airflow answered {answer.status_code} to the request for the log)"}]
        content = _content(answer).get("content") or []
        return [entry if isinstance(entry, dict) else {"event": str(entry)} for entry in content]

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        answer = self._send(method, f"api/v2/{path}", body)
        _require_ok(answer, method, path)
        return _content(answer) if answer.content else None

    def _create(self, path: str, body: Mapping[str, Any]) -> None:
        """Create what the body names; it is there already where the answer to an earlier try was lost."""
        answer = self._send("POST", f"api/v2/{path}", body)
        if answer.status_code != requests.codes.conflict:
            _require_ok(answer, "POST", path)

    def _send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        accept: str | None = None,
        patience_s: float | None = None,
    ) -> requests.Response:
        def attempt() -> requests.Response:
            return self._try(method, path, body, {"Accept": accept} if accept else {})

        def patient() -> requests.Response:
            return patiently(
                attempt, of="Airflow's API server", hint=self._access.hint, say=self._say, patience_s=patience_s
            )

        answer = patient()
        if answer.status_code in (401, 403) and path.startswith("api/"):  # the token has expired, or the key is another
            self.login()
            answer = patient()
        return answer

    def _try(
        self, method: str, path: str, body: Mapping[str, Any] | None, headers: Mapping[str, str]
    ) -> requests.Response:
        try:
            url = self._access.url
        except UserError as error:
            raise NotNowError(str(error)) from None
        try:
            answer = self._session.request(method, f"{url}/{path}", json=body, headers=headers, timeout=TIMEOUT_S)
        except requests.RequestException as error:
            self._access.recover()
            late = isinstance(error, requests.Timeout)
            raise NotNowError(f"no answer within {TIMEOUT_S} s" if late else "the connection failed") from None
        if answer.status_code == requests.codes.too_many_requests or answer.status_code >= 500:
            raise NotNowError(f"HTTP status {answer.status_code}", _retry_after(answer))
        return answer


def import_sentence(fault: ImportFault) -> str:
    """Return a sentence on a DAG file that cannot be imported."""
    trace = (fault["stack_trace"] or "").strip().splitlines()
    return f"{Path(fault['filename'] or '?').name} cannot be imported: {trace[-1] if trace else 'no reason is given'}"


def failure_reason(entries: list[LogEntry]) -> str:
    """Return the first line of the last exception in a task's log; empty if the log has none.

    Of a failed EMR step it is the message of the step itself.
    """
    reason = ""
    for entry in entries:
        for detail in (entry.get("error_detail") or [])[:1]:
            reason = str(detail.get("exc_value") or detail.get("exc_type") or "")
    if step := STEP_MESSAGE.search(reason):
        reason = str(ast.literal_eval(step[1]))
    return reason.strip().splitlines()[0] if reason.strip() else ""


def last_lines(entries: list[LogEntry], count: int) -> list[str]:
    """Return the last entries of a task's log as lines."""
    texts = [
        f"{entry.get('level', '')} {entry.get('event', '')}".strip()
        for entry in entries
        if not str(entry.get("event", "")).startswith("::") and not entry.get("sources")
    ]
    return [line[:300] for text in texts for line in (text.splitlines() or [""])][-count:] or [
        json.dumps(entries[-1])[:300] if entries else "(there is no log)"
    ]


def _retry_after(answer: requests.Response) -> float:
    """Return the seconds that an answer asks to wait, 0 if it does not say."""
    with contextlib.suppress(InvalidHeader):
        return Retry().get_retry_after(answer.raw) or 0
    return 0


def _content(answer: requests.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        raise UserError(f"{answer.url} did not answer as Airflow does: does another program listen there?") from None


def _require_ok(answer: requests.Response, method: str, path: str) -> None:
    if not answer.ok:
        raise UserError(f"Airflow answered {answer.status_code} to {method} {path}: {answer.text[:300]}")
