"""What is let through to moto: services whose state is kept, and of each the operations that need no computation.

moto answers with success for much that it does not do: a Glue job that never runs, a function that is never called.
So what is not listed here is refused. moto may still lack an operation that is let through, which is an error too.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Request = dict[str, Any]  # the members of a request that are at its top


@dataclass(frozen=True)
class Offer:
    """A service that is kept, by moto.

    Attributes:
        kept: what of it, in a few words.
        refused: what of it is refused, in a few words; "" if nothing is.
        operations: a regular expression for the operations that are let through.
        conditions: by operation, what refuses some of its requests: returns the reason, or None.
    """

    kept: str
    refused: str = ""
    operations: str = ".*"
    conditions: dict[str, Callable[[Request], str | None]] = field(default_factory=dict)

    def refusal(self, operation: str, request: Callable[[], Request]) -> str | None:
        """Return why a request is refused, None if it is not."""
        if not re.fullmatch(self.operations, operation):
            return f"it is not executed by the local endpoint, which keeps {self.kept}"
        condition = self.conditions.get(operation)
        return condition(request()) if condition else None


def _undelivered(request: Request) -> str | None:
    protocol = request.get("Protocol", "")
    if protocol in ("sqs", "http", "https", "email", "email-json"):
        return None
    return f"messages are not delivered by {protocol or 'an empty protocol'} here, only to sqs, http and https"


def _text_message(request: Request) -> str | None:
    return "text messages are not sent here" if "PhoneNumber" in request else None


def _log_pattern(request: Request) -> str | None:
    pattern = request.get("filterPattern") or ""
    if re.fullmatch(r'|[A-Za-z]\w*( \w+)*|"[^"]*"', pattern):  # moto takes others for patterns that match everything
        return None
    return f"the pattern {pattern!r} cannot be evaluated here, only words and one quoted term"


def _metric_mathematics(request: Request) -> str | None:
    queries = request.get("MetricDataQueries") or []
    if any("Expression" in query for query in queries) or any(name.endswith(".Expression") for name in request):
        return "expressions over metrics are not evaluated here"
    return None


def _other_time(request: Request) -> str | None:
    if "ExportTime" in request or request.get("ExportType") == "INCREMENTAL_EXPORT":
        return "a table can be exported as it is now only"
    return None


def _open_format(request: Request) -> str | None:
    if "OpenTableFormatInput" in request:
        return "the metadata of an Iceberg table is not written here: create the table by a program that writes it"
    return None


_EC2 = (
    "AccountAttributes|Address(es)?|AvailabilityZones|DefaultSubnet|DefaultVpc|DhcpOptions|InstanceStatus"
    "|InstanceTypeOfferings|InstanceTypes|Instances|InternetGateways?|KeyPairs?|ManagedPrefixLists?|NatGateways?"
    "|NetworkAcl(s|Entry|Association)?|NetworkInterfaces?|PrefixLists|Regions|Route|RouteTable(s|Association)?"
    "|SecurityGroup(s|Egress|Ingress|Rules|RuleDescriptionsEgress|RuleDescriptionsIngress)?"
    "|Subnet(s|Attribute|CidrBlock)?|Tags|Vpc(s|Attribute|CidrBlock)?|VpcEndpoint(s|Services)?"
)

# By the name in the credential scope of a request's signature.
OFFERED = {
    "dynamodb": Offer(
        "tables, items, backups, exports and imports, streams",
        "restores to a point in time and exports of one",
        "(?!RestoreTableToPoint).*",
        {"ExportTableToPointInTime": _other_time},
    ),
    "ec2": Offer(
        "networks, security groups and key pairs",
        "instances, volumes, images, fleets and spot prices",
        "(Allocate|Associate|Attach|Authorize|Create|Delete|Detach|Disassociate|Import|Modify|Release|Replace|Revoke|"
        f"Update)(?!Instance)({_EC2})|Describe({_EC2})",
    ),
    "glue": Offer(
        "the Data Catalog: databases, tables with versions, partitions, connections, policies, tags",
        "jobs, crawlers, triggers, workflows, sessions, endpoints, data quality, schema registries, new Iceberg tables",
        "(BatchCreate|BatchDelete|BatchGet|BatchUpdate|Create|Delete|Get|Import|Put|Search|Update)"
        "(Catalog(s|ImportStatus)?|ColumnStatisticsFor(Partition|Table)|Connections?|DataCatalogEncryptionSettings|"
        "Databases?|Partition(s|Index|Indexes)?|ResourcePolic(y|ies)|SecurityConfigurations?|Table(s|Versions?)?|"
        "UserDefinedFunctions?|CatalogToGlue)|GetTags|TagResource|UntagResource",
        {"CreateTable": _open_format},
    ),
    "iam": Offer("users, groups, roles, policies, instance profiles; permissions are not checked"),
    "kinesis": Offer("streams and their records"),
    "kms": Offer("keys, which encrypt, decrypt and sign; key policies are not checked"),
    "logs": Offer(
        "groups, streams and their events, which are filtered by words or one quoted term",
        "queries, live tails, exports, metric filters, subscriptions and deliveries",
        "(Create|Delete|Describe)Log(Group|Stream)s?|PutLogEvents|GetLogEvents|FilterLogEvents|"
        "(Put|Delete)RetentionPolicy|(Put|Delete|Describe)ResourcePolic(y|ies)|ListTags.*|Tag.*|Untag.*",
        {"FilterLogEvents": _log_pattern},
    ),
    "monitoring": Offer(
        "metrics (CloudWatch) and dashboards",
        "alarms, insight rules, anomaly detectors, metric streams, expressions",
        "PutMetricData|GetMetricData|GetMetricStatistics|ListMetrics|(Put|Get|List|Delete)Dashboards?|"
        "ListTagsForResource|TagResource|UntagResource",
        {"GetMetricData": _metric_mathematics},
    ),
    "s3": Offer(
        "buckets with their settings, objects with versions, metadata and tags; events are sent to SQS and SNS",
        "S3 Select, batch operations and access points (S3 Control), Object Lambda, events for Lambda and EventBridge; "
        "settings that moto lacks: analytics, metrics, metadata tables, annotations, …",
    ),
    "secretsmanager": Offer("secrets and their versions", "rotations", "(?!Rotate|CancelRotate).*"),
    "sns": Offer(
        "topics and subscriptions, whose messages it delivers to SQS, HTTP and HTTPS",
        "text messages, mobile applications, and subscriptions by other protocols",
        "(?!.*(Platform|Endpoint|SMS|PhoneNumber)).*",
        {"Subscribe": _undelivered, "Publish": _text_message},
    ),
    "sqs": Offer("queues and their messages"),
    "ssm": Offer(
        "parameters and their tags",
        "commands, automations, maintenance windows, documents",
        "(Describe|Delete|Get|Label|Put|Unlabel)Parameter(s|sByPath|History|Version)?|AddTagsToResource|"
        "RemoveTagsFromResource|ListTagsForResource",
    ),
    "sts": Offer("identities and temporary credentials, which are not checked"),
}
