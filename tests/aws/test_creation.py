"""The template, created by moto's CloudFormation in moto's own server, and checked by the services' APIs.

What moto's CloudFormation cannot create is listed in BY_ITS_API and NOT_HERE, with what is done instead; a test fails
when moto supports it, or when the template has a new type.
"""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import moto.backends
import pytest
import yaml
from moto.server import ThreadedMotoServer

from aws.values import StackError, helm_values, stack_outputs
from tests.aws.template import PARAMETERS, Stack, load

ROOT = Path(__file__).parents[2]
# moto's CloudFormation does not know these: the tests make them of the template's values, by the services' own APIs.
BY_ITS_API = {"AWS::S3::BucketPolicy", "AWS::SecretsManager::Secret", "AWS::IAM::OIDCProvider"}
NOT_HERE = {
    "AWS::ElastiCache::SubnetGroup": "moto's CloudFormation has no ElastiCache; see test_the_broker_…",
    "AWS::ElastiCache::ParameterGroup": "moto has no parameter groups of ElastiCache",
    "AWS::ElastiCache::ReplicationGroup": "see test_the_broker_…",
    "AWS::Athena::WorkGroup": "local_aws has workgroups, moto's CloudFormation none",
    "AWS::EMRServerless::Application": "moto refuses the releases emr-spark-…",
}
# Properties that moto's CloudFormation falls over: it takes tags of keys and parameter groups in its own API's shape.
FALLS_OVER = [("AWS::KMS::Key", "Tags"), ("AWS::RDS::DBInstance", "DBParameterGroupName")]
ROLES = {
    "WorkerRole": 4,
    "TriggererRole": 3,
    "DagProcessorRole": 1,
    "ApiServerRole": 1,
    "EmrInstanceRole": 1,
    "EmrServiceRole": 1,
    "PublisherRole": 0,
    "ExternalSecretsRole": 0,
}


class Created:
    """The stack at moto's server, and what the template makes of it."""

    def __init__(self, url: str) -> None:
        self._url = url
        ec2 = self.client("ec2")
        network = {
            "VpcId": ec2.describe_vpcs()["Vpcs"][0]["VpcId"],
            "PrivateSubnetIds": ",".join(each["SubnetId"] for each in ec2.describe_subnets()["Subnets"][:2]),
            "ClusterSecurityGroupId": ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"],
        }
        self.parameters = PARAMETERS | network | {"CreateRedis": "false", "CreateServerless": "false"}
        template = load()
        for type_, name in FALLS_OVER:
            for resource in template["Resources"].values():
                if resource["Type"] == type_:
                    del resource["Properties"][name]
        for resource in template["Resources"].values():
            if resource["Type"] == "AWS::IAM::Policy":  # moto leaves AWS::NoValue in a list as a role without a name
                roles = resource["Properties"]["Roles"]
                resource["Properties"]["Roles"] = [each for each in roles if "Fn::If" not in each]
        cloudformation = self.client("cloudformation")
        cloudformation.create_stack(
            StackName="taxiway",
            TemplateBody=json.dumps(template),
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in self.parameters.items()],
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )
        self.stack = cloudformation.describe_stacks(StackName="taxiway")["Stacks"][0]
        self.outputs = {each["OutputKey"]: each["OutputValue"] for each in self.stack["Outputs"]}
        self.wanted = Stack(**self.parameters)

    def client(self, service: str) -> Any:
        credentials = {"aws_access_key_id": "any", "aws_secret_access_key": "any", "region_name": "us-east-1"}
        return boto3.client(service, endpoint_url=self._url, **credentials)


@pytest.fixture(scope="module")
def created() -> Iterator[Created]:
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")
        server.start()
        try:
            yield Created("http://{}:{}".format(*server.get_host_and_port()))
        finally:
            server.stop()


@pytest.mark.slow
def test_what_moto_cannot_make_is_named() -> None:
    from moto.cloudformation.parsing import get_model_map

    for service in ("s3", "iam", "kms", "emr", "ec2", "rds", "elasticache", "emrserverless", "secretsmanager"):
        moto.backends.get_backend(service)  # type: ignore[call-overload]
    used = {resource["Type"] for resource in load()["Resources"].values()}
    assert used - get_model_map().keys() == BY_ITS_API | NOT_HERE.keys()


def test_the_stack_is_complete(created: Created) -> None:
    assert created.stack["StackStatus"] == "CREATE_COMPLETE"
    assert created.outputs.keys() == created.wanted.outputs().keys()
    for name, value in created.wanted.outputs().items():
        if name not in ("EmrSecurityConfiguration", "PostgresHost", "MysqlHost"):  # named by AWS
            assert created.outputs[name] == value


@pytest.mark.parametrize("part", ["lake", "artifacts", "logs"])
def test_buckets(created: Created, part: str) -> None:
    s3, name = created.client("s3"), f"acme-taxi-{part}"
    rules = s3.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rules[0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    assert {"Key": "project", "Value": "taxiway"} in s3.get_bucket_tagging(Bucket=name)["TagSet"]
    # moto's CloudFormation takes no more of a bucket; S3's own API takes the rest as the template has it.
    wanted = created.wanted.properties(f"{part.capitalize()}Bucket")
    s3.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=wanted["PublicAccessBlockConfiguration"])
    blocked = s3.get_public_access_block(Bucket=name)["PublicAccessBlockConfiguration"]
    assert set(blocked.values()) == {True}
    assert len(blocked) == 4
    s3.put_bucket_ownership_controls(Bucket=name, OwnershipControls=wanted["OwnershipControls"])
    policy = created.wanted.properties(f"{part.capitalize()}BucketPolicy")
    s3.put_bucket_policy(Bucket=policy["Bucket"], Policy=json.dumps(policy["PolicyDocument"]))
    assert json.loads(s3.get_bucket_policy(Bucket=name)["Policy"])["Statement"][0]["Sid"] == "TlsOnly"


def _document(value: Any) -> dict[str, Any]:
    """Return a policy as moto gives it: its CloudFormation keeps some as Python writes them, not as JSON."""
    if not isinstance(value, str):
        return dict(value)
    return dict(json.loads(value) if value.startswith('{"') else ast.literal_eval(value))


@pytest.mark.parametrize(("role", "managed"), ROLES.items())
def test_roles_have_the_trust_and_the_policies(created: Created, role: str, managed: int) -> None:
    iam, wanted = created.client("iam"), created.wanted.properties(role)
    name = wanted["RoleName"]
    assert _document(iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]) == created.wanted.trust(role)
    of_pipelines = [
        each for each in created.wanted.of_type("AWS::IAM::Policy").values() if wanted["RoleName"] in each["Roles"]
    ]
    for policy in [*wanted.get("Policies", []), *of_pipelines]:
        found = iam.get_role_policy(RoleName=name, PolicyName=policy["PolicyName"])["PolicyDocument"]
        assert _document(found) == policy["PolicyDocument"]
    local = {each["PolicyName"]: each["Arn"] for each in iam.list_policies(Scope="Local", MaxItems=100)["Policies"]}
    # moto's CloudFormation makes managed policies and does not attach them: IAM's API does, of the template's list.
    for each in wanted.get("ManagedPolicyArns", []):
        arn = each
        if not each.startswith("arn:aws:iam::aws:"):
            logical = each.rpartition("/")[2]
            (arn,) = (arn for name, arn in local.items() if name.startswith(f"taxiway-{logical}-"))
            version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
            found = iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
            assert _document(found) == created.wanted.properties(logical)["PolicyDocument"]
        iam.attach_role_policy(RoleName=name, PolicyArn=arn)  # which fails if AWS has no such policy of its own
    assert len(iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]) == managed


def test_the_instance_profile_holds_the_role(created: Created) -> None:
    profile = created.client("iam").get_instance_profile(InstanceProfileName="taxiway-emr-instance")["InstanceProfile"]
    assert [role["RoleName"] for role in profile["Roles"]] == ["taxiway-emr-instance"]


def test_the_provider_of_github(created: Created) -> None:
    wanted = created.wanted.properties("GitHubOidcProvider")
    iam = created.client("iam")
    arn = iam.create_open_id_connect_provider(Url=wanted["Url"], ClientIDList=wanted["ClientIdList"])
    trusted = created.wanted.trust("PublisherRole")["Statement"][0]["Principal"]["Federated"]
    assert arn["OpenIDConnectProviderArn"] == trusted


def test_the_key_of_the_disks(created: Created) -> None:
    wanted = created.wanted.properties("EmrKey")
    assert wanted["EnableKeyRotation"]
    # The key that moto's CloudFormation creates cannot be read (its policy is not text): create one by KMS's API.
    kms, policy = created.client("kms"), json.dumps(wanted["KeyPolicy"])
    tags = [{"TagKey": each["Key"], "TagValue": each["Value"]} for each in wanted["Tags"]]
    key = kms.create_key(Description=wanted["Description"], Policy=policy, Tags=tags)["KeyMetadata"]["KeyId"]
    assert json.loads(kms.get_key_policy(KeyId=key, PolicyName="default")["Policy"]) == wanted["KeyPolicy"]
    root, use, lend = wanted["KeyPolicy"]["Statement"]
    assert root["Principal"]["AWS"] == "arn:aws:iam::123456789012:root"  # without it nobody could change the key
    roles = [f"arn:aws:iam::123456789012:role/taxiway-emr-{part}" for part in ("service", "instance")]
    assert use["Principal"]["AWS"] == roles
    assert lend["Principal"]["AWS"] == roles[0]


def test_databases(created: Created) -> None:
    rds = created.client("rds")
    found = {each["DBInstanceIdentifier"]: each for each in rds.describe_db_instances()["DBInstances"]}
    assert found.keys() == {"taxiway-airflow", "taxiway-catalogue"}
    for database in found.values():
        assert database["StorageEncrypted"]
        assert not database["PubliclyAccessible"]
        assert database["BackupRetentionPeriod"] == 14
    postgres, mysql = found["taxiway-airflow"], found["taxiway-catalogue"]
    assert (postgres["Engine"], postgres["DBName"], postgres["MasterUsername"]) == ("postgres", "airflow", "airflow")
    assert (mysql["Engine"], mysql["DBName"], mysql["MasterUsername"]) == ("mysql", "tlc", "tlc")
    assert created.outputs["PostgresHost"] == postgres["Endpoint"]["Address"]


def test_security_groups_let_the_cluster_in_and_nobody_else(created: Created) -> None:
    groups = created.client("ec2").describe_security_groups()["SecurityGroups"]
    ours = [each for each in groups if "from the pods of the cluster" in each["Description"]]
    assert {rule["FromPort"] for each in ours for rule in each["IpPermissions"]} == {5432, 3306}
    for each in ours:
        (rule,) = each["IpPermissions"]
        assert [pair["GroupId"] for pair in rule["UserIdGroupPairs"]] == [created.parameters["ClusterSecurityGroupId"]]
        assert rule["IpRanges"] == rule["Ipv6Ranges"] == []


def test_secrets_exist_by_the_names_that_kubernetes_has(created: Created) -> None:
    client = created.client("secretsmanager")
    for each in created.wanted.of_type("AWS::SecretsManager::Secret").values():
        if rules := each.get("GenerateSecretString"):
            options = {name: rules[name] for name in ("PasswordLength", "ExcludePunctuation")}
            password = client.get_random_password(**options)["RandomPassword"]
            text = json.dumps(json.loads(rules["SecretStringTemplate"]) | {rules["GenerateStringKey"]: password})
        else:
            text = each["SecretString"]
        client.create_secret(Name=each["Name"], Description=each["Description"], SecretString=text, Tags=each["Tags"])
    names = {each["Name"] for page in client.get_paginator("list_secrets").paginate() for each in page["SecretList"]}
    assert {"taxiway/airflow-fernet-key", "taxiway/airflow-metadata", "taxiway/airflow-broker-url"} <= names
    assert all(isinstance(json.loads(client.get_secret_value(SecretId=name)["SecretString"]), dict) for name in names)


def test_the_broker_as_elasticaches_api_takes_it(created: Created) -> None:
    wanted = Stack(**created.parameters | {"CreateRedis": "true"}).properties("RedisGroup")
    for flag in ("AutomaticFailoverEnabled", "MultiAZEnabled"):
        wanted[flag] = wanted[flag] == "true"
    wanted["AuthToken"] = "0123456789abcdef" * 4
    group = created.client("elasticache").create_replication_group(**wanted)["ReplicationGroup"]
    assert group["TransitEncryptionEnabled"]
    assert group["AtRestEncryptionEnabled"]


def _values(created: Created, stack: str, **environment: str) -> subprocess.CompletedProcess[str]:
    given = {
        "PATH": "/usr/bin:/bin",
        "AWS_ENDPOINT_URL": created.client("sts").meta.endpoint_url,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "1",
    }
    environment = {name: value for name, value in (given | environment).items() if value}
    command = [sys.executable, "-m", "aws.values", stack]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)


def test_helm_values_of_the_stack(created: Created) -> None:
    done = _values(created, "taxiway")
    assert done.returncode == 0, done.stderr
    values = yaml.safe_load(done.stdout)
    assert values == helm_values(created.outputs)
    assert values["global"]["taxiway"]["account"] == "123456789012"
    assert values["global"]["taxiway"]["bucketPrefix"] == "acme-taxi"
    role = values["workers"]["celery"]["serviceAccount"]["annotations"]["eks.amazonaws.com/role-arn"]
    assert role == "arn:aws:iam::123456789012:role/taxiway-airflow-worker"


@pytest.mark.parametrize(
    ("stack", "environment", "message"),
    [
        ("nothing", {}, "CloudFormation reports for the stack 'nothing': Stack with id nothing does not exist"),
        ("taxiway", {"AWS_DEFAULT_REGION": "eu-west-1"}, "Stack with id taxiway does not exist"),
        ("taxiway", {"AWS_DEFAULT_REGION": ""}, "CloudFormation cannot be queried: You must specify a region"),
        (
            "taxiway",
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"},
            "CloudFormation cannot be queried for the stack",
        ),
    ],
)
def test_no_values_where_there_is_no_stack(
    created: Created, stack: str, environment: dict[str, str], message: str
) -> None:
    done = _values(created, stack, **environment)
    assert done.returncode == 1
    assert done.stdout == ""
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("status", "outputs", "message"),
    [
        ("ROLLBACK_COMPLETE", [], "is ROLLBACK_COMPLETE, not complete"),
        ("CREATE_IN_PROGRESS", [], "is CREATE_IN_PROGRESS, not complete"),
        ("UPDATE_COMPLETE", [{"OutputKey": "Bucket", "OutputValue": "x"}], "lacks the output Account"),
    ],
)
def test_a_stack_that_is_not_whole(status: str, outputs: list[dict[str, str]], message: str) -> None:
    class Answer:
        """What AWS would answer; no such stack can be made at the endpoint."""

        def describe_stacks(self, StackName: str) -> dict[str, Any]:  # noqa: N803 - AWS's name
            return {"Stacks": [{"StackStatus": status, "Outputs": outputs}]}

    with pytest.raises(StackError, match=message):
        stack_outputs(Answer(), "taxiway")
