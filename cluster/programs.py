"""The Spark programs of a commit, published where that commit's DAG runs look for them; and the local buckets."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster import git
from cluster.config import Config
from cluster.kubectl import Kubectl
from cluster.shell import last_lines, run
from console.aws import ARTIFACTS, local_client, local_environment, make_buckets
from console.errors import UserError
from console.options import ROOT

BUCKETS = ("taxiway-lake", "taxiway-artifacts", "taxiway-logs")


@contextmanager
def local_aws(kubectl: Kubectl) -> Iterator[str]:
    """Reach the cluster's local AWS endpoint for the length of a ``with`` block; yields its address here."""
    with kubectl.forward("service/local-aws", 4566) as forward:
        yield forward.url


def ensure_buckets(url: str) -> list[str]:
    """Make the platform's buckets where they are missing, and return those that were made.

    Raises:
        UserError: the endpoint refuses, or does not answer.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return make_buckets(local_client("s3", url), BUCKETS)
    except (BotoCoreError, ClientError) as error:
        raise UserError(f"The local AWS endpoint does not make the buckets: {error}") from None


def publish(commit: str, destination: str, url: str | None, root: Path = ROOT) -> str:
    """Publish the Spark programs of a commit, as they were committed.

    Args:
        commit: that also names their folder.
        destination: ``s3://bucket/prefix``.
        url: of the local AWS endpoint; None for the AWS account that our own variables name.
        root: the checkout.

    Returns:
        the URI of the folder.

    Raises:
        UserError: S3 refuses.
    """
    given = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if url:  # no profile of the user's leads to a real account
        given = {name: value for name, value in given.items() if not name.startswith("AWS_")} | local_environment(url)
    # What the programs share with the DAGs, and their contracts, are published with them.
    with git.exported(commit, "spark_jobs", "dags/taxiway", "contracts", root=root) as folder:
        command = [sys.executable, "-m", "spark_jobs.publish", destination, "--version", commit]
        result = run(command, seconds=300, cwd=folder, environment=given)
    if result.returncode:
        raise UserError(f"The Spark programs of {commit[:12]} were not published: {last_lines(result.stderr)}")
    return result.stdout.strip()


def destination(config: Config) -> str:
    """Return the folder on S3 below which commits have theirs: ``ARTIFACTS`` or the default."""
    return (config.given.get("ARTIFACTS") or ARTIFACTS).rstrip("/")
