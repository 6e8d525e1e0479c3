"""aws/platform.yaml as CloudFormation reads it, resolved by us where moto does not know a resource type."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

PATH = Path(__file__).parents[2] / "aws" / "platform.yaml"
ACCOUNT, REGION = "123456789012", "us-east-1"
PARAMETERS = {
    "BucketPrefix": "acme-taxi",
    "ClusterOidcId": "0123456789ABCDEF0123456789ABCDEF",
    "ClusterSecurityGroupId": "sg-0123456789abcdef0",
    "VpcId": "vpc-0123456789abcdef0",
    "PrivateSubnetIds": "subnet-0123456789abcdef0,subnet-0123456789abcdef1",
    "GitHubRepository": "acme/taxiway",
}
_NOTHING = object()


class _Loader(yaml.SafeLoader):
    """Reads the short forms of CloudFormation's functions as the long ones."""


def _function(loader: _Loader, name: str, node: yaml.Node) -> Any:
    value: Any
    if isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    elif isinstance(node, yaml.MappingNode):
        value = loader.construct_mapping(node, deep=True)
    else:
        assert isinstance(node, yaml.ScalarNode)
        value = loader.construct_scalar(node)
    if name == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {name if name in ("Ref", "Condition") else f"Fn::{name}": value}


_Loader.add_multi_constructor("!", _function)


def load() -> dict[str, Any]:
    """Return the template with the long forms of its functions, which is the same template as JSON."""
    template: dict[str, Any] = yaml.load(PATH.read_text(), _Loader)
    return template


class Stack:
    """The template under given parameters: what would be created, as far as that is known beforehand.

    ``attribute`` answers what only a created resource can (Fn::GetAtt, Ref): (logical name, attribute or None) → value.
    """

    def __init__(self, attribute: Callable[[str, str | None], str] | None = None, /, **parameters: str) -> None:
        self.template = load()
        given = PARAMETERS | parameters
        unknown = given.keys() - self.template["Parameters"].keys()
        assert not unknown, f"no such parameters: {unknown}"
        self.parameters = {
            name: self._typed(parameter, given.get(name, parameter.get("Default")))
            for name, parameter in self.template["Parameters"].items()
        }
        self._attribute = attribute or self._default_attribute
        self.resources = {
            name: resource | {"Properties": self.resolve(resource.get("Properties", {}))}
            for name, resource in self.template["Resources"].items()
            if self.holds(resource.get("Condition"))
        }

    def of_type(self, type_: str) -> dict[str, dict[str, Any]]:
        """Return the properties of the resources of a type, by logical name."""
        return {name: each["Properties"] for name, each in self.resources.items() if each["Type"] == type_}

    def properties(self, name: str) -> dict[str, Any]:
        properties: dict[str, Any] = self.resources[name]["Properties"]
        return properties

    def outputs(self) -> dict[str, str]:
        return {
            name: self.resolve(output["Value"])
            for name, output in self.template["Outputs"].items()
            if self.holds(output.get("Condition"))
        }

    def policies(self, role: str) -> list[dict[str, Any]]:
        """Return the policy documents of a role: its own, those attached to it, and the template's managed ones."""
        properties = self.properties(role)
        documents = [policy["PolicyDocument"] for policy in properties.get("Policies", [])]
        for arn in properties.get("ManagedPolicyArns", []):
            name = arn.rpartition("/")[2]
            if name in self.resources:  # else it is AWS's own
                documents.append(self.properties(name)["PolicyDocument"])
        attached = self.of_type("AWS::IAM::Policy").values()
        documents += [each["PolicyDocument"] for each in attached if properties["RoleName"] in each["Roles"]]
        return documents

    def trust(self, role: str) -> dict[str, Any]:
        document: Any = self.properties(role)["AssumeRolePolicyDocument"]
        trust: dict[str, Any] = json.loads(document) if isinstance(document, str) else document
        return trust

    def holds(self, condition: str | None) -> bool:
        return condition is None or self._truth(self.template["Conditions"][condition])

    def resolve(self, value: Any) -> Any:
        """Return a value without functions."""
        if isinstance(value, list):
            resolved = [self.resolve(each) for each in value]
            return [each for each in resolved if each is not _NOTHING]
        if not isinstance(value, Mapping):
            return value
        if len(value) == 1:
            ((name, argument),) = value.items()
            if name == "Ref":
                return self._ref(argument)
            if name == "Condition" and isinstance(argument, str):
                return self.holds(argument)
            if name.startswith("Fn::"):
                return getattr(self, f"_{name[4:].lower()}")(argument)
        whole = {name: self.resolve(each) for name, each in value.items()}
        return {name: each for name, each in whole.items() if each is not _NOTHING}

    # The functions -----------------------------------------------------------------------------------------------

    def _ref(self, name: str) -> Any:
        pseudo = {
            "AWS::AccountId": ACCOUNT,
            "AWS::Region": REGION,
            "AWS::Partition": "aws",
            "AWS::URLSuffix": "amazonaws.com",
            "AWS::NoValue": _NOTHING,
        }
        if name in pseudo:
            return pseudo[name]
        if name in self.parameters:
            return self.parameters[name]
        assert self.holds(self.template["Resources"][name].get("Condition")), f"{name} is referred to, and not made"
        return self._attribute(name, None)

    def _getatt(self, argument: list[str]) -> str:
        name, attribute = argument
        assert self.holds(self.template["Resources"][name].get("Condition")), f"{name} is referred to, and not made"
        return self._attribute(name, attribute)

    def _sub(self, text: str) -> str:
        def value(match: re.Match[str]) -> str:
            name, dot, attribute = match[1].partition(".")
            return str(self._getatt([name, attribute]) if dot else self._ref(name))

        return re.sub(r"\$\{([A-Za-z0-9:.]+)\}", value, text)

    def _join(self, argument: Any) -> str:
        separator, values = argument
        return str(separator).join(str(each) for each in self.resolve(values))

    def _if(self, argument: list[Any]) -> Any:
        condition, then, otherwise = argument
        return self.resolve(then if self.holds(condition) else otherwise)

    def _findinmap(self, argument: list[Any]) -> Any:
        mapping, first, second = (self.resolve(each) for each in argument)
        return self.template["Mappings"][mapping][first][second]

    def _truth(self, condition: Any) -> bool:
        return bool(self.resolve(condition))

    def _equals(self, argument: list[Any]) -> bool:
        first, second = (self.resolve(each) for each in argument)
        return bool(first == second)

    def _not(self, argument: list[Any]) -> bool:
        return not self._truth(argument[0])

    def _and(self, argument: list[Any]) -> bool:
        return all(self._truth(each) for each in argument)

    @staticmethod
    def _typed(parameter: Mapping[str, Any], value: Any) -> Any:
        assert value is not None, "a parameter without a default has no value"
        return value.split(",") if parameter["Type"].startswith("List<") else value

    def _default_attribute(self, name: str, attribute: str | None) -> str:
        """Return what identifies a resource in AWS, where its properties determine it."""
        resource = self.template["Resources"][name]
        own = {
            "AWS::S3::Bucket": "BucketName",
            "AWS::IAM::Role": "RoleName",
            "AWS::IAM::InstanceProfile": "InstanceProfileName",
            "AWS::SecretsManager::Secret": "Name",
        }.get(resource["Type"])
        identity = str(self.resolve(resource["Properties"][own])) if own else name
        arns = {
            "AWS::S3::Bucket": f"arn:aws:s3:::{identity}",
            "AWS::IAM::Role": f"arn:aws:iam::{ACCOUNT}:role/{identity}",
            "AWS::IAM::ManagedPolicy": f"arn:aws:iam::{ACCOUNT}:policy/{identity}",
            "AWS::EMRServerless::Application": f"arn:aws:emr-serverless:{REGION}:{ACCOUNT}:/applications/{identity}",
            "AWS::KMS::Key": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{identity}",
            "AWS::SecretsManager::Secret": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{identity}",
        }
        refs_to_arn = ("AWS::IAM::ManagedPolicy", "AWS::SecretsManager::Secret")
        if attribute == "Arn" or (attribute is None and resource["Type"] in refs_to_arn):
            return arns[resource["Type"]]
        return identity if attribute is None else f"{identity}.{attribute}".lower()
