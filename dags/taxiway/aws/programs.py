"""The Spark programs of the same commit as the running code: where they are published, and whether they are.

The setting ``spark_jobs`` may contain ``{commit}``, the placeholder for the commit of the running code. The process
that builds steps resolves it at that time, so arguments and programs always match, even when another commit is
delivered during a run. The commit is the one that the code's folder is named after (see :mod:`taxiway.core.code`), or
else the version of the run's DAG bundle, as Airflow reports it.
"""

import logging
import time
from typing import Any

import botocore.exceptions

from taxiway.core.code import CODE, commit_of, is_commit
from taxiway.core.s3 import split
from taxiway.core.settings import COMMIT, Settings

log = logging.getLogger(__name__)

# ``spark_jobs.publish`` uploads it last: a folder that has it is complete.
ARCHIVE = "spark_jobs.zip"


class ProgramsError(RuntimeError):
    """The Spark programs of this code are unavailable; the text says which, where they are expected and what to do."""


def settings_for_steps(settings: Settings, session: Any, ti: Any) -> Settings:
    """Return the settings with the folder of this code's programs, for a task that will build steps.

    Args:
        settings: of the process.
        session: a ``boto3.Session``.
        ti: the task instance of Airflow's context.

    Raises:
        ProgramsError: the commit is unknown, or its programs are not published in time.
    """
    bundle = getattr(ti, "bundle_instance", None)  # dag.test has none
    found = locate(settings, bundle and bundle.version)
    # A task that resumes after its trigger is rendered again, with the code that is current by then. Its steps were
    # submitted before: the result of that rendering is not used.
    known = getattr(ti, "_ti_context_from_server", None)
    if not (known and known.next_method):
        wait = settings.jobs_wait_minutes * 60 if found is not settings else 0
        await_published(found, session.client("s3"), wait)
    return found


def locate(settings: Settings, bundle_version: str | None = None) -> Settings:
    """Return the settings with ``{commit}`` replaced by the commit of this code; unchanged if they do not contain it.

    Args:
        settings: of the process.
        bundle_version: version of the DAG bundle that the run is pinned to, if any.

    Raises:
        ProgramsError: the commit cannot be determined.
    """
    if COMMIT not in settings.spark_jobs:
        return settings
    commit = commit_of(CODE) or (bundle_version if is_commit(bundle_version or "") else None)
    if not commit:
        raise ProgramsError(
            f"TAXIWAY_SPARK_JOBS={settings.spark_jobs} needs the commit of the DAGs, which cannot be determined from "
            f"{CODE.parent}: deliver the DAGs by git-sync or by a GitDagBundle with versions, or set "
            f"TAXIWAY_SPARK_JOBS to the folder of one version, such as {settings.spark_jobs.replace(COMMIT, '1.2.3')}."
        )
    return settings.model_copy(update={"spark_jobs": settings.spark_jobs.replace(COMMIT, commit)})


def await_published(settings: Settings, s3: Any, seconds: float) -> None:
    """Wait until the programs are published.

    CI publishes the programs of a commit when it is pushed, and the same push delivers the DAGs, possibly earlier. This
    process waits, because a later one may run the code of another commit.

    Args:
        settings: ``spark_jobs`` is the folder.
        s3: a boto3 client for S3.
        seconds: how long to wait at most.

    Raises:
        ProgramsError: the programs are not published by then, or access to S3 is denied.
    """
    deadline = time.monotonic() + seconds
    logged = False
    while not _is_published(settings.spark_jobs, s3):
        if time.monotonic() >= deadline:
            raise ProgramsError(_missing(settings.spark_jobs, seconds))
        if not logged:
            log.info("Waiting up to %g minutes until %s is published.", seconds / 60, settings.spark_jobs)
            logged = True
        time.sleep(min(settings.poll_s, max(deadline - time.monotonic(), 0.1)))


def _missing(folder: str, waited: float) -> str:
    version = folder.rpartition("/")[2]
    if not is_commit(version):
        return (
            f"There are no Spark programs in TAXIWAY_SPARK_JOBS={folder}: {ARCHIVE} is missing; publish them with "
            "make publish-jobs, or set it to the folder of a published version."
        )
    after = f" after {waited / 60:g} minutes of waiting" if waited else ""
    return (
        f"The Spark programs of commit {version}, the commit of this DAG, are not published: "
        f"{folder}/{ARCHIVE} is missing{after}; check why the workflow publish-jobs failed, or check out the commit "
        "and run make publish-jobs, then clear this task."
    )


def _is_published(folder: str, s3: Any) -> bool:
    bucket, prefix = split(folder)
    try:
        s3.head_object(Bucket=bucket, Key=f"{prefix}/{ARCHIVE}".lstrip("/"))
    except botocore.exceptions.ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        if status == 403:
            raise ProgramsError(
                f"Access to {folder}/{ARCHIVE} is denied: Airflow's role needs s3:GetObject on that "
                f"folder and s3:ListBucket on the bucket {bucket}."
            ) from None
        if status != 404:
            raise
        return False
    return True
