"""Writes the page on all tables every day: columns, owners, lineage, freshness, checks, incidents, cost."""

from datetime import UTC, datetime, timedelta

from airflow.sdk import dag, task

from taxiway.core.settings import settings


@dag(
    schedule="@daily",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=not settings().platform_dags,
    tags=["tier:2", "domain:platform"],
    default_args={
        "owner": "platform",
        "execution_timeout": timedelta(minutes=15),
        "retries": 2,
        "retry_delay": timedelta(minutes=1),
        "retry_exponential_backoff": 2.0,
        "max_retry_delay": timedelta(minutes=5),
    },
    doc_md="""
### Data docs

Writes `<lake>/reports/data-docs/index.html`, one page that opens without a network: every table that a contract
describes, with its columns, owner, requester and purpose, what it is made from and what is made from it, when it was
published, its last checks and incidents, and what its storage costs.

* **Lineage** is that of the runs' events in `<lake>/lineage/`: without them the page has the tables alone
  ([lineage](lineage.md)).
* **What cannot be read**, such as the results of checks without the connection `tlc_catalog`, is named on the page and
  does not hold it up.
* **On a laptop** `make data-docs` writes the page to `.local/platform/reports/data-docs/`.
* **If it fails**, the page before stays. Clear the task.
""",
)
def data_docs() -> None:
    """Write the page."""

    @task
    def write() -> str:
        """Write the page; return its address."""
        from airflow.providers.amazon.aws.hooks.base_aws import AwsGenericHook

        from taxiway.data_docs import page
        from taxiway.data_docs.gathering import gather
        from taxiway.data_docs.settings import data_docs_settings

        session = AwsGenericHook(aws_conn_id=settings().aws_conn_id).get_session()
        found = gather(settings(), session, data_docs_settings(), now=datetime.now(UTC))
        return page.write(found, settings(), session.client("s3"))

    write()


data_docs()
