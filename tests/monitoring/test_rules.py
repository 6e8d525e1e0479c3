"""Recording and alert rules: what they watch exists, each alert fires and keeps still, and has a page that helps."""

import json
import re
import subprocess
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitoring import docs, metrics, slo
from tests.tools import tool

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "helm/monitoring"
RUNBOOKS = ROOT / "docs/runbooks"
RULE_FILES = sorted((MONITORING / "rules").glob("*.yaml"))
UNIT_TESTS = sorted((ROOT / "tests/monitoring/rules").glob("*.yaml"))
CHAPTERS = ("Symptom", "Check", "Fix", "Prevention")
# Words of PromQL that look like names of metrics.
PROMQL = {
    *("sum", "max", "min", "avg", "count", "group", "or", "and", "unless", "offset", "bool"),
    *("on", "ignoring", "group_left", "group_right"),
}


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@cache
def rules() -> tuple[dict[str, Any], ...]:
    return tuple(rule for file in RULE_FILES for group in load(file)["groups"] for rule in group["rules"])


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


ALERTS = sorted({rule["alert"] for rule in alerts()})


def names_in(expression: str) -> set[str]:
    """Return the names of metrics in an expression, those of recording rules included."""
    bare = re.sub(r"\{[^}]*\}|\[[^]]*\]|\"[^\"]*\"", " ", expression)
    bare = re.sub(r"\b(by|without|on|ignoring)\s*\([^)]*\)", " ", bare)
    bare = re.sub(r"\b[a-z_]+\s*(?=\()", " ", bare)  # functions
    return set(re.findall(r"[a-z_][a-zA-Z0-9_:]*", re.sub(r"\b[0-9.]+[smhd]?\b", " ", bare))) - PROMQL


@cache
def known_metrics() -> frozenset[str]:
    """Return every series name that Prometheus can have: of Airflow and ours, of exporters, and recorded."""
    found = {rule["record"] for rule in rules() if "record" in rule}
    for exporter in load(MONITORING / "exporters.yaml").values():
        found |= set(exporter["metrics"])
    for metric in metrics.read().metrics:
        found |= metric.series
    return frozenset(found)


# -- The rules by themselves ------------------------------------------------------------------------------------------


def test_promtool_finds_no_fault() -> None:
    done = subprocess.run(
        [tool("promtool"), "check", "rules", "--lint=all", "--lint-fatal", *RULE_FILES],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_metric_in_a_rule_exists() -> None:
    unknown = {rule.get("alert") or rule["record"]: names_in(rule["expr"]) - known_metrics() for rule in rules()}
    assert {name: missing for name, missing in unknown.items() if missing} == {}


def test_every_metric_in_a_panel_exists() -> None:
    found = 0
    for file in sorted((MONITORING / "dashboards").glob("*.json")):
        for panel in json.loads(file.read_text(encoding="utf-8"))["panels"]:
            for target in panel.get("targets", []):
                found += 1
                missing = names_in(re.sub(r"\$\{?\w+\}?", "1m", target["expr"])) - known_metrics()
                assert not missing, f"{file.name}: {panel['title']}"
    assert found > 100


def test_every_label_that_a_rule_selects_or_groups_by_is_one_of_the_metric() -> None:
    labels = {metric.name: set(metric.labels) for metric in metrics.read().metrics}
    found = 0
    for rule in rules():
        for name, selector in re.findall(r"((?:airflow|taxiway)_[a-z_]+)\{([^}]*)\}", rule["expr"]):
            base = name if name in labels else re.sub(r"_(count|sum|bucket)$", "", name)
            if base in labels:
                found += 1
                more = {"le"} if name.endswith("_bucket") else set()
                assert set(re.findall(r"(\w+)\s*[=!]~?", selector)) <= labels[base] | more, rule
        only = names_in(rule["expr"]) - {"up"}
        grouped = re.search(r"(?:sum|max) by \(([^)]*)\)", rule["expr"])
        if grouped and len(only) == 1 and (name := re.sub(r"_count$", "", next(iter(only)))) in labels:
            found += 1
            assert set(re.split(r",\s*", grouped[1])) <= labels[name], rule
    assert found > 8


def test_names_in_an_expression_are_found() -> None:
    text = 'sum by (dag_id) (rate(a_total{b="c_d"}[5m])) / 3.6e1 > 0.5 and on (x) lvl:e_f:rate1h offset 1m'
    assert names_in(text.replace("3.6e1", "36")) == {"a_total", "lvl:e_f:rate1h"}


def test_every_metric_of_an_exporter_is_used() -> None:
    used = {name for rule in rules() for name in names_in(rule["expr"])}
    dashboards = "".join(file.read_text(encoding="utf-8") for file in (MONITORING / "dashboards").glob("*.json"))
    listed = {name for exporter in load(MONITORING / "exporters.yaml").values() for name in exporter["metrics"]}
    assert {name for name in listed - used if name not in dashboards} == set()


def test_events_are_counted_by_one_formula() -> None:
    formula = (
        "{sum} ( (M - (M offset 1m <= M)) or (M and on (job, instance) (up offset 1m == 1)) ) > 0"
    )  # fmt: skip
    groups = [group for file in RULE_FILES for group in load(file)["groups"]]
    counted = [(group, rule) for group in groups for rule in group["rules"] if rule.get("record", "").endswith(":new")]
    assert len(counted) >= 8
    for group, rule in counted:
        assert group["interval"] == "1m", "as long as the offset, or events are counted twice or never"
        text = " ".join(rule["expr"].split())
        (metric,) = names_in(text) - {"up"}
        begin = re.match(r"sum(?: by \([a-z_, ]+\))?", text)
        assert begin
        assert text.replace(metric, "M") == formula.replace("{sum}", begin[0])


# -- Alerts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_what_is_wrong_and_links_to_its_page(name: str) -> None:
    for alert in (each for each in alerts() if each["alert"] == name):
        assert re.fullmatch(r"([A-Z][a-z]+)+", name)
        assert alert["labels"]["severity"] in ("page", "ticket", "info")
        assert re.fullmatch(r"[a-z-]+", alert["labels"]["team"])
        notes = alert["annotations"]
        assert set(notes) == {"summary", "description", "runbook_url"}
        assert "$value" in notes["summary"]
        assert notes["summary"].endswith(".")
        assert "{{" not in notes["description"]
        assert notes["runbook_url"] == f"docs/runbooks/{name}.md"
        assert (ROOT / notes["runbook_url"]).is_file()


@pytest.mark.parametrize("name", ALERTS)
def test_a_runbook_has_its_chapters_and_commands(name: str) -> None:
    text = (RUNBOOKS / f"{name}.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {name}\n")
    assert tuple(re.findall(r"^## (.+)$", text, re.MULTILINE)) == CHAPTERS
    check, fix = text.split("## Check")[1].split("## Fix")[0], text.split("## Fix")[1].split("## Prevention")[0]
    assert "\n    " in check, "no command to paste"
    assert len(fix.strip()) > 40


def test_the_list_of_runbooks_is_up_to_date() -> None:
    assert docs.RUNBOOKS.read_text(encoding="utf-8") == docs.runbooks(), "run python -m monitoring.docs"
    assert set(re.findall(r"\]\((\w+)\.md\)", docs.runbooks())) == set(ALERTS)


def test_no_runbook_is_left_of_an_alert_that_is_gone() -> None:
    assert {page.stem for page in RUNBOOKS.glob("*.md")} - {"README"} == set(ALERTS)


def test_runbooks_name_what_there_is() -> None:
    """Names of pods and containers in commands, against the chart's standard names."""
    parts = {
        "scheduler",
        "api-server",
        "worker",
        "dag-processor",
        "triggerer",
        "flower",
        "statsd",
        "pgbouncer",
        "redis",
    }
    for page in RUNBOOKS.glob("*.md"):
        text = page.read_text(encoding="utf-8")
        for kind, name in re.findall(r"\b(deploy(?:ment)?|statefulset|svc|service)/([a-z][a-z0-9-]*)", text):
            ours = {"prometheus", "alertmanager", "redis-exporter", "kube-state-metrics", "postgres", "local-aws"}
            assert name in ours or name.removeprefix("airflow-") in parts, f"{page.name}: {kind}/{name}"
        for line in re.findall(r"^    (kubectl .*)$", text, re.MULTILINE):
            assert " -n taxiway " in f"{line} ", f"{page.name}: {line}"


# -- promtool's unit tests --------------------------------------------------------------------------------------------


def cases() -> list[tuple[str, bool]]:
    found = []
    for file in UNIT_TESTS:
        for test in load(file)["tests"]:
            found += [(each["alertname"], bool(each["exp_alerts"])) for each in test.get("alert_rule_test", [])]
    return found


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_is_tested_firing_and_not_firing(name: str) -> None:
    assert (name, True) in cases(), "no test in which it fires"
    assert (name, False) in cases(), "no test in which it does not fire"


def test_no_alert_is_tested_that_there_is_not() -> None:
    assert {name for name, _ in cases()} <= set(ALERTS)


def whole(file: Path) -> dict[str, Any]:
    """Return a file of unit tests with the annotations that never vary, and absolute paths."""
    tests: dict[str, Any] = load(file)
    tests["rule_files"] = [str((file.parent / each).resolve()) for each in tests["rule_files"]]
    fixed: dict[tuple[str, str], dict[str, str]] = {}
    for alert in alerts():
        key = (alert["alert"], alert["labels"].get("dag_id", ""))
        fixed[key] = {each: alert["annotations"][each] for each in ("description", "runbook_url")}
    for test in tests["tests"]:
        for case in test.get("alert_rule_test", []):
            for expected in case["exp_alerts"]:
                dag_id = expected["exp_labels"].get("dag_id", "")
                name = case["alertname"]
                extra = fixed.get((name, dag_id)) or fixed[name, ""]
                expected["exp_annotations"] = extra | expected["exp_annotations"]
    return tests


def needed(files: Sequence[Path], text: str) -> list[Path]:
    """Return the files of the rules that a text names, and of those that these name: each costs all tests time."""
    rules = {file: yaml.safe_load(file.read_text(encoding="utf-8")) or {"groups": []} for file in files}
    names = {
        file: [rule.get("alert") or rule["record"] for group in content["groups"] for rule in group["rules"]]
        for file, content in rules.items()
    }
    found: list[Path] = []
    while more := [file for file in files if file not in found and any(name in text for name in names[file])]:
        found += more
        text = "".join(json.dumps(rules[file]) for file in more)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("file", UNIT_TESTS, ids=lambda file: file.stem)
def test_promtool_s_unit_tests_pass(file: Path, tmp_path: Path) -> None:
    path = tmp_path / "test.yaml"
    tests = whole(file)
    ours = [each for each in slo.read() if each.dag_id in file.read_text(encoding="utf-8")]
    (tmp_path / "slo.yaml").write_text(slo.render(ours), encoding="utf-8")
    every = [each for each in (*RULE_FILES, tmp_path / "slo.yaml") if each != slo.RULES]
    tests["rule_files"] = [str(each) for each in needed(every, json.dumps(tests["tests"]))]
    path.write_text(yaml.safe_dump(tests, sort_keys=False, allow_unicode=True), encoding="utf-8")
    done = subprocess.run(
        [tool("promtool"), "test", "rules", path], capture_output=True, text=True, check=False, timeout=250
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_wrong_expectation_is_noticed(tmp_path: Path) -> None:
    tests = whole(next(file for file in UNIT_TESTS if file.stem == "airflow"))
    tests["tests"] = tests["tests"][:1]
    (firing,) = [each for each in tests["tests"][0]["alert_rule_test"] if each["exp_alerts"]]
    firing["exp_alerts"] = []
    path = tmp_path / "test.yaml"
    path.write_text(yaml.safe_dump(tests), encoding="utf-8")
    done = subprocess.run([tool("promtool"), "test", "rules", path], capture_output=True, text=True, check=False)
    assert done.returncode != 0


# -- Objectives -------------------------------------------------------------------------------------------------------


def test_the_rules_of_the_objectives_are_up_to_date() -> None:
    assert slo.RULES.read_text(encoding="utf-8") == slo.render(slo.read()), "run python -m monitoring.slo"


def test_every_dag_has_objectives() -> None:
    dags = {file.stem for file in (ROOT / "dags").glob("*.py")}
    assert {each.dag_id for each in slo.read()} == dags


def contract(table: str, team: str = "data", **levels: str) -> str:
    """Return a data contract as far as objectives read it; levels are such as ``freshness="2h"``."""
    promises = [{"property": key, "value": int(value[:-1]), "unit": value[-1]} for key, value in levels.items()]
    return yaml.safe_dump(
        {"team": {"name": team}, "schema": [{"physicalName": table}], "slaProperties": promises}, sort_keys=False
    )


def test_a_pipeline_s_owner_and_tables_come_from_its_contracts(tmp_path: Path) -> None:
    (tmp_path / "rides").mkdir()
    for table, level in (("rides", {"freshness": "2h"}), ("fares", {"freshness": "1d"}), ("raw", {"retention": "9d"})):
        (tmp_path / f"rides/{table}.yaml").write_text(contract(table, **level), encoding="utf-8")
    (tmp_path / "d.yaml").write_text(
        yaml.safe_dump(
            {"dag_id": "d", "pipeline": "rides", "page": True, "freshness": {"target": 0.99, "window": "30d"}}
        )
    )
    (found,) = slo.read(tmp_path, tmp_path)
    assert (found.owner, found.max_ages) == ("data", {"fares": "1d", "rides": "2h"})
    recorded = {rule.get("record", rule.get("alert")): rule for rule in slo.groups([found])[0]["rules"]}
    stale = recorded["dag_id:taxiway_data_stale:bool"]["expr"]
    assert re.findall(r'table="(\w+)"} > bool (\d+)', stale) == [("fares", "86400"), ("rides", "7200")]
    alert = recorded["DataFreshnessBurnsFast"]
    assert alert["labels"]["team"] == "data"
    assert "2h to 1d is agreed" in alert["annotations"]["summary"]


def test_hvfhv_s_objectives_are_those_of_its_contracts() -> None:
    found = {each.dag_id: each for each in slo.read()}
    published = {"trips", "service_quality", "market_share", "popular_zones", "rising_zones", "trend", "eta_training"}
    assert found["hvfhv_analysis"].max_ages == {f"hvfhv_{table}": "105d" for table in published}
    assert found["hvfhv_analysis"].owner == found["hvfhv_collection"].owner == "data-platform"


def test_windows_are_those_of_the_workbook_for_thirty_days() -> None:
    group = slo.groups([
        slo.Slo(dag_id="d", owner="o", page=True, success=slo.Success(target=0.999, window="30d", every="1m"))
    ])[0]  # fmt: skip
    shares = Counter(rule["labels"]["window"] for rule in group["rules"] if "record" in rule)
    assert shares == Counter(("1h", "5m", "6h", "30m", "3d"))
    fast, slow = (rule for rule in group["rules"] if "alert" in rule)
    found = re.findall(r'window="(\w+)"\}\) > ([\d.]+)', fast["expr"])
    assert found == [("1h", "0.0144"), ("5m", "0.0144"), ("6h", "0.006"), ("30m", "0.006")]
    assert re.findall(r'window="(\w+)"\}\) > ([\d.]+)', slow["expr"]) == [("3d", "0.001"), ("6h", "0.001")]
    assert (fast["labels"]["severity"], slow["labels"]["severity"]) == ("page", "ticket")


GOOD = {"dag_id": "d", "owner": "team", "page": False, "success": {"target": 0.95, "window": "90d", "every": "31d"}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"success": {"target": 0.5, "window": "90d", "every": "31d"}}, "success.target"),
        (
            {"success": {"target": 0.95, "window": "3 months", "every": "31d"}},
            "is not a duration such as 30m, 6h or 90d",
        ),
        ({"success": None}, "it has no objective"),
        ({"sucess": {}}, "sucess"),
        ({"dag_id": "e"}, "call it e.yaml"),
        ({"owner": ""}, "owner"),
        ({"freshness": {"target": 0.99, "window": "30d"}}, "freshness needs a pipeline"),
        ({"pipeline": "nothing"}, "name 0 teams"),
        ({"pipeline": "two"}, "name 2 teams"),
        ({"pipeline": "broken"}, "contracts/broken/rides.yaml is no data contract: 'team'"),
    ],
)
def test_a_wrong_objective_is_refused_in_one_sentence(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    (tmp_path / "d.yaml").write_text(yaml.safe_dump(GOOD | change), encoding="utf-8")
    (tmp_path / "contracts/two").mkdir(parents=True)
    (tmp_path / "contracts/broken").mkdir()
    (tmp_path / "contracts/broken/rides.yaml").write_text("schema: []\n", encoding="utf-8")
    for team in ("one", "two"):
        (tmp_path / f"contracts/two/{team}.yaml").write_text(contract(team, team), encoding="utf-8")
    with pytest.raises(slo.SloError, match=re.escape(message)) as failure:
        slo.read(tmp_path, tmp_path / "contracts")
    assert "\n" not in str(failure.value)


def test_a_folder_without_objectives_is_refused(tmp_path: Path) -> None:
    with pytest.raises(slo.SloError, match="has no objectives"):
        slo.read(tmp_path)
