"""kubectl for one context and namespace, both always named, and port-forwards that end with their ``with`` block."""

import contextlib
import json
import os
import re
import selectors
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cluster.shell import last_lines, require, run
from console.errors import UserError
from console.processes import start_program

UNREACHABLE = re.compile(
    r"refused|no such host|i/o timeout|Unable to connect|deadline exceeded|network is unreachable|no route to host"
    r"|Client\.Timeout|TLS handshake|EOF$",
    re.IGNORECASE,
)
REFUSED = re.compile(r"Unauthorized|must be logged in|getting credentials|token .*expired|certificate has expired")


@dataclass(frozen=True)
class Kubectl:
    """kubectl, with the context and the namespace of one environment."""

    context: str
    namespace: str

    def command(self, *words: str) -> list[str]:
        """Return a whole command line."""
        return ["kubectl", "--context", self.context, "-n", self.namespace, *words]

    def try_run(
        self, *words: str, seconds: float = 60, text_in: str | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command and return its output, whatever its exit status; UserError if the cluster does not answer."""
        result = run(self.command(*words), seconds=seconds, text_in=text_in)
        if result.returncode and (problem := connection_problem(result.stderr, self.context)):
            raise UserError(problem)
        return result

    def run(self, *words: str, seconds: float = 60, text_in: str | None = None) -> str:
        """Run a command and return its standard output.

        Raises:
            UserError: it failed; the text has kubectl's last lines.
        """
        result = self.try_run(*words, seconds=seconds, text_in=text_in)
        if result.returncode:
            raise UserError(f"kubectl {' '.join(words[:3])} failed: {last_lines(result.stderr or result.stdout)}")
        return result.stdout

    def ask(self, *words: str) -> str:
        """Run a command that one request answers and return its standard output; a slow API server has a minute."""
        return self.run(*words, "--request-timeout=60s", seconds=90)

    def get(self, *words: str) -> Any:
        """Return an object, or a list of them, as a dictionary."""
        return json.loads(self.ask("get", *words, "-o", "json"))

    def find(self, *words: str) -> Any:
        """Return an object as a dictionary, None where there is none."""
        output = self.ask("get", *words, "-o", "json", "--ignore-not-found")
        return json.loads(output) if output.strip() else None

    def items(self, kind: str, *words: str) -> list[dict[str, Any]]:
        """Return all objects of a kind."""
        return list(self.get(kind, *words)["items"])

    def execute(
        self, target: str, *command: str, container: str | None = None, seconds: float = 120, text_in: str | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command in a pod: ``pod/name``, ``deployment/name`` or ``statefulset/name``."""
        where = [target, *(["-c", container] if container else [])]
        stdin = ["-i"] if text_in is not None else []
        return self.try_run("exec", *stdin, *where, "--", *command, seconds=seconds, text_in=text_in)

    @contextmanager
    def forward(self, target: str, port: int, local: int = 0) -> Iterator["Forward"]:
        """Reach a port of a service or pod on loopback for the length of a ``with`` block.

        Args:
            target: such as ``service/airflow-api-server``.
            port: there.
            local: port here; 0 for any free one.
        """
        forward = Forward(self, target, port, local)
        try:
            forward.ensure()
            yield forward
        finally:
            forward.close()


class Forward:
    """A port of the cluster on loopback, opened at its first use, and again where the pod behind it was replaced."""

    def __init__(self, kubectl: Kubectl, target: str, port: int, local: int = 0) -> None:
        self._command = kubectl.command(
            "port-forward", "--address", "127.0.0.1", target, f"{local or ''}:{port}" if local else f":{port}"
        )
        self._context, self._target = kubectl.context, target
        self._process: subprocess.Popen[str] | None = None
        self._url = ""

    @property
    def url(self) -> str:
        """The address here; starts the forward again if it has ended."""
        self.ensure()
        return self._url

    def ensure(self, seconds: float = 30) -> None:
        """Start the forward unless it runs.

        Raises:
            UserError: kubectl refuses; the text has its words.
        """
        if self._process and self._process.poll() is None:
            return
        self.close()
        require("kubectl")
        self._process = process = start_program(
            self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        output, deadline = "", time.monotonic() + seconds
        assert process.stdout
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while time.monotonic() < deadline:
                if not selector.select(timeout=0.5):
                    continue
                text = os.read(process.stdout.fileno(), 65536).decode(errors="replace")  # several lines, maybe
                output += text
                if match := re.search(r"Forwarding from 127\.0\.0\.1:(\d+) ", output):
                    self._url = f"http://127.0.0.1:{match[1]}"
                    return
                if not text:
                    break
        self.close()
        if "address already in use" in output:
            raise UserError(f"The local port for {self._target} is taken: end what listens there or name another.")
        raise UserError(
            connection_problem(output, self._context)
            or f"{self._target} cannot be reached through kubectl port-forward: {last_lines(output)}"
        )

    def wait(self, seconds: float) -> bool:
        """Wait for the end of the forward; return whether it ended."""
        if not self._process:
            return True
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self._process.poll() is not None

    def close(self) -> None:
        """End the forward; nothing of it is left."""
        if process := self._process:
            self._process = None
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout:
                process.stdout.close()


def connection_problem(output: str, context: str) -> str | None:
    """Return a sentence if what kubectl or helm printed means that the cluster does not answer or lets nobody in."""
    last = last_lines(output, 1)
    if re.search(r"context .*does not exist|no context exists", output):
        return f"KUBECONFIG has no context {context!r}: kubectl config get-contexts lists those that it has."
    if REFUSED.search(output):
        return f"The cluster of the context {context!r} does not accept its credentials ({last}): log in again."
    if UNREACHABLE.search(output) and not re.search(r"error: unable to upgrade connection", output):
        return (
            f"The cluster of the context {context!r} does not answer ({last}): start it, or name another "
            "by KUBE_CONTEXT and KUBECONFIG."
        )
    return None
