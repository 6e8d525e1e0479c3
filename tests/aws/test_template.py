"""The template itself: linted, not too large, wrong parameters refused, nothing open or unencrypted."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from aws import template
from tests.aws.template import PATH, Stack, load

TEMPLATE = load()
STACK = Stack()
# Of version 0.1.0: what holds data or lets somebody reach it, with the properties that cannot change.
OLD_STACK: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "data/stack-0.1.0.json").read_text())
EVERYTHING = {"ServerlessPreInitialised": "true", "EmrCertificates": "emr/certificates.zip", "MultiAz": "true"}


@pytest.mark.slow
def test_cfn_lint_finds_nothing() -> None:
    pytest.importorskip("cfnlint", reason="cfn-lint is not installed")
    run = "from cfnlint.runner.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", run, str(PATH)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_cfn_lint_would_find_something(tmp_path: Any) -> None:
    pytest.importorskip("cfnlint", reason="cfn-lint is not installed")
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(PATH.read_text().replace("StorageEncrypted", "StorageEncripted"))
    run = "from cfnlint.runner.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", run, str(wrong)], capture_output=True, text=True)
    assert done.returncode != 0
    assert "StorageEncripted" in done.stdout


def test_it_is_what_its_parts_make() -> None:
    assert PATH.read_text(encoding="utf-8") == template.compose(), "run python -m aws.template"
    whole = yaml.safe_load(re.sub(r"!\w+", "", PATH.read_text()))
    for path in sorted(template.FOLDER.glob("pipelines/*.yaml")):
        for section, entries in yaml.safe_load(re.sub(r"!\w+", "", path.read_text())).items():
            assert entries.items() <= whole[section].items()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "Resources:\n  LakeBucket:\n    Type: AWS::S3::Bucket\n",
            "adds LakeBucket to Resources, which is there already",
        ),
        (
            "Resource:\n  Queue:\n    Type: AWS::SQS::Queue\n",
            "adds to Resource, a section that template.yaml does not have",
        ),
        (
            "Resources:\n  RidesPolicy:\n    Type: AWS::IAM::Policy\n    Properties:\n      PolicyName: hvfhv\n",
            "rides.yaml has a policy hvfhv, as another file does: rename its PolicyName",
        ),
    ],
)
def test_a_pipelines_part_that_does_not_fit_is_refused(tmp_path: Path, text: str, message: str) -> None:
    shutil.copy(template.FOLDER / "template.yaml", tmp_path)
    shutil.copytree(template.FOLDER / "pipelines", tmp_path / "pipelines")
    (tmp_path / "pipelines/rides.yaml").write_text(text)
    with pytest.raises(template.TemplateError, match=message):
        template.compose(tmp_path)


def test_an_update_of_an_old_stack_replaces_nothing_that_holds_data() -> None:
    """AWS replaces a resource when a create-only property changes, and makes another password of another rule."""
    schemas = pytest.importorskip("cfnlint.schema.manager", reason="cfn-lint is not installed").PROVIDER_SCHEMA_MANAGER
    more = {"AWS::SecretsManager::Secret": ["GenerateSecretString"], "AWS::RDS::DBInstance": ["Engine"]}

    def lasting(name: str) -> dict[str, Any]:
        resource = TEMPLATE["Resources"][name]
        schema = schemas.get_resource_schema("us-east-1", resource["Type"]).schema
        keys = {path.rpartition("/")[2] for path in schema.get("createOnlyProperties") or []}
        keys |= set(more.get(resource["Type"], []))
        return {key: value for key, value in resource["Properties"].items() if key in keys}

    assert {name: lasting(name) for name in OLD_STACK} == OLD_STACK


def test_it_is_small_enough_for_aws_and_documented_with_the_bucket_that_its_size_needs() -> None:
    assert PATH.stat().st_size <= 1_000_000  # with a bucket; without one it is 51,200
    readme = (template.FOLDER / "README.md").read_text(encoding="utf-8").replace("\\\n", "")
    deployments = [line for line in readme.splitlines() if "cloudformation deploy" in line]
    assert len(deployments) == 2
    bucket = "s3://acme-taxiway-templates"
    assert all(f"--s3-bucket {bucket.removeprefix('s3://')} " in line for line in deployments)
    assert readme.index(f"aws s3 mb {bucket}") < readme.index(deployments[0])


def test_parameters_say_what_they_are_and_are_bounded() -> None:
    for name, parameter in TEMPLATE["Parameters"].items():
        assert parameter["Description"], name
        checked = {"AllowedPattern", "AllowedValues", "MinValue"} & parameter.keys()
        # AWS itself looks whether an id of these types exists in the region.
        assert checked or re.match(r"(List<)?AWS::EC2::", parameter["Type"]), f"{name} takes anything"
        if "AllowedPattern" in parameter:
            assert parameter["AllowedPattern"].startswith("^")
            assert parameter["AllowedPattern"].endswith("$")
            assert parameter["ConstraintDescription"], name
        if "Default" in parameter:
            assert _accepts(name, str(parameter["Default"])), name
    groups = TEMPLATE["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    assert sorted(each for group in groups for each in group["Parameters"]) == sorted(TEMPLATE["Parameters"])


def _accepts(name: str, value: str) -> bool:
    parameter = TEMPLATE["Parameters"][name]
    if "AllowedValues" in parameter:
        return value in parameter["AllowedValues"]
    if "AllowedPattern" in parameter:
        return re.fullmatch(parameter["AllowedPattern"], value) is not None
    return value.lstrip("-").isdigit() and parameter["MinValue"] <= int(value) <= parameter["MaxValue"]


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("Name", ["taxiway", "taxi-2"], ["Taxiway", "t", "taxi_way", "-taxi", "taxi-", "a" * 21, "taxi/way"]),
        (
            "BucketPrefix",
            ["acme-taxi", "taxiway-123456789012"],
            ["", "Acme", "s3://acme", "acme.taxi", "acme-", "a" * 55],
        ),
        (
            "ClusterOidcId",
            ["0123456789ABCDEF0123456789ABCDEF"],
            [
                "",
                "0123456789abcdef0123456789abcdef",
                "https://oidc.eks.us-east-1.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF",
                "oidc.eks.eu-west-1.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF",  # another region's
                "0123456789ABCDEF0123456789ABCDEF\nx",
            ],
        ),
        ("Namespace", ["taxiway"], ["", "Taxiway", "taxi_way", "*", "taxiway:airflow-worker"]),
        ("ExternalSecretsServiceAccount", ["external-secrets:external-secrets"], ["external-secrets", "*:*", "a:b:c"]),
        (
            "GitHubRepository",
            ["", "acme/taxiway"],
            ["acme", "acme/*", "*/*", "https://github.com/acme/x", "acme/x:y"],
        ),
        ("GitHubBranch", ["main", "release/1.0"], ["", "*", "main*", "refs heads", "ma?n"]),
        (
            "EmrCertificates",
            ["", "emr/certificates.zip"],
            ["certificates.zip", "s3://bucket/emr/c.zip", "emr/../lake.zip/", "emr/c.tar"],
        ),
        ("ServerlessRelease", ["emr-spark-8.0.0"], ["emr-7.13.0", "emr-spark-8.0-preview", ""]),
        ("ServerlessSize", ["small"], ["huge", ""]),
        ("PostgresClass", ["db.m7g.large"], ["m7g.large", "db.m7g", ""]),
        ("RedisNodeType", ["cache.t4g.micro"], ["t4g.micro", ""]),
        (
            "CatalogueTls",
            ["ssl_ca=/opt/rds/us-east-1.pem"],
            ["", "ssl_check_hostname=true", "ssl_disabled=true", 'ssl_ca=/x"}'],
        ),
        ("DatabaseStorage", ["20"], ["19", "1001", "twenty"]),
        ("BackupDays", ["35"], ["0", "36"]),
        ("LogDays", ["1"], ["0", "-1"]),
        ("MultiAz", ["true"], ["yes", "True", ""]),
        ("DeletionProtection", ["false"], ["no"]),
    ],
)
def test_wrong_values_are_refused(name: str, good: list[str], bad: list[str]) -> None:
    assert [value for value in good if not _accepts(name, value)] == []
    assert [value for value in bad if _accepts(name, value)] == []


def test_the_clusters_region_is_the_stacks() -> None:
    """The issuer's region is not asked for, so that it cannot be another one than the roles'."""
    for role in ("WorkerRole", "ExternalSecretsRole"):
        text = TEMPLATE["Resources"][role]["Properties"]["AssumeRolePolicyDocument"]["Fn::Sub"]
        assert text.count("oidc.eks.${AWS::Region}.${AWS::URLSuffix}/id/${ClusterOidcId}") == 3


def test_a_warm_application_needs_an_application() -> None:
    rule = TEMPLATE["Rules"]["PreInitialisedNeedsServerless"]
    assert rule["RuleCondition"] == {"Fn::Equals": [{"Ref": "ServerlessPreInitialised"}, "true"]}
    assert rule["Assertions"][0]["Assert"] == {"Fn::Equals": [{"Ref": "CreateServerless"}, "true"]}


@pytest.mark.parametrize("databases", ["true", "false"])
@pytest.mark.parametrize("redis", ["true", "false"])
@pytest.mark.parametrize("serverless", ["true", "false"])
@pytest.mark.parametrize("repository", ["acme/taxiway", ""])
def test_every_combination_is_whole(databases: str, redis: str, serverless: str, repository: str) -> None:
    """Nothing that is made refers to something that is not."""
    parts = {"CreateDatabases": databases, "CreateRedis": redis, "CreateServerless": serverless}
    stack = Stack(**parts, GitHubRepository=repository)
    assert stack.outputs()
    made = {each["Type"] for each in stack.resources.values()}
    assert ("AWS::RDS::DBInstance" in made) is (databases == "true")
    assert ("AWS::ElastiCache::ReplicationGroup" in made) is (redis == "true")
    assert ("AWS::EMRServerless::Application" in made) is (serverless == "true")


def test_buckets_are_closed_encrypted_and_kept() -> None:
    buckets = STACK.of_type("AWS::S3::Bucket")
    assert {each["BucketName"] for each in buckets.values()} == {
        f"acme-taxi-{part}" for part in ("lake", "artifacts", "logs")
    }
    denied = {}
    for policy in STACK.of_type("AWS::S3::BucketPolicy").values():
        statement = policy["PolicyDocument"]["Statement"][0]
        assert (statement["Effect"], statement["Principal"], statement["Action"]) == ("Deny", "*", "s3:*")
        assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        denied[policy["Bucket"]] = statement["Resource"]
    for name, bucket in buckets.items():
        assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
        assert bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        assert bucket["LifecycleConfiguration"]["Rules"][0]["AbortIncompleteMultipartUpload"]
        assert ("LoggingConfiguration" in bucket) is (name != "LogsBucket")
        arn = f"arn:aws:s3:::{bucket['BucketName']}"
        assert denied[bucket["BucketName"]] == [arn, f"{arn}/*"]
        assert (
            TEMPLATE["Resources"][name]["DeletionPolicy"]
            == TEMPLATE["Resources"][name]["UpdateReplacePolicy"]
            == "Retain"
        )


def test_access_to_the_buckets_is_logged() -> None:
    _, logs = STACK.properties("LogsBucketPolicy")["PolicyDocument"]["Statement"]
    assert logs["Principal"] == {"Service": "logging.s3.amazonaws.com"}
    assert logs["Condition"] == {"StringEquals": {"aws:SourceAccount": "123456789012"}}
    for part in ("lake", "artifacts"):
        target = STACK.properties(f"{part.capitalize()}Bucket")["LoggingConfiguration"]
        assert logs["Resource"] == f"arn:aws:s3:::{target['DestinationBucketName']}/s3/*"
        assert target["LogFilePrefix"] == f"s3/{part}/"
    assert len(STACK.properties("LogsBucketPolicy")["PolicyDocument"]["Statement"]) == 2


def test_databases_and_broker_are_private_encrypted_and_backed_up() -> None:
    for name, database in STACK.of_type("AWS::RDS::DBInstance").items():
        assert database["StorageEncrypted"]
        assert not database["PubliclyAccessible"]
        assert int(database["BackupRetentionPeriod"]) >= 7
        assert database["DeletionProtection"] == "true"
        assert database["MasterUserPassword"].startswith("{{resolve:secretsmanager:")
        assert TEMPLATE["Resources"][name]["DeletionPolicy"] == "Snapshot"
    assert STACK.properties("Postgres")["EngineVersion"].startswith("16.")
    assert STACK.properties("Mysql")["EngineVersion"].startswith("8.4.")
    assert STACK.properties("PostgresParameters")["Parameters"] == {"rds.force_ssl": "1"}
    assert STACK.properties("MysqlParameters")["Parameters"] == {"require_secure_transport": "1"}
    for multi_az, nodes in (("false", 1), ("true", 2)):
        broker = Stack(MultiAz=multi_az).properties("RedisGroup")
        assert broker["TransitEncryptionEnabled"]
        assert broker["AtRestEncryptionEnabled"]
        assert broker["AuthToken"].startswith("{{resolve:secretsmanager:")
        assert broker["NumCacheClusters"] == nodes
        assert broker["AutomaticFailoverEnabled"] == multi_az
    for group in STACK.of_type("AWS::EC2::SecurityGroup").values():
        (rule,) = group["SecurityGroupIngress"]
        assert rule["SourceSecurityGroupId"] == "sg-0123456789abcdef0"
        assert "CidrIp" not in rule
        assert rule["Description"]
        assert group["SecurityGroupEgress"] == [
            {"IpProtocol": "-1", "CidrIp": "127.0.0.1/32", "Description": "nothing goes out"}
        ]


def test_emr_encrypts_and_wants_tokens_for_metadata() -> None:
    def configuration(**parameters: str) -> dict[str, Any]:
        return dict(Stack(**parameters).properties("EmrSecurityConfiguration")["SecurityConfiguration"])

    plain, whole = configuration(), configuration(**EVERYTHING)
    assert plain["EncryptionConfiguration"]["EnableAtRestEncryption"]
    disks = plain["EncryptionConfiguration"]["AtRestEncryptionConfiguration"]["LocalDiskEncryptionConfiguration"]
    assert disks["EnableEbsEncryption"]
    assert plain["InstanceMetadataServiceConfiguration"]["MinimumInstanceMetadataServiceVersion"] == 2
    assert plain["EncryptionConfiguration"]["EnableInTransitEncryption"] is False
    assert "InTransitEncryptionConfiguration" not in plain["EncryptionConfiguration"]
    assert whole["EncryptionConfiguration"]["EnableInTransitEncryption"] is True
    certificates = whole["EncryptionConfiguration"]["InTransitEncryptionConfiguration"]["TLSCertificateConfiguration"]
    assert certificates == {
        "CertificateProviderType": "PEM",
        "S3Object": "s3://acme-taxi-artifacts/emr/certificates.zip",
    }


def test_serverless_is_bounded_and_cold_by_default() -> None:
    application = STACK.properties("ServerlessApplication")
    assert application["AutoStopConfiguration"] == {"Enabled": True, "IdleTimeoutMinutes": 5}
    assert application["MaximumCapacity"]["Cpu"] == "16 vCPU"
    assert "InitialCapacity" not in application
    assert [each["Key"] for each in Stack(**EVERYTHING).properties("ServerlessApplication")["InitialCapacity"]] == [
        "Driver",
        "Executor",
    ]


def test_what_costs_is_tagged() -> None:
    without = {
        "AWS::S3::BucketPolicy",
        "AWS::IAM::ManagedPolicy",
        "AWS::IAM::Policy",
        "AWS::IAM::InstanceProfile",
        "AWS::EMR::SecurityConfiguration",
    }
    for name, resource in STACK.resources.items():
        if resource["Type"] not in without:
            assert {"Key": "project", "Value": "taxiway"} in resource["Properties"]["Tags"], name
