"""Are the access logs processed, and at what cost?"""

from grafana_foundation_sdk.models import units

from monitoring.dashboards.build import GREEN, ORANGE, RED, Page, Query
from monitoring.dashboards.queries import counted, increase

STEP = "$__rate_interval"
DAG, DATASET = 'dag_id="access_logs_etl"', 'dataset="access_requests"'
TABLES = 'table=~"access_requests.*|hourly_traffic|top_resources|status_by_path|suspicious_clients|sessions"'
ACCEPTED, QUARANTINED = 'outcome="accepted"', 'outcome="quarantined"'
AGE = f"time() - max by (table) (taxiway_data_freshness_timestamp_seconds{{{TABLES}}})"

page = Page(
    uid="taxiway-access-logs",
    title="Taxiway: access logs",
    description="Are the access logs processed, and at what cost?",
    time="now-30d",
    variables=[],
)


def used(metric: str, window: str = "$__range") -> str:
    """Return what job runs used of something in a window."""
    return increase(f"taxiway_serverless_{metric}_total", DAG, window=window)


COST = f"({used('cost_usd')} + {used('idle_cost_usd')})"
ROWS = increase("taxiway_rows_total", DATASET)

page.row("In the time shown")
page.stat(
    "Age of the requests",
    "Now, less the end of the newest day that is published. Alerts compare it with the data contract.",
    Query('max(time() - taxiway_data_freshness_timestamp_seconds{table="access_requests"})'),
    unit=units.Seconds,
    decimals=0,
)
page.stat(
    "Lines",
    "Lines that were parsed or quarantined. A day that is done again counts twice.",
    Query(counted("taxiway_rows_total", DATASET)),
    unit=units.Short,
)
page.stat(
    "Share quarantined",
    "Quarantined lines as a share of all lines.",
    Query(f"{increase('taxiway_rows_total', DATASET, QUARANTINED)} / ({ROWS} > 0)"),
    unit=units.PercentUnit,
    steps=((None, GREEN), (0.01, ORANGE), (0.05, RED)),
    decimals=2,
)
page.stat(
    "Cost",
    "Estimate in US dollars by list prices of what EMR Serverless bills, idle pre-initialised workers included.",
    Query(COST),
    unit=units.Dollars,
    decimals=2,
)
page.stat(
    "Cost of a run",
    "The same, divided by the number of runs that succeeded.",
    Query(f"{COST} / ({counted('airflow_dagrun_duration_count', DAG)} > 0)"),
    unit=units.Dollars,
    decimals=3,
)
page.stat(
    "Paid for waiting",
    "Share of the cost for pre-initialised workers while they had nothing to do.",
    Query(f"{used('idle_cost_usd')} / ({COST} > 0)"),
    unit=units.PercentUnit,
    steps=((None, GREEN), (0.25, ORANGE), (0.5, RED)),
    decimals=0,
)

page.row("Days")
page.bars(
    "Lines by outcome",
    "Lines that were checked, when they were.",
    Query(counted("taxiway_rows_total", DATASET, by="outcome", window=STEP), "{{outcome}}"),
    unit=units.Short,
)
page.ranking(
    "Quarantined by reason",
    "Lines set aside in the time shown, by the first reason that applies.",
    Query("sort_desc(" + counted("taxiway_rows_total", DATASET, QUARANTINED, by="reason") + ")", "{{reason}}"),
    unit=units.Short,
    steps=((None, ORANGE),),
)
page.bars(
    "Cost by part",
    "Estimate in US dollars: job runs, and pre-initialised workers that waited.",
    Query(used("cost_usd", STEP), "job runs"),
    Query(used("idle_cost_usd", STEP), "waiting"),
    unit=units.Dollars,
)
page.lines(
    "Age of the tables",
    "Now, less the end of the newest published day. It grows by a day a day and drops with each publication.",
    Query(AGE, "{{table}}"),
    unit=units.Seconds,
)
