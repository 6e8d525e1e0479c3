"""Clusters and steps of EMR: their states, what is stored of them, and their form in the API.

Times are epoch seconds, as in EMR's protocol and in the stored JSON.
"""

import secrets
import string
from dataclasses import dataclass, field
from typing import Any

Document = dict[str, Any]  # a structure of the EMR API

LIVE_STATES = ("STARTING", "BOOTSTRAPPING", "RUNNING", "WAITING")
ENDED_STATES = ("TERMINATED", "TERMINATED_WITH_ERRORS")
ACTIVE_STEP_STATES = ("PENDING", "CANCEL_PENDING", "RUNNING")

# Newest known minor release of each series; some have patches 1 and 2.
_SERIES = {"emr-spark-8": 0, "emr-7": 14, "emr-6": 15, "emr-5": 36}
# Spark of each minor release of a series, from 0 up.
_SPARK_VERSIONS = {
    "emr-spark-8": ["4.0.2"],
    "emr-7": [
        *("3.5.0", "3.5.0", "3.5.1", "3.5.1", "3.5.2", "3.5.2", "3.5.3", "3.5.3", "3.5.4", "3.5.5", "3.5.5"),
        *("3.5.6", "3.5.6", "3.5.6"),
    ],
    "emr-6": [
        *("2.4.4", "3.0.0", "3.0.1", "3.1.1", "3.1.2", "3.1.2", "3.2.0", "3.2.1", "3.3.0", "3.3.0", "3.3.1", "3.3.2"),
        *("3.4.0", "3.4.1", "3.4.1", "3.4.1"),
    ],
}
# The names of applications as EMR returns them, by the lower-case ones that it takes too.
_APPLICATIONS = {
    name.lower(): name
    for name in (
        *(
            "Delta",
            "Flink",
            "HBase",
            "HCatalog",
            "Hadoop",
            "Hive",
            "Hudi",
            "Hue",
            "Iceberg",
            "JupyterEnterpriseGateway",
        ),
        *("JupyterHub", "Livy", "MXNet", "Oozie", "Phoenix", "Pig", "Presto", "Spark", "Sqoop", "TensorFlow", "Tez"),
        *("Trino", "Zeppelin", "ZooKeeper"),
    )
}


def release_labels() -> list[str]:
    """Return the release labels that a cluster may have, newest first."""
    return [f"{series}.{minor}.0" for series, newest in _SERIES.items() for minor in range(newest, -1, -1)]


def is_release_label(label: str) -> bool:
    """Say whether a cluster may have this release label."""
    minor, _, patch = label.rpartition(".")
    return patch in ("0", "1", "2") and f"{minor}.0" in release_labels()


def spark_version(label: str) -> str | None:
    """Return the Spark version of a release, None where it is not known here."""
    series, minor, _ = label.rsplit(".", 2)
    versions = _SPARK_VERSIONS.get(series, [])
    return versions[int(minor)] if int(minor) < len(versions) else None


def applications(label: str, requested: list[Document]) -> list[Document]:
    """Return the applications of a cluster as EMR describes them: with their versions, where these are known here."""
    found = []
    for application in requested:
        name = _APPLICATIONS.get(application["Name"].lower(), application["Name"])
        version = spark_version(label) if name == "Spark" else None
        found.append({**application, "Name": name} | ({"Version": version} if version else {}))
    return found


def new_id(prefix: str) -> str:
    """Return a new identifier in EMR's form, e.g. `j-2AXXXXXXGAPLF`."""
    return f"{prefix}-{''.join(secrets.choice(string.ascii_uppercase + string.digits) for _ in range(13))}"


@dataclass
class Step:
    """One step of a cluster."""

    id: str
    cluster_id: str
    name: str
    jar: str
    args: list[str]
    main_class: str | None
    properties: dict[str, str]
    action_on_failure: str
    role: str | None
    created: float
    state: str = "PENDING"
    reason: Document = field(default_factory=dict)
    failure: Document | None = None
    started: float | None = None
    ended: float | None = None

    @property
    def active(self) -> bool:
        """Whether the step has not ended."""
        return self.state in ACTIVE_STEP_STATES

    def end(self, state: str, now: float, message: str | None = None, failure: Document | None = None) -> None:
        """Move the step to one of its final states."""
        self.state, self.ended, self.failure = state, now, failure
        self.reason = {"Message": message} if message else {}

    def summary(self) -> Document:
        """Return the StepSummary."""
        return {
            "Id": self.id,
            "Name": self.name,
            "Config": {
                "Jar": self.jar,
                "Properties": self.properties,
                "MainClass": self.main_class,
                "Args": self.args,
            },
            "ActionOnFailure": self.action_on_failure,
            "Status": {
                "State": self.state,
                "StateChangeReason": self.reason,
                "FailureDetails": self.failure,
                "Timeline": {
                    "CreationDateTime": self.created,
                    "StartDateTime": self.started,
                    "EndDateTime": self.ended,
                },
            },
        }


@dataclass
class Cluster:
    """One cluster (job flow): the request that created it, and its state."""

    id: str
    region: str
    request: Document  # of RunJobFlow, without its steps
    created: float
    step_concurrency: int
    keep_alive: bool
    protected: bool
    visible: bool
    tags: dict[str, str]
    auto_termination: Document | None
    managed_scaling: Document | None
    state: str = "STARTING"
    reason: Document = field(default_factory=dict)
    since: float = 0.0  # when the state began
    ready: float | None = None
    ended: float | None = None
    to_end: dict[str, str] | None = None  # code and message of its end, if that is decided and still put off

    @property
    def live(self) -> bool:
        """Whether steps may be added."""
        return self.state in LIVE_STATES

    @property
    def log_uri(self) -> str | None:
        """The s3:// folder of its logs without a slash at the end, None if it has none."""
        uri = self.request.get("LogUri")
        return f"s3://{uri.partition('://')[2].rstrip('/')}" if uri else None

    @property
    def spark_defaults(self) -> dict[str, str]:
        """The Spark properties of its configurations; variables for Spark's programs are among them."""
        found: dict[str, str] = {}
        for configuration in self.request.get("Configurations") or []:
            if configuration.get("Classification") == "spark-defaults":
                found |= configuration.get("Properties") or {}
            elif configuration.get("Classification") == "spark-env":
                for inner in configuration.get("Configurations") or []:
                    for name, value in (inner.get("Properties") or {}).items():
                        found.setdefault(f"spark.yarn.appMasterEnv.{name}", value)
        return found

    def enter(self, state: str, now: float, message: str | None = None, code: str | None = None) -> None:
        """Move the cluster to a state."""
        self.state, self.since = state, now
        self.reason = {key: value for key, value in (("Code", code), ("Message", message)) if value}

    def summary(self) -> Document:
        """Return the ClusterSummary."""
        return {
            "Id": self.id,
            "Name": self.request["Name"],
            "Status": {
                "State": self.state,
                "StateChangeReason": self.reason,
                "Timeline": {
                    "CreationDateTime": self.created,
                    "ReadyDateTime": self.ready,
                    "EndDateTime": self.ended,
                },
            },
            "NormalizedInstanceHours": 0,
            "ClusterArn": self.arn,
        }

    @property
    def arn(self) -> str:
        """The cluster's ARN."""
        return f"arn:aws:elasticmapreduce:{self.region}:123456789012:cluster/{self.id}"

    def description(self) -> Document:
        """Return the Cluster of DescribeCluster."""
        instances = self.request["Instances"]
        kept = (
            *("ServiceRole", "SecurityConfiguration", "AutoScalingRole", "ScaleDownBehavior", "LogEncryptionKmsKeyId"),
            *("RepoUpgradeOnBoot", "KerberosAttributes", "PlacementGroups", "EbsRootVolumeIops"),
            *("EbsRootVolumeThroughput", "CustomAmiId", "EbsRootVolumeSize", "ReleaseLabel", "OSReleaseLabel"),
        )
        placement = instances.get("Placement") or {}
        return (
            self.summary()
            | {name: self.request.get(name) for name in kept}
            | {
                "Applications": applications(self.request["ReleaseLabel"], self.request.get("Applications") or []),
                "Configurations": self.request.get("Configurations") or [],
                # As EMR returns it, whatever it was given.
                "LogUri": self.log_uri and self.log_uri.replace("s3://", "s3n://", 1) + "/",
                "AutoTerminate": not self.keep_alive,
                "TerminationProtected": self.protected,
                "VisibleToAllUsers": self.visible,
                "StepConcurrencyLevel": self.step_concurrency,
                "Tags": [{"Key": key, "Value": value} for key, value in self.tags.items()],
                "MasterPublicDnsName": "localhost" if self.ready else None,
                "InstanceCollectionType": "INSTANCE_FLEET" if instances.get("InstanceFleets") else "INSTANCE_GROUP",
                "Ec2InstanceAttributes": {
                    "Ec2KeyName": instances.get("Ec2KeyName"),
                    "Ec2SubnetId": instances.get("Ec2SubnetId"),
                    "RequestedEc2SubnetIds": instances.get("Ec2SubnetIds"),
                    "RequestedEc2AvailabilityZones": placement.get("AvailabilityZones") or [],
                    "Ec2AvailabilityZone": (
                        placement.get("AvailabilityZone")
                        or next(iter(placement.get("AvailabilityZones") or []), f"{self.region}a")
                    ),
                    "IamInstanceProfile": self.request.get("JobFlowRole"),
                    "EmrManagedMasterSecurityGroup": instances.get("EmrManagedMasterSecurityGroup"),
                    "EmrManagedSlaveSecurityGroup": instances.get("EmrManagedSlaveSecurityGroup"),
                    "ServiceAccessSecurityGroup": instances.get("ServiceAccessSecurityGroup"),
                    "AdditionalMasterSecurityGroups": instances.get("AdditionalMasterSecurityGroups") or [],
                    "AdditionalSlaveSecurityGroups": instances.get("AdditionalSlaveSecurityGroups") or [],
                },
            }
        )
