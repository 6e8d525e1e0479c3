"""When a failed task that waits for steps on EMR is not to be tried again, and what its log says of the cause."""

import logging
import re
from typing import Any

from airflow.sdk import Context, RetryDecision, RetryPolicy

from taxiway.aws.emr import cancelled_steps, end_of_cluster

log = logging.getLogger(__name__)


class StepRetries(RetryPolicy):
    """Retries of an ``EmrAddStepsOperator``: none on a cluster that has ended, nor of a step that somebody cancelled.

    The error of such a task does not include the cause, so its log's last line does.
    """

    def evaluate(
        self,
        exception: BaseException,
        try_number: int,  # noqa: ARG002 - Airflow passes these names
        max_tries: int,  # noqa: ARG002
        context: Context | None = None,
    ) -> RetryDecision:
        """Decide by the state of the cluster and of the steps that the error names."""
        assert context
        task: Any = context["ti"].task
        emr, cluster = task.hook.conn, task.job_flow_id
        if end := end_of_cluster(emr, cluster):
            log.error(
                "%s. A retry cannot help: clear the task that creates the cluster, and those after it.", end.rstrip(".")
            )
            return RetryDecision.fail()
        steps = sorted(set(re.findall(r"\bs-[0-9A-Z]{8,}\b", str(exception))))
        if cancelled := cancelled_steps(emr, cluster, steps):
            log.error("%s. Clear this task to run it again.", " ".join(cancelled).rstrip("."))
            return RetryDecision.fail()
        if "max attempts reached" in str(exception):
            hours = task.waiter_delay * task.waiter_max_attempts / 3600
            log.error(
                "The steps had not ended after %.3g hours (TAXIWAY_EMR_STEP_HOURS) and still occupy the cluster.", hours
            )
        return RetryDecision.default()
