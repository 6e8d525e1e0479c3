"""Writes ``docs/DAGs.md`` from the DAGs themselves: ``python -m docs.generate_dags_md``."""

import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DAGS = ROOT / "dags"
PAGE = ROOT / "docs" / "DAGs.md"
HEAD = """# The DAGs

Written by `make docs` from the DAGs in `dags/`, with the default settings; do not edit. A task with *each* runs once
for every item of a list that is known when the DAG runs; *after* names the tasks before it, with the trigger rule
unless all of them must succeed.
"""


def render(dags: Iterable[Any]) -> str:
    """Return the page for some DAGs, grouped by their first tag."""
    ordered = sorted(dags, key=lambda dag: (_group(dag), dag.dag_id))
    sections = [HEAD]
    for group, members in groupby(ordered, key=_group):
        sections += [f"## {group}\n", *map(_section, members)]
    return "\n".join(sections)


def _group(dag: Any) -> str:
    return str(sorted(dag.tags)[0])


def _section(dag: Any) -> str:
    title, _, text = dag.doc_md.strip().partition("\n")
    facts = {
        "schedule": _schedule(dag.schedule),
        "catch-up": "yes" if dag.catchup else "no",
        "owner": dag.owner,
        "tags": ", ".join(sorted(dag.tags)),
        "runs at once": str(dag.max_active_runs),
        "parameters": ", ".join(f"`{name}`" for name in dag.params),
    }
    lines = [f"{title} (`{dag.dag_id}`)", "", f"| {' | '.join(facts)} |", f"|{'---|' * len(facts)}"]
    lines += [f"| {' | '.join(facts.values())} |", text.rstrip(), ""]
    lines += ["| task | operator | after | tries | at most |", "|---|---|---|---|---|"]
    lines += [_row(task) for task in _in_order(dag.task_group)]
    return "\n".join([*lines, ""])


def _schedule(schedule: Any) -> str:
    if isinstance(schedule, list):
        return "when any of these change: " + ", ".join(f"asset `{asset.name}`" for asset in schedule)
    return f"`{getattr(schedule, 'expression', schedule)}`"


def _row(task: Any) -> str:
    each = task.is_mapped or task.get_closest_mapped_task_group() is not None
    kind = "setup" if task.is_setup else "teardown" if task.is_teardown else "each" if each else ""
    rule = "" if task.trigger_rule == "all_success" else f" ({task.trigger_rule.value.replace('_', ' ')})"
    after = ", ".join(f"`{name}`" for name in sorted(task.upstream_task_ids)) or "–"
    cells = [f"`{task.task_id}`{kind and f' *{kind}*'}", task.operator_name, after + rule]
    return f"| {' | '.join([*cells, str(task.retries + 1), _duration(task.execution_timeout.total_seconds())])} |"


def _duration(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return " ".join(part for part in (hours and f"{hours} h", minutes and f"{minutes} min") if part)


def _in_order(group: Any) -> Iterator[Any]:
    for node in group.topological_sort():
        yield from _in_order(node) if hasattr(node, "topological_sort") else [node]


def main() -> int:
    """Write the page; return the exit status."""
    for name in [name for name in os.environ if name.startswith("TAXIWAY_")]:
        del os.environ[name]
    with tempfile.TemporaryDirectory() as home:
        os.environ |= {
            "AIRFLOW_HOME": home,
            "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        }
        from airflow.dag_processing.dagbag import DagBag

        sys.path.insert(0, str(DAGS))  # as every part of Airflow has it
        bag = DagBag(DAGS)
    if bag.import_errors:
        sys.stderr.write("".join(f"{file}: {error}\n" for file, error in bag.import_errors.items()))
        return 1
    PAGE.write_text(render(bag.dags.values()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
