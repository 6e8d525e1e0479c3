"""Secrets that manifests need, and differences that show none."""

from typing import Any

import yaml

from cluster.manifests import airflow_image, difference, images, missing_secrets, needed_secrets
from cluster.status import commit_sentence, git_source

TEMPLATE = {
    "apiVersion": "v1",
    "kind": "Pod",
    "spec": {
        "containers": [{"name": "base", "image": "taxiway/airflow:1"}],
        "volumes": [{"secret": {"secretName": "ssh"}}],
    },
}


def deployment(image: str = "taxiway/airflow:1", value: str = "1") -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": "api-server",
        "image": image,
        "env": [
            {"name": "PLAIN", "value": value},
            {"name": "A", "valueFrom": {"secretKeyRef": {"name": "fernet", "key": "fernet-key"}}},
            {"name": "B", "valueFrom": {"secretKeyRef": {"name": "admin", "key": "password", "optional": True}}},
        ],
        "envFrom": [{"secretRef": {"name": "whole"}}],
    }
    volumes = [{"name": "v", "secret": {"secretName": "files", "items": [{"key": "users.txt", "path": "u"}]}}]
    volumes.append({"name": "p", "projected": {"sources": [{"secret": {"name": "parts"}}]}})
    return {
        "kind": "Deployment",
        "metadata": {"name": "airflow-api-server", "labels": {"component": "api-server"}},
        "spec": {"template": {"spec": {"containers": [container], "volumes": volumes}}},
    }


def secret(name: str, **data: str) -> dict[str, Any]:
    return {"kind": "Secret", "metadata": {"name": name}, "data": data}


CONFIG_MAP = {"kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"pod.yaml": yaml.safe_dump(TEMPLATE), "x": "y"}}


def manifest(*objects: dict[str, Any]) -> str:
    return yaml.safe_dump_all(objects)


def test_needed_secrets_are_those_a_pod_does_not_start_without() -> None:
    needed = needed_secrets(manifest(deployment(), CONFIG_MAP))
    assert needed == {"fernet": {"fernet-key"}, "whole": set(), "files": {"users.txt"}, "parts": set(), "ssh": set()}


def test_what_the_manifest_makes_is_not_needed() -> None:
    external = {"kind": "ExternalSecret", "metadata": {"name": "e"}, "spec": {"target": {"name": "fernet"}}}
    assert needed_secrets(manifest(deployment(), secret("files"), external)).keys() == {"whole", "parts"}


def test_missing_secrets_and_keys_are_named() -> None:
    needed = {"a": {"x"}, "b": {"x", "y"}, "c": set()}
    assert missing_secrets(needed, {"b": {"x"}, "c": set()}) == ["a", "b (key y)"]


def test_images() -> None:
    both = manifest(deployment("taxiway/airflow:2"), CONFIG_MAP)
    assert images(both) == {"taxiway/airflow:1", "taxiway/airflow:2"}
    assert airflow_image(both) == "taxiway/airflow:2"


def test_a_difference_shows_what_changes() -> None:
    text = difference(manifest(deployment()), manifest(deployment("taxiway/airflow:2"), CONFIG_MAP))
    changed = [line.split() for line in text.splitlines() if "image:" in line and line[0] in "+-"]
    assert [[line[0], line[-1]] for line in changed[-2:]] == [["-", "taxiway/airflow:1"], ["+", "taxiway/airflow:2"]]
    assert "+++ ConfigMap/c (to be deployed)" in text
    assert difference(manifest(deployment()), manifest(deployment())) == ""


def test_order_and_comments_are_no_difference() -> None:
    a, b = deployment(), secret("s", k="djE=")
    assert difference("# one\n" + manifest(a, b), "# two\n" + manifest(b, a)) == ""


def test_a_difference_never_shows_a_secret() -> None:
    old, new = secret("s", same="c2FtZQ==", other="b2xk", gone="Z29uZQ=="), secret("s", same="c2FtZQ==", other="bmV3")
    new["stringData"] = {"plain": "hunter2"}
    text = difference(manifest(old), manifest(new))
    for value in ("c2FtZQ==", "b2xk", "bmV3", "Z29uZQ==", "hunter2"):
        assert value not in text
    assert "-  other: (hidden, before)" in text
    assert "+  other: (hidden, after)" in text
    assert "same: (hidden)" in text
    assert "bmV3" not in difference("", manifest(new))


def test_commit_that_runs() -> None:
    a, b = "a" * 40, "b" * 40
    assert "the head of the branch" in commit_sentence(a, a)
    assert "yet to come" in commit_sentence(a, b)
    assert "cannot be asked" in commit_sentence(a, "")
    env = [{"name": "GITSYNC_REPO", "value": "git://h/r.git"}, {"name": "GITSYNC_REF", "value": "v1"}]
    assert git_source([{"spec": {"containers": [{"env": env}]}}]) == ("git://h/r.git", "v1")
