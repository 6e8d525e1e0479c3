"""Is what the warehouse reads complete and recent, and do analysts and the service get its summaries?"""

from grafana_foundation_sdk.models import units

from monitoring.dashboards.build import GREEN, ORANGE, RED, Page, Query
from monitoring.dashboards.queries import counted

STEP = "$__rate_interval"
RAW = 'dataset=~"name_gender|taxi_zones|fhv_bases|ride_ratings|experiment_.*"'
REJECTED = 'outcome="quarantined"'
DAY = 86400


def age(metric: str, label: str) -> str:
    """Return the seconds since a Unix time that a gauge had last: the exporter forgets it two days after a run."""
    return f"time() - max by ({label}) (last_over_time({metric}[30d]))"


page = Page(
    uid="taxiway-warehouse",
    title="Taxiway: warehouse",
    description="Is what the warehouse reads complete and recent, and do analysts and the service get its summaries?",
    time="now-7d",
    variables=[],
)

page.row("In the time shown")
page.stat(
    "Rows loaded",
    "Rows of raw tables that were accepted. A table that is read as a whole counts with each version.",
    Query(counted("taxiway_rows_total", RAW, 'outcome="accepted"')),
    unit=units.Short,
)
page.stat(
    "Rows rejected",
    "Rows that broke a rule of their table's contract; they are in raw_rejected.",
    Query(counted("taxiway_rows_total", RAW, REJECTED)),
    unit=units.Short,
    steps=((None, GREEN), (1, ORANGE)),
)
page.stat(
    "Loads refused",
    "Loads after which the table of before stays, such as of a source that lost half of its rows.",
    Query(counted("taxiway_warehouse_refused_total"), zero="sum(up)"),
    unit=units.Short,
    steps=((None, GREEN), (1, RED)),
)
page.stat(
    "Models failing",
    "Builds in which a dbt model or one of its tests failed.",
    Query(counted("taxiway_warehouse_dbt_failed_total")),
    unit=units.Short,
    steps=((None, GREEN), (1, RED)),
)
page.stat(
    "Oldest mart",
    "Time since the mart was built that was built longest ago. An alert fires after two days.",
    Query(f"max({age('taxiway_warehouse_dbt_built_timestamp_seconds', 'model')})"),
    unit=units.Seconds,
    steps=((None, GREEN), (1.2 * DAY, ORANGE), (2 * DAY, RED)),
    decimals=0,
)
page.stat(
    "Last swap",
    "Time that the last swap of the served table took. An alert fires above one second.",
    Query("max(taxiway_warehouse_swap_seconds)"),
    unit=units.Seconds,
    steps=((None, GREEN), (0.05, ORANGE), (1, RED)),
    decimals=3,
)

page.row("Loads")
page.bars(
    "Rows that changed",
    "Rows that loads inserted, updated, marked as deleted, removed, or repaired after a comparison with the source.",
    Query(counted("taxiway_warehouse_changes_total", by="kind", window=STEP), "{{kind}}"),
    unit=units.Short,
)
page.ranking(
    "Time of loads",
    "How long each table's last load took, from the source to its publication.",
    Query("sort_desc(max by (table) (taxiway_warehouse_load_seconds))", "{{table}}"),
    unit=units.Seconds,
)
page.ranking(
    "Age of the newest change",
    "Now, less the newest change of the source that a table has. An alert fires after three days.",
    Query("sort_desc(" + age("taxiway_warehouse_mark_timestamp_seconds", "table") + ")", "{{table}}"),
    unit=units.Seconds,
    steps=((None, GREEN), (3 * DAY, RED)),
)
page.ranking(
    "Rejected by reason",
    "Rows that were rejected in the time shown, by the first rule that they break.",
    Query(
        "sort_desc(" + counted("taxiway_rows_total", RAW, REJECTED, by="dataset, reason") + ")",
        "{{dataset}}: {{reason}}",
    ),
    unit=units.Short,
    steps=((None, ORANGE),),
)

page.row("Summaries and serving")
page.bars(
    "Models and tests",
    "What dbt built and tested, by status.",
    Query(counted("taxiway_warehouse_dbt_results_total", by="status", window=STEP), "{{status}}"),
    unit=units.Short,
)
page.ranking(
    "Time of models",
    "How long each model's last build took.",
    Query("sort_desc(max by (model) (taxiway_warehouse_dbt_seconds))", "{{model}}"),
    unit=units.Seconds,
)
page.ranking(
    "Age of the marts",
    "Now, less the time when each mart was last built. An alert fires after two days.",
    Query("sort_desc(" + age("taxiway_warehouse_dbt_built_timestamp_seconds", "model") + ")", "{{model}}"),
    unit=units.Seconds,
    size=(8, 8),
    steps=((None, GREEN), (2 * DAY, RED)),
)
page.lines(
    "Rows served",
    "Rows of the tables in the service's database, as of the last swap.",
    Query("max by (table) (taxiway_warehouse_served_rows)", "{{table}}"),
    unit=units.Short,
    size=(8, 8),
)
page.ranking(
    "Age of what is served",
    "Now, less the time of the last swap into the service's database.",
    Query("sort_desc(" + age("taxiway_warehouse_served_timestamp_seconds", "table") + ")", "{{table}}"),
    unit=units.Seconds,
    size=(8, 8),
)
