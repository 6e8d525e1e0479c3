"""Serves summaries of the warehouse from the ride service's database, where applications read them."""

from datetime import timedelta

from airflow.sdk import Asset, Param, dag, get_current_context, task

from taxiway.core.settings import settings
from taxiway.operations import notices
from taxiway.operations.deadlines import done_within
from taxiway.warehouse import serving
from taxiway.warehouse.serving import Staged


@dag(
    schedule=[Asset("warehouse_marts", uri=f"{settings().lake}/marts/warehouse")],  # by warehouse_summaries
    catchup=False,
    max_active_runs=1,
    deadline=done_within(3),
    tags=["tier:1", "domain:warehouse"],
    **notices.of_run(),
    params={
        "allow_loss": Param(
            False,
            type="boolean",
            title="Allow loss",
            description="Serve tables with under half of the rows that are live, or without columns that it has.",
        ),
    },
    default_args={
        **notices.of_tasks("docs/runbooks/WarehouseNotServed.md"),
        "owner": "data-platform",
        "execution_timeout": timedelta(minutes=40),
        "retries": 3,
        "retry_delay": timedelta(seconds=settings().poll_s),
        "retry_exponential_backoff": 2.0,
        "max_retry_delay": timedelta(minutes=10),
    },
    doc_md="""
### Warehouse: served tables

Copies marts to the ride service's database (Airflow's connection `ride_service`, MySQL or SQLite), which is the
interface for applications.

* **Which:** marts whose contract has the property `serve`. `swap` (`zone_summary`): staged beside the live table, read
  back, compared by rows and checksum, and renamed in one atomic step; readers see the old table or the new one.
  `upsert` (`zone_month`): by key in transactions of 5,000 rows, continued after the last one if a try is killed; rows
  that the mart has not are removed.
* **Nothing new:** rows that are live already are not staged again.
* **Refused,** with the live table as it was: a mart that breaks its contract or has no rows; under half of the rows
  that are live, or a column less (the parameter `allow_loss` allows both); rows that were rolled back.
* **Roll-back:** `python -m taxiway.warehouse roll-back zone_summary` serves the table before; a second time undoes it.
  `python -m taxiway.warehouse show` lists what there is.
* **If it fails**, the task's last line has the reason in one sentence. A database that is locked, full or away is
  tried again. Remove the cause and clear the failed task: none loses or doubles a row.
""",
)
def warehouse_serving() -> None:
    """Stage and swap what is small; change what is large by key."""

    @task
    def plan(how: str) -> list[str]:
        """Return the tables to serve in a way."""
        return serving.plan(how)

    @task(map_index_template="{{ task.op_kwargs['table'] }}")
    def stage(table: str) -> Staged:
        """Write a mart beside the live table, and compare them."""
        return serving.stage(table, get_current_context())

    @task(map_index_template="{{ task.op_kwargs['staged']['table'] }}")
    def swap(staged: Staged) -> float:
        """Make the staged table the live one."""
        return serving.swap(staged, get_current_context())

    @task(map_index_template="{{ task.op_kwargs['table'] }}")
    def upsert(table: str) -> dict[str, int]:
        """Make a live table equal to its mart, by key."""
        return serving.upsert(table, get_current_context())

    swap.expand(staged=stage.expand(table=plan("swap")))
    upsert.expand(table=plan.override(task_id="plan_upserts")("upsert"))


warehouse_serving()
