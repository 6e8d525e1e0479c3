"""What is not executed is refused; what moto lacks is said; what is kept works."""

import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from local_aws.moto_backend.offered import OFFERED
from local_aws.services import README, SERVICES, with_list
from tests.local_aws.endpoint import Endpoint, error_of
from tests.waiting import eventually

ROLE = "arn:aws:iam::123456789012:role/some-role"
MACHINE = "arn:aws:states:us-east-1:123456789012:stateMachine:m"
NOW = datetime(2026, 11, 1, tzinfo=UTC)
ALARM = {"AlarmName": "a", "EvaluationPeriods": 1, "ComparisonOperator": "LessThanThreshold"}
TO_EVENTBRIDGE = {"Bucket": "kept", "NotificationConfiguration": {"EventBridgeConfiguration": {}}}
ICEBERG = {"IcebergInput": {"MetadataOperation": "CREATE"}}
SELECT = {
    "Expression": "SELECT * FROM s3object",
    "ExpressionType": "SQL",
    "InputSerialization": {"CSV": {}},
    "OutputSerialization": {"CSV": {}},
}
METRICS = {"StartTime": NOW - timedelta(days=1), "EndTime": NOW}

# Each protocol of AWS: JSON 1.1 and 1.0, REST-JSON, REST-XML, query, EC2, CBOR.
REFUSED: list[tuple[str, str, dict[str, Any]]] = [
    ("glue", "start_job_run", {"JobName": "j"}),
    ("glue", "create_job", {"Name": "j", "Role": ROLE, "Command": {"Name": "glueetl"}}),
    ("glue", "create_crawler", {"Name": "c", "Role": ROLE, "Targets": {}}),
    ("glue", "start_crawler", {"Name": "c"}),
    ("glue", "create_session", {"Id": "s", "Role": ROLE, "Command": {"Name": "glueetl"}}),
    ("glue", "create_dev_endpoint", {"EndpointName": "e", "RoleArn": ROLE}),
    ("glue", "start_column_statistics_task_run", {"DatabaseName": "d", "TableName": "t", "Role": ROLE}),
    ("glue", "create_registry", {"RegistryName": "r"}),
    ("emr-serverless", "start_job_run", {"applicationId": "a", "executionRoleArn": ROLE, "clientToken": "t"}),
    ("lambda", "invoke", {"FunctionName": "f"}),
    ("lambda", "list_functions", {}),
    ("batch", "submit_job", {"jobName": "j", "jobQueue": "q", "jobDefinition": "d"}),
    ("stepfunctions", "start_execution", {"stateMachineArn": MACHINE}),
    ("redshift-data", "execute_statement", {"Sql": "SELECT 1"}),
    ("rds-data", "execute_statement", {"resourceArn": "a" * 20, "secretArn": "a" * 20, "sql": "SELECT 1"}),
    ("rds", "create_db_instance", {"DBInstanceIdentifier": "i", "DBInstanceClass": "c", "Engine": "mysql"}),
    ("ecs", "run_task", {"taskDefinition": "t"}),
    ("emr-containers", "start_job_run", {"virtualClusterId": "v", "clientToken": "t"}),
    ("sagemaker", "list_models", {}),
    ("bedrock-runtime", "converse", {"modelId": "m"}),
    ("cloudformation", "create_stack", {"StackName": "s", "TemplateBody": "{}"}),
    ("events", "put_rule", {"Name": "r", "ScheduleExpression": "rate(5 minutes)"}),
    ("scheduler", "list_schedules", {}),
    ("firehose", "list_delivery_streams", {}),
    ("ses", "verify_email_address", {"EmailAddress": "a@b"}),
    ("sesv2", "send_email", {"Content": {}}),
    ("route53", "list_hosted_zones", {}),
    ("timestream-query", "query", {"QueryString": "SELECT 1"}),
    ("ec2", "run_instances", {"MinCount": 1, "MaxCount": 1, "ImageId": "ami-1"}),
    ("ec2", "create_fleet", {"LaunchTemplateConfigs": [], "TargetCapacitySpecification": {"TotalTargetCapacity": 1}}),
    ("ec2", "describe_spot_price_history", {}),
    ("ssm", "send_command", {"DocumentName": "AWS-RunShellScript"}),
    ("ssm", "start_automation_execution", {"DocumentName": "d"}),
    ("secretsmanager", "rotate_secret", {"SecretId": "s"}),
    ("logs", "start_query", {"startTime": 1, "endTime": 2, "queryString": "fields @message"}),
    ("logs", "filter_log_events", {"logGroupName": "g", "filterPattern": "{ $.level = 1 }"}),
    ("logs", "filter_log_events", {"logGroupName": "g", "filterPattern": "ERROR -retry"}),
    ("cloudwatch", "put_metric_alarm", ALARM),
    ("cloudwatch", "get_metric_data", {"MetricDataQueries": [{"Id": "a", "Expression": "b * 2"}], **METRICS}),
    ("dynamodb", "restore_table_to_point_in_time", {"TargetTableName": "table"}),
    ("dynamodb", "export_table_to_point_in_time", {"TableArn": "a", "S3Bucket": "kept", "ExportTime": NOW}),
    ("glue", "create_table", {"DatabaseName": "d", "TableInput": {"Name": "t"}, "OpenTableFormatInput": ICEBERG}),
    ("s3", "select_object_content", {"Bucket": "kept", "Key": "k", **SELECT}),
    ("sns", "subscribe", {"TopicArn": "arn:aws:sns:us-east-1:123456789012:t", "Protocol": "lambda", "Endpoint": "arn"}),
    ("sns", "publish", {"PhoneNumber": "+4912345", "Message": "m"}),
    ("sns", "create_platform_application", {"Name": "n", "Platform": "GCM", "Attributes": {}}),
]
LACKING: list[tuple[str, str, dict[str, Any]]] = [
    ("glue", "get_column_statistics_for_table", {"DatabaseName": "d", "TableName": "t", "ColumnNames": ["c"]}),
    ("sts", "decode_authorization_message", {"EncodedMessage": "m"}),
    ("iam", "simulate_principal_policy", {"PolicySourceArn": ROLE, "ActionNames": ["s3:GetObject"]}),
    ("sqs", "start_message_move_task", {"SourceArn": "arn"}),
    ("dynamodb", "list_global_tables", {}),
    ("kms", "create_custom_key_store", {"CustomKeyStoreName": "name"}),
    ("s3", "delete_bucket_metrics_configuration", {"Bucket": "kept", "Id": "i"}),
    ("s3", "put_bucket_request_payment", {"Bucket": "kept", "RequestPaymentConfiguration": {"Payer": "Requester"}}),
    ("s3", "delete_object_annotation", {"Bucket": "kept", "Key": "k", "AnnotationName": "a"}),
    ("s3", "rename_object", {"Bucket": "kept", "Key": "k", "RenameSource": "kept/j"}),
    ("s3", "get_object_retention", {"Bucket": "kept", "Key": "k"}),
    ("s3", "put_bucket_notification_configuration", TO_EVENTBRIDGE),
]


def client(endpoint: Endpoint, service: str) -> Any:
    """Return a client that would repeat a request that failed, as SDKs do by default."""
    credentials = {"aws_access_key_id": "any", "aws_secret_access_key": "any", "region_name": "us-east-1"}
    return boto3.client(service, endpoint_url=endpoint.url, config=Config(retries={"max_attempts": 4}), **credentials)


def names(operation: str, message: str) -> bool:
    return message.partition(" ")[0].lower() == operation.replace("_", "")


@pytest.fixture(scope="module", autouse=True)
def bucket(endpoint: Endpoint) -> Any:
    s3 = endpoint.client("s3")
    s3.create_bucket(Bucket="kept")
    s3.put_object(Bucket="kept", Key="k", Body=b"content")
    return s3


@pytest.mark.parametrize(("service", "operation", "arguments"), [case for case in REFUSED if case[0] not in SERVICES])
def test_what_would_compute_is_refused(endpoint: Endpoint, service: str, operation: str, arguments: Any) -> None:
    answer = error_of(getattr(client(endpoint, service), operation), **arguments)
    assert answer["Error"]["Code"] in ("UnknownOperationException", "InvalidAction", "NotImplemented")
    assert names(operation, answer["Error"]["Message"]), answer["Error"]["Message"]
    assert "is refused: " in answer["Error"]["Message"]
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 501
    assert answer["ResponseMetadata"]["RetryAttempts"] == 0


@pytest.mark.parametrize(("service", "operation", "arguments"), LACKING)
def test_what_moto_lacks_is_said_once(
    endpoint: Endpoint, service: str, operation: str, arguments: Any, bucket: Any
) -> None:
    answer = error_of(getattr(client(endpoint, service), operation), **arguments)
    assert names(operation, answer["Error"]["Message"]), answer["Error"]["Message"]
    assert service in answer["Error"]["Message"]
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 501
    assert answer["ResponseMetadata"]["RetryAttempts"] == 0
    assert bucket.get_object(Bucket="kept", Key="k")["Body"].read() == b"content"


def test_requests_without_a_signature(endpoint: Endpoint, bucket: Any) -> None:
    def post(body: bytes, **headers: str) -> Any:
        request = urllib.request.Request(endpoint.url, body, {k.replace("_", "-"): v for k, v in headers.items()})
        with pytest.raises(urllib.error.HTTPError) as raised:
            urllib.request.urlopen(request)
        return raised.value.code, raised.value.read()

    target = {"X_Amz_Target": "AWSGlue.StartJobRun", "Content_Type": "application/x-amz-json-1.1"}
    for status, body in (post(b"{}", **target), post(b"Action=RunInstances&Version=2016-11-15")):
        assert status == 403
        assert b"MissingAuthenticationToken" in body
    sts = client(endpoint, "sts")
    arguments = {"RoleArn": ROLE, "RoleSessionName": "name", "WebIdentityToken": "token"}
    assert sts.assume_role_with_web_identity(**arguments)["Credentials"]["SessionToken"]  # not signed by the SDK
    bucket.put_object(Bucket="kept", Key="public", Body=b"x", ACL="public-read")
    assert urllib.request.urlopen(f"{endpoint.url}/kept/public").read() == b"x"


def test_a_fault_of_moto_is_an_error_of_aws(endpoint: Endpoint) -> None:
    """moto raises KeyError for a request that lacks a required member, as other programs than SDKs send it."""
    headers = {
        "X-Amz-Target": "AWSGlue.CreateDatabase",
        "Content-Type": "application/x-amz-json-1.1",
        "Authorization": "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/glue/aws4_request",
    }
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(urllib.request.Request(endpoint.url, b"{}", headers))
    body = raised.value.read().decode()
    assert raised.value.code in (400, 500)
    assert "__type" in body
    assert "CreateDatabase of glue failed" in body


def test_what_is_kept_works(endpoint: Endpoint) -> None:
    """One call of each service that is kept; other tests use S3, Glue, SNS, SQS, SSM and Secrets Manager more."""
    iam, sts, ec2, kms = (endpoint.client(name) for name in ("iam", "sts", "ec2", "kms"))
    logs, metrics, dynamodb, kinesis = (endpoint.client(name) for name in ("logs", "cloudwatch", "dynamodb", "kinesis"))
    assert sts.get_caller_identity()["Account"] == "123456789012"
    iam.create_role(RoleName="r", AssumeRolePolicyDocument="{}")
    assert iam.get_role(RoleName="r")["Role"]["RoleName"] == "r"
    managed = "arn:aws:iam::aws:policy/service-role/AmazonElasticMapReduceRole"  # one of AWS's own, as EMR's roles have
    iam.attach_role_policy(RoleName="r", PolicyArn=managed)
    attached = iam.list_attached_role_policies(RoleName="r")["AttachedPolicies"]
    assert [each["PolicyArn"] for each in attached] == [managed]
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    group = ec2.create_security_group(GroupName="g", Description="d", VpcId=vpc)["GroupId"]
    ec2.authorize_security_group_ingress(GroupId=group, IpProtocol="tcp", FromPort=22, ToPort=22, CidrIp="10.0.0.0/8")
    assert ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissions"][0]["FromPort"] == 22
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    secret = kms.encrypt(KeyId=key, Plaintext=b"p")["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=secret)["Plaintext"] == b"p"
    logs.create_log_group(logGroupName="g")
    logs.create_log_stream(logGroupName="g", logStreamName="s")
    event = {"timestamp": int(datetime.now(UTC).timestamp() * 1000), "message": "ERROR one"}
    logs.put_log_events(logGroupName="g", logStreamName="s", logEvents=[event, event | {"message": "fine"}])
    found = logs.filter_log_events(logGroupName="g", filterPattern="ERROR")["events"]
    assert [each["message"] for each in found] == ["ERROR one"]
    metrics.put_metric_data(Namespace="n", MetricData=[{"MetricName": "m", "Value": 1.0}])
    assert metrics.list_metrics(Namespace="n")["Metrics"][0]["MetricName"] == "m"
    dynamodb.create_table(
        TableName="table",
        KeySchema=[{"AttributeName": "k", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "k", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    dynamodb.put_item(TableName="table", Item={"k": {"S": "1"}})
    assert dynamodb.scan(TableName="table")["Count"] == 1
    arn = dynamodb.describe_table(TableName="table")["Table"]["TableArn"]
    dynamodb.update_continuous_backups(
        TableName="table", PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
    )
    dynamodb.export_table_to_point_in_time(TableArn=arn, S3Bucket="kept", S3Prefix="export")
    s3 = endpoint.client("s3")
    eventually(lambda: s3.list_objects_v2(Bucket="kept", Prefix="export").get("Contents"))
    kinesis.create_stream(StreamName="s", ShardCount=1)
    assert kinesis.put_record(StreamName="s", Data=b"d", PartitionKey="p")["ShardId"]


def test_the_readme_lists_what_the_code_has() -> None:
    text = README.read_text(encoding="utf-8")
    assert text == with_list(text), "run: python -m local_aws.services"
    assert all(f"| `{name}` | " in text for name in {*OFFERED, *SERVICES})


def test_the_refusal_is_an_exception_that_boto3_knows(endpoint: Endpoint) -> None:
    with pytest.raises(ClientError, match=r"\(InvalidAction\) when calling the RunInstances operation"):
        client(endpoint, "ec2").run_instances(MinCount=1, MaxCount=1, ImageId="ami-1")
