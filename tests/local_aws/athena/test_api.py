"""Workgroups, named queries, catalogues, lists."""

import boto3

from tests.local_aws.athena.lake import Lake
from tests.local_aws.endpoint import error_of


def test_an_enforced_workgroup_decides_where_results_go(lake: Lake) -> None:
    lake.athena.create_work_group(
        Name="enforced",
        Description="of the test",
        Configuration={
            "EnforceWorkGroupConfiguration": True,
            "ResultConfiguration": {"OutputLocation": f"s3://{lake.name}/enforced/"},
        },
        Tags=[{"Key": "team", "Value": "lake"}],
    )
    found = lake.run("SELECT 1", WorkGroup="enforced")
    assert found["ResultConfiguration"]["OutputLocation"].startswith(f"s3://{lake.name}/enforced/")
    lake.athena.update_work_group(WorkGroup="enforced", ConfigurationUpdates={"EnforceWorkGroupConfiguration": False})
    assert lake.run("SELECT 1", WorkGroup="enforced")["ResultConfiguration"]["OutputLocation"].startswith(lake.output)
    group = lake.athena.get_work_group(WorkGroup="enforced")["WorkGroup"]
    assert group["Configuration"]["EngineVersion"]["EffectiveEngineVersion"] == "Athena engine version 3"
    arn = "arn:aws:athena:us-east-1:123456789012:workgroup/enforced"
    assert lake.athena.list_tags_for_resource(ResourceARN=arn)["Tags"] == [{"Key": "team", "Value": "lake"}]
    lake.athena.update_work_group(WorkGroup="enforced", State="DISABLED")
    assert "disabled" in error_of(lake.start, sql="SELECT 1", WorkGroup="enforced")["Error"]["Message"]
    assert "already exists" in error_of(lake.athena.create_work_group, Name="enforced")["Error"]["Message"]
    assert {"primary", "enforced"} <= {group["Name"] for group in lake.athena.list_work_groups()["WorkGroups"]}
    lake.athena.delete_work_group(WorkGroup="enforced")
    assert "is not found" in error_of(lake.athena.get_work_group, WorkGroup="enforced")["Error"]["Message"]
    assert "cannot be deleted" in error_of(lake.athena.delete_work_group, WorkGroup="primary")["Error"]["Message"]


def test_the_same_token_is_the_same_query(lake: Lake) -> None:
    token = "0123456789abcdef0123456789abcdef"
    first = lake.start("SELECT 1", ClientRequestToken=token)
    assert lake.start("SELECT 1", ClientRequestToken=token) == first
    answer = error_of(lake.start, sql="SELECT 2", ClientRequestToken=token)
    assert answer["Error"] == {"Code": "InvalidRequestException", "Message": "Idempotent parameters do not match"}


def test_named_queries(lake: Lake) -> None:
    query_id = lake.athena.create_named_query(Name="all", Database=lake.database, QueryString="SELECT 1")[
        "NamedQueryId"
    ]
    assert lake.athena.get_named_query(NamedQueryId=query_id)["NamedQuery"]["QueryString"] == "SELECT 1"
    lake.athena.update_named_query(NamedQueryId=query_id, Name="all", QueryString="SELECT 2")
    answer = lake.athena.batch_get_named_query(NamedQueryIds=[query_id, "nope"])
    assert [query["QueryString"] for query in answer["NamedQueries"]] == ["SELECT 2"]
    assert [one["NamedQueryId"] for one in answer["UnprocessedNamedQueryIds"]] == ["nope"]
    assert query_id in lake.athena.list_named_queries()["NamedQueryIds"]
    lake.athena.delete_named_query(NamedQueryId=query_id)
    assert error_of(lake.athena.get_named_query, NamedQueryId=query_id)["Error"]["Code"] == "InvalidRequestException"


def test_the_catalogue_is_glue(lake: Lake) -> None:
    names = [one["Name"] for one in lake.athena.list_databases(CatalogName="AwsDataCatalog")["DatabaseList"]]
    assert lake.database in names
    where = {"CatalogName": "AwsDataCatalog", "DatabaseName": lake.database}
    table = lake.athena.get_table_metadata(TableName="orders", **where)["TableMetadata"]
    assert [column["Name"] for column in table["Columns"]][:2] == ["id", "name"]
    assert [key["Name"] for key in table["PartitionKeys"]] == ["year"]
    assert table["Parameters"]["location"] == f"s3://{lake.name}/orders/"
    tables = lake.athena.list_table_metadata(Expression="ord.*", **where)["TableMetadataList"]
    assert [one["Name"] for one in tables] == ["orders"]
    assert lake.athena.list_data_catalogs()["DataCatalogsSummary"] == [
        {"CatalogName": "AwsDataCatalog", "Type": "GLUE"}
    ]
    assert error_of(lake.athena.get_table_metadata, TableName="no", **where)["Error"]["Code"] == "MetadataException"


def test_queries_are_listed_by_workgroup_newest_first(lake: Lake) -> None:
    lake.athena.create_work_group(Name="listed")
    ids = [lake.run(f"SELECT {number}", WorkGroup="listed")["QueryExecutionId"] for number in range(3)]
    page = lake.athena.list_query_executions(WorkGroup="listed", MaxResults=2)
    assert page["QueryExecutionIds"] == [ids[2], ids[1]]
    last = lake.athena.list_query_executions(WorkGroup="listed", MaxResults=2, NextToken=page["NextToken"])
    assert (last["QueryExecutionIds"], "NextToken" in last) == ([ids[0]], False)
    answer = lake.athena.batch_get_query_execution(QueryExecutionIds=[ids[0], "nope"])
    assert [query["Query"] for query in answer["QueryExecutions"]] == ["SELECT 0"]
    assert [one["QueryExecutionId"] for one in answer["UnprocessedQueryExecutionIds"]] == ["nope"]


def test_runtime_statistics(lake: Lake) -> None:
    found = lake.run("SELECT id FROM orders")
    statistics = found["Statistics"]
    assert statistics["TotalExecutionTimeInMillis"] >= statistics["EngineExecutionTimeInMillis"] >= 0
    runtime = lake.athena.get_query_runtime_statistics(QueryExecutionId=found["QueryExecutionId"])[
        "QueryRuntimeStatistics"
    ]
    assert runtime["Rows"]["InputBytes"] == statistics["DataScannedInBytes"] > 0


def test_a_query_reads_the_catalogue_of_its_region(lake: Lake) -> None:
    there = {"region_name": "eu-west-1", "endpoint_url": lake.endpoint.url}
    keys = {"aws_access_key_id": "any", "aws_secret_access_key": "any"}
    athena = boto3.client("athena", **there, **keys)
    query_id = athena.start_query_execution(
        QueryString=f"SELECT * FROM {lake.database}.orders", ResultConfiguration={"OutputLocation": lake.output}
    )["QueryExecutionId"]
    assert lake.wait(query_id)["Status"]["StateChangeReason"].startswith("SCHEMA_NOT_FOUND")
    boto3.client("glue", **there, **keys).create_database(DatabaseInput={"Name": "far"})
    assert [one["Name"] for one in athena.list_databases(CatalogName="AwsDataCatalog")["DatabaseList"]] == ["far"]
