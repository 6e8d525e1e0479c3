"""What runs in the cluster: releases, pods, images, and the commit whose DAGs Airflow runs."""

import re
from collections.abc import Callable
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from cluster import diagnosis, git
from cluster.config import Config
from cluster.helm import Helm
from cluster.kubectl import Kubectl
from cluster.platform import BUNDLE_CHECKOUT, CHECKOUT, PROCESSOR, PROCESSOR_CONTAINER
from cluster.releases import NAMES, NEEDED
from cluster.shell import run
from console.errors import UserError

GOOD, NOT_WELL, ABSENT = 0, 1, 3


def show(config: Config, kubectl: Kubectl, helm: Helm, console: Console) -> int:
    """Print the state of an environment.

    Returns:
        0 if all is well, 1 if something is not ready, 3 if nothing is deployed, as service managers do.
    """
    histories = {name: helm.history(name) for name in NAMES}
    if not any(histories.values()):
        console.print(f"Nothing is deployed in {config.namespace} of {config.context}.", highlight=False)
        return ABSENT
    console.print(_releases(histories))
    everything = kubectl.items("pods")
    pods = [pod for pod in everything if not diagnosis.is_task(pod)]
    tasks = len(everything) - len(pods)
    console.print(_pods(pods))
    if tasks:
        console.print(f"and {tasks} pod{'s' * (tasks != 1)} of tasks", highlight=False)
    _print(console, "Images: " + ", ".join(sorted(pod_images(pods))))
    commit, branch = synced_commit(kubectl), branch_commit(config, kubectl, pods)
    _print(console, commit_sentence(commit, branch))
    well = all(
        history[-1]["status"] == "deployed" if history else name not in NEEDED for name, history in histories.items()
    )
    if why := diagnosis.diagnose(kubectl):
        _print(console, f"\nNot well:\n{why}")
        well = False
    return GOOD if well else NOT_WELL


def synced_commit(kubectl: Kubectl) -> str:
    """Return the commit whose DAGs the DAG processor reads, empty if it is unknown."""
    try:
        where = f"readlink {CHECKOUT} || git -C {BUNDLE_CHECKOUT} rev-parse HEAD"
        result = kubectl.execute(PROCESSOR, "sh", "-c", where, container=PROCESSOR_CONTAINER, seconds=30)
    except UserError:
        return ""
    found = re.search(r"([0-9a-f]{40})/?\s*$", result.stdout)
    return found[1] if found and result.returncode == 0 else ""


def branch_commit(config: Config, kubectl: Kubectl, pods: list[dict[str, Any]]) -> str:
    """Return the head of the branch that git-sync follows, empty if it cannot be asked from here."""
    try:
        if config.environment == "kind":
            return git.branch_head(kubectl)
        repository, ref = git_source(pods)
        if not repository:
            return ""
        quiet = {"GIT_TERMINAL_PROMPT": "0", "GIT_SSH_COMMAND": "ssh -oBatchMode=yes"}
        result = run(["git", "ls-remote", repository, ref], seconds=30, environment={**config.given, **quiet})
        return result.stdout.split()[0] if result.returncode == 0 and result.stdout.strip() else ""
    except UserError:
        return ""


def git_source(pods: list[dict[str, Any]]) -> tuple[str, str]:
    """Return repository and ref of git-sync, as the pods have them; empty if none has."""
    for pod in pods:
        for container in pod["spec"].get("containers") or []:
            given = {each["name"]: each.get("value", "") for each in container.get("env") or []}
            if "GITSYNC_REPO" in given:
                return given["GITSYNC_REPO"], given.get("GITSYNC_REF") or "HEAD"
    return "", ""


def commit_sentence(synced: str, branch: str) -> str:
    """Return a sentence on the commit that runs against the branch's."""
    if not synced:
        return "DAGs: the DAG processor does not show which commit it reads."
    if not branch:
        return f"DAGs: commit {synced[:12]}; the head of the branch cannot be asked from here."
    if synced == branch:
        return f"DAGs: commit {synced[:12]}, the head of the branch."
    return f"DAGs: commit {synced[:12]}, while the head of the branch is {branch[:12]}, which is yet to come."


def pod_images(pods: list[dict[str, Any]]) -> set[str]:
    """Return the images of pods."""
    return {
        container["image"]
        for pod in pods
        for key in ("initContainers", "containers")
        for container in pod["spec"].get(key) or []
    }


def _releases(histories: dict[str, list[dict[str, Any]]]) -> Table:
    table = Table("release", "revision", "status", "updated", "chart", box=SIMPLE_HEAD)
    for name, history in histories.items():
        if history:
            last = history[-1]
            table.add_row(
                name,
                *(str(last.get(key, "")) for key in ("revision", "status")),
                str(last["updated"])[:19],
                last["chart"],
            )
        else:
            table.add_row(name, "–", "not deployed", "", "")
    return table


def _pods(pods: list[dict[str, Any]]) -> Table:
    table = Table("pod", "state", "restarts", "started", box=SIMPLE_HEAD)
    for pod in sorted(pods, key=lambda each: str(each["metadata"]["name"])):
        status = pod.get("status", {})
        containers = status.get("containerStatuses") or []
        good = sum(bool(each.get("ready")) for each in containers)
        phase = str(status.get("phase", ""))
        state = phase if phase == "Succeeded" else f"{phase} {good}/{len(pod['spec'].get('containers') or [])}"
        restarts = str(sum(int(each.get("restartCount") or 0) for each in containers))
        table.add_row(pod["metadata"]["name"], state, restarts, str(status.get("startTime") or ""))
    return table


def _print(console: Console, text: str) -> None:
    printer: Callable[..., None] = console.print
    printer(text, markup=False, highlight=False, soft_wrap=True)
