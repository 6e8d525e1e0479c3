"""The Spark programs of a commit, published where that commit's DAG runs look for them; and the local buckets."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cluster import git
from cluster.config import ROOT, ClusterError, Config
from cluster.kubectl import Kubectl
from cluster.shell import last_lines, run
from laptop.config import local_aws_environment

BUCKETS = ("taxiway-lake", "taxiway-artifacts", "taxiway-logs")
ARTIFACTS = "s3://taxiway-artifacts/spark_jobs"


@contextmanager
def local_aws(kubectl: Kubectl) -> Iterator[dict[str, str]]:
    """Reach the cluster's local AWS endpoint; yields the variables that point an AWS SDK at it."""
    with kubectl.forward("service/local-aws", 4566) as forward:
        yield aws_environment(forward.url)


def aws_environment(url: str) -> dict[str, str]:
    """Return our own variables with those of AWS replaced: no profile of the user's leads to a real account."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return others | local_aws_environment(url)


def s3_client(environment: dict[str, str]) -> Any:
    """Return an S3 client for the endpoint that variables name, whatever our own variables say."""
    import boto3
    from botocore.config import Config as Botocore

    return boto3.client(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        region_name=environment["AWS_DEFAULT_REGION"],
        config=Botocore(s3={"addressing_style": "path"}, proxies={}, connect_timeout=10, read_timeout=60),
    )


def make_buckets(environment: dict[str, str]) -> list[str]:
    """Make the platform's buckets where they are missing, and return those that were made."""
    from botocore.exceptions import BotoCoreError, ClientError

    s3 = s3_client(environment)
    try:
        there = {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}
        missing = [bucket for bucket in BUCKETS if bucket not in there]
        for bucket in missing:
            s3.create_bucket(Bucket=bucket)
    except (BotoCoreError, ClientError) as error:
        raise ClusterError(f"The local AWS endpoint does not make the buckets: {error}") from None
    return missing


def publish(commit: str, destination: str, environment: dict[str, str] | None, root: Path = ROOT) -> str:
    """Publish the Spark programs of a commit, as they were committed.

    Args:
        commit: that also names their folder.
        destination: ``s3://bucket/prefix``.
        environment: variables of the AWS SDK; None for our own.
        root: the checkout.

    Returns:
        the URI of the folder.

    Raises:
        ClusterError: S3 refuses.
    """
    with git.exported(commit, "spark_jobs", root=root) as folder:
        command = [sys.executable, "-m", "spark_jobs.publish", destination, "--version", commit]
        given = {name: value for name, value in (environment or os.environ).items() if name != "PYTHONPATH"}
        result = run(command, seconds=300, cwd=folder, environment=given)
    if result.returncode:
        raise ClusterError(f"The Spark programs of {commit[:12]} were not published: {last_lines(result.stderr)}")
    return result.stdout.strip()


def destination(config: Config) -> str:
    """Return the folder on S3 below which commits have theirs: ``ARTIFACTS`` or the default."""
    return (config.given.get("ARTIFACTS") or ARTIFACTS).rstrip("/")
