"""A post-mortem, as far as the record knows it: docs/incidents/template.md, filled in."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import sqlalchemy as sa

from taxiway.catalogue import checks, incidents, threads
from taxiway.catalogue.incidents import Incident
from taxiway.operations.incidents import IncidentError, facts, moment, spell

TEMPLATE = Path(__file__).parents[3] / "docs" / "incidents" / "template.md"
AROUND = timedelta(hours=1)  # how long before and after an incident alerts are looked for

Event = tuple[datetime, str]


def write(database: sa.Engine, incident: Incident, prometheus: str | None = None) -> str:
    """Return the post-mortem of an incident in Markdown.

    Args:
        database: of the catalogue.
        incident: the incident.
        prometheus: address of a Prometheus, whose alerts join the timeline.

    Raises:
        IncidentError: the template is not delivered, or Prometheus does not answer.
    """
    from jinja2 import Environment, StrictUndefined

    if not TEMPLATE.is_file():
        raise IncidentError(f"{TEMPLATE} is missing: deliver the folder docs/ of the repository beside dags/.")
    events = [*_record(incident), *_checked(database, incident), *_tasks(database, incident)]
    if prometheus:
        events += _alerts(prometheus, incident)
    environment = Environment(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True)  # noqa: S701 - Markdown
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        incident=incident,
        facts=facts(incident),
        rows="unknown" if incident.rows is None else f"{incident.rows:,}",
        timeline=[(moment(when).removesuffix(" UTC"), _cell(what)) for when, what in sorted(set(events))],
        prometheus=bool(prometheus),
        actions=incidents.actions(database, [incident.id]),
    )


def _record(incident: Incident) -> Iterator[Event]:
    yield incident.since, "so since then, as far as is known"
    after = spell(incident.detected_at - incident.since)
    yield incident.detected_at, f"**found** after {after}, by the run {incident.run_id or 'of nobody'}: {incident.what}"
    if incident.closed_at:
        repaired = spell(incident.closed_at - incident.detected_at)
        yield incident.closed_at, f"**closed** {repaired} after it was found, {incident.closing}"


def _checked(database: sa.Engine, incident: Incident) -> Iterator[Event]:
    if not incident.table:
        return
    for each in checks.between(database, incident.since, _end(incident), incident.table):
        if each.check == incident.check and each.dag_id == incident.dag_id and each.checked_at:
            yield each.checked_at, f"{each.sentence} (run {each.run_id})"


def _tasks(database: sa.Engine, incident: Incident) -> Iterator[Event]:
    """Yield how the tasks ended of the runs that failed and succeeded, as the notices' callbacks kept it."""
    for run_id in dict.fromkeys(filter(None, (incident.run_id, incident.closed_by))):
        if (thread := threads.read_thread(database, (incident.dag_id, run_id))) is None:
            continue
        for (task, label), end in thread.tasks.items():
            if "at" in end:
                took = f" after {spell(timedelta(seconds=end['seconds']))}" if end["seconds"] is not None else ""
                name = f"{task} ({label})" if label else task
                what = f"task {name} of {run_id}: {end['state']}{took}, try {end['attempt']}"
                yield datetime.fromisoformat(end["at"]), what
        if thread.ended:
            yield thread.ended, f"run {run_id}: {thread.state}"


def _alerts(address: str, incident: Incident) -> Iterator[Event]:
    start, end = incident.since - AROUND, _end(incident) + AROUND
    step = max(60, (end - start).total_seconds() / 1000)
    query = urlencode(
        {"query": 'ALERTS{alertstate="firing"}', "start": start.timestamp(), "end": end.timestamp(), "step": step}
    )
    if not address.startswith(("http://", "https://")):
        raise IncidentError(f"--prometheus {address} is not an address: write it such as http://127.0.0.1:9090.")
    try:
        with urlopen(f"{address.rstrip('/')}/api/v1/query_range?{query}", timeout=30) as answer:  # noqa: S310
            series = json.load(answer)["data"]["result"]
    except (OSError, HTTPException, ValueError, KeyError, TypeError) as error:
        raise IncidentError(f"Prometheus at {address} gave no alerts: {error}.") from None
    for each in series:
        name = _alert(each["metric"])
        first, last = (datetime.fromtimestamp(float(each["values"][index][0]), UTC) for index in (0, -1))
        yield first, f"alert {name} fires"
        if last + timedelta(seconds=2 * step) < end:
            yield last, f"alert {name} was last firing"


def _alert(labels: Mapping[str, Any]) -> str:
    hidden = {"__name__", "alertname", "alertstate", "severity", "team", "job", "instance"}
    more = ", ".join(f"{name}={value}" for name, value in sorted(labels.items()) if name not in hidden)
    return f"{labels.get('alertname', 'unknown')}{f' ({more})' if more else ''}"


def _end(incident: Incident) -> datetime:
    return (incident.closed_at or datetime.now(UTC)) + timedelta(seconds=1)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
