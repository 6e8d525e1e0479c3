"""Revisions of a release: which one to go back to, and how to get out of a stuck one."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from cluster import helm
from cluster.helm import Helm, choose_revision, helm_error, pending
from cluster.kubectl import Kubectl
from console.errors import UserError
from tests.cluster.kubernetes import pod, waiting

KUBECTL = Kubectl("kind-taxiway", "taxiway")


def history(*states: str) -> list[dict[str, Any]]:
    return [{"revision": n, "status": state, "updated": "2026-01-01"} for n, state in enumerate(states, 1)]


@pytest.mark.parametrize(
    ("states", "target"),
    [
        (["superseded", "deployed"], 1),
        (["superseded", "superseded", "deployed"], 2),
        (["superseded", "deployed", "failed"], 2),
        (["superseded", "failed", "deployed"], 1),
        (["superseded", "deployed", "pending-upgrade"], 2),
    ],
)
def test_the_revision_before(states: list[str], target: int) -> None:
    assert choose_revision("airflow", history(*states), None) == target


def test_revisions_that_are_not_there() -> None:
    with pytest.raises(UserError, match="nothing was deployed"):
        choose_revision("airflow", [], None)
    with pytest.raises(UserError, match="no good revision before 1"):
        choose_revision("airflow", history("deployed"), None)
    with pytest.raises(UserError, match=r"REVISION=9.*has 1 to 2"):
        choose_revision("airflow", history("superseded", "deployed"), "9")
    with pytest.raises(UserError, match="REVISION=-1"):
        choose_revision("airflow", history("superseded", "deployed"), "-1")
    assert choose_revision("airflow", history("superseded", "failed", "deployed"), "2") == 2


def test_a_stuck_release_says_the_way_out() -> None:
    go_back = "make rollback ENV=kind"
    assert pending("airflow", history("superseded", "deployed"), go_back, KUBECTL) is None
    assert pending("airflow", [], go_back, KUBECTL) is None
    stuck = pending("airflow", history("superseded", "deployed", "pending-upgrade"), go_back, KUBECTL)
    assert stuck
    assert "stuck in pending-upgrade (revision 3" in stuck
    assert "make rollback ENV=kind REVISION=2" in stuck
    first = pending("airflow", history("pending-install"), go_back, KUBECTL)
    assert first
    assert "helm --kube-context kind-taxiway -n taxiway uninstall airflow" in first


class Jobs(Kubectl):
    """A namespace whose migration's job shows one state after the other, and keeps the last."""

    states: list[dict[str, Any]]
    deleted: list[str]

    def items(self, *_words: str) -> list[dict[str, Any]]:
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return [] if self.deleted else [{"metadata": {"name": "migration"}, "status": state}]

    def run(self, *words: str, **_: object) -> str:
        assert words[:3] == ("delete", "job", "migration")
        self.deleted.append(words[2])
        return ""


def jobs(*states: dict[str, Any]) -> "Jobs":
    kubectl = Jobs("kind-taxiway", "taxiway")
    object.__setattr__(kubectl, "states", list(states))
    object.__setattr__(kubectl, "deleted", [])
    return kubectl


def test_a_running_migration_is_waited_for_and_then_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.helm.time.sleep", lambda _: None)
    ended = {"succeeded": 1, "ready": 0, "conditions": [{"type": "Complete", "status": "True"}]}
    reports: list[str] = []
    kubectl = jobs({"active": 1, "ready": 1}, {"active": 1, "ready": 1}, ended)
    Helm(kubectl, 60, "").remove_migration("airflow", reports.append)
    assert kubectl.deleted == ["migration"]
    assert reports == ["waits until the last migration of the database has ended"]


def test_a_migration_that_never_began_is_not_waited_for() -> None:
    kubectl, reports = jobs({"active": 1, "ready": 0}), list[str]()
    Helm(kubectl, 60, "").remove_migration("airflow", reports.append)
    assert (kubectl.deleted, reports) == (["migration"], [])


def test_a_migration_that_does_not_end_is_never_ended() -> None:
    kubectl = jobs({"active": 1, "ready": 1})
    with pytest.raises(UserError, match=r"still runs after 0 s.*logs job/migration shows"):
        Helm(kubectl, 0, "").remove_migration("airflow", lambda _: None)
    assert kubectl.deleted == []


def test_helms_error_is_shown_without_its_advice_for_developers() -> None:
    message = (
        "Error: execution error at (airflow/templates/x.yaml:54:8): Set the account.\n\nUse --debug flag to render\n"
    )
    assert helm_error(message) == "Set the account."
    assert "timed out" in helm_error(
        "W1121 08:00 warning\nError: UPGRADE FAILED: context deadline exceeded: timed out\n"
    )


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Programs that answer as a cluster does on which an image is missing; helm waits until it is interrupted."""
    broken = pod("scheduler-1", containers=[waiting("scheduler", "ErrImagePull", image="taxiway/airflow:gone")])
    (tmp_path / "objects.json").write_text(json.dumps({"items": [broken]}))
    programs = {
        "kubectl": 'case "$*" in *"get jobs"*) echo \'{"items": []}\';; *) cat "${0%/*}/objects.json";; esac',
        "helm": (
            'case "$*" in *" history "*) echo "[]"; exit;; esac\n'
            'echo "$*" >"$0.said"\ntrap \'echo interrupted >>"$0.said"; kill $!; exit 1\' INT\nsleep 30 &\nwait'
        ),
    }
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(helm, "GRACE_S", 0)
    return tmp_path


@pytest.mark.slow
def test_waiting_without_success_ends_early_and_says_why(cluster: Path) -> None:
    reports: list[str] = []
    with pytest.raises(UserError) as error:
        helm.Helm(KUBECTL, 60, "make rollback ENV=kind").upgrade("airflow", "chart", ["-f", "x"], reports.append)
    assert "scheduler-1: container scheduler: ErrImagePull: taxiway/airflow:gone" in str(error.value)
    assert str(error.value).endswith("make rollback ENV=kind")
    assert reports[0] == "waits for scheduler-1 (scheduler: ErrImagePull)"
    command, interrupted = (cluster / "helm.said").read_text().splitlines()
    assert command.startswith("--kube-context kind-taxiway --namespace taxiway upgrade --install airflow chart -f x")
    assert "--wait" in command
    assert interrupted == "interrupted", "helm itself notes the release as failed: killed, it would leave it pending"
