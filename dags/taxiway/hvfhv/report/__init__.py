"""The month's report: one self-contained HTML page with charts and zone maps.

Importing this package loads Altair and DuckDB, so import it in tasks, not in DAG files.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from taxiway.core.s3 import split
from taxiway.hvfhv.report.figures import MonthFigures, gather
from taxiway.hvfhv.report.page import render

if TYPE_CHECKING:
    from taxiway.aws.usage import Usage
    from taxiway.catalogue import Input
    from taxiway.lake import Lake

__all__ = ["MonthFigures", "gather", "render", "write_report"]


def write_report(lake: "Lake", month: str, inputs: Sequence["Input"], used: "Usage | None") -> str:
    """Write the report of a published month to ``<lake>/reports/hvfhv/YYYY-MM.html``, replacing an existing one.

    Args:
        lake: to read from and write to.
        month: ``YYYY-MM``.
        inputs: the files that the published version was built from.
        used: what the run's cluster used.

    Returns:
        the page's ``s3://`` URI.

    Raises:
        taxiway.lake.LakeError: the month is not published.
    """
    page = render(gather(lake, month, inputs, used))
    uri = f"{lake.settings.lake}/reports/hvfhv/{month}.html"
    bucket, key = split(uri)
    lake.session.client("s3").put_object(
        Bucket=bucket, Key=key, Body=page.encode(), ContentType="text/html; charset=utf-8", CacheControl="no-cache"
    )
    return uri
