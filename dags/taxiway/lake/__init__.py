"""The lake: versions of a pipeline's tables on S3, and which of them are published in the Glue catalogue.

Each write of a partition (such as one month of a table) goes to a new version folder; the location of the Glue
partition determines which version readers see:

    <lake>/<table path>/year=2023/month=01/version=20261121T101112123456Z.1/*.parquet

A version consists of the time of the run's plan and the number of the try that wrote it: a retried task never writes to
the folder of another try. A period is named by the partition's values: ``2023-01``.

    python -m taxiway.lake show               list what is published
    python -m taxiway.lake roll-back 2023-01  publish the previous version again
"""

from taxiway.lake.store import Lake, LakeError, open_lake
from taxiway.lake.tables import Table, TableSet
from taxiway.lake.versions import Partition, Publication, join_inputs, version_at, version_of

__all__ = [
    "Lake",
    "LakeError",
    "Partition",
    "Publication",
    "Table",
    "TableSet",
    "join_inputs",
    "open_lake",
    "version_at",
    "version_of",
]
