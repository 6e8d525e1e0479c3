"""The tables of the service, the same on MySQL and SQLite.

Every table has ``created_at``, ``modified_at`` and ``deleted_at`` in UTC. A row whose service changes it sets
``modified_at``; one that is deleted stays with ``deleted_at``, or is removed.
"""

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

metadata = sa.MetaData()

_TIME = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql")


def _table(name: str, *columns: "sa.Column[object]") -> sa.Table:
    return sa.Table(
        name,
        metadata,
        *columns,
        sa.Column("created_at", _TIME, nullable=False, index=True),
        sa.Column("modified_at", _TIME, nullable=False, index=True),
        sa.Column("deleted_at", _TIME),
    )


ride_ratings = _table(
    "ride_ratings",
    sa.Column("rating_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("rider_id", sa.BigInteger, nullable=False),
    sa.Column("company", sa.String(16), nullable=False),
    sa.Column("pickup_zone_id", sa.Integer, nullable=False),
    sa.Column("requested_at", _TIME, nullable=False),  # New York's wall clock, as in the trips
    sa.Column("stars", sa.Integer, nullable=False),
)

experiment_assignments = _table(
    "experiment_assignments",
    sa.Column("rider_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("experiment", sa.String(64), primary_key=True),
    sa.Column("variant", sa.String(16), nullable=False),
    sa.Column("assigned_at", _TIME, nullable=False),
)

experiment_exposures = _table(
    "experiment_exposures",
    sa.Column("exposure_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("rider_id", sa.BigInteger, nullable=False),
    sa.Column("experiment", sa.String(64), nullable=False),
    sa.Column("exposed_at", _TIME, nullable=False),
)
