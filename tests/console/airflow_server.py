"""An Airflow's REST API as far as the client uses it, over HTTP, with runs that tests let happen."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

Answer = tuple[int, Any]
# A status instead of the answer (with Retry-After, if any); or, after the request was acted upon: the connection is
# closed half way through the answer ("cut"), or the answer takes longer than the client waits ("late").
Fault = int | tuple[int, str] | str


class AirflowServer:
    """What the API answers from; a test changes it as it likes."""

    def __init__(self) -> None:
        self.url = ""
        self.password = "right"
        self.tokens = 0  # given out so far; only the last is valid
        self.health = "healthy"
        self.down = 0  # so many requests from now on are answered by 503
        self.faults: list[Fault] = []  # of the next requests, one each
        self.dags: dict[str, bool] = {}  # id → paused
        self.import_errors: list[dict[str, Any]] = []
        self.pools: dict[str, dict[str, Any]] = {}
        self.states: dict[tuple[str, str], str] = {}  # DAG, run → state
        self.confs: dict[tuple[str, str], Any] = {}
        self.tasks: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self.logs: dict[str, list[dict[str, Any]]] = {}  # task → entries
        self.xcoms: dict[tuple[str, str, str], Any] = {}  # DAG, run, task → value
        self.triggered: Callable[[str, str], None] = lambda dag, run: None

    def add_task(
        self,
        dag: str,
        run: str,
        task: str,
        state: str,
        *,
        index: int = -1,
        try_number: int = 1,
        about: str | None = None,
    ) -> None:
        """Add a task instance to a run; ``about`` is what its map_index_template gives."""
        instance = {"dag_id": dag, "dag_run_id": run, "task_id": task, "map_index": index, "try_number": try_number}
        rendered = None if index < 0 else about or str(index)
        self.tasks.setdefault((dag, run), []).append(
            {**instance, "rendered_map_index": rendered, "state": state, "duration": 1.5}
        )

    def answer(self, method: str, path: str, body: Any, token: str) -> Answer:
        """Answer a request."""
        if self.down:
            self.down -= 1
            return 503, {}
        if path == "/auth/token":
            if body["password"] != self.password:
                return 401, {}
            self.tokens += 1
            return 201, {"access_token": f"token-{self.tokens}"}
        if path == "/api/v2/monitor/health":
            return 200, {"scheduler": {"status": self.health}}
        if token != f"Bearer token-{self.tokens}":
            return 401, {}
        return self._resource(method, path.removeprefix("/api/v2/").split("/"), body)

    def _resource(self, method: str, path: list[str], body: Any) -> Answer:
        match [method, *path]:
            case ["GET", "importErrors"]:
                return 200, {"import_errors": self.import_errors}
            case ["GET", "dags"]:
                return 200, {"dags": [{"dag_id": dag} for dag in self.dags]}
            case ["PATCH", "dags", dag]:
                self.dags[dag] = body["is_paused"]
                return 200, {}
            case ["GET", "pools", name]:
                return (200, self.pools[name]) if name in self.pools else (404, {})
            case ["POST", "pools"]:
                if body["name"] in self.pools:
                    return 409, {}
                self.pools[body["name"]] = body
                return 201, {}
            case ["POST", "dags", dag, "dagRuns"]:
                key = (dag, body["dag_run_id"])
                if key in self.states:
                    return 409, {}
                self.states[key], self.confs[key] = "running", body["conf"]
                self.triggered(*key)
                return 200, {}
            case ["GET", "dags", dag, "dagRuns"]:
                runs = [{"dag_run_id": run, "run_after": run} for other, run in self.states if other == dag]
                return 200, {"dag_runs": runs}
            case ["GET", "dags", dag, "dagRuns", run]:
                return 200, {"state": self.states[dag, run]}
            case ["PATCH", "dags", dag, "dagRuns", run]:
                self.states[dag, run] = body["state"]
                return 200, {}
            case ["GET", "dags", dag, "dagRuns", run, "taskInstances"]:
                return 200, {"task_instances": self.tasks.get((dag, run), [])}
            case ["GET", "dags", dag, "dagRuns", run, "taskInstances", task, "xcomEntries", "return_value"]:
                key3 = (dag, run, task)
                return (200, {"value": self.xcoms[key3]}) if key3 in self.xcoms else (404, {})
            case ["GET", "dags", _, "dagRuns", _, "taskInstances", task, "logs", _]:
                return 200, {"content": self.logs.get(task, [])}
        return 404, {"detail": "/".join(path)}


@contextmanager
def serve(airflow: AirflowServer) -> Iterator[None]:
    """Answer on a port of loopback for the length of a ``with`` block."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            token = self.headers.get("Authorization", "")
            path = unquote(urlsplit(self.path).path)
            fault = airflow.faults.pop(0) if airflow.faults else None
            status, content = 0, dict[str, Any]()
            headers = dict[str, str]()
            if isinstance(fault, int):
                status = fault
            elif isinstance(fault, tuple):
                status, headers = fault[0], {"Retry-After": fault[1]}
            else:
                status, content = airflow.answer(self.command, path, json.loads(body) if body else None, token)
            if fault == "late":
                self.connection.recv(1)  # returns when the client has given up and closed the connection
            data = json.dumps(content).encode() + (b" " * 1000 if fault == "cut" else b"")
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data[:-1000] if fault == "cut" else data)

        do_GET = do_POST = do_PATCH = answer  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    airflow.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
