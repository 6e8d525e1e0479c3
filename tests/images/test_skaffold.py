"""skaffold.yaml, where skaffold itself cannot be had: its schema, and that it names what is there."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT.parent / "shared/schemas/skaffold-v4beta14.json"


@pytest.fixture
def skaffold() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "skaffold.yaml").read_text(encoding="utf-8"))


def artifacts(skaffold: dict[str, Any]) -> list[dict[str, Any]]:
    added = [patch["value"] for profile in skaffold["profiles"] for patch in profile["patches"]]
    return skaffold["build"]["artifacts"] + [value for value in added if isinstance(value, dict) and "image" in value]


def faults(document: dict[str, Any]) -> list[str]:
    jsonschema = pytest.importorskip("jsonschema")
    if not SCHEMA.is_file():
        pytest.skip("the schema of skaffold.yaml is not on this machine")
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    return [error.json_path for error in jsonschema.Draft7Validator(schema).iter_errors(document)]


def test_it_follows_skaffold_s_schema(skaffold: dict[str, Any]) -> None:
    assert skaffold["apiVersion"] == "skaffold/v4beta14"
    assert faults(skaffold) == []


def test_the_schema_would_find_a_mistake(skaffold: dict[str, Any]) -> None:
    skaffold["deploy"]["helm"]["releases"][0]["values"] = {}
    assert faults(skaffold)


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
