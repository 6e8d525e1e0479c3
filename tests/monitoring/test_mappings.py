"""The contract of metrics: Airflow's whole list and a real run, through the real exporter with the real mappings."""

import ast
import copy
import dataclasses
import json
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest
import yaml

from monitoring import capture, catalogue, contract, docs
from monitoring.exporter import parse
from tests.helm.rendering import ENVIRONMENTS, ROOT, render

RECORD = Path(__file__).parent / "data/demo.statsd.gz"
DEV_PYTHON = ROOT / ".local/venvs/dev/bin/python"
TABLE = catalogue.read()
EXAMPLES = [*(metric.example for metric in TABLE.metrics), *TABLE.dropped]


@cache
def airflow():
    """The folder of the installed Airflow."""
    found = sorted((ROOT / ".local/venvs/airflow/lib").glob("python3.*/site-packages/airflow"))
    if not found:
        pytest.skip("the environment of Airflow is not installed: make setup")
    return found[0]


@cache
def template():
    path = airflow() / "_shared/observability/metrics/metrics_template.yaml"
    return yaml.safe_load(path.read_text())["metrics"]


@cache
def recorded():
    return [packet.line for packet in capture.read(RECORD)]


@pytest.fixture(scope="module")
def examples(page_of):
    return page_of(EXAMPLES)


@pytest.fixture(scope="module")
def run(page_of):
    return page_of(recorded())


def changed(rules, change):
    """The mappings as text after ``change`` has been at a copy of them."""
    copied = copy.deepcopy(rules)
    change(copied["mappings"])
    return yaml.safe_dump(copied)


def without(pattern):
    def change(mappings):
        before = len(mappings)
        mappings[:] = [each for each in mappings if not re.search(pattern, each["match"])]
        assert len(mappings) < before, f"there is no rule like {pattern}"

    return change


def named_in(path):
    """Patterns of the metrics that calls in a file name: ``.+`` for what is filled in."""
    text = path.read_text(errors="replace")
    if "tats." not in text:
        return set()
    return {
        re.escape(name.value)
        if isinstance(name, ast.Constant)
        else "".join(re.escape(each.value) if isinstance(each, ast.Constant) else ".+" for each in name.values)
        for call in ast.walk(ast.parse(text))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr in ("incr", "decr", "gauge", "timing", "timer")
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id.lower() == "stats"
        for name in call.args[:1]
        if isinstance(name, (ast.Constant, ast.JoinedStr))
    }


# -- The contract is kept ----------------------------------------------------------------------------------------------


def test_every_name_of_the_installed_airflow_is_in_the_table():
    assert contract.of_names(template(), TABLE) == []


def test_both_lists_of_the_installed_airflow_are_the_same():
    """Tasks run with a copy of the scheduler's."""
    other = airflow() / "sdk/_shared/observability/metrics/metrics_template.yaml"
    assert yaml.safe_load(other.read_text())["metrics"] == template()


def test_every_name_in_airflows_own_code_is_in_the_table():
    """Its list is not complete: what a call names, with what is filled in, must be in the table all the same."""
    lines = [metric.example for metric in TABLE.metrics] + list(TABLE.dropped)
    names = {contract.LINE.fullmatch(line)["name"].removeprefix("airflow.") for line in lines}
    names |= {each["name"] for each in template()}
    said = set().union(*map(named_in, airflow().rglob("*.py")))
    assert len(said) > 50
    assert {each for each in said if not any(re.fullmatch(each, name) for name in names)} == set()


def test_what_airflow_never_sends_is_sent_by_no_call():
    """Else it could be used; that of the queue is sent by code that no executor runs."""
    said = set().union(*map(named_in, airflow().rglob("*.py")))
    silent = {metric.origin for metric in TABLE.metrics if metric.silent} - {"task.queued_duration"}
    assert silent
    assert {name for name in silent if any(re.fullmatch(each, name) for each in said)} == set()


def test_each_example_becomes_its_metric_once_in_its_unit(examples):
    assert contract.of_examples(examples, TABLE) == []
    assert contract.of_page(examples, TABLE) == []


def test_no_variable_of_airflows_list_gets_into_a_name(page_of):
    """Parts that this platform does not use as well."""
    assert contract.of_markers(page_of([contract.with_markers(each) for each in template()])) == []


def test_a_real_run_keeps_the_contract(run):
    assert contract.of_page(run, TABLE) == []
    assert contract.of_counts(recorded(), run, TABLE) == []


def test_the_real_run_is_one_of_our_dags(run):
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
def test_environments_share_mappings_and_settings(environment, mappings):
    rendered = render(environment)
    assert rendered.named("ConfigMap", "airflow-statsd")["data"]["mappings.yml"] == mappings
    config = rendered.config["metrics"]
    assert {key: config[key] for key in capture.settings() if key != "statsd_host"} == {
        key: value for key, value in capture.settings().items() if key != "statsd_host"
    }


def test_ids_of_runs_are_no_tags():
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


def test_airflow_still_sends_seconds_of_a_parse_as_milliseconds():
    """The mapping multiplies by 1000; when Airflow mends this, the mapping must go."""
    source = (airflow() / "dag_processing/manager.py").read_text()
    assert "run_duration = time.monotonic() - proc.start_time" in source
    assert re.search(r'"dag_processing\.last_duration",\s+stat\.last_duration,', source)


def test_what_dashboards_and_rules_use_exists_with_its_labels():
    assert catalogue.complaints(TABLE, catalogue.uses()) == []


def test_the_page_of_metrics_is_up_to_date():
    assert docs.PAGE.read_text() == docs.render(TABLE, catalogue.uses()), "run python -m monitoring.docs"


# -- Each fault is noticed ---------------------------------------------------------------------------------------------


def test_a_new_name_of_airflows_is_noticed():
    new = {"name": "scheduler.moon_phase", "type": "gauge", "legacy_name": "-", "name_variables": []}
    (said,) = contract.of_names([*template(), new], TABLE)
    assert said.startswith("Airflow's metric scheduler.moon_phase is new: add a line to helm/monitoring/metrics.yaml")


def test_a_name_that_is_gone_is_noticed():
    rest = [each for each in template() if each["name"] != "ti.start"]
    assert contract.of_names(rest, TABLE) == ["Airflow's list has no ti.start any more: remove it from the table."]


def test_a_variable_in_a_name_is_noticed(page_of):
    new = {"name": "scheduler.moon.{dag_id}", "type": "counter", "legacy_name": "-", "name_variables": ["dag_id"]}
    assert contract.of_markers(page_of([contract.with_markers(new)])) == [
        f"airflow_scheduler_moon_{contract.MARKER} has a variable in its name."
    ]


def test_an_id_in_a_name_is_noticed(page_of, rules):
    text = changed(rules, without("first_task_scheduling_delay.$"))
    said = contract.of_page(page_of(EXAMPLES, text), TABLE)
    assert any("airflow_dagrun_hvfhv_analysis_first_task_scheduling_delay_sum is in no line" in each for each in said)


def test_an_id_in_a_label_is_noticed(page_of):
    line = "airflow.ti.finish,dag_id=d,task_id=t,state=manual__2026-01-01:1|c"
    assert "airflow_ti_finish has an id in its label state: manual__2026-01-01." in contract.of_page(
        page_of([line]), TABLE
    )


def test_two_sets_of_labels_are_noticed(page_of):
    said = contract.of_page(page_of([*EXAMPLES, "airflow.ti_failures:1|c"]), TABLE)
    assert "airflow_ti_failures has 2 sets of labels." in said


def test_counting_twice_is_noticed(page_of):
    """As with the legacy names on, whose labels the chart's own rules take out of the name."""
    page = page_of([*EXAMPLES, "airflow.operator_successes_EmrAddStepsOperator:1|c"])
    assert "airflow_operator_successes shows 2 after its example, not 1." in contract.of_examples(page, TABLE)
    assert "airflow_operator_successes counts 2 where 1 were sent." in contract.of_counts(EXAMPLES, page, TABLE)


def test_losing_events_is_noticed(page_of):
    page = page_of([each for each in EXAMPLES if "dagrun.duration" not in each])
    assert "airflow_dagrun_duration counts 0 where 1 were sent." in contract.of_counts(EXAMPLES, page, TABLE)


def test_a_wrong_unit_is_noticed(page_of, rules):
    def change(mappings):
        (rule,) = (each for each in mappings if "scale" in each)
        del rule["scale"]

    said = contract.of_examples(page_of(EXAMPLES, changed(rules, change)), TABLE)
    assert said == ["airflow_dag_processing_last_duration shows 0.00042 after its example, not 0.42."]


def test_a_lost_label_is_noticed(page_of, rules):
    def change(mappings):
        next(each for each in mappings if each["name"] == "taxiway_rows_total")["labels"].pop("reason")

    said = contract.of_page(page_of(EXAMPLES, changed(rules, change)), TABLE)
    assert any(each.startswith("taxiway_rows_total has the labels") for each in said)


def test_a_refused_event_is_noticed(page_of, rules):
    text = changed(rules, without(r"dag_processing\.processes"))
    assert "The exporter refused 1 events (events_error)." in contract.of_page(page_of(EXAMPLES, text), TABLE)


def test_a_metric_of_another_type_is_noticed(page_of):
    page = page_of(["airflow.pool.open_slots,pool_name=p:1|c"])
    assert "airflow_pool_open_slots is a counter, in the table a gauge." in contract.of_page(page, TABLE)


def test_a_missing_metric_is_noticed(page_of):
    some = [each for each in EXAMPLES if "taxiway.rows" not in each]
    assert any(
        each.startswith("taxiway_rows_total is not there") for each in contract.of_examples(page_of(some), TABLE)
    )


def test_the_charts_own_mappings_break_the_contract(page_of):
    """With the chart's defaults a real Airflow sends both forms; the page that they make would never pass."""
    rendered = render("kind", (), {"statsd": {"extraMappings": None}})
    text = rendered.named("ConfigMap", "airflow-statsd")["data"]["mappings.yml"]
    said = contract.of_page(page_of(EXAMPLES, text), TABLE)
    assert len(said) > 20


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ("rate(airflow_ti_finishes[5m])", "uses airflow_ti_finishes, which is in no line"),
        ('airflow_pool_open_slots{pool="x"}', "uses pool of airflow_pool_open_slots"),
        ("sum by (pool) (airflow_pool_open_slots)", "uses pool of airflow_pool_open_slots"),
        ("airflow_task_duration", "uses airflow_task_duration, which is in no line"),
        ("airflow_task_queued_duration_sum", "uses airflow_task_queued_duration_sum, which is never sent"),
        ('airflow_task_duration_sum{le="1"}', "uses le of airflow_task_duration_sum"),
    ],
)
def test_a_wrong_use_in_a_rule_is_noticed(tmp_path, expression, wanted):
    (tmp_path / "rules").mkdir()
    rule = {"groups": [{"name": "g", "rules": [{"alert": "Late", "expr": expression}]}]}
    (tmp_path / "rules/x.yaml").write_text(yaml.safe_dump(rule))
    (said,) = catalogue.complaints(TABLE, catalogue.uses(tmp_path))
    assert wanted in said
    assert said.startswith("alert Late")


def test_a_wrong_use_in_a_dashboard_is_noticed(tmp_path):
    (tmp_path / "dashboards").mkdir()
    panel = {"title": "Pools", "targets": [{"expr": 'sum(airflow_pool_slots{pool_name=~"$pool"})'}]}
    (tmp_path / "dashboards/queues.json").write_text(json.dumps({"title": "Queues", "panels": [panel]}))
    assert catalogue.complaints(TABLE, catalogue.uses(tmp_path)) == [
        "dashboard queues: Pools uses airflow_pool_slots, which is in no line of helm/monitoring/metrics.yaml."
    ]


def test_right_uses_are_no_complaint(tmp_path):
    (tmp_path / "rules").mkdir()
    expressions = [
        "histogram_quantile(0.95, sum by (le, dag_id) (rate(airflow_task_duration_bucket[1h])))",
        'airflow_pool_open_slots{pool_name="a{b}", namespace="taxiway"} == 0',
        "sum by (dag_id) (job:airflow_ti_finish:rate5m)",
        "sum by (dag_id, kind) (taxiway_emr_cost_usd_total) / on (kind) group_left (x) airflow_dagbag_size",
    ]
    rules = [{"record": f"r{number}", "expr": each} for number, each in enumerate(expressions)]
    (tmp_path / "rules/x.yaml").write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": rules}]}))
    assert catalogue.complaints(TABLE, catalogue.uses(tmp_path)) == []


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"type": "timer"}, "must be one of counter, gauge, histogram"),
        ({"example": "airflow.x:1"}, "is no StatsD line"),
        ({"colour": "red"}, "colour, which nobody reads"),
        ({"unit": None}, "lacks unit"),
    ],
)
def test_a_wrong_entry_of_the_table_is_one_sentence(tmp_path, change, wanted):
    entry = {"name": "x", "type": "counter", "labels": [], "unit": "u", "meaning": "m", "example": "airflow.x:1|c"}
    entry = {key: value for key, value in (entry | change).items() if value is not None}
    (tmp_path / "metrics.yaml").write_text(yaml.safe_dump({"metrics": [entry], "dropped": [], "unused": []}))
    with pytest.raises(catalogue.CatalogueError, match=wanted):
        catalogue.read(tmp_path / "metrics.yaml")


def test_an_old_page_of_metrics_is_noticed():
    other = dataclasses.replace(TABLE, metrics=(dataclasses.replace(TABLE.metrics[0], unit="days"), *TABLE.metrics[1:]))
    assert docs.render(other, catalogue.uses()) != docs.render(TABLE, catalogue.uses())


def test_the_text_format_is_read():
    page = parse('# TYPE a counter\na{b="c\\"d\\\\",e=""} 2\ngo_x 1\n')
    assert [(each.name, each.labels, each.value) for each in page.sent] == [("a", (("b", 'c"d\\'), ("e", "")), 2.0)]
    assert page.types == {"a": "counter"}
