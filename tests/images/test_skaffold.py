"""skaffold.yaml: that skaffold would read it, and that it names what is there."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
KEYS: dict[str, dict[str, Any]] = yaml.safe_load(
    Path(__file__).with_name("skaffold_keys.yaml").read_text(encoding="utf-8")
)
SCALARS = {"string": str, "integer": int, "boolean": bool}


@pytest.fixture
def skaffold() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((ROOT / "skaffold.yaml").read_text(encoding="utf-8"))
    return read


def artifacts(skaffold: dict[str, Any]) -> list[dict[str, Any]]:
    added = [patch["value"] for profile in skaffold["profiles"] for patch in profile["patches"]]
    return [*skaffold["build"]["artifacts"], *(each for each in added if isinstance(each, dict) and "image" in each)]


def faults(value: object, kind: Any = "Config", path: str = "") -> Iterator[str]:
    """Yield the path of every key that skaffold does not know and of every value of another type than it reads."""
    if isinstance(kind, list) and isinstance(value, list):
        for number, each in enumerate(value):
            yield from faults(each, kind[0], f"{path}[{number}]")
    elif isinstance(kind, str) and kind in KEYS and isinstance(value, dict):
        for key, each in value.items():
            yield from faults(each, KEYS[kind].get(key), f"{path}.{key}")
    elif kind != "any" and type(value) is not SCALARS.get(str(kind)):
        yield path


def test_skaffold_knows_every_key_and_type(skaffold: dict[str, Any]) -> None:
    assert skaffold["apiVersion"] == "skaffold/v4beta14"
    assert list(faults(skaffold)) == []


def test_an_unknown_key_and_a_wrong_type_are_found(skaffold: dict[str, Any]) -> None:
    skaffold["deploy"]["helm"]["releases"][0] |= {"values": {}, "wait": "yes"}
    skaffold["build"]["local"] = []
    assert list(faults(skaffold)) == [
        ".build.local", ".deploy.helm.releases[0].wait", ".deploy.helm.releases[0].values",
    ]  # fmt: skip


def test_it_builds_every_image(skaffold: dict[str, Any]) -> None:
    built = {each["image"]: each for each in artifacts(skaffold)}
    assert set(built) == {f"taxiway/{path.parent.name}" for path in ROOT.glob("images/*/Dockerfile")}
    for image, each in built.items():
        assert each["docker"]["dockerfile"] == f"images/{image.removeprefix('taxiway/')}/Dockerfile"
        assert each["context"] == "."


def test_it_deploys_only_images_that_it_builds(skaffold: dict[str, Any]) -> None:
    known = {re.sub("[^a-z0-9]", "_", each["image"]) for each in artifacts(skaffold)}
    text = (ROOT / "skaffold.yaml").read_text(encoding="utf-8")
    assert set(re.findall(r"\.IMAGE_(?:REPO|TAG)_(\w+)", text)) == known


def test_it_deploys_both_charts_on_kind_and_nowhere_else(skaffold: dict[str, Any]) -> None:
    assert skaffold["deploy"]["kubeContext"] == "kind-taxiway"
    releases = {each["name"]: each for each in skaffold["deploy"]["helm"]["releases"]}
    assert list(releases) == ["platform", "airflow"]
    assert {each["namespace"] for each in releases.values()} == {"taxiway"}
    assert releases["airflow"]["version"] == "1.22.0"
    for each in releases.values():
        for file in each["valuesFiles"]:
            assert (ROOT / file).is_file(), f"{file} does not exist"
