"""What the arrival model's programs send is in the table of metrics, and all of the table is sent by one of them."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from monitoring import metrics

ROOT = Path(__file__).parents[2]
PREFIX = "airflow.taxiway.eta."
SENDERS = [*(ROOT / "spark_jobs/eta").glob("*.py"), *(ROOT / "services/eta").glob("*.py")]
KINDS = {"count": "counter", "gauge": "gauge", "times": "histogram"}


def pattern(name: ast.expr) -> str | None:
    """Return a pattern of a metric's name: a text, or one with parts that are filled in."""
    if isinstance(name, ast.Constant) and isinstance(name.value, str):
        return re.escape(name.value)
    if isinstance(name, ast.JoinedStr):
        return "".join(re.escape(str(each.value)) if isinstance(each, ast.Constant) else ".+" for each in name.values)
    return None


def sent(file: Path, *, joined: bool) -> Iterator[tuple[str, str]]:
    """Yield (kind, pattern of the name) of each call that sends; the DAGs' helper joins the parts that it is given."""
    for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in KINDS:
            if joined and isinstance(call.args[0], ast.Constant) and call.args[0].value == "eta":
                yield KINDS[call.func.attr], r"\.".join(pattern(each) or ".+" for each in call.args[1:])
            elif not joined and len(call.args) == 2 and (name := pattern(call.args[0])):
                yield KINDS[call.func.attr], name


def test_every_metric_is_sent_and_every_name_that_is_sent_is_in_the_table() -> None:
    table = {
        metric.example.split(":")[0].removeprefix(PREFIX): metric.type
        for metric in metrics.read().metrics
        if metric.part == "eta"
    }
    calls = {each for file in SENDERS for each in sent(file, joined=False)}
    calls |= {each for file in (ROOT / "dags/taxiway/eta").glob("*.py") for each in sent(file, joined=True)}
    assert len(calls) > 15
    unknown = {call for call in calls if not any(re.fullmatch(call[1], n) and call[0] == k for n, k in table.items())}
    assert unknown == set(), "sent, and in no table: helm/monitoring/metrics/eta.yaml"
    silent = {n for n, k in table.items() if not any(re.fullmatch(each, n) and kind == k for kind, each in calls)}
    assert silent == set(), "in the table, and sent by nobody"
