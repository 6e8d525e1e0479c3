"""Revisions of a release: which one to go back to, and how to get out of a stuck one."""

import pytest

from cluster.config import ClusterError
from cluster.helm import choose_revision, pending
from cluster.kubectl import Kubectl

KUBECTL = Kubectl("kind-taxiway", "taxiway")


def history(*states):
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
def test_the_revision_before(states, target):
    assert choose_revision("airflow", history(*states), None) == target


def test_revisions_that_are_not_there():
    with pytest.raises(ClusterError, match="nothing was deployed"):
        choose_revision("airflow", [], None)
    with pytest.raises(ClusterError, match="no good revision before 1"):
        choose_revision("airflow", history("deployed"), None)
    with pytest.raises(ClusterError, match=r"REVISION=9.*has 1 to 2"):
        choose_revision("airflow", history("superseded", "deployed"), "9")
    with pytest.raises(ClusterError, match="REVISION=-1"):
        choose_revision("airflow", history("superseded", "deployed"), "-1")
    assert choose_revision("airflow", history("superseded", "failed", "deployed"), "2") == 2


def test_a_stuck_release_says_the_way_out():
    go_back = "make rollback ENV=kind"
    assert pending("airflow", history("superseded", "deployed"), go_back, KUBECTL) is None
    assert pending("airflow", [], go_back, KUBECTL) is None
    said = pending("airflow", history("superseded", "deployed", "pending-upgrade"), go_back, KUBECTL)
    assert "stuck in pending-upgrade (revision 3" in said
    assert "make rollback ENV=kind REVISION=2" in said
    first = pending("airflow", history("pending-install"), go_back, KUBECTL)
    assert "helm --kube-context kind-taxiway -n taxiway uninstall airflow" in first
