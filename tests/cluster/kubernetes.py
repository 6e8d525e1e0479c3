"""What Kubernetes answers, as documents: for diagnosis without a cluster, and for the real kubectl over HTTP."""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]


def pod(
    name: str,
    *,
    containers: Sequence[Object] = (),
    init: Sequence[Object] = (),
    phase: str = "Pending",
    conditions: Sequence[Object] = (),
    labels: dict[str, str] | None = None,
    owner: str | None = None,
    created: str = "1",
) -> Object:
    metadata: dict[str, Any] = {"name": name, "labels": labels or {}, "creationTimestamp": created}
    if owner:
        metadata["ownerReferences"] = [{"kind": "Job", "name": owner}]
    return {
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"containers": [{"name": each["name"]} for each in containers]},
        "status": {
            "phase": phase,
            "conditions": list(conditions),
            "containerStatuses": list(containers),
            "initContainerStatuses": list(init),
        },
    }


def well(name: str) -> Object:
    ready = [{"type": "Ready", "status": "True"}]
    container = {"name": "main", "ready": True, "state": {"running": {}}}
    return pod(name, containers=[container], phase="Running", conditions=ready)


def waiting(
    name: str,
    reason: str,
    message: str = "",
    *,
    restarts: int = 0,
    image: str = "taxiway/airflow:1",
    ended: Object | None = None,
) -> Object:
    status: Object = {"name": name, "image": image, "restartCount": restarts, "ready": False}
    status["state"] = {"waiting": {"reason": reason, "message": message}}
    status["lastState"] = {"terminated": ended} if ended else {}
    return status


def running(name: str, *, ready: bool = False, restarts: int = 0) -> Object:
    return {"name": name, "ready": ready, "restartCount": restarts, "state": {"running": {}}}


def event(kind: str, name: str, reason: str, message: str, *, when: str = "2026-01-01T00:00:00Z") -> Object:
    about = {"kind": kind, "name": name}
    return {
        "kind": "Event",
        "type": "Warning",
        "metadata": {"name": f"{name}.1"},
        "involvedObject": about,
        "reason": reason,
        "message": message,
        "lastTimestamp": when,
    }


NAMESPACES = {"name": "namespaces", "singularName": "namespace", "namespaced": False, "kind": "Namespace"}
RESOURCES = [
    {**NAMESPACES, "verbs": ["get", "list"]},
    {"name": "secrets", "singularName": "secret", "namespaced": True, "kind": "Secret", "verbs": ["get", "list"]},
    {"name": "services", "singularName": "service", "namespaced": True, "kind": "Service", "verbs": ["get", "list"]},
]


@contextmanager
def api_server(answers: dict[str, tuple[int, dict[str, Any]]], kubeconfig: Path, context: str) -> Iterator[None]:
    """Answer the real kubectl: path → status and object; writes a KUBECONFIG for it."""
    served = {
        "/api": (200, {"kind": "APIVersions", "versions": ["v1"]}),
        "/apis": (200, {"kind": "APIGroupList", "apiVersion": "v1", "groups": []}),
        "/api/v1": (200, {"kind": "APIResourceList", "groupVersion": "v1", "resources": RESOURCES}),
        **answers,
    }
    missing = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = served.get(self.path.partition("?")[0], (404, {**missing, "message": "not found"}))
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        write_kubeconfig(kubeconfig, context, f"http://127.0.0.1:{server.server_port}")
        yield
    finally:
        server.shutdown()
        server.server_close()


def write_kubeconfig(path: Path, context: str, server: str) -> None:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "contexts": [{"name": context, "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": {}}],
    }
    path.write_text(yaml.safe_dump(config))
