"""Do the API logs arrive, decrypted and on time, and what is held back?"""

from grafana_foundation_sdk.models import units

from monitoring.dashboards.build import GREEN, ORANGE, RED, Page, Query
from monitoring.dashboards.queries import counted, increase

STEP = "$__rate_interval"
DATASET, TABLES = 'dataset="api_events"', 'table=~"api_events.*"'
ACCEPTED, QUARANTINED = 'outcome="accepted"', 'outcome="quarantined"'
AGE = f"time() - max by (table) (taxiway_data_freshness_timestamp_seconds{{{TABLES}}})"


def part_quarantined(window: str = "$__range") -> str:
    """Return the share of records that were quarantined in a window."""
    rows = increase("taxiway_rows_total", DATASET, window=window)
    return f"{increase('taxiway_rows_total', DATASET, QUARANTINED, window=window)} / ({rows} > 0)"


page = Page(
    uid="taxiway-api-logs",
    title="Taxiway: API logs",
    description="Do the API logs arrive, decrypted and on time, and what is held back?",
    time="now-7d",
    variables=[],
)

page.row("In the time shown")
page.stat(
    "Age of the events",
    "Now, less the end of the newest hour that is published. Alerts compare it with the data contract.",
    Query('max(time() - taxiway_data_freshness_timestamp_seconds{table="api_events"})'),
    unit=units.Seconds,
    decimals=0,
)
page.stat(
    "Events",
    "Events of the hours that were checked. An hour that is built again for late records counts again.",
    Query(counted("taxiway_rows_total", DATASET, ACCEPTED)),
    unit=units.Short,
)
page.stat(
    "Share quarantined",
    "Quarantined records as a share of all.",
    Query(part_quarantined()),
    unit=units.PercentUnit,
    steps=((None, GREEN), (0.01, ORANGE), (0.05, RED)),
    decimals=2,
)
page.stat(
    "Wait for a key",
    "Records that were quarantined because Secrets Manager has no such key; they can be replayed.",
    Query(counted("taxiway_rows_total", DATASET, 'reason="unknown_key"')),
    unit=units.Short,
    steps=((None, GREEN), (1, ORANGE)),
)
page.stat(
    "Tampered",
    "Records that failed authentication.",
    Query(counted("taxiway_rows_total", DATASET, 'reason="tampered"')),
    unit=units.Short,
    steps=((None, GREEN), (1, RED)),
)
page.stat(
    "Hours in which nothing arrived",
    "They are published with no records.",
    Query(counted("taxiway_api_logs_hours_total", 'objects="none"')),
    unit=units.Short,
)

page.row("Hour by hour")
page.bars(
    "Records by outcome",
    "Records of the hours that were checked, when they were.",
    Query(counted("taxiway_rows_total", DATASET, by="outcome", window=STEP), "{{outcome}}"),
    unit=units.Short,
)
page.lines(
    "Share quarantined in six hours",
    "Quarantined records as a share of those checked in the six hours before.",
    Query(part_quarantined("6h"), "share"),
    unit=units.PercentUnit,
    steps=((None, "transparent"), (0.05, RED)),
)
page.ranking(
    "Quarantined by reason",
    "Records set aside in the time shown, by the first rule that they break.",
    Query("sort_desc(" + counted("taxiway_rows_total", DATASET, QUARANTINED, by="reason") + ")", "{{reason}}"),
    unit=units.Short,
    steps=((None, ORANGE),),
)
page.lines(
    "Age of the tables",
    "Now, less the end of the newest published hour. It grows by an hour an hour and drops with each publication.",
    Query(AGE, "{{table}}"),
    unit=units.Seconds,
)
