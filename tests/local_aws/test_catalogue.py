import sqlite3

import pytest
from botocore.exceptions import ClientError

TABLE = {
    "Name": "trips",
    "StorageDescriptor": {"Columns": [{"Name": "miles", "Type": "double"}], "Location": "s3://lake/trips"},
    "PartitionKeys": [{"Name": "year", "Type": "string"}, {"Name": "month", "Type": "string"}],
    "Parameters": {"classification": "parquet"},
}


def partition(month, location):
    return {
        "Values": ["2023", month],
        "StorageDescriptor": TABLE["StorageDescriptor"] | {"Location": location},
        "Parameters": {"sha": location},
    }


def catalogue(glue):
    answer = [
        glue.get_databases()["DatabaseList"],
        glue.get_tables(DatabaseName="taxiway")["TableList"],
        glue.get_table_versions(DatabaseName="taxiway", TableName="trips")["TableVersions"],
        glue.get_partitions(DatabaseName="taxiway", TableName="trips")["Partitions"],
    ]
    assert all(answer)
    return answer


def test_the_glue_catalogue_survives_with_its_times_and_versions(new_endpoint):
    endpoint = new_endpoint().start()
    glue = endpoint.client("glue")
    glue.create_database(DatabaseInput={"Name": "taxiway", "Description": "lake"})
    glue.create_database(DatabaseInput={"Name": "gone"})
    glue.create_table(DatabaseName="gone", TableInput=TABLE)
    glue.delete_database(Name="gone")
    for name in ("trips", "dropped"):
        glue.create_table(DatabaseName="taxiway", TableInput=TABLE | {"Name": name})
    glue.delete_table(DatabaseName="taxiway", Name="dropped")
    glue.update_table(DatabaseName="taxiway", TableInput=TABLE | {"Description": "second"})
    months = [partition(month, f"s3://lake/trips/{month}/version=1") for month in ("01", "02", "03")]
    glue.batch_create_partition(DatabaseName="taxiway", TableName="trips", PartitionInputList=months)
    glue.update_partition(
        DatabaseName="taxiway",
        TableName="trips",
        PartitionValueList=["2023", "01"],
        PartitionInput=partition("01", "s3://lake/trips/01/version=2"),
    )
    glue.delete_partition(DatabaseName="taxiway", TableName="trips", PartitionValues=["2023", "03"])
    before = catalogue(glue)
    assert [one["StorageDescriptor"]["Location"] for one in before[3]] == [
        "s3://lake/trips/01/version=2",
        "s3://lake/trips/02/version=1",
    ]
    endpoint.kill()
    glue = endpoint.start().client("glue")
    assert catalogue(glue) == before
    # and goes on from there
    with pytest.raises(ClientError, match="AlreadyExists"):
        glue.create_database(DatabaseInput={"Name": "taxiway"})
    glue.create_partition(DatabaseName="taxiway", TableName="trips", PartitionInput=partition("04", "s3://lake/4"))
    endpoint.stop()
    assert len(catalogue(endpoint.start().client("glue"))[3]) == 3


def test_secrets_topics_queues_and_parameters_survive(new_endpoint):
    endpoint = new_endpoint().start()
    secrets, sns, sqs, ssm = (endpoint.client(name) for name in ("secretsmanager", "sns", "sqs", "ssm"))
    arn = secrets.create_secret(Name="airflow/connections/db", SecretString="mysql://a")["ARN"]
    secrets.put_secret_value(SecretId=arn, SecretString="mysql://b")
    secrets.create_secret(Name="gone", SecretString="x")
    secrets.delete_secret(SecretId="gone", ForceDeleteWithoutRecovery=True)
    topic = sns.create_topic(Name="alerts")["TopicArn"]
    queue = sqs.create_queue(QueueName="events", Attributes={"VisibilityTimeout": "77"})["QueueUrl"]
    queue_arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    subscription = sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue_arn)["SubscriptionArn"]
    ssm.put_parameter(Name="/a", Value="1", Type="String")
    ssm.put_parameter(Name="/a", Value="2", Type="String", Overwrite=True)
    sqs.send_message(QueueUrl=queue, MessageBody="not kept")
    port = int(endpoint.url.rpartition(":")[2])
    endpoint.kill()
    endpoint.start(port)
    assert secrets.get_secret_value(SecretId="airflow/connections/db")["SecretString"] == "mysql://b"
    assert [(one["Name"], one["ARN"]) for one in secrets.list_secrets()["SecretList"]] == [
        ("airflow/connections/db", arn)
    ]
    assert [one["SubscriptionArn"] for one in sns.list_subscriptions()["Subscriptions"]] == [subscription]
    assert ssm.get_parameter(Name="/a")["Parameter"]["Value"] == "2"
    attributes = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    assert attributes["VisibilityTimeout"] == "77"
    sns.publish(TopicArn=topic, Message="hello")
    assert "hello" in sqs.receive_message(QueueUrl=queue)["Messages"][0]["Body"]


def test_creating_again_what_is_there_does_not_make_the_journal_longer(new_endpoint):
    endpoint = new_endpoint().start()
    sns, sqs, s3 = (endpoint.client(name) for name in ("sns", "sqs", "s3"))

    def create():
        sns.create_topic(Name="alerts")
        sqs.create_queue(QueueName="events")
        s3.create_bucket(Bucket="lake")
        s3.put_bucket_versioning(Bucket="lake", VersioningConfiguration={"Status": "Enabled"})

    for _ in range(5):
        create()
    with sqlite3.connect(endpoint.data / "state.db") as connection:
        assert connection.execute("SELECT count(*) FROM journal").fetchone() == (4,)
    sns.delete_topic(TopicArn=sns.create_topic(Name="alerts")["TopicArn"])
    create()
    endpoint.kill()
    endpoint.start()
    assert len(endpoint.client("sns").list_topics()["Topics"]) == 1
    assert endpoint.client("s3").get_bucket_versioning(Bucket="lake")["Status"] == "Enabled"
