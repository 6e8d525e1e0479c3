"""Instance groups, fleets and instances of a cluster: what was requested, and what later requests changed of it.

There are no instances; these are answers to those who ask.
"""

from collections.abc import Iterable, Sequence

from local_aws.emr.model import Cluster, Document
from local_aws.protocols.errors import AwsError

_RUNNING = ("RUNNING", "WAITING")


def check(instances: Document) -> None:
    """Refuse a request for instances without exactly one master."""
    for member, kind in (("InstanceGroups", "InstanceRole"), ("InstanceFleets", "InstanceFleetType")):
        kinds = [part[kind] for part in instances.get(member) or []]
        if kinds and kinds.count("MASTER") != 1:
            raise _invalid(f"{member} must have exactly one of {kind} MASTER, not {kinds.count('MASTER')}.")


def groups(cluster: Cluster) -> list[Document]:
    """Return the instance groups."""
    return [
        {
            "Id": _group_id(cluster, place),
            "Name": group.get("Name", group["InstanceRole"]),
            "Market": group.get("Market", "ON_DEMAND"),
            "BidPrice": group.get("BidPrice"),
            "InstanceGroupType": group["InstanceRole"],
            "InstanceType": group["InstanceType"],
            "RequestedInstanceCount": group["InstanceCount"],
            "RunningInstanceCount": group["InstanceCount"] if cluster.state in _RUNNING else 0,
            "Status": _status(cluster),
            "Configurations": group.get("Configurations"),
            "ShrinkPolicy": group.get("ShrinkPolicy"),
        }
        for place, group in enumerate(_groups(cluster))
    ]


def fleets(cluster: Cluster) -> list[Document]:
    """Return the instance fleets."""
    running = cluster.state in _RUNNING
    return [
        {
            "Id": _fleet_id(cluster, place),
            "Name": fleet.get("Name"),
            "InstanceFleetType": fleet["InstanceFleetType"],
            "Status": _status(cluster),
            "TargetOnDemandCapacity": fleet.get("TargetOnDemandCapacity", 0),
            "TargetSpotCapacity": fleet.get("TargetSpotCapacity", 0),
            "ProvisionedOnDemandCapacity": fleet.get("TargetOnDemandCapacity", 0) if running else 0,
            "ProvisionedSpotCapacity": fleet.get("TargetSpotCapacity", 0) if running else 0,
            "InstanceTypeSpecifications": fleet.get("InstanceTypeConfigs"),
            "LaunchSpecifications": fleet.get("LaunchSpecifications"),
            "ResizeSpecifications": fleet.get("ResizeSpecifications"),
        }
        for place, fleet in enumerate(_fleets(cluster))
    ]


def instances(cluster: Cluster) -> Iterable[tuple[Document, str, str]]:
    """Yield each requested instance, with the type and the id of its group or fleet."""
    parts: list[tuple[Document, str, str, str, list[str]]] = [
        (
            group,
            group["InstanceGroupType"],
            group["InstanceType"],
            "InstanceGroupId",
            [group["Market"]] * group["RequestedInstanceCount"],
        )
        for group in groups(cluster)
    ]
    for fleet in fleets(cluster):
        first = (fleet["InstanceTypeSpecifications"] or [{"InstanceType": "m5.xlarge"}])[0]
        weight = first.get("WeightedCapacity", 1)
        markets = ["ON_DEMAND"] * -(-fleet["TargetOnDemandCapacity"] // weight)
        markets += ["SPOT"] * -(-fleet["TargetSpotCapacity"] // weight)
        parts.append((fleet, fleet["InstanceFleetType"], first["InstanceType"], "InstanceFleetId", markets))
    for part, kind, instance_type, parent, markets in parts:
        for place, market in enumerate(markets):
            instance = {
                "Id": f"ci-{part['Id'][3:]}{place:04}",
                "Ec2InstanceId": f"i-{part['Id'][3:]}{place:04}".lower(),
                "PrivateIpAddress": "127.0.0.1",
                "PrivateDnsName": "localhost",
                "InstanceType": instance_type,
                "Market": market,
                "Status": part["Status"],
                parent: part["Id"],
            }
            yield instance, kind, part["Id"]


def find_group(clusters: Iterable[Cluster], group_id: str) -> Cluster:
    """Return the cluster that has a group."""
    for cluster in clusters:
        if any(_group_id(cluster, place) == group_id for place in range(len(_groups(cluster)))):
            return cluster
    raise AwsError("InvalidRequestException", f"Instance group id '{group_id}' is not valid.")


def modify_groups(cluster: Cluster, changes: Sequence[Document]) -> None:
    """Record changes of groups, all or none."""
    found = {_group_id(cluster, place): group for place, group in enumerate(_groups(cluster))}
    for change in changes:
        group = found.get(change["InstanceGroupId"])
        if group is None:
            raise AwsError("InvalidRequestException", f"Instance group id '{change['InstanceGroupId']}' is not valid.")
        if group["InstanceRole"] == "MASTER" and "InstanceCount" in change:
            raise _invalid("The instance count of a MASTER instance group cannot be changed.")
        if change.get("InstanceCount", 0) < 0:
            raise _invalid(f"InstanceCount must not be negative, it is {change['InstanceCount']}.")
    for change in changes:
        group = found[change["InstanceGroupId"]]
        ended = len(change.get("EC2InstanceIdsToTerminate") or [])
        group["InstanceCount"] = change.get("InstanceCount", max(0, group["InstanceCount"] - ended))
        group |= {name: change[name] for name in ("Configurations", "ShrinkPolicy") if name in change}
    cluster.request["Instances"]["InstanceGroups"] = list(found.values())


def add_groups(cluster: Cluster, added: Sequence[Document]) -> list[str]:
    """Record further groups; return their ids."""
    if _fleets(cluster):
        raise _invalid("Instance fleets and instance groups are mutually exclusive: the cluster uses instance fleets.")
    now = list(_groups(cluster))
    for group in added:
        if group["InstanceRole"] != "TASK" and any(one["InstanceRole"] == group["InstanceRole"] for one in now):
            raise _invalid(f"The cluster has a {group['InstanceRole']} instance group already: only TASK can be added.")
        now.append(group)
    cluster.request["Instances"]["InstanceGroups"] = now
    return [_group_id(cluster, len(now) - len(added) + place) for place in range(len(added))]


def modify_fleet(cluster: Cluster, change: Document) -> None:
    """Record a change of a fleet."""
    for place, fleet in enumerate(_fleets(cluster)):
        if _fleet_id(cluster, place) == change["InstanceFleetId"]:
            names = ("TargetOnDemandCapacity", "TargetSpotCapacity", "ResizeSpecifications", "InstanceTypeConfigs")
            fleet |= {name: change[name] for name in names if name in change}
            return
    raise AwsError("InvalidRequestException", f"Instance fleet id '{change['InstanceFleetId']}' is not valid.")


def add_fleet(cluster: Cluster, added: Document) -> str:
    """Record a further fleet; return its id."""
    now = _fleets(cluster)
    if not now:
        raise _invalid("Instance fleets and instance groups are mutually exclusive: the cluster uses instance groups.")
    if any(fleet["InstanceFleetType"] == added["InstanceFleetType"] for fleet in now):
        raise _invalid(f"The cluster has an instance fleet of type {added['InstanceFleetType']} already.")
    now.append(added)
    return _fleet_id(cluster, len(now) - 1)


def _groups(cluster: Cluster) -> list[Document]:
    requested = cluster.request["Instances"]
    found: list[Document] | None = requested.get("InstanceGroups")
    if found is None and requested.get("MasterInstanceType"):
        workers = requested.get("InstanceCount", 1) - 1
        found = [{"InstanceRole": "MASTER", "InstanceType": requested["MasterInstanceType"], "InstanceCount": 1}]
        if workers > 0:
            kind = requested.get("SlaveInstanceType", requested["MasterInstanceType"])
            found.append({"InstanceRole": "CORE", "InstanceType": kind, "InstanceCount": workers})
    return found or []


def _fleets(cluster: Cluster) -> list[Document]:
    found: list[Document] | None = cluster.request["Instances"].get("InstanceFleets")
    return found or []


def _group_id(cluster: Cluster, place: int) -> str:
    return f"ig-{cluster.id[2:]}{place}"


def _fleet_id(cluster: Cluster, place: int) -> str:
    return f"if-{cluster.id[2:]}{place}"


def _status(cluster: Cluster) -> Document:
    states = {"STARTING": "PROVISIONING", "BOOTSTRAPPING": "BOOTSTRAPPING", "RUNNING": "RUNNING", "WAITING": "RUNNING"}
    return {
        "State": states.get(cluster.state, "TERMINATED"),
        "Timeline": {
            "CreationDateTime": cluster.created,
            "ReadyDateTime": cluster.ready,
            "EndDateTime": cluster.ended,
        },
    }


def _invalid(message: str) -> AwsError:
    return AwsError("ValidationException", message)
