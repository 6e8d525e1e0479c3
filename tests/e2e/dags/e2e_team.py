"""A DAG for tests on a cluster: that of the team of the feature team-roles."""

from collections.abc import Collection
from datetime import timedelta

from airflow.sdk import dag, task

TEAM: dict[str, dict[str, Collection[str]]] = {
    "team-rides": {"DAGs": {"can_read", "can_edit"}, "DAG Runs": {"can_create"}},
}


@dag(
    schedule=None,
    tags=["tier:test"],
    access_control=TEAM,
    default_args={"owner": "e2e", "retries": 0, "execution_timeout": timedelta(minutes=10)},
    doc_md="Probe of the tests.",
)
def e2e_team() -> None:
    """Run one task."""

    @task
    def work() -> str:
        """Return a word."""
        return "done"

    work()


e2e_team()
