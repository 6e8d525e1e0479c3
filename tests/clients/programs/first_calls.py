"""boto3: S3, a step on EMR, a job run on EMR Serverless, and a query on Athena.

Arguments: a bucket that the program makes, the address of the job.
"""

import json
import sys
import time
from typing import Any

import boto3
import botocore.exceptions

bucket, job = sys.argv[1:]
s3, emr, serverless, athena = (boto3.client(name) for name in ("s3", "emr", "emr-serverless", "athena"))
found: dict[str, Any] = {"version": boto3.__version__}

s3.create_bucket(Bucket=bucket)
begun = time.monotonic()
for number in range(3):
    s3.put_object(Bucket=bucket, Key=f"empty{number}", Body=b"")
    s3.put_object(Bucket=bucket, Key=f"full{number}", Body=b"text")
found["stalled"] = time.monotonic() - begun > 30  # 60 s each, if 100-continue is not answered
s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "empty0"}], "Quiet": True})
s3.copy_object(Bucket=bucket, Key="copied", CopySource={"Bucket": bucket, "Key": "full0"})
pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, PaginationConfig={"PageSize": 2})
found["keys"] = [each["Key"] for page in pages for each in page["Contents"]]
found["errors"] = []
for operation, request in (
    (s3.put_object, {"Key": "k" * 1025, "Body": b"x"}),
    (s3.get_object, {"Key": "none"}),
    (s3.copy_object, {"Key": "c", "CopySource": f"{bucket}/full0", "CopySourceIfNoneMatch": "*"}),
):
    try:
        operation(Bucket=bucket, **request)
    except botocore.exceptions.ClientError as error:
        found["errors"].append(error.response["Error"]["Code"])

cluster = emr.run_job_flow(
    Name="boto3",
    ReleaseLabel="emr-7.10.0",
    Instances={"MasterInstanceType": "m5.xlarge", "InstanceCount": 1, "KeepJobFlowAliveWhenNoSteps": False},
    Steps=[
        {
            "Name": "copy",
            "ActionOnFailure": "TERMINATE_CLUSTER",
            "HadoopJarStep": {
                "Jar": "command-runner.jar",
                "Args": ["s3-dist-cp", "--src", "s3://shared/trips/", "--dest", f"s3://{bucket}/trips/"],
            },
        }
    ],
)["JobFlowId"]
for waiter in ("cluster_running", "cluster_terminated"):
    emr.get_waiter(waiter).wait(ClusterId=cluster, WaiterConfig={"Delay": 1})
found["step"] = emr.list_steps(ClusterId=cluster)["Steps"][0]["Status"]["State"]
found["copied"] = s3.get_object(Bucket=bucket, Key="trips/a.csv")["ContentLength"]

application = serverless.create_application(releaseLabel="emr-7.10.0", type="SPARK")["applicationId"]
run = serverless.start_job_run(
    applicationId=application,
    executionRoleArn="arn:aws:iam::123456789012:role/jobs",
    jobDriver={
        "sparkSubmit": {"entryPoint": job, "entryPointArguments": ["s3://shared/trips/", f"s3://{bucket}/counted/"]}
    },
)["jobRunId"]
while True:
    found["run"] = serverless.get_job_run(applicationId=application, jobRunId=run)["jobRun"]["state"]
    if found["run"] in ("SUCCESS", "FAILED"):
        break
    time.sleep(0.2)

query = athena.start_query_execution(
    QueryString="SELECT sum(x) AS total FROM unnest(ARRAY[1, 2, 3]) AS t (x)",
    ResultConfiguration={"OutputLocation": f"s3://{bucket}/results/"},
)["QueryExecutionId"]
while athena.get_query_execution(QueryExecutionId=query)["QueryExecution"]["Status"]["State"] in ("QUEUED", "RUNNING"):
    time.sleep(0.1)
rows = athena.get_query_results(QueryExecutionId=query)["ResultSet"]["Rows"]
found["rows"] = [[cell["VarCharValue"] for cell in row["Data"]] for row in rows]

print(json.dumps(found))
