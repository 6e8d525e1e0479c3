"""What GetDashboardForJobRun leads to: a page with the state, the use and the end of the logs of a job run.

And, as JSON, what the pre-initialised workers of an application have used, which AWS bills and no operation tells.
"""

import json
import time
from html import escape
from typing import Any

from local_aws.emr_serverless.model import Application, Attempt, JobRun
from local_aws.emr_serverless.usage import Period, idle, utilization
from local_aws.protocols.wsgi import Response, response

PREFIX = "/_local_aws/emr-serverless/"

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">{refresh}<title>{title}</title>
<style>body{{font:15px sans-serif;margin:2em}}td,th{{text-align:left;padding:.2em 1em .2em 0;vertical-align:top}}
pre{{background:#f4f4f4;padding:1em;overflow:auto;max-height:30em}}</style></head>
<body><h1>{title}</h1><table>{rows}</table><h2>stdout</h2><pre>{stdout}</pre><h2>stderr</h2><pre>{stderr}</pre></body></html>
"""


def path(run: JobRun, attempt: Attempt) -> str:
    """Return the path of the page of an attempt."""
    return f"{PREFIX}applications/{run.application_id}/jobruns/{run.id}?attempt={attempt.number}"


def page(application: Application, run: JobRun, attempt: Attempt, now: float, stdout: str, stderr: str) -> Response:
    """Return the page of an attempt; that of one that has not ended loads itself again."""
    described = run.description(application, now, attempt)
    rows = {
        "Application": f"{application.id} {application.name or ''} ({application.state})",
        "State": described["state"],
        "Details": described["stateDetails"],
        "Engine": {"sail": "Sail", "spark": "Apache Spark"}[run.engine],
        "Mode": run.mode,
        "Attempt": f"{attempt.number} of {len(run.attempts)}",
        "Created": _time(run.created),
        "Started": _time(attempt.started),
        "Ended": _time(attempt.ended),
        "Workers": ", ".join(
            f"{count} {role.lower()} ({cpu} vCPU, {memory} GB, disk {disk} GB)"
            for role, cpu, memory, disk, count, _ in attempt.workers
        ),
        "Used": _hours(described["totalResourceUtilization"]),
        "Billed": _hours(described["billedResourceUtilization"]),
        "Program": run.request["jobDriver"]["sparkSubmit"]["entryPoint"],
    }
    document = _PAGE.format(
        refresh='<meta http-equiv="refresh" content="3">' if run.active else "",
        title=escape(f"Job run {run.request.get('name') or run.id}"),
        rows="".join(f"<tr><th>{name}</th><td>{escape(text)}</td></tr>" for name, text in rows.items()),
        stdout=escape(stdout),
        stderr=escape(stderr),
    )
    return response("200 OK", "text/html; charset=utf-8", document.encode())


def application_usage(application: Application, runs: list[JobRun], now: float) -> Response:
    """Return what the pre-initialised workers of an application have used, and how much of that no job run had."""
    initialized = application.initialized_periods(now)
    busy: list[Period] = [
        period for run in runs for attempt in run.attempts for period in attempt.periods(now, initialized=True)
    ]
    document: dict[str, Any] = {
        "applicationId": application.id,
        "state": application.state,
        "preInitializedResourceUtilization": utilization(initialized),
        "idlePreInitializedResourceUtilization": idle(initialized, busy),
    }
    return response("200 OK", "application/json", json.dumps(document).encode())


def _time(epoch: float | None) -> str:
    return "" if epoch is None else time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(epoch))


def _hours(use: dict[str, float] | None) -> str:
    if use is None:
        return ""
    return f"{use['vCPUHour']} vCPU-hours, {use['memoryGBHour']} GB-hours, storage {use['storageGBHour']} GB-hours"
