"""What a pipeline's own programs send is in the table of metrics, and all of the table is sent by one of them."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitoring import metrics

ROOT = Path(__file__).parents[2]
# Programs that are no DAG's and send a pipeline's metrics with names of their own, without the prefix.
SENDERS = {"eta": [*(ROOT / "spark_jobs/eta").glob("*.py"), *(ROOT / "services/eta").glob("*.py")], "warehouse": []}
KINDS = {"count": "counter", "gauge": "gauge", "times": "histogram"}


def pattern(name: ast.expr) -> str | None:
    """Return a pattern of a metric's name: a text, or one with parts that are filled in."""
    if isinstance(name, ast.Constant) and isinstance(name.value, str):
        return re.escape(name.value)
    if isinstance(name, ast.JoinedStr):
        return "".join(re.escape(str(each.value)) if isinstance(each, ast.Constant) else ".+" for each in name.values)
    return None


def sent(file: Path, pipeline: str | None = None) -> Iterator[tuple[str, str]]:
    """Yield (kind, pattern of the name) of each call that sends; a pipeline's DAGs join the parts that they give."""
    for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(call, ast.Call) or not call.args:
            continue
        if isinstance(call.func, ast.Attribute) and call.func.attr in KINDS:
            if pipeline and isinstance(call.args[0], ast.Constant) and call.args[0].value == pipeline:
                yield KINDS[call.func.attr], r"\.".join(pattern(each) or ".+" for each in call.args[1:])
            elif not pipeline and len(call.args) == 2 and (name := pattern(call.args[0])):
                yield KINDS[call.func.attr], name


@pytest.mark.parametrize("pipeline", SENDERS)
def test_every_metric_is_sent_and_every_name_that_is_sent_is_in_the_table(pipeline: str) -> None:
    table = {
        metric.example.split(":")[0].removeprefix(f"airflow.taxiway.{pipeline}."): metric.type
        for metric in metrics.read().metrics
        if metric.part == pipeline
    }
    calls = {each for file in SENDERS[pipeline] for each in sent(file)}
    calls |= {each for file in (ROOT / "dags/taxiway" / pipeline).glob("*.py") for each in sent(file, pipeline)}
    assert len(calls) > 10
    unknown = {call for call in calls if not any(re.fullmatch(call[1], n) and call[0] == k for n, k in table.items())}
    assert unknown == set(), "sent, and in no table: helm/monitoring/metrics/<pipeline>.yaml"
    silent = {n for n, k in table.items() if not any(re.fullmatch(each, n) and kind == k for kind, each in calls)}
    assert silent == set(), "in the table, and sent by nobody"
