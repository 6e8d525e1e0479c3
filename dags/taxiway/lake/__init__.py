"""The lake: tables of a given set, their versions on S3, and what of them is published in the Glue catalogue.

A partition (such as one month of a table) is written to a new version folder each time; the Glue partition's location
says which version readers see:

    <lake>/<table path>/year=2023/month=01/version=20261121T101112123456Z.1/*.parquet

A version is the time of the plan that ordered it and the number of the try that wrote it: a task that is tried again
never writes where another try did. A period is named by the partition's values: ``2023-01``.

    python -m taxiway.lake show               list what is published
    python -m taxiway.lake roll-back 2023-01  put the version before it in place
"""

from taxiway.lake.store import Lake, LakeError, open_lake
from taxiway.lake.tables import Table, TableSet
from taxiway.lake.versions import Partition, Publication, join_inputs, version_of

__all__ = [
    "Lake",
    "LakeError",
    "Partition",
    "Publication",
    "Table",
    "TableSet",
    "join_inputs",
    "open_lake",
    "version_of",
]
