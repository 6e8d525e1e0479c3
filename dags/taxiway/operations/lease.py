"""A lease that one DAG run at a time holds, as an object on S3.

``max_active_runs`` does not do: backfills, and tasks that somebody clears, count apart. A lease needs no release: it
passes on when the run that has it is no longer active. S3's conditional writes make taking it atomic.
"""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from taxiway.core.s3 import split

if TYPE_CHECKING:
    from taxiway.lake import Lake


def take(s3: Any, uri: str, dag_id: str, run_id: str, is_active: Callable[[str, str], bool]) -> str | None:
    """Take the lease for a run, or keep it.

    Args:
        s3: a boto3 client for S3.
        uri: ``s3://`` address of the object.
        dag_id: of the run.
        run_id: of the run.
        is_active: whether a run (``dag_id``, ``run_id``) is queued or running.

    Returns:
        None if the run has the lease, else the id of the active run that has it.
    """
    bucket, key = split(uri)
    own = json.dumps({"dag_id": dag_id, "run_id": run_id}).encode()
    while True:
        try:
            found = s3.get_object(Bucket=bucket, Key=key)
        except s3.exceptions.NoSuchKey:
            condition = {"IfNoneMatch": "*"}
        else:
            content = found["Body"].read()
            if content == own:
                return None
            holder = json.loads(content)
            if is_active(holder["dag_id"], holder["run_id"]):
                return str(holder["run_id"])
            condition = {"IfMatch": found["ETag"]}
        try:
            s3.put_object(Bucket=bucket, Key=key, Body=own, ContentType="application/json", **condition)
        except ClientError as error:
            # Another run was quicker: look who.
            if error.response["ResponseMetadata"]["HTTPStatusCode"] not in (404, 409, 412):
                raise
        else:
            return None


def take_for_run(lake: "Lake", name: str, ti: Any) -> str | None:
    """Take the lease of a name for the run of a task, or keep it; arguments and result as of :func:`take`.

    Args:
        lake: the lease is ``<lake>/leases/<name>.json``.
        name: of what only one run at a time may change.
        ti: the running task's instance, by which Airflow is asked which runs are active.
    """

    def is_active(dag_id: str, run_id: str) -> bool:
        return bool(ti.get_dr_count(dag_id=dag_id, run_ids=[run_id], states=["queued", "running"]))

    uri = f"{lake.settings.lake}/leases/{name}.json"
    return take(lake.session.client("s3"), uri, ti.dag_id, ti.run_id, is_active)
