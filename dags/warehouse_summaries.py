"""Builds the warehouse's summaries with dbt on Athena, a task a layer."""

from datetime import timedelta

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import Asset, Param, TriggerRule, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from taxiway.core.errors import unrecoverable
from taxiway.core.settings import settings
from taxiway.operations import notices
from taxiway.operations.deadlines import done_within
from taxiway.warehouse import dbt

RAW = Asset("warehouse_raw", uri=f"{settings().lake}/raw/warehouse")
TRIPS = Asset("hvfhv_eta_training", uri=f"{settings().lake}/marts/hvfhv/eta_training")
MARTS = Asset("warehouse_marts", uri=f"{settings().lake}/marts/warehouse")


@dag(
    schedule=RAW | TRIPS,
    catchup=False,
    max_active_runs=1,  # two runs would replace each other's tables
    deadline=done_within(6),
    tags=["tier:1", "domain:warehouse"],
    **notices.of_run(),
    params={
        "full_refresh": Param(
            False, type="boolean", title="Full refresh", description="Build all months anew, not those that changed."
        )
    },
    default_args={
        **notices.of_tasks("docs/runbooks/DagSuccessBurnsFast.md"),
        "owner": "data-platform",
        "execution_timeout": timedelta(minutes=60),
        "retries": 2,
        "retry_delay": timedelta(seconds=settings().poll_s),
        "retry_exponential_backoff": 2.0,
        "max_retry_delay": timedelta(minutes=10),
    },
    doc_md="""
### Warehouse summaries

Builds and tests the dbt project `warehouse/` on Athena: staging, intermediate, marts (`zone_month`, `company_month`,
`ab_summary`, `name_gender_summary`, `daily_traffic`, `zone_summary`). It starts when raw tables or months of trips are
published.

* **Which months:** `plan` compares the published versions with those that the models by month were built from, and has
  the months built anew that have changed; all with the parameter `full_refresh`. What depends on a table of which
  nothing is published is left out. Its log says which tables are older than their contracts say.
* **Tasks:** one a layer, which runs `dbt build` (`TAXIWAY_DBT`) for its models and their tests. Each mart is replaced
  as a whole when its new version is complete; readers find the former one until then.
* **If a model fails**, the task's last line names it, its owner and the reason. What does not depend on it is built.
  A retry, or clearing the task, builds what has not passed and what was changed since. Of a test that failed, the model
  is built again too.
* **Kept** at `<lake>/dbt/<run>/<layer>/`: the manifest and the results. The parsed project, at `<lake>/dbt/latest/`,
  spares the next task seconds; one of other files, settings or packages is not used.
""",
)
def warehouse_summaries() -> None:
    """Plan, then build the layers one after the other."""

    @task(task_id=dbt.PLAN)
    def plan() -> dict[str, object]:
        """Return what is not published, and the months to build."""
        planned = dbt.plan(get_current_context())
        if planned is None:
            raise AirflowSkipException("Nothing is published that the project reads: there is nothing to build.")
        return planned

    def build(layer: str) -> dict[str, int]:
        context = get_current_context()
        if context["ti"].xcom_pull(task_ids=dbt.PLAN) is None:
            raise AirflowSkipException("There is no plan: there is nothing to build.")
        with unrecoverable(dbt.FinalDbtError):
            return dbt.build(layer, context)

    @task
    def staging() -> dict[str, int]:
        """Views of the sources, under one set of names."""
        return build("staging")

    # A layer is built although the one before it has failed: without what depends on the models that did.
    @task(trigger_rule=TriggerRule.ALL_DONE)
    def intermediate() -> dict[str, int]:
        """Sums by month."""
        return build("intermediate")

    @task(trigger_rule=TriggerRule.ALL_DONE, outlets=[MARTS])
    def marts() -> dict[str, int]:
        """What others read."""
        return build("marts")

    layers = [staging(), intermediate(), marts()]
    plan() >> layers[0] >> layers[1] >> layers[2]
    layers >> EmptyOperator(task_id="complete")  # the run fails if a layer has


warehouse_summaries()
