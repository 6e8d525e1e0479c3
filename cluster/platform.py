"""The platform on the cluster as demos see it: its Airflow, its AWS endpoint, its workers, its copy of the checkout."""

import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.access import open_airflow
from cluster.kubectl import Forward, Kubectl
from cluster.shell import last_lines
from console.airflow import Airflow, TaskInstance
from console.aws import local_client
from console.errors import UserError
from console.options import ROOT
from console.patience import NotNowError, Say, patiently, say_on_stderr

CHECKOUT = "/opt/airflow/dags/repo"
# The same of Airflow's own git bundle (the feature git-dag-bundle), once something in the pod has asked for it.
BUNDLE_CHECKOUT = "/tmp/dag-bundles/taxiway/tracking_repo"  # noqa: S108 - in a pod of its own
FETCH_BUNDLE = (
    "from airflow.dag_processing.bundles.manager import DagBundlesManager; "
    'DagBundlesManager().get_bundle("taxiway").initialize()'
)
PROCESSOR = "deployment/airflow-dag-processor"
PROCESSOR_CONTAINER = "dag-processor"
# Only workers and triggerers have the catalogue's connection, and only workers are let through to its database.
WORKER, WORKER_CONTAINER = "deployment/airflow-worker", "worker"
AWS = ("service/local-aws", 4566)
LAKE = "s3://taxiway-lake"
RUN_TIMEOUT_S = 300
# kubectl's words where a pod is being replaced, or ended while a command ran in it.
POD_GONE = re.compile(
    r"unable to upgrade connection|cannot exec (in|into) a|container not found|command terminated with exit code 137"
    r"|pods? .* not found|does not have a host assigned|timed out waiting for the condition|container is not running"
)


@dataclass(frozen=True)
class ClusterPlatform:
    """See :class:`console.platform.Platform`."""

    kubectl: Kubectl
    airflow: Airflow
    aws: Forward
    say: Say
    poll_s: float = 2
    lake: str = LAKE
    parsing_hint: str = (
        "make status shows the commit that git-sync brought, and "
        f"kubectl logs {PROCESSOR} -c {PROCESSOR_CONTAINER} what became of its files."
    )
    scheduling_hint: str = "make ui shows the runs; make status whether the scheduler is well."
    _clients: dict[tuple[str, str], Any] = field(default_factory=dict)

    def client(self, service: str) -> Any:
        """Return a boto3 client of the cluster's AWS endpoint; its address changes when the forward is reopened."""
        url = self.aws.url
        if (service, url) not in self._clients:
            self._clients[service, url] = local_client(service, url)
        return self._clients[service, url]

    def run(self, module: str, *arguments: str, file: tuple[str, str] | None = None) -> str:
        """Run ``python -m module`` in a worker; see :meth:`console.platform.Platform.run`."""
        return run_module(self.kubectl, module, *arguments, file=file, say=self.say)

    def log_path(self, task: TaskInstance) -> None:
        """Return None: no task's log is on this machine."""

    def require_alive(self) -> None:
        """Do nothing: a cluster outlives its pods, and calls that fail are tried again."""


@contextmanager
def open_platform(kubectl: Kubectl, say: Say) -> Iterator[ClusterPlatform]:
    """Reach the platform for the length of a ``with`` block.

    Args:
        kubectl: of its namespace.
        say: prints a line while something does not answer.

    Raises:
        UserError: Airflow does not answer.
    """
    with open_airflow(kubectl, say=say) as airflow, closing(Forward(kubectl, *AWS)) as aws:
        yield ClusterPlatform(kubectl, airflow, aws, say)


def find_checkout(kubectl: Kubectl, say: Say = say_on_stderr) -> str:
    """Return where the workers have the checkout."""
    look = ("sh", "-c", f"test -d {CHECKOUT} && echo {CHECKOUT} || echo {BUNDLE_CHECKOUT}")
    return _in_worker(kubectl, look, say, seconds=30).stdout.strip() or CHECKOUT


def checkout_path(file: Path, root: Path = ROOT, checkout: str = CHECKOUT) -> str:
    """Return where the pods see a file of the checkout, which git-sync or a git bundle brings them.

    Raises:
        UserError: the file is not in the checkout.
    """
    path = file.resolve()
    if not path.is_relative_to(root) or not path.is_file():
        raise UserError(
            f"{file} is no file of the checkout, and the cluster's pods see no other: give an https address, or a file "
            "that is committed."
        )
    return f"{checkout}/{path.relative_to(root).as_posix()}"


def run_module(
    kubectl: Kubectl, module: str, *arguments: str, file: tuple[str, str] | None = None, say: Say = say_on_stderr
) -> str:
    """Run ``python -m module`` of the delivered DAGs in a worker; see :meth:`console.platform.Platform.run`.

    Raises:
        UserError: it failed; the text has its last lines.
    """
    command = module_command(module, *arguments, file=file[0] if file else None, checkout=find_checkout(kubectl, say))
    result = _in_worker(kubectl, command, say, seconds=RUN_TIMEOUT_S, text_in=file[1] if file else None)
    if result.returncode:
        raise UserError(f"{module} {' '.join(arguments)} failed in the worker: {last_lines(result.stderr, 1)}")
    return result.stdout


def run_in_pod(kubectl: Kubectl, deployment: str, command: Sequence[str], say: Say = say_on_stderr) -> str:
    """Run a command in the main container of a deployment's pod, which may still be starting; return its output.

    Raises:
        UserError: it failed; the text has its last line.
    """

    def attempt() -> str:
        result = kubectl.execute(f"deployment/{deployment}", *command, container=deployment, seconds=RUN_TIMEOUT_S)
        if result.returncode and POD_GONE.search(result.stderr):
            raise NotNowError(last_lines(result.stderr, 1))
        if result.returncode:
            raise UserError(f"{' '.join(command)} failed in a pod of {deployment}: {last_lines(result.stderr, 1)}")
        return result.stdout.strip()

    return patiently(attempt, of=f"The pod of {deployment}", hint="make status shows what runs.", say=say)


def _in_worker(
    kubectl: Kubectl, command: Sequence[str], say: Say, *, seconds: float, text_in: str | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run a command that may be run twice in a worker, and wait for a worker that is being replaced."""

    def attempt() -> "subprocess.CompletedProcess[str]":
        result = kubectl.execute(WORKER, *command, container=WORKER_CONTAINER, seconds=seconds, text_in=text_in)
        if result.returncode and POD_GONE.search(result.stderr):
            raise NotNowError(last_lines(result.stderr, 1))
        return result

    return patiently(attempt, of="The worker", hint="make status shows what runs.", say=say)


def module_command(module: str, *arguments: str, file: str | None = None, checkout: str = CHECKOUT) -> list[str]:
    """Return the command of a worker's container for :func:`run_module`.

    Args:
        module: of the checkout.
        arguments: of the module.
        file: name of the file, the last argument, whose content comes by standard input.
        checkout: where the worker has the DAGs; a bundle's is brought up to date first.
    """
    fetch = "" if checkout == CHECKOUT else f"python -c '{FETCH_BUNDLE}' </dev/null >&2 && "
    run = f'PYTHONPATH={checkout}/dags:{checkout} python -m "$@"'
    if file is None:
        return ["sh", "-c", fetch + run, "sh", module, *arguments]
    # A pipe opened by its name belongs to another user: what comes by it goes into a file first.
    script = (
        f'folder=$(mktemp -d) && cat >"$folder/$0" && {run} "$folder/$0"; status=$?; rm -rf "$folder"; exit $status'
    )
    return ["sh", "-c", fetch + script, file, module, *arguments]
