"""awswrangler.emr and awswrangler.emr_serverless. Arguments: a bucket that it makes, the address of the job."""

import json
import sys
import time

import awswrangler as wr
import boto3

name, job = sys.argv[1:]
boto3.client("s3").create_bucket(Bucket=name)
cluster = wr.emr.create_cluster(
    subnet_id="subnet-1",
    emr_release="emr-6.7.0",
    logging_s3_path=f"s3://{name}/logs/",
    spark_glue_catalog=True,
    keep_cluster_alive_when_no_steps=True,
    termination_protected=False,
)
steps = [
    wr.emr.submit_spark_step(cluster, job, args=["s3://shared/trips/", f"s3://{name}/counted/"]),
    wr.emr.submit_step(cluster, f"s3-dist-cp --src=s3://shared/trips/ --dest=s3://{name}/trips/"),
]
while any(wr.emr.get_step_state(cluster, step) in ("PENDING", "RUNNING") for step in steps):
    time.sleep(0.2)
found = {
    "steps": [wr.emr.get_step_state(cluster, step) for step in steps],
    "first": boto3.client("emr").list_steps(ClusterId=cluster)["Steps"][-1]["Status"]["State"],  # Hadoop debugging
    "counted": sorted(wr.s3.read_parquet(f"s3://{name}/counted/").astype(str).to_numpy().tolist()),
    "copied": wr.s3.list_objects(f"s3://{name}/trips/"),
}
wr.emr.terminate_cluster(cluster)
run = wr.emr_serverless.run_job(
    application_id=wr.emr_serverless.create_application(name=name, release_label="emr-6.10.0"),
    execution_role_arn="arn:aws:iam::123456789012:role/jobs",
    job_driver_args={"entryPoint": job, "entryPointArguments": ["s3://shared/trips/", f"s3://{name}/serverless/"]},
    emr_serverless_job_wait_polling_delay=0.2,
)
found["run"] = run["jobRun"]["state"]

print(json.dumps(found))
