"""Which published days differ from the files that there are now; see ``taxiway.operations.backfill``."""

from collections.abc import Mapping, Sequence
from datetime import date

from taxiway.access_logs.plan import VARIABLE, Folder, PlanError, files_of, inputs_of
from taxiway.lake import Lake, LakeError, Partition


def changed(found: Lake, published: Mapping[str, Partition], periods: Sequence[str]) -> dict[str, str] | None:
    """Return the days that were built from other files than are in their folder now, with the reason.

    Returns:
        None if the Variable with the folder is not set.

    Raises:
        LakeError: the Variable names no folder of a day.
    """
    from airflow.sdk import Variable

    s3, variable = found.session.client("s3"), Variable.get(VARIABLE, default=None)
    if variable is None:
        return None
    try:
        folder, reasons = Folder.parse(variable), {}
    except PlanError as error:
        raise LakeError(str(error)) from None
    for day in periods:
        files = list(files_of(s3, folder.of(date.fromisoformat(day)).uri))
        if files and inputs_of(files) not in published[day].processed_inputs:
            reasons[day] = f"its folder has {len(files):,} files that differ from those that it was built from"
    return reasons
