"""The policy checks: what is excluded, what an exclusion must do, and that checkov is really asked."""

import os
from pathlib import Path

import pytest
import yaml

from checks import policy
from checks.policy import Finding, PolicyError, findings, judge, manifests
from tests.tools import tool

LIMITS = Finding("CKV_1", "Limits", "kind/a.yaml Deployment.x.one")


def test_an_exclusion_is_for_its_check_and_its_objects_alone() -> None:
    other_object = LIMITS._replace(where="kind/a.yaml Deployment.x.two")
    other_check = LIMITS._replace(check="CKV_2")
    found = [LIMITS, other_object, other_check]
    assert judge(found, {"CKV_1": {"*.one": "why"}}) == ([other_object, other_check], [])
    assert judge(found, {"CKV_1": {"kind/*": "why"}, "CKV_2": {"*": "why"}}) == ([], [])


def test_an_exclusion_that_excludes_nothing_is_named() -> None:
    assert judge([LIMITS], {"CKV_1": {"*": "why", "eks/*": "why"}, "CKV_3": {"*": "why"}}) == (
        [],
        ["CKV_1: eks/*", "CKV_3: *"],
    )


def test_every_exclusion_has_a_reason() -> None:
    exclusions = yaml.safe_load(Path(policy.__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    reasons = [reason for patterns in exclusions.values() for reason in patterns.values()]
    assert reasons
    assert all(isinstance(reason, str) and len(reason) > 20 for reason in reasons)


def test_objects_get_the_releases_namespace_and_the_executors_pod_is_one_of_them() -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "task"}}
    config = {
        "kind": "ConfigMap",
        "metadata": {"name": "config"},
        "data": {"pod_template_file.yaml": yaml.safe_dump(pod)},
    }
    elsewhere = {"kind": "Role", "metadata": {"name": "role", "namespace": "other"}}
    made = list(manifests(yaml.safe_dump_all([config, None, elsewhere]), "taxiway"))
    assert [(each["kind"], each["metadata"]["namespace"]) for each in made] == [
        ("ConfigMap", "taxiway"), ("Pod", "taxiway"), ("Role", "other"),
    ]  # fmt: skip


@pytest.mark.slow
def test_checkov_finds_what_is_planted_and_says_when_it_looked_at_nothing(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM debian:latest\nUSER 1\n", encoding="utf-8")
    found = findings(tool("checkov"), tmp_path, ("dockerfile",))
    assert "CKV_DOCKER_7" in {each.check for each in found}
    assert {each.where.split()[0] for each in found} == {"Dockerfile"}
    (tmp_path / "Dockerfile").unlink()
    with pytest.raises(PolicyError, match="checkov looked at nothing of the kind dockerfile"):
        findings(tool("checkov"), tmp_path, ("dockerfile",))


def test_without_helm_charts_are_skipped_aloud_or_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("shutil.which", lambda name, path: None)
    monkeypatch.setattr(policy, "findings", lambda *_: [])
    assert policy.run("checkov", os.environ | {"TAXIWAY_REQUIRE_TOOLS": "0"}) == 0
    assert "checkov skipped: all charts: helm is not installed" in capsys.readouterr().out
    with pytest.raises(PolicyError, match="helm is not installed"):
        policy.run("checkov", os.environ | {"TAXIWAY_REQUIRE_TOOLS": "1"})
