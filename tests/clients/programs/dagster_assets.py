"""dagster-aws: assets made by programs on EMR and on EMR Serverless. Arguments: a bucket, the program's file."""

import json
import logging
import sys
import time
import uuid
from typing import Any

import boto3
import dagster_pipes
from botocore.waiter import Waiter
from dagster import AssetExecutionContext, asset, materialize
from dagster_aws.emr import EmrJobRunner
from dagster_aws.pipes import PipesEMRClient, PipesEMRServerlessClient, PipesS3MessageReader

bucket, program = sys.argv[1:]
s3 = boto3.client("s3")
s3.create_bucket(Bucket=bucket)
s3.upload_file(program, bucket, "job.py")
s3.upload_file(dagster_pipes.__file__, bucket, "dagster_pipes.py")
submit = ["--py-files", f"s3://{bucket}/dagster_pipes.py"]
instances = {"MasterInstanceType": "m5.xlarge", "InstanceCount": 1}

# The client has no argument for how long its waiters sleep: 30 s.
wait = Waiter.wait
Waiter.wait = lambda self, **request: wait(self, **{**request, "WaiterConfig": {"Delay": 1}})


@asset  # type: ignore[untyped-decorator]
def by_emr(context: AssetExecutionContext, emr: PipesEMRClient) -> Any:
    """Start a cluster that ends with its step."""
    step = {"Jar": "command-runner.jar", "Args": ["spark-submit", *submit, f"s3://{bucket}/job.py"]}
    return emr.run(
        context=context,
        extras={"rows": 7},
        run_job_flow_params={
            "Name": "dagster",
            "ReleaseLabel": "emr-7.3.0",
            "Instances": {**instances, "KeepJobFlowAliveWhenNoSteps": False},
            "Steps": [{"Name": "job", "ActionOnFailure": "CONTINUE", "HadoopJarStep": step}],
        },
    ).get_results()


@asset  # type: ignore[untyped-decorator]
def by_emr_serverless(context: AssetExecutionContext, serverless: PipesEMRServerlessClient) -> Any:
    """Start a job run."""
    client = boto3.client("emr-serverless")
    application = client.create_application(releaseLabel="emr-7.2.0", type="SPARK", name="dagster")["applicationId"]
    spark = {"entryPoint": f"s3://{bucket}/job.py", "sparkSubmitParameters": " ".join(submit)}
    return serverless.run(
        context=context,
        extras={"rows": 5},
        start_job_run_params={
            "applicationId": application,
            "executionRoleArn": "arn:aws:iam::123456789012:role/jobs",
            "clientToken": str(uuid.uuid4()),
            "jobDriver": {"sparkSubmit": spark},
        },
    ).get_results()


def reader() -> PipesS3MessageReader:
    return PipesS3MessageReader(bucket=bucket, client=s3, interval=0.2, include_stdio_in_messages=True)


result = materialize(
    [by_emr, by_emr_serverless],
    resources={
        "emr": PipesEMRClient(message_reader=reader(), client=boto3.client("emr")),
        "serverless": PipesEMRServerlessClient(
            message_reader=reader(), client=boto3.client("emr-serverless"), poll_interval=0.5
        ),
    },
)
found: dict[str, Any] = {
    event.asset_key.path[0]: event.materialization.metadata["rows"].value
    for event in result.get_asset_materialization_events()
}

log = logging.getLogger("dagster")
runner = EmrJobRunner(region="us-east-1", check_cluster_every=0)
cluster = runner.run_job_flow(
    log,
    {
        "Name": "runner",
        "ReleaseLabel": "emr-7.3.0",
        "LogUri": f"s3://{bucket}/logs/",
        "Instances": {**instances, "KeepJobFlowAliveWhenNoSteps": True},
        "ServiceRole": "EMR_DefaultRole",
        "JobFlowRole": "EMR_EC2_DefaultRole",
    },
)
command = runner.construct_step_dict_for_command("say", ["echo", "hello"])
(step_id,) = runner.add_job_flow_steps(log, cluster, [command])
while not runner.is_emr_step_complete(log, cluster, step_id):
    time.sleep(0.2)
found["stdout"] = runner.retrieve_logs_for_step_id(log, cluster, step_id)[0]
boto3.client("emr").terminate_job_flows(JobFlowIds=[cluster])

print(json.dumps(found))
