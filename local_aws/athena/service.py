"""The operations of the Athena API, as the SDKs call them."""

import re
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

from local_aws.athena import results
from local_aws.athena.backend import Backend
from local_aws.athena.processes import ServeError
from local_aws.athena.queries import ENGINE, Queries, QueryRun
from local_aws.athena.store import Document, Store
from local_aws.protocols.errors import AwsError
from local_aws.protocols.json11 import JsonService
from local_aws.protocols.wsgi import Environ, StartResponse, signing_scope

_ENGINE_VERSION = {"SelectedEngineVersion": "AUTO", "EffectiveEngineVersion": ENGINE}
_MIN_CUTOFF = 10_000_000


def _invalid(message: str, code: str = "INVALID_INPUT") -> AwsError:
    return AwsError("InvalidRequestException", message, extra={"AthenaErrorCode": code})


class Athena(JsonService):
    """Athena, with one catalogue: Glue's."""

    service = "athena"

    def __init__(self, queries: Queries, store: Store, backend: Backend, region: str) -> None:
        self._queries = queries
        self._store = store
        self._backend = backend
        self._region = region
        self._asked = threading.local()  # the region of the request that a thread answers
        if "primary" not in store.load("workgroup"):
            primary = {
                "Name": "primary",
                "State": "ENABLED",
                "Configuration": _configuration({}),
                "CreationTime": time.time(),
            }
            store.save("workgroup", "primary", primary)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request: with the catalogue of its region."""
        self._asked.region = signing_scope(environ)[1] or self._region
        return super().__call__(environ, start_response)

    def close(self) -> None:
        """End every query."""
        self._queries.close()

    # Queries

    def start_query_execution(self, request: Document) -> Document:
        """Start a query."""
        from local_aws.athena.sql.parsing import InvalidSqlError
        from local_aws.athena.sql.statements import check

        group = self._group(request.get("WorkGroup", "primary"))
        if group["State"] == "DISABLED":
            raise _invalid(f"WorkGroup {group['Name']} is disabled.")
        configuration = group["Configuration"]
        given = dict(request.get("ResultConfiguration") or {})
        own = dict(configuration.get("ResultConfiguration") or {})
        result = own if configuration.get("EnforceWorkGroupConfiguration") and own else {**own, **given}
        location = result.get("OutputLocation")
        if not location:
            raise _invalid(
                "No output location provided. An output location is required either through the Workgroup result "
                "configuration setting or as an API input."
            )
        if not re.match(r"s3[an]?://[^/]+", location):
            raise _invalid(f"outputLocation is not a valid S3 path: {location}")
        if not self._backend.has_bucket(location):
            raise _invalid(f"Unable to verify/create output bucket {location.split('/')[2]}")
        catalog = (request.get("QueryExecutionContext") or {}).get("Catalog", "AwsDataCatalog")
        if catalog.lower() != "awsdatacatalog":
            raise _invalid(f"Data catalog {catalog} was not found")
        document = {
            "sql": request["QueryString"],
            "context": request.get("QueryExecutionContext") or {},
            "result": result,
            "location": location,
            "workgroup": group["Name"],
            "parameters": request.get("ExecutionParameters"),
            "cutoff": configuration.get("BytesScannedCutoffPerQuery"),
            "token": request.get("ClientRequestToken"),
            "region": self._asked.region,
        }
        if found := self._same_token(document):
            return {"QueryExecutionId": found}
        try:
            document["statement"], document["substatement"] = check(request["QueryString"])
        except InvalidSqlError as error:
            raise _invalid(str(error), "MALFORMED_QUERY") from None
        return {"QueryExecutionId": self._queries.start(document)}

    def _same_token(self, document: Document) -> str | None:
        """Return the query that the same client token started."""
        if not document["token"]:
            return None
        for run in self._queries.all.values():
            if run.document.get("token") == document["token"]:
                if any(
                    run.document.get(name) != document[name]
                    for name in ("sql", "context", "result", "workgroup", "parameters")
                ):
                    raise _invalid("Idempotent parameters do not match")
                return run.id
        return None

    def get_query_execution(self, request: Document) -> Document:
        """Describe a query."""
        return {"QueryExecution": self._described(self._run(request["QueryExecutionId"]))}

    def batch_get_query_execution(self, request: Document) -> Document:
        """Describe queries."""
        found, missing = [], []
        for query_id in request["QueryExecutionIds"]:
            if query_id in self._queries.all:
                found.append(self._described(self._queries.all[query_id]))
            else:
                message = f"QueryExecution {query_id} was not found"
                missing.append({"QueryExecutionId": query_id, "ErrorCode": "INVALID_INPUT", "ErrorMessage": message})
        return {"QueryExecutions": found, "UnprocessedQueryExecutionIds": missing}

    def list_query_executions(self, request: Document) -> Document:
        """List the queries of a workgroup, newest first."""
        name = self._group(request.get("WorkGroup", "primary"))["Name"]
        ids = [run.id for run in reversed(self._queries.all.values()) if run.document["workgroup"] == name]
        page, token = _page(ids, request, 50)
        return {"QueryExecutionIds": page, "NextToken": token}

    def stop_query_execution(self, request: Document) -> Document:
        """End a query; nothing happens if it has ended."""
        run = self._run(request["QueryExecutionId"])
        if not run.ended:
            self._queries.stop(run)
        return {}

    def get_query_results(self, request: Document) -> Document:
        """Return a page of the result of a query."""
        run = self._run(request["QueryExecutionId"])
        document = run.document
        if run.state in ("QUEUED", "RUNNING"):
            raise _invalid(f"Query has not yet finished. Current state: {run.state}", "INVALID_QUERY_EXECUTION_STATE")
        if run.state != "SUCCEEDED":
            message = f"Query did not finish successfully. Final query state: {run.state}"
            raise _invalid(message, "INVALID_QUERY_EXECUTION_STATE")
        most = request.get("MaxResults", 1000)
        rows: list[Document] = []
        token = None
        if document["columns"] and not document["statistics"].get("DataManifestLocation"):
            path = self._backend.file(document["output"])
            if path is None:
                raise _invalid(f"Could not find results for query {run.id}: {document['output']} does not exist")
            try:
                if document["statement"] == "DML":
                    rows, token = results.csv_page(path, request.get("NextToken"), most)
                else:
                    rows, token = results.text_page(path, request.get("NextToken"), most, 1)
            except results.TokenError:
                raise _invalid("Malformed nextToken") from None
        columns = document["columns"] if not document["statistics"].get("DataManifestLocation") else []
        return {
            "UpdateCount": document.get("updated", 0),
            "ResultSet": {"Rows": rows, "ResultSetMetadata": {"ColumnInfo": columns}},
            "NextToken": token,
        }

    def get_query_runtime_statistics(self, request: Document) -> Document:
        """Return times and sizes of a query."""
        document = self._run(request["QueryExecutionId"]).document
        statistics = document["statistics"]
        names = (
            "QueryQueueTimeInMillis", "QueryPlanningTimeInMillis", "EngineExecutionTimeInMillis",
            "ServiceProcessingTimeInMillis", "TotalExecutionTimeInMillis",
        )  # fmt: skip
        return {
            "QueryRuntimeStatistics": {
                "Timeline": {name: statistics.get(name) for name in names},
                "Rows": {"InputBytes": statistics.get("DataScannedInBytes", 0)},
            }
        }

    def _described(self, run: QueryRun) -> Document:
        document = run.document
        status = {
            "State": document["state"],
            "StateChangeReason": document.get("reason"),
            "SubmissionDateTime": document["submitted"],
            "CompletionDateTime": document.get("completed"),
            "AthenaError": document.get("error"),
        }
        suffix = ".csv" if document.get("statement") == "DML" else ".txt"
        output = document.get("output") or f"{document['location'].rstrip('/')}/{run.id}{suffix}"
        return {
            "QueryExecutionId": run.id,
            "Query": document["sql"],
            "StatementType": document.get("statement"),
            "SubstatementType": document.get("substatement"),
            "ResultConfiguration": {**document["result"], "OutputLocation": output},
            "ResultReuseConfiguration": {"ResultReuseByAgeConfiguration": {"Enabled": False}},
            "QueryExecutionContext": document["context"],
            "Status": status,
            "Statistics": {**document["statistics"], "ResultReuseInformation": {"ReusedPreviousResult": False}},
            "WorkGroup": document["workgroup"],
            "EngineVersion": _ENGINE_VERSION,
            "ExecutionParameters": document.get("parameters"),
        }

    def _run(self, query_id: str) -> QueryRun:
        try:
            return self._queries.all[query_id]
        except KeyError:
            raise _invalid(f"QueryExecution {query_id} was not found") from None

    # Workgroups

    def create_work_group(self, request: Document) -> Document:
        """Create a workgroup."""
        name = request["Name"]
        if name in self._store.load("workgroup"):
            raise _invalid(f"WorkGroup {name} already exists")
        group = {
            "Name": name,
            "State": "ENABLED",
            "Description": request.get("Description"),
            "Configuration": _configuration(request.get("Configuration") or {}),
            "CreationTime": time.time(),
        }
        self._store.save("workgroup", name, group)
        self._tag(self._arn("workgroup", name), request.get("Tags") or [])
        return {}

    def get_work_group(self, request: Document) -> Document:
        """Describe a workgroup."""
        return {"WorkGroup": self._group(request["WorkGroup"])}

    def update_work_group(self, request: Document) -> Document:
        """Change a workgroup."""
        group = self._group(request["WorkGroup"])
        for name in ("State", "Description"):
            if name in request:
                group[name] = request[name]
        updates = dict(request.get("ConfigurationUpdates") or {})
        configuration = group["Configuration"]
        result = dict(configuration.get("ResultConfiguration") or {})
        for name, value in (updates.pop("ResultConfigurationUpdates", None) or {}).items():
            if not name.startswith("Remove"):
                result[name] = value
            elif value:
                result.pop(name.removeprefix("Remove"), None)
        if updates.pop("RemoveBytesScannedCutoffPerQuery", False):
            configuration.pop("BytesScannedCutoffPerQuery", None)
        updates = {name: value for name, value in updates.items() if not name.startswith("Remove")}
        group["Configuration"] = _configuration({**configuration, **updates, "ResultConfiguration": result})
        self._store.save("workgroup", group["Name"], group)
        return {}

    def delete_work_group(self, request: Document) -> Document:
        """Delete a workgroup, with what is in it if that is asked for."""
        name = self._group(request["WorkGroup"])["Name"]
        if name == "primary":
            raise _invalid("WorkGroup primary cannot be deleted")
        inside = [(kind, key) for kind in ("named", "prepared") for key, one in self._store.load(kind).items()
                  if one.get("WorkGroup", one.get("WorkGroupName")) == name]  # fmt: skip
        if inside and not request.get("RecursiveDeleteOption"):
            raise _invalid(f"WorkGroup {name} is not empty")
        for kind, key in inside:
            self._store.delete(kind, key)
        self._store.delete("workgroup", name)
        return {}

    def list_work_groups(self, request: Document) -> Document:
        """List the workgroups."""
        page, token = _page(list(self._store.load("workgroup").values()), request, 50)
        names = ("Name", "State", "Description", "CreationTime")
        return {
            "WorkGroups": [{**{n: g.get(n) for n in names}, "EngineVersion": _ENGINE_VERSION} for g in page],
            "NextToken": token,
        }

    def list_engine_versions(self, request: Document) -> Document:  # noqa: ARG002
        """List the engine versions."""
        return {
            "EngineVersions": [_ENGINE_VERSION, {"SelectedEngineVersion": ENGINE, "EffectiveEngineVersion": ENGINE}]
        }

    def _group(self, name: str) -> Document:
        found = self._store.load("workgroup").get(name)
        if found is None:
            raise _invalid(f"WorkGroup {name} is not found.")
        return found

    # Named queries and prepared statements

    def create_named_query(self, request: Document) -> Document:
        """Keep a query under a name."""
        import uuid

        group = self._group(request.get("WorkGroup", "primary"))["Name"]
        query = {
            "Name": request["Name"], "Description": request.get("Description"), "Database": request["Database"],
            "QueryString": request["QueryString"], "NamedQueryId": str(uuid.uuid4()), "WorkGroup": group,
        }  # fmt: skip
        self._store.save("named", query["NamedQueryId"], query)
        return {"NamedQueryId": query["NamedQueryId"]}

    def get_named_query(self, request: Document) -> Document:
        """Return a named query."""
        return {"NamedQuery": self._named(request["NamedQueryId"])}

    def update_named_query(self, request: Document) -> Document:
        """Change a named query."""
        query = self._named(request["NamedQueryId"])
        query |= {name: request[name] for name in ("Name", "Description", "QueryString") if name in request}
        self._store.save("named", query["NamedQueryId"], query)
        return {}

    def delete_named_query(self, request: Document) -> Document:
        """Delete a named query."""
        self._store.delete("named", self._named(request["NamedQueryId"])["NamedQueryId"])
        return {}

    def list_named_queries(self, request: Document) -> Document:
        """List the named queries of a workgroup."""
        group = self._group(request.get("WorkGroup", "primary"))["Name"]
        ids = [key for key, query in self._store.load("named").items() if query["WorkGroup"] == group]
        page, token = _page(ids, request, 50)
        return {"NamedQueryIds": page, "NextToken": token}

    def batch_get_named_query(self, request: Document) -> Document:
        """Return named queries."""
        found = self._store.load("named")
        ids = request["NamedQueryIds"]
        return {
            "NamedQueries": [found[one] for one in ids if one in found],
            "UnprocessedNamedQueryIds": [
                {"NamedQueryId": one, "ErrorCode": "INVALID_INPUT"} for one in ids if one not in found
            ],
        }

    def _named(self, query_id: str) -> Document:
        found = self._store.load("named").get(query_id)
        if found is None:
            raise _invalid(f"NamedQuery {query_id} was not found")
        return found

    def create_prepared_statement(self, request: Document) -> Document:
        """Keep a statement with parameters."""
        group, name = self._group(request["WorkGroup"])["Name"], request["StatementName"]
        if f"{group}/{name}" in self._store.load("prepared"):
            raise _invalid(f"PreparedStatement {name} already exists in WorkGroup {group}")
        return self._save_prepared(group, request)

    def update_prepared_statement(self, request: Document) -> Document:
        """Change a prepared statement."""
        self._prepared(request)
        return self._save_prepared(request["WorkGroup"], request)

    def get_prepared_statement(self, request: Document) -> Document:
        """Return a prepared statement."""
        return {"PreparedStatement": self._prepared(request)}

    def delete_prepared_statement(self, request: Document) -> Document:
        """Delete a prepared statement."""
        self._prepared(request)
        self._store.delete("prepared", f"{request['WorkGroup']}/{request['StatementName']}")
        return {}

    def list_prepared_statements(self, request: Document) -> Document:
        """List the prepared statements of a workgroup."""
        group = self._group(request["WorkGroup"])["Name"]
        found = [one for one in self._store.load("prepared").values() if one["WorkGroupName"] == group]
        page, token = _page(found, request, 50)
        names = ("StatementName", "LastModifiedTime")
        return {"PreparedStatements": [{name: one[name] for name in names} for one in page], "NextToken": token}

    def batch_get_prepared_statement(self, request: Document) -> Document:
        """Return prepared statements."""
        found, missing = [], []
        for name in request["PreparedStatementNames"]:
            try:
                found.append(self._prepared({"WorkGroup": request["WorkGroup"], "StatementName": name}))
            except AwsError as error:
                missing.append(
                    {"StatementName": name, "ErrorCode": "STATEMENT_NOT_FOUND", "ErrorMessage": error.message}
                )
        return {"PreparedStatements": found, "UnprocessedPreparedStatementNames": missing}

    def _save_prepared(self, group: str, request: Document) -> Document:
        statement = {
            "StatementName": request["StatementName"],
            "QueryStatement": request["QueryStatement"],
            "WorkGroupName": group,
            "Description": request.get("Description"),
            "LastModifiedTime": time.time(),
        }
        self._store.save("prepared", f"{group}/{request['StatementName']}", statement)
        return {}

    def _prepared(self, request: Document) -> Document:
        group, name = self._group(request["WorkGroup"])["Name"], request["StatementName"]
        found = self._store.load("prepared").get(f"{group}/{name}")
        if found is None:
            message = f"PreparedStatement {name} was not found in workGroup {group}"
            raise AwsError("ResourceNotFoundException", message, extra={"ResourceName": name})
        return found

    # The catalogue

    def list_data_catalogs(self, request: Document) -> Document:  # noqa: ARG002
        """List the data catalogues: Glue's."""
        return {"DataCatalogsSummary": [{"CatalogName": "AwsDataCatalog", "Type": "GLUE"}]}

    def get_data_catalog(self, request: Document) -> Document:
        """Describe a data catalogue."""
        self._catalog(request["Name"])
        return {"DataCatalog": {"Name": "AwsDataCatalog", "Type": "GLUE", "Parameters": {"catalog-id": "123456789012"}}}

    def list_databases(self, request: Document) -> Document:
        """List the databases of Glue."""
        self._catalog(request["CatalogName"])
        found = self._pages("GetDatabases", {}, "DatabaseList")
        page, token = _page(found, request, 50)
        return {"DatabaseList": [_database(one) for one in page], "NextToken": token}

    def get_database(self, request: Document) -> Document:
        """Describe a database of Glue."""
        self._catalog(request["CatalogName"])
        return {"Database": _database(self._glue("GetDatabase", {"Name": request["DatabaseName"].lower()})["Database"])}

    def list_table_metadata(self, request: Document) -> Document:
        """Describe the tables of a database whose names match an expression."""
        self._catalog(request["CatalogName"])
        found = self._pages("GetTables", {"DatabaseName": request["DatabaseName"].lower()}, "TableList")
        if request.get("Expression"):
            pattern = re.compile(request["Expression"].replace("*", ".*"), re.IGNORECASE)
            found = [table for table in found if pattern.fullmatch(table["Name"])]
        page, token = _page(sorted(found, key=lambda table: table["Name"]), request, 50)
        return {"TableMetadataList": [_table(one) for one in page], "NextToken": token}

    def get_table_metadata(self, request: Document) -> Document:
        """Describe a table of Glue."""
        self._catalog(request["CatalogName"])
        names = {"DatabaseName": request["DatabaseName"].lower(), "Name": request["TableName"].lower()}
        return {"TableMetadata": _table(self._glue("GetTable", names)["Table"])}

    def _catalog(self, name: str) -> None:
        if name.lower() != "awsdatacatalog":
            raise _invalid(f"Data catalog {name} was not found")

    def _glue(self, operation: str, request: Document) -> Document:
        try:
            return self._backend.glue(self._asked.region, operation, request)
        except ServeError as error:
            raise AwsError("MetadataException", f"{error.code}: {error}") from None

    def _pages(self, operation: str, request: Document, member: str) -> list[Document]:
        found: list[Document] = []
        token: Document = {}
        while True:
            page = self._glue(operation, request | token)
            found += page[member]
            if not page.get("NextToken"):
                return found
            token = {"NextToken": page["NextToken"]}

    # Tags

    def tag_resource(self, request: Document) -> Document:
        """Tag a workgroup."""
        self._tag(self._tagged(request["ResourceARN"]), request["Tags"])
        return {}

    def untag_resource(self, request: Document) -> Document:
        """Remove tags."""
        arn = self._tagged(request["ResourceARN"])
        tags = self._store.load("tags").get(arn, {})
        self._store.save("tags", arn, {key: value for key, value in tags.items() if key not in request["TagKeys"]})
        return {}

    def list_tags_for_resource(self, request: Document) -> Document:
        """List tags."""
        tags = self._store.load("tags").get(self._tagged(request["ResourceARN"]), {})
        return {"Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}

    def _tag(self, arn: str, tags: Iterable[Document]) -> None:
        known = self._store.load("tags").get(arn, {})
        self._store.save("tags", arn, known | {tag["Key"]: tag.get("Value", "") for tag in tags})

    def _arn(self, kind: str, name: str) -> str:
        return f"arn:aws:athena:{self._asked.region}:123456789012:{kind}/{name}"

    def _tagged(self, arn: str) -> str:
        name = arn.rpartition("/")[2]
        if name not in self._store.load("workgroup"):
            raise AwsError("ResourceNotFoundException", f"Resource {arn} was not found", extra={"ResourceName": arn})
        return self._arn("workgroup", name)


def _configuration(given: Document) -> Document:
    cutoff = given.get("BytesScannedCutoffPerQuery")
    if cutoff is not None and cutoff < _MIN_CUTOFF:
        raise _invalid(f"BytesScannedCutoffPerQuery must be at least {_MIN_CUTOFF} bytes")
    location = (given.get("ResultConfiguration") or {}).get("OutputLocation")
    if location and not re.match(r"s3[an]?://[^/]+", location):
        raise _invalid(f"outputLocation is not a valid S3 path: {location}")
    return {
        "EnforceWorkGroupConfiguration": given.get("EnforceWorkGroupConfiguration", bool(given)),
        "PublishCloudWatchMetricsEnabled": given.get("PublishCloudWatchMetricsEnabled", False),
        "RequesterPaysEnabled": given.get("RequesterPaysEnabled", False),
        **given,
        "EngineVersion": _ENGINE_VERSION,
    }


def _database(one: Document) -> Document:
    return {name: one.get(name) for name in ("Name", "Description", "Parameters")}


def _table(one: Document) -> Document:
    storage = one.get("StorageDescriptor") or {}
    serde = storage.get("SerdeInfo") or {}
    parameters = {
        **(one.get("Parameters") or {}),
        "location": storage.get("Location", ""),
        "inputformat": storage.get("InputFormat", ""),
        "outputformat": storage.get("OutputFormat", ""),
        "serde.serialization.lib": serde.get("SerializationLibrary", ""),
        **{f"serde.param.{name}": value for name, value in (serde.get("Parameters") or {}).items()},
    }
    return {
        "Name": one["Name"],
        "CreateTime": one.get("CreateTime"),
        "LastAccessTime": one.get("LastAccessTime"),
        "TableType": one.get("TableType"),
        "Columns": [_column(column) for column in storage.get("Columns") or []],
        "PartitionKeys": [_column(column) for column in one.get("PartitionKeys") or []],
        "Parameters": {name: value for name, value in parameters.items() if value != ""},
    }


def _column(one: Document) -> Document:
    return {"Name": one["Name"], "Type": one.get("Type"), "Comment": one.get("Comment")}


def _page(found: Sequence[Any], request: Document, most: int) -> tuple[list[Any], str | None]:
    """Return a page of a list, and the token of the next."""
    token = request.get("NextToken") or "0"
    if not token.isdecimal():
        raise _invalid("Malformed nextToken")
    start, size = int(token), request.get("MaxResults") or most
    return list(found[start : start + size]), str(start + size) if len(found) > start + size else None
