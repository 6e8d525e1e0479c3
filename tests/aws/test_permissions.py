"""The roles' policies: real actions, all that the DAGs call, and nothing on what is not the platform's."""

import ast
import fnmatch
import json
import re
from pathlib import Path
from typing import Any

import botocore.session
import pytest
import yaml
from botocore import xform_name

from taxiway.api_logs.settings import ApiLogsSettings
from taxiway.aws.emr import job_flow
from taxiway.core.pipelines import settings_classes
from taxiway.core.settings import Settings, TypedSettings
from taxiway.warehouse.dbt_settings import DbtSettings
from tests.aws.iam import actions, allowed, may_assume
from tests.aws.template import ACCOUNT, PARAMETERS, REGION, Stack

ROOT = Path(__file__).parents[2]
STACK = Stack()
LAKE, ARTIFACTS, LOGS = (f"arn:aws:s3:::acme-taxi-{name}" for name in ("lake", "artifacts", "logs"))
CATALOGUE = [
    f"arn:aws:glue:{REGION}:{ACCOUNT}:{path}" for path in ("catalog", "database/taxiway", "table/taxiway/hvfhv_trips")
]
CLUSTER = f"arn:aws:elasticmapreduce:{REGION}:{ACCOUNT}:cluster/j-1ABC"
OWN = {"elasticmapreduce__ResourceTag_x_project": "taxiway"}
ROLES = [name for name, each in STACK.resources.items() if each["Type"] == "AWS::IAM::Role"]
AIRFLOW = {
    "WorkerRole": "worker",
    "TriggererRole": "triggerer",
    "DagProcessorRole": "dag-processor",
    "ApiServerRole": "api-server",
}

# What a call of an SDK needs: (action, resource). Glue's and EMR's actions are named as their operations.
S3_CALLS = {
    "head_bucket": ("s3:ListBucket", LAKE),
    "list_objects_v2": ("s3:ListBucket", LAKE),
    "head_object": ("s3:GetObject", f"{LAKE}/raw/hvfhv/year=2025/month=01/file.parquet"),
    "get_object": ("s3:GetObject", f"{LAKE}/marts/hvfhv/trend/file.parquet"),
    "put_object": ("s3:PutObject", f"{LAKE}/reports/hvfhv/2025-01.html"),
    "upload_fileobj": ("s3:PutObject", f"{LAKE}/raw/hvfhv/year=2025/month=01/file.parquet"),
    "delete_objects": ("s3:DeleteObject", f"{LAKE}/curated/hvfhv_trips/version=1/file.parquet"),
    "delete_object": ("s3:DeleteObject", f"{LAKE}/dbt/runs/run/staging/run_results.json"),
    "download_file": ("s3:GetObject", f"{LAKE}/raw/warehouse/name_gender/version=1/part.parquet"),
    "upload_file": ("s3:PutObject", f"{LAKE}/raw/warehouse/name_gender/version=1/part.parquet"),
}
# What the provider's operators call, their waiting and cancelling among it.
OPERATORS = {
    "EmrCreateJobFlowOperator": ["run_job_flow", "describe_cluster", "terminate_job_flows"],
    "EmrAddStepsOperator": [
        "add_job_flow_steps",
        "describe_step",
        "describe_cluster",
        "list_clusters",
        "cancel_steps",
        "list_steps",
    ],
    "EmrTerminateJobFlowOperator": ["terminate_job_flows", "describe_cluster"],
    "AthenaHook": [],
    # On AWS the application is the stack's: none is created, and none deleted.
    "EmrServerlessCreateApplicationOperator": ["get_application", "start_application", "list_applications"],
    "EmrServerlessStartJobOperator": ["get_application", "start_application", "start_job_run", "get_job_run"],
    "EmrServerlessStopApplicationOperator": ["list_job_runs", "cancel_job_run", "stop_application", "get_application"],
    "EmrServerlessDeleteApplicationOperator": [],
    "S3KeySensor": [],
    "aws_template_fields": [],
    "AwsGenericHook": [],
    "S3Hook": [],
}
AIRFLOWS_OWN = {"get_session", "get_connection"}  # methods of Airflow's hooks that are named as operations of AWS


def _called_by_dags() -> dict[str, set[str]]:
    """Return the SDK operations that dags/ calls, service → Python names, but fail on an unknown operator.

    A name that several services have is that of those for which the file makes a client.
    """
    session = botocore.session.get_session()
    known = {
        service: {xform_name(name) for name in session.get_service_model(service).operation_names} - AIRFLOWS_OWN
        for service in ("s3", "glue", "emr", "emr-serverless", "athena", "secretsmanager")
    }
    known["glue"] -= known["emr-serverless"]  # Glue's own jobs, which no DAG uses
    known["s3"] |= {"upload_fileobj", "upload_file", "download_file", "download_fileobj"}
    found: dict[str, set[str]] = {service: set() for service in known}
    for path in sorted((ROOT / "dags").rglob("*.py")):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        texts = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
        imports = [node for node in nodes if isinstance(node, ast.ImportFrom)]
        for node in imports:
            if (node.module or "").startswith("airflow.providers.amazon"):
                for name in (alias.name for alias in node.names):
                    assert name in OPERATORS, f"{path.name} uses {name}: list in OPERATORS what it calls"
                    found["emr-serverless" if "Serverless" in name else "emr"] |= set(OPERATORS[name])
        for name in texts | {node.attr for node in nodes if isinstance(node, ast.Attribute)}:
            services = {service for service, names in known.items() if name in names}
            for service in services & texts or services:
                found[service].add(name)
    return found


def _published(pipeline: str) -> list[str]:
    """Return the folders of the tables that a pipeline publishes, of its contracts."""
    contracts = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "contracts" / pipeline).glob("*.yaml"))]
    properties = [
        {each["property"]: each["value"] for each in schema.get("customProperties", [])}
        for contract in contracts
        for schema in contract["schema"]
    ]
    return [each["path"] for each in properties if {"publishOrder", "publishAlone"} & each.keys()]


# What dbt-athena calls in an environment of its own: queries, and tables that it replaces with their old versions.
DBT = {
    *("athena:GetQueryExecution", "athena:GetQueryResults", "athena:GetWorkGroup", "athena:StartQueryExecution"),
    *("athena:StopQueryExecution", "glue:CreateDatabase", "glue:CreateTable", "glue:DeleteTable"),
    *("glue:DeleteTableVersion", "glue:GetDatabase", "glue:GetDatabases", "glue:GetTable", "glue:GetTableVersions"),
    *("glue:GetTables", "glue:UpdateTable", "glue:BatchCreatePartition", "glue:BatchDeletePartition"),
    *("glue:BatchDeleteTableVersion", "glue:CreatePartition", "glue:DeletePartition", "glue:GetPartition"),
    *("glue:GetPartitions", "glue:UpdatePartition"),
}
# What python -m taxiway.api_logs set-up makes on a laptop, the template has; keys are put in by hand.
MADE_BY_HAND = {"create_work_group", "create_secret"}
# What retention asks of every workgroup in which people ask.
HISTORY = {"list_query_executions", "batch_get_query_execution"}
CALLED = _called_by_dags()


def test_the_calls_of_the_dags_are_found() -> None:
    assert {"head_bucket", "upload_fileobj", "delete_objects", "list_objects_v2"} <= CALLED["s3"]
    assert {"create_partition", "get_tables", "update_partition"} <= CALLED["glue"]
    assert {"run_job_flow", "describe_cluster", "cancel_steps"} <= CALLED["emr"]


@pytest.mark.parametrize("operation", sorted(CALLED["s3"]))
def test_tasks_may_use_the_lake(operation: str) -> None:
    assert operation in S3_CALLS, f"the DAGs call S3's {operation}: list in S3_CALLS which permission that needs"
    action, resource = S3_CALLS[operation]
    assert allowed(STACK.policies("WorkerRole"), action, resource)
    assert not allowed(STACK.policies("WorkerRole"), action, resource.replace("acme-taxi-lake", "acme-payroll"))
    assert not allowed(STACK.policies("WorkerRole"), action, resource.replace("acme-taxi-lake", "acme-taxi-lake-2"))


@pytest.mark.parametrize("operation", sorted(CALLED["glue"]))
def test_tasks_may_publish(operation: str) -> None:
    action = "glue:" + "".join(part.capitalize() for part in operation.split("_"))
    for resource in CATALOGUE:
        assert allowed(STACK.policies("WorkerRole"), action, resource)
    for other in ("database/finance", "table/finance/pay", "table/taxiway2/x"):
        assert not allowed(STACK.policies("WorkerRole"), action, f"arn:aws:glue:{REGION}:{ACCOUNT}:{other}")


@pytest.mark.parametrize("operation", sorted(CALLED["emr"] - {"run_job_flow"}))
def test_tasks_may_use_their_own_clusters_only(operation: str) -> None:
    action = "elasticmapreduce:" + "".join(part.capitalize() for part in operation.split("_"))
    policies = STACK.policies("WorkerRole")
    if operation == "list_clusters":  # IAM knows no resource for it
        assert allowed(policies, action, "*")
        return
    assert allowed(policies, action, CLUSTER, **OWN)
    assert not allowed(policies, action, CLUSTER)
    assert not allowed(policies, action, CLUSTER, elasticmapreduce__ResourceTag_x_project="finance")
    assert not allowed(policies, action, CLUSTER.replace(ACCOUNT, "999999999999"), **OWN)


def test_the_cluster_of_the_dag_may_be_started_with_the_settings_of_the_outputs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    classes: list[type[TypedSettings]] = [*settings_classes(), DbtSettings]
    known = {each.variable(field) for each in classes for field in each.model_fields}
    for name, output in STACK.template["Outputs"].items():
        variable = output["Description"].split()[0]
        if variable.startswith("TAXIWAY_") and variable != "TAXIWAY_SPARK_JOBS":
            assert variable in known, f"{name}: no setting {variable}"
            monkeypatch.setenv(variable, STACK.outputs()[name])
    request = job_flow(Settings(), "test", {"dag_id": "hvfhv_analysis"})
    tags = {f"aws__RequestTag_x_{tag['Key']}": tag["Value"] for tag in request["Tags"]}
    policies = STACK.policies("WorkerRole")
    for action in ("elasticmapreduce:RunJobFlow", "elasticmapreduce:AddTags"):
        assert allowed(policies, action, "*" if action.endswith("Flow") else CLUSTER, **tags)
        assert not allowed(policies, action, CLUSTER)
        assert not allowed(policies, action, CLUSTER, aws__RequestTag_x_project="finance")
    # Whoever could tag another project's cluster as ours could end it.
    other = {"elasticmapreduce__ResourceTag_x_project": "finance"}
    assert not allowed(policies, "elasticmapreduce:AddTags", CLUSTER, **tags, **other)
    # The policies of AWS that the service role has look for this tag.
    assert tags["aws__RequestTag_x_for-use-with-amazon-emr-managed-policies"] == "true"
    passed = {
        request["ServiceRole"]: "elasticmapreduce.amazonaws.com",
        request["JobFlowRole"]: "ec2.amazonaws.com",
    }
    for role, service in passed.items():
        arn = f"arn:aws:iam::{ACCOUNT}:role/{role}"
        assert allowed(policies, "iam:PassRole", arn, iam__PassedToService=service)
        assert not allowed(policies, "iam:PassRole", arn, iam__PassedToService="lambda.amazonaws.com")
        assert not allowed(policies, "iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/admin", iam__PassedToService=service)
    assert request["SecurityConfiguration"]
    assert request["LogUri"] == "s3://acme-taxi-logs/emr/"
    assert allowed(STACK.policies("EmrInstanceRole"), "s3:PutObject", f"{LOGS}/emr/j-1/steps/s-1/stderr.gz")
    assert request["Instances"]["Ec2SubnetIds"] == PARAMETERS["PrivateSubnetIds"].split(",")


TASK_LOG = f"{LOGS}/airflow/dag_id=hvfhv_analysis/run_id=x/task_id=plan/attempt=1.log"


@pytest.mark.parametrize(
    ("role", "read", "write"),
    [
        ("WorkerRole", True, True),
        ("TriggererRole", True, True),
        ("ApiServerRole", True, False),
        ("DagProcessorRole", False, False),
    ],
)
def test_task_logs(role: str, read: bool, write: bool) -> None:
    policies = STACK.policies(role)
    assert allowed(policies, "s3:GetObject", TASK_LOG) is read
    # Without it S3 answers 403 for a log that does not exist yet, which Airflow takes for a failure.
    assert allowed(policies, "s3:ListBucket", LOGS) is read
    assert allowed(policies, "s3:PutObject", TASK_LOG) is write
    assert not allowed(policies, "s3:DeleteObject", TASK_LOG)
    assert not allowed(policies, "s3:PutObject", f"{LOGS}/emr/x")


@pytest.mark.parametrize("role", ["TriggererRole", "DagProcessorRole", "ApiServerRole"])
def test_only_tasks_change_data_or_clusters(role: str) -> None:
    policies = STACK.policies(role)
    for action in (
        "elasticmapreduce:RunJobFlow",
        "elasticmapreduce:AddJobFlowSteps",
        "elasticmapreduce:TerminateJobFlows",
    ):
        assert not allowed(policies, action, CLUSTER, **OWN, aws__RequestTag_x_project="taxiway")
    assert not allowed(policies, "s3:GetObject", f"{LAKE}/raw/x")
    assert allowed(policies, "elasticmapreduce:DescribeStep", CLUSTER, **OWN) is (role != "ApiServerRole")


@pytest.mark.parametrize(
    ("role", "pipelines"), [("EmrInstanceRole", ["hvfhv"]), ("ServerlessJobRole", ["access_logs", "hvfhv"])]
)
def test_spark_reads_the_lake_and_writes_its_tables_only(role: str, pipelines: list[str]) -> None:
    policies = STACK.policies(role)
    places = [place for pipeline in pipelines for place in _published(pipeline)]
    assert "marts/hvfhv/trend" in places
    for place in places:
        for action in ("s3:GetObject", "s3:PutObject", "s3:DeleteObject"):
            assert allowed(policies, action, f"{LAKE}/{place}/x.parquet"), f"see aws/pipelines for {place}"
    for action in ("s3:PutObject", "s3:DeleteObject"):
        for place in ("raw", "curated/hvfhv_trips2", "curated/other", "marts/other", "reports/hvfhv"):
            assert not allowed(policies, action, f"{LAKE}/{place}/x.parquet")
        assert not allowed(policies, action, f"{ARTIFACTS}/spark_jobs/c0ffee/spark_jobs.zip")
        assert not allowed(policies, action, "arn:aws:s3:::acme-payroll/x")
    assert allowed(policies, "s3:GetObject", f"{LAKE}/raw/x.parquet")
    assert allowed(policies, "s3:GetObject", f"{ARTIFACTS}/spark_jobs/c0ffee/spark_jobs.zip")


def test_tasks_find_the_published_programs_and_do_not_change_them() -> None:
    policies, program = STACK.policies("WorkerRole"), f"{ARTIFACTS}/spark_jobs/c0ffee/spark_jobs.zip"
    assert allowed(policies, "s3:GetObject", program)
    assert allowed(policies, "s3:ListBucket", ARTIFACTS)  # or a program that is missing would be 403, not 404
    assert not allowed(policies, "s3:PutObject", program)
    assert not allowed(policies, "s3:GetObject", f"{ARTIFACTS}/emr/certificates.zip")


def test_tasks_may_do_no_more_than_they_do() -> None:
    def named(prefix: str, operations: set[str]) -> set[str]:
        return {f"{prefix}:" + "".join(part.capitalize() for part in operation.split("_")) for operation in operations}

    used = named("glue", CALLED["glue"]) | named("elasticmapreduce", CALLED["emr"])
    used |= {S3_CALLS[operation][0] for operation in CALLED["s3"]} | {"s3:GetObject"}
    used |= {"iam:PassRole", "elasticmapreduce:AddTags"}  # parts of run_job_flow
    used |= named("athena", CALLED["athena"] - MADE_BY_HAND) | named(
        "secretsmanager", CALLED["secretsmanager"] - MADE_BY_HAND
    )
    without_serverless = Stack(CreateServerless="false").policies("WorkerRole")
    assert actions(without_serverless) - used - DBT == {
        "s3:AbortMultipartUpload",  # of an upload in parts that breaks
        "s3:GetBucketLocation",  # SDKs ask it where a bucket is in another region
    }


@pytest.mark.parametrize("operation", sorted(CALLED["athena"] - MADE_BY_HAND - HISTORY))
def test_tasks_ask_athena_within_the_workgroup_that_limits_them(operation: str) -> None:
    policies = STACK.policies("WorkerRole")
    workgroup = f"arn:aws:athena:{REGION}:{ACCOUNT}:workgroup/"
    action = "athena:" + "".join(part.capitalize() for part in operation.split("_"))
    assert allowed(policies, action, f"{workgroup}{STACK.properties('ApiLogsWorkgroup')['Name']}")
    assert not allowed(policies, action, f"{workgroup}primary")
    for other in ("TriggererRole", "DagProcessorRole", "ApiServerRole"):
        assert not allowed(STACK.policies(other), action, f"{workgroup}taxiway-api-logs")


@pytest.mark.parametrize("operation", sorted(HISTORY & CALLED["athena"]))
def test_tasks_read_the_history_of_the_workgroups_that_the_settings_name(operation: str) -> None:
    action = "athena:" + "".join(part.capitalize() for part in operation.split("_"))
    workgroup = f"arn:aws:athena:{REGION}:{ACCOUNT}:workgroup/"
    for name in (*Settings().retention_workgroups, "taxiway-analysts"):
        assert allowed(STACK.policies("WorkerRole"), action, f"{workgroup}{name}")
        for other in ("TriggererRole", "DagProcessorRole", "ApiServerRole"):
            assert not allowed(STACK.policies(other), action, f"{workgroup}{name}")
    assert not allowed(STACK.policies("WorkerRole"), action, f"{workgroup}payroll")


def test_the_history_of_queries_is_asked_for() -> None:
    assert CALLED["athena"] >= HISTORY


def test_the_workgroup_is_the_one_that_the_settings_name_and_ends_queries_that_read_too_much() -> None:
    workgroup = STACK.properties("ApiLogsWorkgroup")
    assert workgroup["Name"] == ApiLogsSettings().workgroup
    configuration = workgroup["WorkGroupConfiguration"]
    assert configuration["BytesScannedCutoffPerQuery"] == ApiLogsSettings().scan_limit_mb * 1_000_000
    assert configuration["EnforceWorkGroupConfiguration"] is True
    place = configuration["ResultConfiguration"]["OutputLocation"].removeprefix("s3://")
    assert allowed(STACK.policies("WorkerRole"), "s3:PutObject", f"arn:aws:s3:::{place}query.csv")


def test_tasks_read_the_keys_of_the_logs_and_no_other_secret_and_change_none() -> None:
    policies, settings = STACK.policies("WorkerRole"), ApiLogsSettings()
    secret = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:"
    for name in (f"{settings.key_prefix}server-01234567", settings.pseudonym_key):
        assert allowed(policies, "secretsmanager:GetSecretValue", f"{secret}{name}-AbCdEf")
        assert not allowed(policies, "secretsmanager:PutSecretValue", f"{secret}{name}-AbCdEf")
        assert not allowed(
            STACK.policies("ExternalSecretsRole"), "secretsmanager:GetSecretValue", f"{secret}{name}-AbCdEf"
        )
    assert not allowed(policies, "secretsmanager:GetSecretValue", f"{secret}taxiway/airflow-fernet-key-AbCdEf")


def test_serverless_jobs_are_those_of_the_own_application() -> None:
    policies = STACK.policies("WorkerRole")
    own = f"arn:aws:emr-serverless:{REGION}:{ACCOUNT}:/applications/ServerlessApplication"
    role = STACK.outputs()["ServerlessJobRoleArn"]
    assert allowed(policies, "emr-serverless:StartJobRun", own)
    assert allowed(policies, "emr-serverless:GetJobRun", f"{own}/jobruns/1")
    assert allowed(policies, "iam:PassRole", role, iam__PassedToService="emr-serverless.amazonaws.com")
    assert not allowed(policies, "emr-serverless:StartJobRun", own.replace("ServerlessApplication", "other"))
    assert not allowed(policies, "emr-serverless:UpdateApplication", own)
    for operation in CALLED["emr-serverless"] - {"create_application", "delete_application"}:
        action = "emr-serverless:" + "".join(part.capitalize() for part in operation.split("_"))
        assert any(allowed(policies, action, resource) for resource in (own, f"{own}/jobruns/1", "*")), action
    without = Stack(CreateServerless="false")
    assert not any(action.startswith("emr-serverless:") for action in actions(without.policies("WorkerRole")))


@pytest.mark.parametrize("role", ["TriggererRole", "DagProcessorRole"])
def test_what_waits_for_job_runs_may_watch_and_cancel_them(role: str) -> None:
    policies = STACK.policies(role)
    own = f"arn:aws:emr-serverless:{REGION}:{ACCOUNT}:/applications/ServerlessApplication"
    assert allowed(policies, "emr-serverless:GetApplication", own)
    for action in ("emr-serverless:GetJobRun", "emr-serverless:CancelJobRun"):
        assert allowed(policies, action, f"{own}/jobruns/1")
        assert not allowed(policies, action, f"{own.replace('ServerlessApplication', 'other')}/jobruns/1")
    assert not allowed(policies, "emr-serverless:StartJobRun", own)
    assert allowed(policies, "s3:GetObject", f"{LAKE}/raw/access_logs/year=2026/month=01/day=31/_SUCCESS")
    assert not allowed(policies, "s3:GetObject", f"{LAKE}/curated/access_requests/x.parquet")


def test_the_publisher_writes_below_spark_jobs_only() -> None:
    policies = STACK.policies("PublisherRole")
    assert allowed(policies, "s3:PutObject", f"{ARTIFACTS}/spark_jobs/c0ffee/spark_jobs.zip")
    assert actions(policies) == {"s3:GetObject", "s3:PutObject", "s3:ListBucket"}
    for other in (f"{ARTIFACTS}/emr/certificates.zip", f"{LAKE}/raw/x", f"{ARTIFACTS}-2/spark_jobs/x"):
        assert not allowed(policies, "s3:PutObject", other)


def test_only_the_branch_of_the_repository_may_publish() -> None:
    provider = f"arn:aws:iam::{ACCOUNT}:oidc-provider/token.actions.githubusercontent.com"

    def may(subject: str, audience: str = "sts.amazonaws.com") -> bool:
        prefix = "token.actions.githubusercontent.com"
        context = {f"{prefix}:sub": subject, f"{prefix}:aud": audience}
        return may_assume(
            STACK.trust("PublisherRole"), {"Federated": provider}, "sts:AssumeRoleWithWebIdentity", context
        )

    assert may("repo:acme/taxiway:ref:refs/heads/main")
    assert not may("repo:acme/taxiway:ref:refs/heads/main2")
    assert not may("repo:acme/taxiway:pull_request")
    assert not may("repo:mallory/taxiway:ref:refs/heads/main")
    assert not may("repo:acme/taxiway:ref:refs/heads/main", "https://github.com/mallory")
    assert "PublisherRole" not in Stack(GitHubRepository="").resources
    assert "GitHubOidcProvider" not in Stack(CreateGitHubProvider="false").resources


@pytest.mark.parametrize(("role", "pod"), AIRFLOW.items())
def test_a_role_is_for_one_service_account(role: str, pod: str) -> None:
    stack = Stack(Namespace="data")
    issuer = f"oidc.eks.{REGION}.amazonaws.com/id/{PARAMETERS['ClusterOidcId']}"

    def may(account: str, provider: str = issuer) -> bool:
        context = {f"{issuer}:sub": f"system:serviceaccount:{account}", f"{issuer}:aud": "sts.amazonaws.com"}
        principal = {"Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/{provider}"}
        return may_assume(stack.trust(role), principal, "sts:AssumeRoleWithWebIdentity", context)

    assert may(f"data:airflow-{pod}")
    assert not may(f"default:airflow-{pod}")
    assert not may("data:default")
    assert not may(f"data:airflow-{pod}", issuer[:-1] + "E")
    assert stack.properties(role)["RoleName"] == f"taxiway-airflow-{pod}"  # as helm/airflow/eks.yaml has it


def test_external_secrets_read_the_platforms_secrets_only() -> None:
    policies = STACK.policies("ExternalSecretsRole")
    secret = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:"
    assert allowed(policies, "secretsmanager:GetSecretValue", f"{secret}taxiway/airflow-fernet-key-AbCdEf")
    assert not allowed(policies, "secretsmanager:GetSecretValue", f"{secret}taxiway2/airflow-fernet-key-AbCdEf")
    assert not allowed(policies, "secretsmanager:PutSecretValue", f"{secret}taxiway/airflow-fernet-key-AbCdEf")
    for role in AIRFLOW:  # Airflow has them as Kubernetes Secrets
        for name in ("airflow-fernet-key", "airflow-metadata", "catalogue"):
            assert not allowed(STACK.policies(role), "secretsmanager:GetSecretValue", f"{secret}taxiway/{name}-AbCdEf")


@pytest.mark.parametrize("role", ROLES)
def test_no_role_has_a_wildcard_among_its_actions_or_a_resource_without_reason(role: str) -> None:
    # IAM knows no resource for these.
    star = {"elasticmapreduce:RunJobFlow", "elasticmapreduce:ListClusters", "emr-serverless:ListApplications"}
    for document in STACK.policies(role):
        for statement in document["Statement"]:
            named = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
            assert not [action for action in named if "*" in action]
            assert statement["Resource"] != "*" or set(named) <= star


def test_policies_are_within_iams_limits() -> None:
    def length(document: dict[str, Any]) -> int:
        return len(json.dumps(document, separators=(",", ":")))

    for name, policy in STACK.of_type("AWS::IAM::ManagedPolicy").items():
        assert length(policy["PolicyDocument"]) <= 6_144, name
    for role in ROLES:
        managed = [each["PolicyDocument"] for each in STACK.of_type("AWS::IAM::ManagedPolicy").values()]
        own = [each for each in STACK.policies(role) if each not in managed]
        assert sum(map(length, own)) <= 10_240, f"{role}: all policies of its own together"
        assert len(STACK.properties(role).get("ManagedPolicyArns", [])) <= 10, role


@pytest.mark.slow
def test_every_action_exists() -> None:
    cfnlint = pytest.importorskip("cfnlint", reason="cfn-lint, which knows the actions of IAM, is not installed")
    data = json.loads((Path(cfnlint.__file__).parent / "data/AdditionalSpecs/Policies.json").read_text())
    named = {action for role in ROLES for action in actions(STACK.policies(role))}
    assert len(named) > 30
    named |= actions([STACK.properties("EmrKey")["KeyPolicy"], STACK.properties("LakeBucketPolicy")["PolicyDocument"]])
    for action in named:
        service, _, name = action.lower().partition(":")
        assert fnmatch.filter(data[service]["Actions"], name), f"IAM has no action {action}"


def test_the_evaluation_itself() -> None:
    def document(effect: str, **more: Any) -> dict[str, Any]:
        return {"Statement": [{"Effect": effect, "Action": "s3:Get*", "Resource": "arn:aws:s3:::a/*", **more}]}

    assert allowed([document("Allow")], "s3:getobject", "arn:aws:s3:::a/b/c")
    assert not allowed([document("Allow")], "s3:PutObject", "arn:aws:s3:::a/b")
    assert not allowed([document("Allow")], "s3:GetObject", "arn:aws:s3:::a")
    assert not allowed([document("Allow"), document("Deny")], "s3:GetObject", "arn:aws:s3:::a/b")
    conditional = document("Allow", Condition={"StringEquals": {"aws:RequestTag/x": ["1", "2"]}})
    assert allowed([conditional], "s3:GetObject", "arn:aws:s3:::a/b", aws__RequestTag_x_x="2")
    assert not allowed([conditional], "s3:GetObject", "arn:aws:s3:::a/b", aws__RequestTag_x_x="3")
    assert not allowed([conditional], "s3:GetObject", "arn:aws:s3:::a/b")
    with pytest.raises(AssertionError, match="not understood"):
        allowed([{"Statement": [{"Effect": "Allow", "NotAction": "x", "Resource": "*"}]}], "s3:GetObject", "*")
    with pytest.raises(KeyError):
        allowed(
            [document("Allow", Condition={"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}})],
            "s3:GetObject",
            "arn:aws:s3:::a/b",
            aws__SourceIp="1",
        )


def test_policies_stand_in_the_template_alone() -> None:
    found = [*(ROOT / "aws").rglob("*.json"), *(ROOT / "docs").rglob("policies/*")]
    assert not found
    assert not re.search(r"docs/aws", (ROOT / "README.md").read_text())
