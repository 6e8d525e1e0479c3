"""Metrics: Airflow's whole list and a real run, through the real exporter with the real mappings."""

import ast
import copy
import dataclasses
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest
import yaml

from monitoring import capture, docs, mapping_checks, mappings, metrics
from monitoring.exporter import Page, parse
from monitoring.exporter import exporter as exporter_of
from tests.helm.rendering import ENVIRONMENTS, ROOT, RenderError, render
from tests.waiting import eventually

RECORDINGS = sorted((Path(__file__).parent / "data").glob("*.statsd.gz"))
DEV_PYTHON = ROOT / ".local/venvs/dev/bin/python"
TABLE = metrics.read()
PageOf = Callable[..., Page]
Mappings = list[dict[str, Any]]
Change = Callable[[Mappings], None]
EXAMPLES = [*(metric.example for metric in TABLE.metrics), *TABLE.dropped]


@cache
def airflow() -> Path:
    """The folder of the installed Airflow."""
    found = sorted((ROOT / ".local/venvs/airflow/lib").glob("python3.*/site-packages/airflow"))
    if not found:
        pytest.skip("the environment of Airflow is not installed: make setup")
    return found[0]


@cache
def template() -> list[dict[str, Any]]:
    path = airflow() / "_shared/observability/metrics/metrics_template.yaml"
    return list(yaml.safe_load(path.read_text())["metrics"])


@cache
def recorded() -> list[str]:
    return [packet.line for recording in RECORDINGS for packet in capture.read(recording)]


@pytest.fixture(scope="module")
def examples(page_of: PageOf) -> Page:
    return page_of(EXAMPLES)


@pytest.fixture(scope="module")
def run(page_of: PageOf) -> Page:
    return page_of(recorded())


def changed(rules: Any, change: Change) -> str:
    """The mappings as text after ``change`` has been at a copy of them."""
    copied = copy.deepcopy(rules)
    change(copied["mappings"])
    return str(yaml.safe_dump(copied))


def without(pattern: str) -> Change:
    def change(mappings: Mappings) -> None:
        before = len(mappings)
        mappings[:] = [each for each in mappings if not re.search(pattern, each["match"])]
        assert len(mappings) < before, f"there is no rule like {pattern}"

    return change


def named_in(path: Path) -> set[str]:
    """Patterns of the metrics that calls in a file name: ``.+`` for what is filled in."""
    text = path.read_text(errors="replace")
    if "tats." not in text:
        return set()
    return {
        re.escape(str(name.value))
        if isinstance(name, ast.Constant)
        else "".join(re.escape(str(each.value)) if isinstance(each, ast.Constant) else ".+" for each in name.values)
        for call in ast.walk(ast.parse(text))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr in ("incr", "decr", "gauge", "timing", "timer")
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id.lower() == "stats"
        for name in call.args[:1]
        if isinstance(name, (ast.Constant, ast.JoinedStr))
    }


@cache
def named_in_airflow() -> set[str]:
    return set().union(*map(named_in, airflow().rglob("*.py")))


# -- The mappings make what the table says -----------------------------------------------------------------------------


def test_every_name_of_the_installed_airflow_is_in_the_table() -> None:
    assert mapping_checks.of_names(template(), TABLE) == []


def test_both_lists_of_the_installed_airflow_are_the_same() -> None:
    """Tasks run with a copy of the scheduler's."""
    other = airflow() / "sdk/_shared/observability/metrics/metrics_template.yaml"
    assert yaml.safe_load(other.read_text())["metrics"] == template()


def test_every_name_in_airflows_own_code_is_in_the_table() -> None:
    """Its list is not complete: what a call names, with what is filled in, must be in the table all the same."""
    lines = [metric.example for metric in TABLE.metrics] + list(TABLE.dropped)
    names = {line.split(":")[0].split(",")[0].removeprefix("airflow.") for line in lines}
    names |= {each["name"] for each in template()}
    found = named_in_airflow()
    assert len(found) > 50
    assert {each for each in found if not any(re.fullmatch(each, name) for name in names)} == set()


def test_what_airflow_never_sends_is_sent_by_no_call() -> None:
    """Else it could be used; that of the queue is sent by code that no executor runs."""
    found = named_in_airflow()
    silent = {metric.origin for metric in TABLE.metrics if metric.silent and metric.origin} - {"task.queued_duration"}
    assert silent
    assert {name for name in silent if any(re.fullmatch(each, name) for each in found)} == set()


def test_each_example_becomes_its_metric_once_in_its_unit(examples: Page) -> None:
    assert mapping_checks.of_examples(examples, TABLE) == []
    assert mapping_checks.of_page(examples, TABLE) == []


def test_no_variable_of_airflows_list_gets_into_a_name(page_of: PageOf) -> None:
    """Parts that this platform does not use as well."""
    assert mapping_checks.of_markers(page_of([mapping_checks.with_markers(each) for each in template()])) == []


def test_a_real_run_becomes_what_the_table_says(run: Page) -> None:
    assert mapping_checks.of_page(run, TABLE) == []
    assert mapping_checks.of_counts(recorded(), run, TABLE) == []


def test_the_real_run_is_one_of_our_dags(run: Page) -> None:
    """Else the test before would hold for nothing."""
    tasks = {dict(each.labels)["task_id"] for each in run.sent if each.name == "airflow_ti_finish"}
    assert any("." in task for task in tasks), "a task in a group has its real name"
    assert {"airflow_dagrun_duration_count", "airflow_triggers_running", "airflow_pool_open_slots"} <= {
        each.name for each in run.sent
    }
    assert not {series for metric in TABLE.metrics if metric.silent for series in metric.series} & {
        each.name for each in run.sent
    }
    ours = {each.name for each in run.sent if each.name.startswith("taxiway_")}
    assert {"taxiway_rows_total", "taxiway_bytes_collected_total"} <= ours


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_environments_share_mappings_and_settings(environment: str, mappings: str) -> None:
    rendered = render(environment)
    assert rendered.named("ConfigMap", "airflow-statsd")["data"]["mappings.yml"] == mappings
    config = rendered.config["metrics"]
    assert {key: config[key] for key in capture.settings() if key != "statsd_host"} == {
        key: value for key, value in capture.settings().items() if key != "statsd_host"
    }


@pytest.mark.slow
def test_ids_of_runs_are_no_tags() -> None:
    """What Airflow's own client makes of the tags of a missed deadline, and of a callback's free text."""
    script = """
import json, sys
from airflow._shared.observability.metrics import stats, statsd_logger
class Client:
    def __init__(self, *_): pass
    def incr(self, stat, *_): print(stat)
settings = json.load(sys.stdin)
tags = settings["statsd_influxdb_enabled"] == "True"
logger = statsd_logger.get_statsd_logger(
    stats_class=Client, influxdb_tags_enabled=tags, statsd_influxdb_enabled=tags,
    statsd_disabled_tags=settings["statsd_disabled_tags"])
stats.initialize(export_legacy_names=settings["legacy_names_on"] == "True", factory=lambda: logger)
run = "manual__2026-01-01T00:00:00+00:00"
stats.incr("deadline_alerts.deadline_missed", tags={"dag_id": "d", "dagrun_id": run})
free = {"result": "a: b", "path": "p.q", "kwargs": '{"a": 1}', "dag_id": "d"}
stats.incr("deadline_alerts.callback_success", tags=free)
stats.incr("ti.finish", tags={"dag_id": "d", "task_id": "g.t", "state": "success"})
"""
    if not DEV_PYTHON.exists():
        pytest.skip("the environment of development is not installed: make test installs it")
    settings = render("kind").config["metrics"]
    result = subprocess.run(
        [str(DEV_PYTHON), "-c", script], input=json.dumps(settings), capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == [
        "deadline_alerts.deadline_missed,dag_id=d",
        "deadline_alerts.callback_success,path=p.q,dag_id=d",
        "ti.finish,dag_id=d,task_id=g.t,state=success",
    ]


ODD = {
    "a DAG in French": {"dag_id": "ventes_été", "task_id": "groupe.étape"},
    "one of the same letters": {"dag_id": "ventes_ete", "task_id": "groupe.etape"},
    "one that is written as the first is sent": {"dag_id": "ventes_%C3%A9t%C3%A9", "task_id": "groupe.%C3%A9tape"},
    "ids as long as Airflow lets them be": {"dag_id": "日" * 250, "task_id": "本" * 250},
    "a queue that would break the line": {"dag_id": "d", "task_id": "t", "queue": "gros :1|c@0.1#a%20😀\n"},
    "a team": {"dag_id": "d", "task_id": "t", "team_name": "équipe"},
}
CLIENT = """
import importlib, json, sys
package, port, cases = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
stats_utils = importlib.import_module(f"{package}.observability.metrics.stats_utils")
stats = importlib.import_module(f"{package}._shared.observability.metrics.stats")
stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=False)
for tags in cases:
    stats.incr("ti.finish", tags={**tags, "state": "success"})
    stats.timing("task.duration", 1500, tags=tags)
    stats.gauge("pool.open_slots", 3, tags={"pool_name": tags["dag_id"]})
    with stats.timer("dagrun.dependency-check", tags={"dag_id": tags["dag_id"], "run_type": "manual"}):
        pass
stats.gauge("dag_processing.last_num_of_db_queries.été", 2)
"""


def _total(page: Page, name: str) -> float:
    return sum(each.value for each in page.sent if each.name == name)


@pytest.mark.slow
def test_no_name_of_a_dag_a_task_or_a_queue_is_lost(mappings: str, tmp_path: Path) -> None:
    """By Airflow's own clients, the scheduler's and that of tasks, into the real exporter: no two become one."""
    python = ROOT / ".local/venvs/airflow/bin/python"
    rendered = render("kind")
    (tmp_path / "config").mkdir()
    settings = rendered.settings_map["airflow_local_settings.py"]
    (tmp_path / "config/airflow_local_settings.py").write_text(settings)
    with exporter_of(mappings) as running:
        given = rendered.config["metrics"] | {"statsd_host": "127.0.0.1", "statsd_port": str(running.statsd_port)}
        environment = {f"AIRFLOW__METRICS__{key.upper()}": value for key, value in given.items()}
        for package in ("airflow", "airflow.sdk"):
            subprocess.run(
                [str(python), "-c", CLIENT, package, str(running.statsd_port), json.dumps(list(ODD.values()))],
                env={"PATH": "/usr/bin:/bin", "AIRFLOW_HOME": str(tmp_path), **environment},
                check=True,
                capture_output=True,
            )
        # Both clients end each case with a timer: the last one is that of the last case of the second.
        eventually(lambda: _total(running.page(), "airflow_dagrun_dependency_check_count") >= 2 * len(ODD))
        page = running.page()
    sent = {(each.name, each.labels): each.value for each in page.sent}
    for tags in ODD.values():
        encoded = {key: quote(value, safe="/") for key, value in tags.items()}
        assert {key: unquote(value) for key, value in encoded.items()} == tags
        state = tuple(sorted({**encoded, "state": "success"}.items()))
        dag = encoded["dag_id"]
        count = 2 * sum(each["dag_id"] == tags["dag_id"] for each in ODD.values())
        assert sent["airflow_ti_finish", state] == 2
        assert sent["airflow_task_duration_sum", tuple(sorted(encoded.items()))] == 3
        assert sent["airflow_pool_open_slots", (("pool_name", dag),)] == 3
        assert sent["airflow_dagrun_dependency_check_count", (("dag_id", dag), ("run_type", "manual"))] == count
    assert sent["airflow_dag_processing_last_num_of_db_queries", (("dag_file", "%C3%A9t%C3%A9"),)] == 2
    for fault in ("events_error", "events_conflict", "sample_errors", "tag_errors"):
        assert page.own(f"statsd_exporter_{fault}_total") == 0


def test_local_settings_of_ones_own_keep_the_names_of_metrics() -> None:
    with pytest.raises(RenderError, match="repeat its function stat_name"):
        render("kind", (), {"airflowLocalSettings": "STATE_COLORS = {}"})


def test_airflow_still_sends_seconds_of_a_parse_as_milliseconds() -> None:
    """The mapping multiplies by 1000; when Airflow fixes this, the mapping must go."""
    source = (airflow() / "dag_processing/manager.py").read_text()
    assert "run_duration = time.monotonic() - proc.start_time" in source
    assert re.search(r'"dag_processing\.last_duration",\s+stat\.last_duration,', source)


def test_what_dashboards_and_rules_use_exists_with_its_labels() -> None:
    assert metrics.problems(TABLE, metrics.uses()) == []


def test_the_list_of_mappings_is_up_to_date() -> None:
    written = (mappings.OVERLAY / "mappings.yaml").read_text(encoding="utf-8")
    assert written == mappings.compose(), "run python -m monitoring.mappings"


def test_a_deployment_without_mappings_is_refused() -> None:
    with pytest.raises(RenderError, match=r"pass --values helm/airflow/mappings\.yaml after base\.yaml"):
        render("kind", (), {"statsd": {"extraMappings": None}})


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("- match: airflow.taxiway.fares.*\n  name: x\n", "must begin with 'airflow.taxiway.rides.'"),
        ("- match: '^airflow\\.(.+)$'\n  match_type: regex\n  name: x\n", "must begin with 'airflow.taxiway.rides.'"),
        ("mappings: []\n", "is not a list of mappings"),
    ],
)
def test_a_pipeline_maps_its_own_names_only(tmp_path: Path, text: str, wanted: str) -> None:
    shutil.copytree(mappings.OVERLAY / "mappings", tmp_path / "mappings")
    (tmp_path / "mappings/rides.yaml").write_text(text)
    with pytest.raises(mappings.MappingsError, match=re.escape(wanted)):
        mappings.compose(tmp_path)


def test_the_page_of_metrics_is_up_to_date() -> None:
    assert docs.PAGE.read_text() == docs.render(TABLE, metrics.uses()), "run python -m monitoring.docs"


# -- Each fault is noticed ---------------------------------------------------------------------------------------------


def test_a_new_name_of_airflows_is_noticed() -> None:
    new = {"name": "scheduler.moon_phase", "type": "gauge", "legacy_name": "-", "name_variables": []}
    (found,) = mapping_checks.of_names([*template(), new], TABLE)
    assert found.startswith(
        "Airflow's metric scheduler.moon_phase is new: add it to helm/monitoring/metrics/airflow.yaml"
    )


def test_a_name_that_is_gone_is_noticed() -> None:
    rest = [each for each in template() if each["name"] != "ti.start"]
    assert mapping_checks.of_names(rest, TABLE) == [
        "Airflow's list has no ti.start any more: remove it from the table."
    ]


def test_a_variable_in_a_name_is_noticed(page_of: PageOf) -> None:
    new = {"name": "scheduler.moon.{dag_id}", "type": "counter", "legacy_name": "-", "name_variables": ["dag_id"]}
    assert mapping_checks.of_markers(page_of([mapping_checks.with_markers(new)])) == [
        f"airflow_scheduler_moon_{mapping_checks.MARKER} has a variable in its name."
    ]


def test_an_id_in_a_name_is_noticed(page_of: PageOf, rules: Any) -> None:
    text = changed(rules, without("first_task_scheduling_delay.$"))
    found = mapping_checks.of_page(page_of(EXAMPLES, text), TABLE)
    assert any("airflow_dagrun_hvfhv_analysis_first_task_scheduling_delay_sum is in no table" in each for each in found)


def test_an_id_in_a_label_is_noticed(page_of: PageOf) -> None:
    line = "airflow.ti.finish,dag_id=d,task_id=t,state=manual__2026-01-01:1|c"
    assert "airflow_ti_finish has an id in its label state: manual__2026-01-01." in mapping_checks.of_page(
        page_of([line]), TABLE
    )


def test_two_sets_of_labels_are_noticed(page_of: PageOf) -> None:
    found = mapping_checks.of_page(page_of([*EXAMPLES, "airflow.ti_failures:1|c"]), TABLE)
    assert "airflow_ti_failures has 2 sets of labels." in found


def test_counting_twice_is_noticed(page_of: PageOf) -> None:
    """As with the legacy names on, whose labels the chart's own rules take out of the name."""
    page = page_of([*EXAMPLES, "airflow.operator_successes_EmrAddStepsOperator:1|c"])
    assert "airflow_operator_successes shows 2 after its example, not 1." in mapping_checks.of_examples(page, TABLE)
    assert "airflow_operator_successes counts 2 where 1 were sent." in mapping_checks.of_counts(EXAMPLES, page, TABLE)


def test_losing_events_is_noticed(page_of: PageOf) -> None:
    page = page_of([each for each in EXAMPLES if "dagrun.duration" not in each])
    assert "airflow_dagrun_duration counts 0 where 1 were sent." in mapping_checks.of_counts(EXAMPLES, page, TABLE)


def test_a_wrong_unit_is_noticed(page_of: PageOf, rules: Any) -> None:
    def change(mappings: Mappings) -> None:
        (rule,) = (each for each in mappings if "scale" in each)
        del rule["scale"]

    found = mapping_checks.of_examples(page_of(EXAMPLES, changed(rules, change)), TABLE)
    assert found == ["airflow_dag_processing_last_duration shows 0.00042 after its example, not 0.42."]


def test_a_lost_label_is_noticed(page_of: PageOf, rules: Any) -> None:
    def change(mappings: Mappings) -> None:
        next(each for each in mappings if each["name"] == "taxiway_rows_total")["labels"].pop("reason")

    found = mapping_checks.of_page(page_of(EXAMPLES, changed(rules, change)), TABLE)
    assert any(each.startswith("taxiway_rows_total has the labels") for each in found)


def test_a_refused_event_is_noticed(page_of: PageOf, rules: Any) -> None:
    text = changed(rules, without(r"dag_processing\.processes"))
    assert "The exporter refused 1 events (events_error)." in mapping_checks.of_page(page_of(EXAMPLES, text), TABLE)


def test_a_metric_of_another_type_is_noticed(page_of: PageOf) -> None:
    page = page_of(["airflow.pool.open_slots,pool_name=p:1|c"])
    assert "airflow_pool_open_slots is a counter, in the table a gauge." in mapping_checks.of_page(page, TABLE)


def test_a_missing_metric_is_noticed(page_of: PageOf) -> None:
    some = [each for each in EXAMPLES if "taxiway.rows" not in each]
    assert any(
        each.startswith("taxiway_rows_total is not there") for each in mapping_checks.of_examples(page_of(some), TABLE)
    )


def test_the_charts_own_mappings_are_not_enough(page_of: PageOf, rules: Any) -> None:
    """With the chart's mappings alone a real Airflow's names would not pass."""
    ours = {each["match"] for each in yaml.safe_load(mappings.compose())["statsd"]["extraMappings"]}
    text = yaml.safe_dump({"mappings": [each for each in rules["mappings"] if each["match"] not in ours]})
    assert len(mapping_checks.of_page(page_of(EXAMPLES, text), TABLE)) > 20


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ("rate(airflow_ti_finishes[5m])", "uses airflow_ti_finishes, which no file of"),
        ('airflow_pool_open_slots{pool="x"}', "uses pool of airflow_pool_open_slots"),
        ("sum by (pool) (airflow_pool_open_slots)", "uses pool of airflow_pool_open_slots"),
        ("airflow_task_duration", "uses airflow_task_duration, which no file of"),
        ("airflow_task_queued_duration_sum", "uses airflow_task_queued_duration_sum, which is never sent"),
        ('airflow_task_duration_sum{le="1"}', "uses le of airflow_task_duration_sum"),
    ],
)
def test_a_wrong_use_in_a_rule_is_noticed(tmp_path: Path, expression: str, wanted: str) -> None:
    (tmp_path / "rules").mkdir()
    rule = {"groups": [{"name": "g", "rules": [{"alert": "Late", "expr": expression}]}]}
    (tmp_path / "rules/x.yaml").write_text(yaml.safe_dump(rule))
    (found,) = metrics.problems(TABLE, metrics.uses(tmp_path))
    assert wanted in found
    assert found.startswith("alert Late")


def test_a_wrong_use_in_a_dashboard_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "dashboards").mkdir()
    panel = {"title": "Pools", "targets": [{"expr": 'sum(airflow_pool_slots{pool_name=~"$pool"})'}]}
    (tmp_path / "dashboards/queues.json").write_text(json.dumps({"title": "Queues", "panels": [panel]}))
    assert metrics.problems(TABLE, metrics.uses(tmp_path)) == [
        "dashboard queues: Pools uses airflow_pool_slots, which no file of helm/monitoring/metrics has."
    ]


def test_right_uses_are_no_complaint(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    expressions = [
        "histogram_quantile(0.95, sum by (le, dag_id) (rate(airflow_task_duration_bucket[1h])))",
        'airflow_pool_open_slots{pool_name="a{b}", namespace="taxiway"} == 0',
        "sum by (dag_id) (job:airflow_ti_finish:rate5m)",
        "sum by (dag_id, kind) (taxiway_emr_cost_usd_total) / on (kind) group_left (x) airflow_dagbag_size",
    ]
    rules = [{"record": f"r{number}", "expr": each} for number, each in enumerate(expressions)]
    (tmp_path / "rules/x.yaml").write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": rules}]}))
    assert metrics.problems(TABLE, metrics.uses(tmp_path)) == []


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"type": "timer"}, "must be one of counter, gauge, histogram"),
        ({"example": "airflow.x:1"}, "is no StatsD line"),
        ({"colour": "red"}, "colour, which nothing reads"),
        ({"unit": None}, "lacks unit"),
        ({"name": "taxiway_x"}, "must begin with taxiway_rides_"),
    ],
)
def test_a_wrong_entry_of_the_table_is_one_sentence(tmp_path: Path, change: dict[str, Any], wanted: str) -> None:
    entry = {"name": "taxiway_rides_x", "type": "counter", "labels": [], "unit": "u", "meaning": "m"}
    entry |= {"example": "airflow.x:1|c"} | change
    entry = {key: value for key, value in entry.items() if value is not None}
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics/rides.yaml").write_text(yaml.safe_dump({"metrics": [entry]}))
    with pytest.raises(metrics.MetricsError, match=wanted):
        metrics.read(tmp_path)


def test_an_old_page_of_metrics_is_noticed() -> None:
    other = dataclasses.replace(TABLE, metrics=(dataclasses.replace(TABLE.metrics[0], unit="days"), *TABLE.metrics[1:]))
    assert docs.render(other, metrics.uses()) != docs.render(TABLE, metrics.uses())


def test_the_text_format_is_read() -> None:
    page = parse('# TYPE a counter\na{b="c\\"d\\\\",e=""} 2\ngo_x 1\n')
    assert [(each.name, each.labels, each.value) for each in page.sent] == [("a", (("b", 'c"d\\'), ("e", "")), 2.0)]
    assert page.types == {"a": "counter"}
