"""Lists once a month what the contracts do not keep any longer, waits for approval, and deletes it."""

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import dag, get_current_context, task

from taxiway.core.settings import settings
from taxiway.operations import notices

log = logging.getLogger(__name__)


@dag(
    schedule="0 6 3 * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=not settings().platform_dags,
    tags=["tier:2", "domain:platform"],
    default_args={
        "owner": "platform",
        "execution_timeout": timedelta(hours=2),
        "retries": 2,
        "retry_delay": timedelta(minutes=1),
        "retry_exponential_backoff": 2.0,
        "max_retry_delay": timedelta(minutes=10),
    },
    doc_md="""
### Retention

Applies what the data contracts say of how long data is kept ([docs/retention.md](retention.md)).

* **`look`** lists the periods that are older than their contract keeps them, with sizes and the last known reader; what
  a legal hold or another table's reads keep stays, a sentence each. It also tells which tables nobody is known to have
  read for `TAXIWAY_RETENTION_UNUSED_DAYS` days.
* **`cool`** moves periods to a colder storage class after `coldAfterMonths`. Readers notice nothing.
* **`approve`** waits for a person, in Airflow under *Required actions*; after 14 days without an answer it is *Reject*.
  Nothing is deleted before.
* **`delete`** looks again, then deletes from the catalogue first, and the objects after. What changed since stays.
* **If it fails**, the task's last line has the reason in one sentence. Clear it: what is deleted is not listed again.
""",
)
def retention() -> None:
    """List, ask, delete."""

    @task.short_circuit(ignore_downstream_trigger_rules=False)
    def look() -> list[dict[str, Any]]:
        """Return what may go; without any, nothing is asked."""
        from taxiway.operations import retention as rules

        context: Any = get_current_context()
        session, now = _session(), datetime.now(UTC)
        readers, gaps = rules.readers_of(session, settings(), now)
        found = rules.survey(session, settings(), now, readers)
        log.info("\n".join(rules.describe(found, readers, gaps, settings(), now)))
        idle = rules.unused(found.tables, readers, settings().retention_unused_days, now)
        if found.old:
            notices.tell(context, "Retention: this waits for approval.", rules.rows_of(found.old))
        if idle:
            notices.tell(context, f"Not read for {settings().retention_unused_days} days: {' '.join([*idle, *gaps])}")
        context["ti"].xcom_push("listing", rules.as_markdown(found.old, [*found.kept, *gaps]))
        return [dict(each) for each in found.old]

    @task
    def cool() -> int:
        """Return the number of bytes that moved to a colder class."""
        from taxiway.operations import retention as rules

        session, now = _session(), datetime.now(UTC)
        return rules.cool(session, rules.survey(session, settings(), now, {}).cold)

    @task
    def delete(old: Any) -> list[str]:
        """Return a sentence for each period that is gone, and for each that stays."""
        from taxiway.operations import retention as rules

        gone, stays = rules.delete(_session(), settings(), old, datetime.now(UTC))
        for sentence in (*gone, *stays):
            log.info(sentence)
        notices.tell(get_current_context(), "Retention: " + " ".join([*gone, *stays]))
        return [*gone, *stays]

    old = look()
    approve = ApprovalOperator(
        task_id="approve",
        subject="Delete data that its contracts do not keep any longer?",
        body="{{ ti.xcom_pull(task_ids='look', key='listing') }}",
        defaults=ApprovalOperator.REJECT,
        response_timeout=timedelta(days=14),
    )
    cool()
    old >> approve >> delete(old)


def _session() -> Any:
    from airflow.providers.amazon.aws.hooks.base_aws import AwsGenericHook

    return AwsGenericHook(aws_conn_id=settings().aws_conn_id).get_session()


retention()
