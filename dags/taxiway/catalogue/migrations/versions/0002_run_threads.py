"""What is told of each DAG run, and where."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0002"
down_revision = "0001"

OPTIONS = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}
TIME = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql")


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "run_threads",
        sa.Column("dag_id", sa.String(250), primary_key=True),
        sa.Column("run_id", sa.String(250), primary_key=True),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("ended", TIME),
        sa.Column("tasks", sa.Text().with_variant(mysql.MEDIUMTEXT, "mysql"), nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("updated", TIME, nullable=False),
        sa.Column("leased", TIME),
        sa.Column("channel", sa.String(50)),
        sa.Column("ts", sa.String(50)),
        if_not_exists=True,
        **OPTIONS,
    )


def downgrade() -> None:
    """Drop the table and its rows."""
    op.drop_table("run_threads")
