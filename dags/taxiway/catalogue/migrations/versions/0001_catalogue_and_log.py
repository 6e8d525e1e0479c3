"""The dataset catalogue and the ingestion log."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None

# MySQL commits after each table, so a repeated migration may find the first ones. Names are compared byte by byte, as
# in SQLite.
OPTIONS = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}
TIME = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql")


def upgrade() -> None:
    """Create both tables."""
    op.create_table(
        "datasets",
        sa.Column("name", sa.String(200), primary_key=True),
        sa.Column("month", sa.String(7), nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("expected_bytes", sa.BigInteger),
        sa.Column("expected_sha256", sa.String(64)),
        if_not_exists=True,
        **OPTIONS,
    )
    op.create_table(
        "ingestion_log",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("dataset", sa.String(200), nullable=False, index=True),
        sa.Column("month", sa.String(7), nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("dag_run_id", sa.String(250)),
        sa.Column("again", sa.Boolean, nullable=False),
        sa.Column("started", TIME, nullable=False),
        sa.Column("finished", TIME),
        sa.Column("status", sa.String(10), nullable=False),
        sa.Column("bytes", sa.BigInteger),
        sa.Column("sha256", sa.String(64)),
        sa.Column("rows", sa.BigInteger),
        sa.Column("s3_bucket", sa.String(63)),
        sa.Column("s3_key", sa.String(1024)),
        sa.Column("source_version", sa.Text),
        sa.Column("error", sa.Text),
        if_not_exists=True,
        **OPTIONS,
    )


def downgrade() -> None:
    """Drop both tables and their rows."""
    op.drop_table("ingestion_log")
    op.drop_table("datasets")
