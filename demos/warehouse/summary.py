"""What a person reads at the end of the demo: what was loaded, and the summary tables, all of it asked from Athena."""

from collections.abc import Sequence
from typing import Any

from pyathena import connect
from rich.table import Table

from console.output import Reporter, summary_table
from taxiway.core.s3 import split
from taxiway.lake import Lake

# Title and question of each table. Columns that are texts have a name here; all others are numbers.
TEXTS = {"table", "zone", "borough", "company", "month", "experiment", "metric", "gender"}
QUESTIONS = {
    "The ten zones with the most trips of the newest month, as the service reads them (zone_summary)": """
        SELECT zone_name AS zone, borough, trips, round(wait_s_mean, 1) AS "wait s", ratings,
            round(stars_mean, 2) AS stars
        FROM zone_summary ORDER BY trips DESC, zone_id LIMIT 10""",
    "Companies by month (company_month)": """
        SELECT month, company, trips, round(100 * trip_share, 1) AS "share %", round(wait_s_mean, 1) AS "wait s",
            ratings, round(stars_mean, 2) AS stars
        FROM company_month ORDER BY month, company""",
    "Experiments: means, and the lift with its 95 % interval (ab_summary)": """
        SELECT replace(experiment, '_', ' ') AS experiment, replace(metric, '_', ' ') AS metric,
            round(control_mean, 3) AS control, round(treatment_mean, 3) AS treatment,
            round(lift, 3) AS lift, round(lift_low, 3) AS "from", round(lift_high, 3) AS "to"
        FROM ab_summary ORDER BY experiment, metric""",
    "Names by gender (name_gender_summary)": """
        SELECT gender, names, round(100 * share, 1) AS "share %" FROM name_gender_summary ORDER BY names DESC""",
}


def show_summary(report: Reporter, lake: Lake) -> None:
    """Print what is published of the raw tables, and the summaries.

    Args:
        report: prints.
        lake: of the warehouse's tables.
    """
    bucket, _ = split(lake.settings.emr_logs)
    cursor = connect(
        s3_staging_dir=f"s3://{bucket}/athena/", schema_name=lake.settings.glue_database, poll_interval=0.05
    ).cursor()
    raw = sorted(table.name for table in lake.tables if "source" in table.contract.properties)
    loaded = " UNION ALL ".join(
        f"SELECT '{name}' AS \"table\", (SELECT count(*) FROM {name}) AS rows, "  # noqa: S608 - of contracts
        f"(SELECT count(*) FROM raw_rejected WHERE table_name = '{name}') AS rejected"
        for name in raw
    )
    for title, sql in {"Loaded (raw)": loaded, **QUESTIONS}.items():
        cursor.execute(sql)
        report.console.print(_table(title, [name for name, *_ in cursor.description or []], cursor.fetchall()))
    report.plain('make query SQL="select …" asks further; make data-docs writes the page on all tables again.')


def _table(title: str, columns: Sequence[str], rows: Sequence[Any]) -> Table:
    shown = summary_table(title, *columns, texts=TEXTS)
    for row in rows:
        shown.add_row(
            *("–" if value is None else f"{value:,}" if isinstance(value, int) else str(value) for value in row)
        )
    return shown
