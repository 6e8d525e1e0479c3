"""The local AWS endpoint, on this machine or behind a port-forward: its variables, its clients, its buckets."""

import os
from collections.abc import Callable, Collection
from typing import Any

from console.errors import UserError
from console.patience import NotNowError, Result, Say, patiently

ARTIFACTS = "s3://taxiway-artifacts/spark_jobs"
_KEY = "local"
_REGION = "us-east-1"


def local_environment(url: str) -> dict[str, str]:
    """Return the standard variables that point every AWS SDK at a local endpoint."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": _KEY,
        "AWS_SECRET_ACCESS_KEY": _KEY,
        "AWS_DEFAULT_REGION": _REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        # A busy machine may answer late.
        "AWS_RETRY_MODE": "standard",
        "AWS_MAX_ATTEMPTS": "8",
        # A profile of the user's must never send local requests to a real account.
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


def local_client(service: str, url: str) -> Any:
    """Return a boto3 client for a local endpoint, whatever the variables of this process say."""
    import boto3
    from botocore.config import Config

    return boto3.client(
        service,
        endpoint_url=url,
        aws_access_key_id=_KEY,
        aws_secret_access_key=_KEY,
        region_name=_REGION,
        config=Config(
            s3={"addressing_style": "path"},
            proxies={},
            connect_timeout=10,
            read_timeout=60,
            retries={"mode": "standard", "total_max_attempts": 4},
        ),
    )


def patient_call(call: Callable[[], Result], say: Say) -> Result:
    """Return what a call of a local client returns, trying again while the endpoint is away.

    Args:
        call: takes the client anew each time, as its address may change.
        say: prints a line.

    Raises:
        UserError: the endpoint did not answer in time.
    """
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    def attempt() -> Result:
        try:
            return call()
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] < 500:
                raise
            raise NotNowError(str(error)) from None
        except (BotoCoreError, Boto3Error, UserError) as error:
            raise NotNowError(str(error)) from None

    return patiently(attempt, of="The AWS endpoint", hint="make status shows what runs.", say=say)


def make_buckets(s3: Any, names: Collection[str]) -> list[str]:
    """Make the buckets that are missing, and return their names."""
    present = {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}
    missing = sorted(set(names) - present)
    for name in missing:
        s3.create_bucket(Bucket=name)
    return missing
