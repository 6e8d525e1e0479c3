"""Who is notified of which alert: amtool over the configuration, and over what the chart makes of it."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.monitoring.test_chart import of_kind, render
from tests.tools import tool

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "helm/monitoring/alertmanager.yaml"
NAMES = {
    rule["alert"]: rule["labels"]
    for file in (ROOT / "helm/monitoring/rules").glob("*.yaml")
    for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
    if "alert" in rule
}
BY_SEVERITY = {"page": "pager", "ticket": "slack", "info": "slack-once"}


def amtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([tool("amtool"), *arguments], capture_output=True, text=True, check=False, timeout=60)


def receiver(labels: dict[str, str], config: Path = CONFIG) -> str:
    done = amtool("config", "routes", "test", f"--config.file={config}", *(f"{k}={v}" for k, v in labels.items()))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def config() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    return loaded


def test_amtool_finds_no_fault() -> None:
    done = amtool("check-config", CONFIG)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", sorted(NAMES))
def test_each_alert_reaches_whom_its_severity_says(name: str) -> None:
    labels = NAMES[name]
    assert receiver({"alertname": name, **labels}) == BY_SEVERITY[labels["severity"]]


@pytest.mark.parametrize(
    ("labels", "notified"),
    [
        ({"alertname": "Watchdog", "severity": "none"}, "nobody"),
        ({"alertname": "KubeNodeNotReady", "severity": "critical"}, "slack"),
        ({"alertname": "Something"}, "slack"),
    ],
)
def test_alerts_of_others_are_not_lost_and_wake_nobody(labels: dict[str, str], notified: str) -> None:
    assert receiver(labels) == notified


def test_who_is_woken_also_reads_it_in_slack() -> None:
    (pager,) = [each for each in config()["receivers"] if each["name"] == "pager"]
    assert pager["pagerduty_configs"]
    assert pager["slack_configs"]


def test_no_address_or_key_stands_in_the_file() -> None:
    for each in config()["receivers"]:
        for slack in each.get("slack_configs", []):
            assert not {"api_url", "app_token"} & set(slack)
        for pager in each.get("pagerduty_configs", []):
            assert pager["routing_key_file"].startswith("/etc/alertmanager/secrets/alertmanager-notify/")
            assert not {"routing_key", "service_key"} & set(pager)
    assert set(config()["global"]) == {"resolve_timeout", "slack_api_url_file"}


def test_alerts_named_in_inhibitions_exist() -> None:
    import re

    for rule in config()["inhibit_rules"]:
        for matcher in rule["source_matchers"] + rule["target_matchers"]:
            (pattern,) = re.findall(r'^alertname=~?"(.+)"$', matcher)
            for part in pattern.split("|"):
                assert any(re.fullmatch(part, name) for name in NAMES), part


@pytest.mark.parametrize("notify", ["secrets", "webhook", "nobody"])
def test_what_the_chart_makes_of_it_is_good(notify: str, tmp_path: Path) -> None:
    alertmanager = {"enabled": True, "notify": notify, "webhook": "http://receiver:8080/"}
    manifests = render({"alertmanager": alertmanager})
    text = of_kind(manifests, "ConfigMap")["alertmanager"]["data"]["alertmanager.yaml"]
    path = tmp_path / "alertmanager.yaml"
    path.write_text(text, encoding="utf-8")
    done = amtool("check-config", path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert receiver({"alertname": "SchedulerHeartbeatMissing", "severity": "page"}, path) == "pager"
    made = yaml.safe_load(text)
    assert made["route"] == config()["route"]
    notified = {each["name"]: set(each) - {"name"} for each in made["receivers"]}
    if notify == "secrets":
        assert made["receivers"] == config()["receivers"]
    else:
        kinds = {"webhook_configs"} if notify == "webhook" else set()
        assert notified == {"nobody": set(), "slack": kinds, "slack-once": kinds, "pager": kinds}
