"""Results of checks, incidents, and what is to be done about them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0003"
down_revision = "0002"

OPTIONS = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}
INDEXES = {
    "check_results": (("table_name", "check_name", "id"), ("dag_id", "run_id"), ("checked_at",)),
    "incidents": (("detected_at",),),
    "incident_actions": (("incident_id",),),
}
TIME = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql")


def upgrade() -> None:
    """Create the tables and their indexes, of which an interrupted migration on MySQL has left the first ones."""
    op.create_table(
        "check_results",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("dag_id", sa.String(250), nullable=False),
        sa.Column("run_id", sa.String(250), nullable=False),
        sa.Column("task", sa.String(250), nullable=False),
        sa.Column("pipeline", sa.String(100), nullable=False),
        sa.Column("table_name", sa.String(200), nullable=False),
        sa.Column("check_name", sa.String(200), nullable=False),
        sa.Column("period", sa.String(30), nullable=False),
        sa.Column("passed", sa.Boolean, nullable=False),
        sa.Column("severity", sa.String(10), nullable=False),
        sa.Column("observed", sa.Text, nullable=False),
        sa.Column("expected", sa.Text, nullable=False),
        sa.Column("rows", sa.BigInteger),
        sa.Column("owner", sa.String(100), nullable=False),
        sa.Column("runbook", sa.String(250), nullable=False),
        sa.Column("profile", sa.Text, nullable=False),
        sa.Column("checked_at", TIME, nullable=False),
        if_not_exists=True,
        **OPTIONS,
    )
    op.create_table(
        "incidents",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("open_key", sa.String(64), unique=True),
        sa.Column("dag_id", sa.String(250), nullable=False),
        sa.Column("table_name", sa.String(200), nullable=False),
        sa.Column("check_name", sa.String(250), nullable=False),
        sa.Column("what", sa.Text, nullable=False),
        sa.Column("severity", sa.String(10), nullable=False),
        sa.Column("periods", sa.Text, nullable=False),
        sa.Column("since", TIME, nullable=False),
        sa.Column("detected_at", TIME, nullable=False),
        sa.Column("last_failed_at", TIME, nullable=False),
        sa.Column("closed_at", TIME),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("rows", sa.BigInteger),
        sa.Column("owner", sa.String(100), nullable=False),
        sa.Column("runbook", sa.String(250), nullable=False),
        sa.Column("run_id", sa.String(250), nullable=False),
        sa.Column("closed_by", sa.String(250)),
        if_not_exists=True,
        **OPTIONS,
    )
    op.create_table(
        "incident_actions",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("incident_id", sa.BigInteger, nullable=False),
        sa.Column("what", sa.Text, nullable=False),
        sa.Column("owner", sa.String(100), nullable=False),
        sa.Column("due", sa.Date),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("done_at", TIME),
        if_not_exists=True,
        **OPTIONS,
    )
    there = sa.inspect(op.get_bind())
    for table, indexes in INDEXES.items():
        names = {index["name"] for index in there.get_indexes(table)}
        for columns in indexes:
            if (name := f"ix_{table}_{columns[0]}") not in names:
                op.create_index(name, table, columns)


def downgrade() -> None:
    """Drop the tables and their rows."""
    for table in ("incident_actions", "incidents", "check_results"):
        op.drop_table(table)
