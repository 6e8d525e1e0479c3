"""EMR Serverless: its API and its states; job runs run as processes of this machine."""

import time
from collections.abc import Callable

from local_aws.context import REGION, Context
from local_aws.emr_serverless.applications import Applications
from local_aws.emr_serverless.job_runs import JobRuns
from local_aws.emr_serverless.programs import JobStarter
from local_aws.emr_serverless.service import EmrServerless
from local_aws.emr_serverless.store import History
from local_aws.execution import remove_leftovers


def open_service(context: Context, *, clock: Callable[[], float] = time.time) -> EmrServerless:
    """Start EMR Serverless with the applications and job runs that it has on record.

    Args:
        context: what the services share.
        clock: the time, in epoch seconds.
    """
    folder = context.data / "emr-serverless"
    remove_leftovers(folder)
    history = History(context.database)
    saved_applications, saved_runs = history.load()
    applications = Applications(history, saved_applications, region=REGION, state_s=context.state_s, clock=clock)
    starter = JobStarter(context.runner, context.engines, folder)
    runs = JobRuns(applications, history, saved_runs, starter, default_engine=context.engines.default.name, clock=clock)
    runs.open()
    return EmrServerless(applications, runs, starter, context.runner.endpoint)
