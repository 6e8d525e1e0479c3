"""What Kubernetes manifests say: their images, the secrets that they need, and how two of them differ."""

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Dumper(yaml.SafeDumper):
    """Writes texts of many lines as such, so that a difference shows the lines that differ."""


def _text(dumper: Any, text: str) -> Any:
    lines = "\n".join(line.rstrip() for line in text.split("\n"))  # YAML has no block whose lines end with blanks
    return dumper.represent_scalar("tag:yaml.org,2002:str", lines, style="|" if "\n" in text else None)


Dumper.add_representer(str, _text)


def parse(manifest: str) -> list[dict[str, Any]]:
    """Return the objects of a manifest."""
    return [each for each in yaml.load_all(manifest, Loader) if isinstance(each, dict)]


def images(manifest: str) -> set[str]:
    """Return the images that a manifest's containers run, pods of the Kubernetes executor included."""
    return {
        container["image"]
        for thing in _deep(parse(manifest))
        for key in ("containers", "initContainers")
        for container in thing.get(key) or []
        if isinstance(container, dict) and isinstance(container.get("image"), str)
    }


def airflow_image(manifest: str) -> str:
    """Return the image of Airflow that a release's manifest runs; empty if none does."""
    for thing in parse(manifest):
        labels = (thing.get("metadata") or {}).get("labels") or {}
        if thing.get("kind") == "Deployment" and labels.get("component") == "api-server":
            return str(thing["spec"]["template"]["spec"]["containers"][0]["image"])
    return next((image for image in sorted(images(manifest)) if "/airflow:" in image), "")


def needed_secrets(manifest: str) -> dict[str, set[str]]:
    """Return the secrets that a manifest's pods cannot start without, and the keys that they ask for by name.

    Those that the manifest itself makes, also by External Secrets, are not among them.
    """
    objects = parse(manifest)
    made = set()
    for thing in objects:
        if thing.get("kind") == "Secret":
            made.add(thing["metadata"]["name"])
        elif thing.get("kind") == "ExternalSecret":
            target = (thing.get("spec") or {}).get("target") or {}
            made.add(target.get("name") or thing["metadata"]["name"])
    needed: dict[str, set[str]] = {}
    for name, keys in _secret_references(objects):
        if name not in made:
            needed.setdefault(name, set()).update(keys)
    return needed


def missing_secrets(needed: Mapping[str, set[str]], there: Mapping[str, set[str]]) -> list[str]:
    """Return what is missing: names of secrets, or ``name (key …)``."""
    missing = []
    for name, keys in sorted(needed.items()):
        if name not in there:
            missing.append(name)
        elif lacking := sorted(keys - there[name]):
            missing.append(f"{name} (key {', '.join(lacking)})")
    return missing


def difference(before: str, after: str) -> str:
    """Return how two manifests differ, object by object, as a unified diff; it shows no value of a secret."""
    old, new = ({_name(each): each for each in parse(manifest)} for manifest in (before, after))
    parts: list[str] = []
    for name in sorted(old.keys() | new.keys()):
        a, b = _without_secrets(old.get(name), new.get(name))
        parts += difflib.unified_diff(
            _lines(a),
            _lines(b),
            f"{name} (deployed)" if name in old else "/dev/null",
            f"{name} (to be deployed)" if name in new else "/dev/null",
            lineterm="",
        )
    return "\n".join(parts)


def _lines(thing: Any) -> list[str]:
    return yaml.dump(thing, Dumper=Dumper, sort_keys=True, width=200).splitlines() if thing is not None else []


def _name(thing: dict[str, Any]) -> str:
    metadata = thing.get("metadata") or {}
    # A release's manifest names the namespace of some objects only, so that it is of no use here.
    return f"{thing.get('kind')}/{metadata.get('name')}"


def _without_secrets(old: Any, new: Any) -> tuple[Any, Any]:
    """Hide the values of a secret, but not whether they change."""
    if (old or new or {}).get("kind") != "Secret":
        return old, new
    hidden: list[dict[str, Any] | None] = []
    for thing, word in ((old, "before"), (new, "after")):
        if thing is None:
            hidden.append(None)
            continue
        copy = dict(thing)
        for field in ("data", "stringData"):
            if field in thing:
                other = ((new if thing is old else old) or {}).get(field) or {}
                copy[field] = {
                    key: "(hidden)" if other.get(key) == value else f"(hidden, {word})"
                    for key, value in (thing[field] or {}).items()
                }
        hidden.append(copy)
    return hidden[0], hidden[1]


def _secret_references(objects: list[dict[str, Any]]) -> Iterator[tuple[str, set[str]]]:
    for thing in _deep(objects):
        for key, reference in thing.items():
            if not isinstance(reference, dict) or reference.get("optional"):
                continue
            if key == "secretKeyRef" and reference.get("name"):
                yield reference["name"], {str(reference.get("key"))}
            elif key == "secretRef" and reference.get("name"):
                yield reference["name"], set()
            elif key == "secret" and (name := reference.get("secretName") or reference.get("name")):
                yield name, {str(item["key"]) for item in reference.get("items") or []}


def _deep(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every dictionary within a value, those of pods in the text of config maps too."""
    if isinstance(value, dict):
        yield value
        if value.get("kind") == "ConfigMap":
            for name, text in (value.get("data") or {}).items():
                if name.endswith((".yaml", ".yml")) and isinstance(text, str) and "kind: Pod" in text:
                    yield from _deep(yaml.load(text, Loader))  # noqa: S506 - a safe loader
        for each in value.values():
            yield from _deep(each)
    elif isinstance(value, list):
        for each in value:
            yield from _deep(each)
