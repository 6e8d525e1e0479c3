"""Is the data whole, sound and recent?"""

from grafana_foundation_sdk.models import units

from monitoring.dashboards.build import GREEN, ORANGE, RED, Page, Query, label_variable
from monitoring.dashboards.queries import counted, increase

STEP = "$__rate_interval"
DATASET = 'dataset=~"$dataset"'
TABLE = 'table=~"$table"'
ACCEPTED, QUARANTINED = 'outcome="accepted"', 'outcome="quarantined"'
AGE = f"time() - max by (table) (taxiway_data_freshness_timestamp_seconds{{{TABLE}}})"


def part_quarantined(by: str = "", window: str = "$__range") -> str:
    """Return the share of rows that were quarantined in a window."""
    rows = increase("taxiway_rows_total", DATASET, by=by, window=window)
    return f"{increase('taxiway_rows_total', DATASET, QUARANTINED, by=by, window=window)} / ({rows} > 0)"


page = Page(
    uid="taxiway-data",
    title="Taxiway: data quality and freshness",
    description="Is the data whole, sound and recent?",
    time="now-30d",
    variables=[
        label_variable("dataset", "Data set", "taxiway_rows_total", "dataset"),
        label_variable("table", "Table", "taxiway_data_freshness_timestamp_seconds", "table"),
    ],
)

page.row("In the time shown")
page.stat(
    "Oldest table",
    "Age of the table that is furthest behind: now, less the end of its newest partition. How old a table may be is "
    "defined in its data contract; alerts compare with that.",
    Query(f"max({AGE})"),
    unit=units.Seconds,
    decimals=0,
)
page.stat(
    "Last publication",
    "When a partition of any table was last published.",
    Query(f"max(taxiway_published_timestamp_seconds{{{TABLE}}}) * 1000"),
    unit=units.DateTimeFromNow,
)
page.stat(
    "Rows accepted",
    "Rows that were checked and accepted. A partition that is made twice counts twice.",
    Query(counted("taxiway_rows_total", DATASET, ACCEPTED)),
    unit=units.Short,
)
page.stat(
    "Rows quarantined",
    "Rows that were checked and set aside with a reason. Accepted and quarantined rows are all rows read.",
    Query(counted("taxiway_rows_total", DATASET, QUARANTINED)),
    unit=units.Short,
)
page.stat(
    "Share quarantined",
    "Quarantined rows as a share of all rows read.",
    Query(part_quarantined()),
    unit=units.PercentUnit,
    steps=((None, GREEN), (0.01, ORANGE), (0.05, RED)),
    decimals=2,
)
page.stat(
    "Collected",
    "Bytes downloaded from the source. A file that has not changed is not downloaded again.",
    Query(increase("taxiway_bytes_collected_total", DATASET)),
    unit=units.BytesSI,
    decimals=1,
)

page.row("Quality")
page.bars(
    "Rows by outcome",
    "Rows that were checked, when they were.",
    Query(counted("taxiway_rows_total", DATASET, by="outcome", window=STEP), "{{outcome}}"),
    unit=units.Short,
)
page.lines(
    "Share quarantined in six hours",
    "Quarantined rows as a share of those checked in the six hours before. A jump means that the source changed.",
    Query(part_quarantined("dataset", "6h"), "{{dataset}}"),
    unit=units.PercentUnit,
    steps=((None, "transparent"), (0.05, RED)),
)
page.ranking(
    "Quarantined by reason",
    "Rows set aside in the time shown, by the first reason that applies.",
    Query(
        "sort_desc(" + counted("taxiway_rows_total", DATASET, QUARANTINED, by="reason") + ")",
        "{{reason}}",
    ),
    unit=units.Short,
    steps=((None, ORANGE),),
)
page.bars(
    "Collected by data set",
    "Bytes downloaded from the source.",
    Query(increase("taxiway_bytes_collected_total", DATASET, by="dataset", window=STEP), "{{dataset}}"),
    unit=units.BytesSI,
)

page.row("Checks")
page.table(
    "Checks in the last day",
    "Checks of tables' rows that failed and passed in the 24 hours before the end of the time shown, warnings too. A "
    "check counts each time that it is made. Which ones failed is in the incidents.",
    Query(
        counted("taxiway_checks_total", 'outcome="failed"', by="table", window="1d"),
        "Failed",
        zero=counted("taxiway_checks_total", by="table", window="1d"),
        unseen="no check failed in the recorded runs",
    ),
    Query(counted("taxiway_checks_total", 'outcome="passed"', by="table", window="1d"), "Passed"),
    labels={"table": "Table"},
    unit=units.Short,
    size=(12, 8),
    colours={"Failed": ((None, GREEN), (1, RED))},
)
page.bars(
    "Checks by outcome",
    "Checks of tables' rows, when they were made.",
    Query(counted("taxiway_checks_total", by="outcome", window=STEP), "{{outcome}}"),
    unit=units.Short,
)

page.row("Freshness")
page.table(
    "Tables",
    "What readers see: the end of the newest partition of each table, its age, and when one was last published.",
    Query(AGE, "Age", unit=units.Seconds),
    Query(f"max by (table) (taxiway_data_freshness_timestamp_seconds{{{TABLE}}}) * 1000", "Data until"),
    Query(f"max by (table) (taxiway_published_timestamp_seconds{{{TABLE}}}) * 1000", "Published"),
    labels={"table": "Table"},
    unit=units.DatetimeISO,
    links={"Table": ("Assets in Airflow", "${airflow}/assets")},
    size=(12, 9),
)
page.lines(
    "Age of the tables",
    "Now, less the end of the newest partition. It grows by a day a day and drops with each publication: a line that "
    "only climbs belongs to a pipeline that publishes nothing.",
    Query(AGE, "{{table}}"),
    unit=units.Seconds,
    size=(12, 9),
)
page.bars(
    "Asset events",
    "Updates of assets, and runs that they started. An update without a run: its consumer is paused or does not exist.",
    Query(counted("airflow_asset_updates", window=STEP), "updates"),
    Query(counted("airflow_asset_triggered_dagruns", window=STEP), "runs started"),
    unit=units.Short,
)
page.bars(
    "Deadlines missed",
    "Runs that were not done by their DAG's deadline.",
    Query(counted("taxiway_deadline_missed_total", by="dag_id", window=STEP), "{{dag_id}}"),
    unit=units.Short,
)
