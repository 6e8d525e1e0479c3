"""Print the Helm values for a stack of platform.yaml: ``python -m aws.values STACK > mine.yaml``.

The file is for ``make deploy ENV=eks VALUES=mine.yaml``. It holds names and no secrets. Account and region are those of
the AWS credentials in use.
"""

import argparse
import sys
from collections.abc import Mapping
from typing import Any

import boto3
import yaml
from botocore.exceptions import BotoCoreError, ClientError

ENVIRONMENT = {
    "TAXIWAY_COST_TAGS": "CostTags",
    "TAXIWAY_DBT_RESULTS": "WarehouseResults",
    "TAXIWAY_DBT_WORKGROUP": "WarehouseWorkgroup",
    "TAXIWAY_EMR_INSTANCE_ROLE": "EmrInstanceRole",
    "TAXIWAY_EMR_SECURITY_CONFIGURATION": "EmrSecurityConfiguration",
    "TAXIWAY_EMR_SERVICE_ROLE": "EmrServiceRole",
    "TAXIWAY_EMR_SUBNETS": "EmrSubnets",
    "TAXIWAY_GLUE_DATABASE": "GlueDatabase",
}
# Of the parameter ServerlessSize: vCPU, GB of memory, GB of disk; as in the mapping Serverless of template.yaml.
SERVERLESS_SIZES = {"small": (16, 128, 500), "medium": (64, 512, 2000), "large": (256, 2048, 8000)}


class StackError(Exception):
    """The stack provides no values; the text is one sentence."""


def stack_outputs(client: Any, stack: str) -> dict[str, str]:
    """Return the outputs of a stack that is complete.

    Args:
        client: a boto3 client for CloudFormation.
        stack: its name.

    Raises:
        StackError: there is none, it is not complete, or it was not created from this template.
    """
    try:
        found = client.describe_stacks(StackName=stack)["Stacks"][0]
    except ClientError as error:
        raise StackError(
            f"CloudFormation reports for the stack {stack!r}: {error.response['Error']['Message']}."
        ) from None
    except BotoCoreError as error:
        raise StackError(f"CloudFormation cannot be queried for the stack {stack!r}: {error}") from None
    if not found["StackStatus"].endswith("_COMPLETE") or "ROLLBACK" in found["StackStatus"]:
        raise StackError(f"The stack {stack!r} is {found['StackStatus']}, not complete: look at its events.")
    outputs = {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", [])}
    if missing := {"Account", "BucketPrefix", "WorkerRoleArn", *ENVIRONMENT.values()} - outputs.keys():
        raise StackError(f"The stack {stack!r} lacks the output {min(missing)}: update it from aws/platform.yaml.")
    return outputs


def serverless_environment(outputs: Mapping[str, str]) -> dict[str, str]:
    """Return the settings with which DAGs use the stack's EMR Serverless application; none if it has none."""
    if "ServerlessSettings" not in outputs:
        return {}
    name, release, size, ready = outputs["ServerlessSettings"].split()
    vcpu, memory, disk = SERVERLESS_SIZES[size]
    values = {
        "APPLICATION": name,
        "ARCHITECTURE": "ARM64",
        "MAX_DISK_GB": str(disk),
        "MAX_GB": str(memory),
        "MAX_VCPU": str(vcpu),
        "PREINITIALISED": ready,
        "RELEASE": release,
        "ROLE": outputs["ServerlessJobRoleArn"],
    }
    return {f"TAXIWAY_SERVERLESS_{setting}": value for setting, value in values.items()}


def helm_values(outputs: Mapping[str, str]) -> dict[str, Any]:
    """Return the values for helm/airflow/eks.yaml from a stack's outputs."""

    def role(name: str) -> dict[str, Any]:
        return {"serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": outputs[f"{name}RoleArn"]}}}

    return {
        "global": {
            "taxiway": {
                "account": outputs["Account"],
                "bucketPrefix": outputs["BucketPrefix"],
                "env": {variable: outputs[output] for variable, output in ENVIRONMENT.items()}
                | serverless_environment(outputs),
            }
        },
        "apiServer": role("ApiServer"),
        "dagProcessor": role("DagProcessor"),
        "triggerer": role("Triggerer"),
        "workers": {"celery": role("Worker")},
    }


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m aws.values", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("stack", help="name of the CloudFormation stack")
    stack = parser.parse_args(arguments).stack
    try:
        outputs = stack_outputs(boto3.client("cloudformation"), stack)
    except StackError as error:
        sys.exit(str(error))
    except BotoCoreError as error:  # no region
        sys.exit(f"CloudFormation cannot be queried: {error}")
    sys.stdout.write(f"# Written from the stack {stack} by python -m aws.values. Add dags.gitSync.repo.\n")
    sys.stdout.write(yaml.safe_dump(helm_values(outputs), sort_keys=False))


if __name__ == "__main__":
    main()
