"""Helm releases of one environment: deployed while their pods are watched, compared, and taken back."""

import contextlib
import json
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster import diagnosis
from cluster.kubectl import Kubectl, connection_problem
from cluster.shell import last_lines, require, run
from console.errors import UserError

Report = Callable[[str], None]
Revision = dict[str, Any]

# What waiting should not fix is waited for this long all the same: a secret or an image may be on its way.
GRACE_S = 45
OLDEST_HELM = (3, 19)
MIGRATION = "component=run-airflow-migrations"


@dataclass(frozen=True)
class Helm:
    """helm, with the context and the namespace of one environment; ``go_back`` is what a person types to roll back."""

    kubectl: Kubectl
    wait_s: int
    go_back: str

    def command(self, *words: str) -> list[str]:
        """Return a whole command line."""
        return ["helm", "--kube-context", self.kubectl.context, "--namespace", self.kubectl.namespace, *words]

    def output(self, *words: str, seconds: float = 120) -> str:
        """Run a command and return its standard output.

        Raises:
            UserError: it failed; the text has helm's last lines.
        """
        result = run(self.command(*words), seconds=seconds)
        if result.returncode:
            raise UserError(
                connection_problem(result.stderr, self.kubectl.context)
                or f"helm {' '.join(words[:2])} failed: {helm_error(result.stderr)}"
            )
        return result.stdout

    def history(self, release: str) -> list[Revision]:
        """Return the revisions of a release, oldest first; none if it is not there."""
        result = run(self.command("history", release, "--max", "50", "-o", "json"), seconds=60)
        if result.returncode and "not found" in result.stderr:
            return []
        if result.returncode:
            raise UserError(
                connection_problem(result.stderr, self.kubectl.context)
                or f"helm history {release} failed: {last_lines(result.stderr)}"
            )
        return list(json.loads(result.stdout))

    def manifest(self, release: str, revision: int | None = None) -> str:
        """Return the manifest of a release, empty if it is not there."""
        if not self.history(release):
            return ""
        return self.output("get", "manifest", release, *(["--revision", str(revision)] if revision else []))

    def values(self, release: str) -> dict[str, Any] | None:
        """Return the values that a release was deployed with, besides its chart's; None if it is not there."""
        if not self.history(release):
            return None
        return json.loads(self.output("get", "values", release, "-o", "json")) or {}

    def template(self, release: str, chart: str, arguments: Sequence[str]) -> str:
        """Return what a deployment would make."""
        version = json.loads(self.kubectl.ask("version", "-o", "json"))
        server = version["serverVersion"]["gitVersion"]
        try:
            return self.output("template", release, chart, "--is-upgrade", "--kube-version", server, *arguments)
        except UserError as error:
            hint = " Give it by a values file of yours: VALUES=<file>." if "failed: Set " in str(error) else ""
            raise UserError(f"{error}{hint}") from None

    def require_version(self) -> None:
        """Check that helm is one that the chart can be rendered with; UserError otherwise."""
        version = self.output("version", "--template", "{{.Version}}", seconds=20)
        found = re.match(r"v(\d+)\.(\d+)", version)
        if found and (int(found[1]), int(found[2])) < OLDEST_HELM:
            raise UserError(f"The chart needs Helm 3.19 or later and 'helm' is {version.strip()}: install a newer one.")

    def upgrade(self, release: str, chart: str, arguments: Sequence[str], report: Report) -> None:
        """Install or upgrade a release and wait until all of it is ready.

        Raises:
            UserError: it is stuck, or does not become ready; the text says which pod, why and what to do.
        """
        if stuck := pending(release, self.history(release), self.go_back, self.kubectl):
            raise UserError(stuck)
        self.remove_migration(release, report)
        self._watch(
            ["upgrade", "--install", release, chart, *arguments, "--history-max", "10"],
            f"The release {release!r}",
            report,
        )

    def rollback(self, release: str, revision: int, report: Report) -> None:
        """Go back to a revision and wait until all of it is ready; raises as :meth:`upgrade` does."""
        self.remove_migration(release, report)
        self._watch(["rollback", release, str(revision), "--history-max", "10"], f"The rollback of {release!r}", report)

    def remove_migration(self, release: str, report: Report) -> None:
        """Remove the migration's job, once it has ended if it runs.

        Without helm's hooks the job is an object like others, and Kubernetes lets nobody change a job's image. Helm
        does not wait for it: pods that find the database migrated are ready before it is done.

        Raises:
            UserError: it does not end.
        """
        end, reported = time.monotonic() + self.wait_s, False
        while jobs := self.kubectl.items("jobs", "-l", f"release={release},{MIGRATION}"):
            running = [each["metadata"]["name"] for each in jobs if each.get("status", {}).get("ready")]
            if not running:
                for each in jobs:
                    self.kubectl.run("delete", "job", each["metadata"]["name"], "--ignore-not-found", "--wait=true")
                return
            if time.monotonic() > end:
                raise UserError(
                    f"The migration of the database still runs after {self.wait_s} s, and must not be ended: kubectl "
                    f"--context {self.kubectl.context} -n {self.kubectl.namespace} logs job/{running[0]} shows how far "
                    "it is. Repeat the command when it has ended."
                )
            if not reported:
                report("waits until the last migration of the database has ended")
                reported = True
            time.sleep(1)

    def _watch(self, words: Sequence[str], what: str, report: Report) -> None:
        """Run a helm command that waits, say what it waits for, and give up early where waiting cannot succeed."""
        require("helm")
        command = self.command(*words, "--wait", "--timeout", f"{self.wait_s}s")
        began, shown = time.monotonic(), ""
        since: dict[str, float] = {}
        with tempfile.TemporaryFile("w+", errors="replace") as errors:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors)
            unrecoverable: list[str] = []
            try:
                while process.poll() is None:
                    if time.monotonic() - began > self.wait_s + 90:
                        raise UserError(f"{what} did not end within {self.wait_s + 90} s.")
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(4)
                        break
                    with contextlib.suppress(UserError):  # one look that fails is no reason to give up
                        look = diagnosis.look(self.kubectl)
                        now = diagnosis.waiting_for(look.pods)
                        if now and now != shown:
                            report(f"waits for {now}")
                            shown = now
                        since = {each: since.get(each, time.monotonic()) for each in look.unrecoverable}
                    unrecoverable = [each for each, first in since.items() if time.monotonic() - first > GRACE_S]
                    if unrecoverable:
                        report("gives up early: waiting longer will not fix " + unrecoverable[0])
                        break
            finally:
                _end(process)
            errors.seek(0)
            if process.returncode == 0 and not unrecoverable:
                return
            reason = "it was given up" if unrecoverable else helm_error(errors.read())
        why = diagnosis.diagnose(self.kubectl) or "No pod or event shows why."
        problem = connection_problem(reason, self.kubectl.context)
        raise UserError(
            problem
            or f"{what} did not become ready: {reason}\n{why}\n"
            f"Fix it and repeat the command, or go back to what ran before: {self.go_back}"
        )


def pending(release: str, history: Sequence[Revision], go_back: str, kubectl: Kubectl) -> str | None:
    """Return a sentence if a release is stuck in the middle of an operation, with the way out."""
    if not history or not str(history[-1]["status"]).startswith("pending-"):
        return None
    last = history[-1]
    text = (
        f"The release {release!r} is stuck in {last['status']} (revision {last['revision']}, since {last['updated']}): "
        "another deployment is under way, or one was interrupted. If none runs any more: "
    )
    good = [each for each in history if each["status"] in ("deployed", "superseded")]
    if not good:
        return text + (
            f"helm --kube-context {kubectl.context} -n {kubectl.namespace} uninstall {release}   "
            "(nothing of it ever worked), then repeat the command."
        )
    return text + f"{go_back} REVISION={good[-1]['revision']} RELEASE={release}   then repeat the command."


def choose_revision(release: str, history: Sequence[Revision], wanted: str | None) -> int:
    """Return the revision to go back to: the one that is wanted, or the last good one before that which runs.

    Raises:
        UserError: there is none.
    """
    if not history:
        raise UserError(f"There is no release {release!r} to roll back: nothing was deployed.")
    known = [int(each["revision"]) for each in history]
    if wanted:
        if not wanted.isdecimal() or int(wanted) not in known:
            raise UserError(
                f"REVISION={wanted}: the release {release!r} has no such revision; it has {known[0]} to {known[-1]}."
            )
        return int(wanted)
    last = history[-1]
    running = [each for each in history[:-1] if each["status"] == "deployed"]
    if last["status"] != "deployed" and running:
        return int(running[-1]["revision"])
    good = [each for each in history[:-1] if each["status"] == "superseded"]
    if not good:
        raise UserError(
            f"The release {release!r} has no good revision before {last['revision']} ({last['status']}) to go back to."
        )
    return int(good[-1]["revision"])


def helm_error(message: str) -> str:
    """Return what helm says of a failure, without its place in a template and its advice for developers."""
    lines = [
        line for line in message.splitlines() if line.strip() and "--debug" not in line and not line.startswith("W")
    ]
    text = last_lines("\n".join(lines), 4).removeprefix("Error: ")
    return re.sub(r"(UPGRADE FAILED: )?execution error at \([^)]*\): ", "", text)


def values_arguments(files: Sequence[Path], settings: dict[str, str]) -> list[str]:
    """Return helm's arguments for values files, later ones winning, and single settings that win over all."""
    words = []
    for file in files:
        words += ["-f", str(file)]
    for name, value in settings.items():
        words += ["--set-string", f"{name}={value}"]
    return words


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End helm so that it can still note the release as failed: killed, it would leave the release pending."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
