"""Airflow ignores a key that it does not know: each one that is set must be in its own or a provider's list."""

import json
import re
from functools import cache

import pytest
import yaml

from tests.helm.rendering import FEATURES, ROOT, render

pytestmark = pytest.mark.slow  # renders every feature

OPTIONS = ROOT / "tests/helm/provider_options.json"
# The chart writes these for older versions, or for parts that are off; Airflow 3 has no use for them.
CHARTS_OWN = {
    ("kerberos", "*"), ("elasticsearch", "*"), ("elasticsearch_configs", "*"), ("celery_kubernetes_executor", "*"),
    ("webserver", "enable_proxy_fix"), ("scheduler", "standalone_dag_processor"),
}  # fmt: skip


@cache
def known() -> dict[str, set[str]]:
    """Return section → keys of Airflow itself and of the providers in the image."""
    (config,) = (ROOT / ".local/venvs/airflow/lib").glob("python3.*/site-packages/airflow/config_templates/config.yml")
    options = {section: set(body["options"]) for section, body in yaml.safe_load(config.read_text()).items()}
    for provider in json.loads(OPTIONS.read_text()).values():
        for section, keys in provider["options"].items():
            options.setdefault(section, set()).update(keys)
    return options


@pytest.mark.parametrize(
    ("environment", "features"),
    [("kind", ()), ("eks", ()), *(("kind", (feature,)) for feature in FEATURES)],
    ids=lambda value: "+".join(value) if isinstance(value, tuple) else value,
)
def test_every_key_of_airflow_cfg_is_known(environment: str, features: tuple[str, ...]) -> None:
    unknown = [
        f"[{section}] {key}"
        for section, keys in render(environment, features).config.items()
        for key in keys
        if key not in known().get(section, ()) and not {(section, key), (section, "*")} & CHARTS_OWN
    ]
    assert unknown == []


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ("scheduler", "dag_dir_list_interval"),
        ("core", "dag_concurrency"),
        ("kubernetes", "worker_pods_creation_batch_size"),
        ("kubernetes_environment_variables", "TAXIWAY_LAKE"),
        ("webserver", "expose_config"),
        ("dag_processor", "refresh_intervall"),
    ],
)
def test_a_key_of_former_versions_or_misspelt_is_noticed(section: str, key: str) -> None:
    rendered = render("kind", (), {"config": {section: {key: "1"}}})
    assert rendered.config[section][key] == "1", "the chart lets it pass"
    assert key not in known().get(section, ())


def test_variables_that_configure_airflow_are_known() -> None:
    for pod in render("kind").pods:
        for container in pod.containers:
            for name in container.env:
                found = re.fullmatch(r"AIRFLOW__([A-Z_]+?)__([A-Z_]+)", name)
                if found and not name.startswith("AIRFLOW__LOG_"):
                    assert found.group(2).lower() in known().get(found.group(1).lower(), ()), name


def test_the_list_of_providers_is_that_of_the_image() -> None:
    """A new version may drop a key: write the list again (python -m tests.helm.provider_options)."""
    locked = dict(re.findall(r"^(apache-airflow-providers-[a-z-]+)==(\S+)", image_lock(), re.MULTILINE))
    listed = {name: each["version"] for name, each in json.loads(OPTIONS.read_text()).items()}
    assert listed == {name: locked[name] for name in listed}
    assert {"apache-airflow-providers-celery", "apache-airflow-providers-fab"} <= set(listed)


def test_the_image_has_the_airflow_that_the_chart_is_told_of() -> None:
    values = yaml.safe_load((ROOT / "helm/airflow/base.yaml").read_text())
    assert re.search(rf"^apache-airflow=={re.escape(values['airflowVersion'])} ", image_lock(), re.MULTILINE)
    # Below 9.39 operators on EMR lose or leak jobs.
    amazon = re.search(r"^apache-airflow-providers-amazon==(\d+)\.(\d+)", image_lock(), re.MULTILINE)
    assert amazon
    assert tuple(map(int, amazon.groups())) >= (9, 39)


def image_lock() -> str:
    return (ROOT / "requirements/airflow-image.txt").read_text()
