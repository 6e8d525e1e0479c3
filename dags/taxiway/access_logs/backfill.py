"""Which published days differ from the files that there are now; see ``taxiway.operations.backfill``."""

from collections.abc import Mapping, Sequence
from datetime import date

from taxiway.access_logs.plan import VARIABLE, Folder, files_of, inputs_of
from taxiway.lake import Lake, Partition


def changed(found: Lake, published: Mapping[str, Partition], periods: Sequence[str]) -> dict[str, str]:
    """Return the days that were built from other files than are in their folder now, with the reason."""
    from airflow.sdk import Variable

    s3, variable = found.session.client("s3"), Variable.get(VARIABLE, default=None)
    if variable is None:
        return {}
    folder, reasons = Folder.parse(variable), {}
    for day in periods:
        files = list(files_of(s3, folder.of(date.fromisoformat(day)).uri))
        if files and inputs_of(files) not in published[day].processed_inputs:
            reasons[day] = f"its folder has {len(files):,} files that differ from those that it was built from"
    return reasons
