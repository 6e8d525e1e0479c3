"""The operations of the EMR API, as the SDKs call them."""

import json
from collections.abc import Callable, Iterable, MutableMapping, Sequence
from typing import TypeVar

from local_aws.emr import instances as instances_of
from local_aws.emr.clusters import Clusters
from local_aws.emr.model import (
    Cluster,
    Document,
    Step,
    is_release_label,
    new_id,
    release_labels,
    spark_version,
)
from local_aws.protocols.errors import AwsError
from local_aws.protocols.json11 import JsonService

_PAGE = 50  # entries of a list in one response, as in EMR
_MAX_STEPS = 256  # in one request, and active ones of a cluster
_SCALING_UNITS = {"INSTANCE_FLEET": {"InstanceFleetUnits"}, "INSTANCE_GROUP": {"Instances", "VCPU"}}

Record = TypeVar("Record")


def _invalid(message: str) -> AwsError:
    return AwsError("ValidationException", message)


def _bad_request(message: str) -> AwsError:
    return AwsError("InvalidRequestException", message)


class Emr(JsonService):
    """EMR on EC2, for clusters of this machine.

    Operations about instances answer from the cluster's request: there are no instances.
    """

    service = "emr"

    def __init__(self, clusters: Clusters, security: MutableMapping[str, Document], region: str) -> None:
        """Answer for clusters.

        Args:
            clusters: the clusters and their steps.
            security: the security configurations by name, which survive the process.
            region: the region of all clusters.
        """
        self._clusters = clusters
        self._security = security
        self._region = region

    def close(self) -> None:
        """End every step and cluster."""
        self._clusters.close()

    # Clusters

    def run_job_flow(self, request: Document) -> Document:
        """Start a cluster."""
        label, instances = request.get("ReleaseLabel"), request["Instances"]
        if not label:
            raise _invalid("A release label is required, for example emr-7.13.0.")
        if not is_release_label(label):
            raise _invalid(f"The supplied release label is invalid: {label}.")
        ways = [name for name in ("InstanceGroups", "InstanceFleets", "MasterInstanceType") if instances.get(name)]
        if len(ways) != 1:
            raise _invalid(
                "Instances must be given as InstanceGroups, as InstanceFleets or as MasterInstanceType with "
                f"SlaveInstanceType; the request has {' and '.join(ways) or 'none of them'}."
            )
        instances_of.check(instances)
        log_uri = request.get("LogUri")
        if log_uri and not log_uri.startswith(("s3://", "s3n://", "s3a://")):
            raise _invalid(f"The LogUri {log_uri!r} is not an s3:// address.")
        steps = request.pop("Steps", [])
        cluster = Cluster(
            id=new_id("j"),
            region=self._region,
            request=request,
            created=self._clusters.now(),
            step_concurrency=_checked_concurrency(request.get("StepConcurrencyLevel", 1)),
            keep_alive=instances.get("KeepJobFlowAliveWhenNoSteps", False),
            protected=instances.get("TerminationProtected", False),
            visible=request.get("VisibleToAllUsers", True),
            tags=_tags(request.get("Tags", [])),
            auto_termination=_checked_auto_termination(request.get("AutoTerminationPolicy")),
            managed_scaling=None,
        )
        cluster.managed_scaling = _checked_scaling(cluster, request.get("ManagedScalingPolicy"))
        self._clusters.add(cluster, self._new_steps(cluster, steps, None))
        return {"JobFlowId": cluster.id, "ClusterArn": cluster.arn}

    def describe_cluster(self, request: Document) -> Document:
        """Describe a cluster."""
        with self._clusters.lock:
            return {"Cluster": self._cluster(request["ClusterId"]).description()}

    def list_clusters(self, request: Document) -> Document:
        """List clusters, newest first."""
        states = request.get("ClusterStates")
        after, before = request.get("CreatedAfter", 0), request.get("CreatedBefore", float("inf"))
        with self._clusters.lock:
            found = [
                cluster
                for cluster in reversed(self._clusters.clusters.values())
                if (not states or cluster.state in states) and after <= cluster.created <= before
            ]
            page, marker = _page(found, request.get("Marker"), lambda cluster: cluster.id)
            return {"Clusters": [cluster.summary() for cluster in page], "Marker": marker}

    def terminate_job_flows(self, request: Document) -> Document:
        """Terminate clusters: all that are not protected."""
        with self._clusters.lock:
            clusters = [self._job_flow(job_flow_id) for job_flow_id in request["JobFlowIds"]]
            for cluster in clusters:
                if not cluster.protected:
                    self._clusters.terminate(cluster)
            if any(cluster.protected and cluster.live for cluster in clusters):
                raise _invalid("Could not shut down one or more job flows since they are termination protected.")
        return {}

    def modify_cluster(self, request: Document) -> Document:
        """Change the step concurrency of a live cluster."""
        with self._clusters.lock:
            cluster = self._live(self._cluster(request["ClusterId"]))
            if "StepConcurrencyLevel" in request:
                cluster.step_concurrency = _checked_concurrency(request["StepConcurrencyLevel"])
                self._clusters.save(cluster)
            return {"StepConcurrencyLevel": cluster.step_concurrency}

    def set_termination_protection(self, request: Document) -> Document:
        """Set or remove termination protection."""
        return self._set(request, "protected", "TerminationProtected")

    def set_visible_to_all_users(self, request: Document) -> Document:
        """Store the flag; it has no effect here."""
        return self._set(request, "visible", "VisibleToAllUsers")

    def set_keep_job_flow_alive_when_no_steps(self, request: Document) -> Document:
        """Set whether the cluster goes on when its steps have ended."""
        return self._set(request, "keep_alive", "KeepJobFlowAliveWhenNoSteps")

    def _set(self, request: Document, attribute: str, member: str) -> Document:
        with self._clusters.lock:
            for cluster in [self._live(self._job_flow(job_flow_id)) for job_flow_id in request["JobFlowIds"]]:
                setattr(cluster, attribute, request[member])
                self._clusters.save(cluster)
        return {}

    # Policies and tags

    def put_auto_termination_policy(self, request: Document) -> Document:
        """Set the auto-termination policy."""
        return self._put_policy(
            request["ClusterId"], auto_termination=_checked_auto_termination(request.get("AutoTerminationPolicy"))
        )

    def get_auto_termination_policy(self, request: Document) -> Document:
        """Return the auto-termination policy."""
        return {"AutoTerminationPolicy": self._cluster(request["ClusterId"]).auto_termination}

    def remove_auto_termination_policy(self, request: Document) -> Document:
        """Remove the auto-termination policy."""
        return self._put_policy(request["ClusterId"], auto_termination=None)

    def put_managed_scaling_policy(self, request: Document) -> Document:
        """Store a managed scaling policy; it has no effect here."""
        policy = _checked_scaling(self._cluster(request["ClusterId"]), request["ManagedScalingPolicy"])
        return self._put_policy(request["ClusterId"], managed_scaling=policy)

    def get_managed_scaling_policy(self, request: Document) -> Document:
        """Return the managed scaling policy."""
        return {"ManagedScalingPolicy": self._cluster(request["ClusterId"]).managed_scaling}

    def remove_managed_scaling_policy(self, request: Document) -> Document:
        """Remove the managed scaling policy."""
        return self._put_policy(request["ClusterId"], managed_scaling=None)

    def _put_policy(self, cluster_id: str, **policy: Document | None) -> Document:
        with self._clusters.lock:
            cluster = self._live(self._cluster(cluster_id))
            for attribute, value in policy.items():
                setattr(cluster, attribute, value)
            self._clusters.save(cluster)
        return {}

    def add_tags(self, request: Document) -> Document:
        """Add tags to a cluster."""
        with self._clusters.lock:
            cluster = self._cluster(request["ResourceId"])
            cluster.tags |= _tags(request["Tags"])
            self._clusters.save(cluster)
        return {}

    def remove_tags(self, request: Document) -> Document:
        """Remove tags from a cluster."""
        with self._clusters.lock:
            cluster = self._cluster(request["ResourceId"])
            cluster.tags = {key: value for key, value in cluster.tags.items() if key not in request["TagKeys"]}
            self._clusters.save(cluster)
        return {}

    # Steps

    def add_job_flow_steps(self, request: Document) -> Document:
        """Add steps to a live cluster."""
        with self._clusters.lock:
            cluster = self._live(self._job_flow(request["JobFlowId"]))
            steps = self._new_steps(cluster, request["Steps"], request.get("ExecutionRoleArn"))
            self._clusters.add_steps(cluster, steps)
        return {"StepIds": [step.id for step in steps]}

    def describe_step(self, request: Document) -> Document:
        """Describe a step."""
        with self._clusters.lock:
            step = self._step(self._cluster(request["ClusterId"]), request["StepId"])
            return {"Step": step.summary() | {"ExecutionRoleArn": step.role}}

    def list_steps(self, request: Document) -> Document:
        """List a cluster's steps, newest first."""
        states, ids = request.get("StepStates"), request.get("StepIds")
        if states and ids:
            raise _bad_request("Cannot specify both StepStates and StepIds.")
        with self._clusters.lock:
            cluster = self._cluster(request["ClusterId"])
            wanted = {self._step(cluster, step_id).id for step_id in ids} if ids else None
            found = [
                step
                for step in reversed(self._clusters.steps[cluster.id])
                if (not states or step.state in states) and (wanted is None or step.id in wanted)
            ]
            page, marker = _page(found, request.get("Marker"), lambda step: step.id)
            return {"Steps": [step.summary() for step in page], "Marker": marker}

    def cancel_steps(self, request: Document) -> Document:
        """Cancel steps that have not ended."""
        kill = request.get("StepCancellationOption") == "TERMINATE_PROCESS"
        with self._clusters.lock:
            cluster = self._cluster(request["ClusterId"])
            answers = []
            for step in [self._step(cluster, step_id) for step_id in request["StepIds"]]:
                state = step.state
                accepted = self._clusters.cancel(step, kill=kill)
                reason = None if accepted else f"Step is in {state} state and cannot be cancelled."
                status = "SUBMITTED" if accepted else "FAILED"
                answers.append({"StepId": step.id, "Status": status, "Reason": reason})
        return {"CancelStepsInfoList": answers}

    def _new_steps(self, cluster: Cluster, configs: Sequence[Document], role: str | None) -> list[Step]:
        active = sum(step.active for step in self._clusters.steps.get(cluster.id, ()))
        if len(configs) > _MAX_STEPS:
            raise _invalid(f"The request has {len(configs)} steps; a maximum of {_MAX_STEPS} is allowed.")
        if active + len(configs) > _MAX_STEPS:
            raise _invalid(
                "Maximum number of active steps(State = 'Running', 'Pending' or 'Cancel_Pending') for cluster exceeded."
            )
        steps = []
        for config in configs:
            action = config.get("ActionOnFailure")
            if cluster.step_concurrency > 1 and action not in (None, "CONTINUE"):
                raise _invalid(
                    f"ActionOnFailure {action} is not valid: with a StepConcurrencyLevel greater than 1 "
                    "it can only be CONTINUE."
                )
            jar = config["HadoopJarStep"]
            if sum(len(word) for word in (jar["Jar"], jar.get("MainClass", ""), *jar.get("Args", []))) > 10240:
                raise _invalid(f"The strings of HadoopJarStep of step {config['Name']!r} exceed 10240 characters.")
            steps.append(
                Step(
                    id=new_id("s"),
                    cluster_id=cluster.id,
                    name=config["Name"],
                    jar=jar["Jar"],
                    args=jar.get("Args", []),
                    main_class=jar.get("MainClass"),
                    properties={pair["Key"]: pair.get("Value", "") for pair in jar.get("Properties", [])},
                    action_on_failure=action or ("CONTINUE" if cluster.step_concurrency > 1 else "TERMINATE_CLUSTER"),
                    role=role,
                    created=self._clusters.now(),
                )
            )
        return steps

    # Instances, bootstrap actions (as requested), releases

    def list_bootstrap_actions(self, request: Document) -> Document:
        """List the bootstrap actions, which were not run."""
        actions = self._cluster(request["ClusterId"]).request.get("BootstrapActions", [])
        return {
            "BootstrapActions": [
                {
                    "Name": action["Name"],
                    "ScriptPath": action["ScriptBootstrapAction"]["Path"],
                    "Args": action["ScriptBootstrapAction"].get("Args", []),
                }
                for action in actions
            ]
        }

    def list_instance_groups(self, request: Document) -> Document:
        """List the instance groups."""
        return {"InstanceGroups": instances_of.groups(self._cluster(request["ClusterId"]))}

    def list_instance_fleets(self, request: Document) -> Document:
        """List the instance fleets."""
        return {"InstanceFleets": instances_of.fleets(self._cluster(request["ClusterId"]))}

    def modify_instance_groups(self, request: Document) -> None:
        """Record a change of instance groups."""
        changes = request.get("InstanceGroups", [])
        with self._clusters.lock:
            if "ClusterId" in request:
                clusters = [self._cluster(request["ClusterId"])]
            else:
                known = self._clusters.clusters.values()
                clusters = [instances_of.find_group(known, change["InstanceGroupId"]) for change in changes]
            for cluster in {each.id: self._live(each) for each in clusters}.values():
                instances_of.modify_groups(cluster, changes)
                self._clusters.save(cluster)

    def modify_instance_fleet(self, request: Document) -> None:
        """Record a change of an instance fleet."""
        with self._clusters.lock:
            cluster = self._live(self._cluster(request["ClusterId"]))
            instances_of.modify_fleet(cluster, request["InstanceFleet"])
            self._clusters.save(cluster)

    def add_instance_groups(self, request: Document) -> Document:
        """Record further instance groups."""
        with self._clusters.lock:
            cluster = self._live(self._job_flow(request["JobFlowId"]))
            ids = instances_of.add_groups(cluster, request["InstanceGroups"])
            self._clusters.save(cluster)
        return {"JobFlowId": cluster.id, "InstanceGroupIds": ids, "ClusterArn": cluster.arn}

    def add_instance_fleet(self, request: Document) -> Document:
        """Record a further instance fleet."""
        with self._clusters.lock:
            cluster = self._live(self._cluster(request["ClusterId"]))
            fleet_id = instances_of.add_fleet(cluster, request["InstanceFleet"])
            self._clusters.save(cluster)
        return {"ClusterId": cluster.id, "InstanceFleetId": fleet_id, "ClusterArn": cluster.arn}

    def list_instances(self, request: Document) -> Document:
        """List the instances that were requested; their addresses are this machine's."""
        cluster = self._cluster(request["ClusterId"])
        kinds = [request["InstanceFleetType"]] if "InstanceFleetType" in request else request.get("InstanceGroupTypes")
        found = [
            instance
            for instance, kind, parent in instances_of.instances(cluster)
            if (not kinds or kind in kinds)
            and parent == (request.get("InstanceGroupId") or request.get("InstanceFleetId") or parent)
            and (not request.get("InstanceStates") or instance["Status"]["State"] in request["InstanceStates"])
        ]
        page, marker = _page(found, request.get("Marker"), lambda instance: instance["Id"])
        return {"Instances": page, "Marker": marker}

    def list_release_labels(self, request: Document) -> Document:
        """List the releases, newest first."""
        filters = request.get("Filters", {})
        labels = [label for label in release_labels() if label.startswith(filters.get("Prefix", ""))]
        page, token = _page(labels, request.get("NextToken"), str)
        return {"ReleaseLabels": page, "NextToken": token}

    def describe_release_label(self, request: Document) -> Document:
        """Describe a release: its Spark version, where that is known here."""
        label = request.get("ReleaseLabel", release_labels()[0])
        if not is_release_label(label):
            raise _invalid(f"The supplied release label is invalid: {label}.")
        spark = spark_version(label)
        return {"ReleaseLabel": label, "Applications": [{"Name": "Spark", "Version": spark}] if spark else []}

    # Security configurations: kept, without effect

    def create_security_configuration(self, request: Document) -> Document:
        """Keep a security configuration."""
        name, text, now = request["Name"], request["SecurityConfiguration"], self._clusters.now()
        try:
            json.loads(text)
        except ValueError as error:
            raise _bad_request(f"The security configuration '{name}' is not JSON: {error}.") from None
        with self._clusters.lock:
            if name in self._security:
                raise _bad_request(f"Security configuration with name '{name}' already exists.")
            self._security[name] = {"Name": name, "SecurityConfiguration": text, "CreationDateTime": now}
        return {"Name": name, "CreationDateTime": now}

    def describe_security_configuration(self, request: Document) -> Document:
        """Return a security configuration."""
        return self._security_configuration(request["Name"])

    def list_security_configurations(self, request: Document) -> Document:
        """List the security configurations, newest first."""
        found = sorted(self._security.values(), key=lambda each: each["CreationDateTime"], reverse=True)
        page, marker = _page(found, request.get("Marker"), lambda each: str(each["Name"]))
        members = ("Name", "CreationDateTime")
        return {
            "SecurityConfigurations": [{name: each[name] for name in members} for each in page],
            "Marker": marker,
        }

    def delete_security_configuration(self, request: Document) -> None:
        """Delete a security configuration."""
        with self._clusters.lock:
            self._security_configuration(request["Name"])
            del self._security[request["Name"]]

    def _security_configuration(self, name: str) -> Document:
        try:
            return self._security[name]
        except KeyError:
            raise _bad_request(f"Security configuration with name '{name}' does not exist.") from None

    # Lookups

    def _cluster(self, cluster_id: str) -> Cluster:
        try:
            return self._clusters.clusters[cluster_id]
        except KeyError:
            raise _bad_request(f"Cluster id '{cluster_id}' is not valid.") from None

    def _job_flow(self, job_flow_id: str) -> Cluster:
        """Look up a cluster for the older operations, which have another error for an unknown one."""
        try:
            return self._clusters.clusters[job_flow_id]
        except KeyError:
            raise _invalid("Specified job flow ID does not exist.") from None

    def _step(self, cluster: Cluster, step_id: str) -> Step:
        for step in self._clusters.steps[cluster.id]:
            if step.id == step_id:
                return step
        raise _bad_request(f"Step id '{step_id}' is not valid.")

    @staticmethod
    def _live(cluster: Cluster) -> Cluster:
        if not cluster.live:
            raise _invalid("A job flow that is shutting down, terminated, or finished may not be modified.")
        return cluster


def _page(
    records: Sequence[Record], marker: str | None, name: Callable[[Record], str]
) -> tuple[list[Record], str | None]:
    """Return the page after the record with the name `marker`, and the marker of the next page."""
    start = 0
    if marker:
        try:
            start = next(place for place, record in enumerate(records) if name(record) == marker) + 1
        except StopIteration:
            raise _bad_request(f"Marker '{marker}' is not valid.") from None
    page = list(records[start : start + _PAGE])
    return page, name(page[-1]) if len(records) > start + _PAGE else None


def _tags(tags: Iterable[Document]) -> dict[str, str]:
    return {tag["Key"]: tag.get("Value", "") for tag in tags}


def _checked_concurrency(level: int) -> int:
    if not 1 <= level <= 256:
        raise _invalid(f"StepConcurrencyLevel must be between 1 and 256, not {level}.")
    return level


def _checked_auto_termination(policy: Document | None) -> Document | None:
    idle = (policy or {}).get("IdleTimeout")
    if policy is not None and (idle is None or not 60 <= idle <= 604800):
        raise _invalid(f"IdleTimeout must be between 60 and 604800 seconds, not {idle}.")
    return policy


def _checked_scaling(cluster: Cluster, policy: Document | None) -> Document | None:
    if policy is None:
        return None
    limits = policy.get("ComputeLimits")
    if not limits:
        raise _invalid("A managed scaling policy needs ComputeLimits.")
    collection = cluster.description()["InstanceCollectionType"]
    if limits["UnitType"] not in _SCALING_UNITS[collection]:
        raise _invalid(
            f"UnitType {limits['UnitType']} is not valid for a cluster of type {collection}: "
            f"use {' or '.join(sorted(_SCALING_UNITS[collection]))}."
        )
    if limits["MinimumCapacityUnits"] > limits["MaximumCapacityUnits"]:
        raise _invalid("MinimumCapacityUnits must not be greater than MaximumCapacityUnits.")
    return policy
