"""The template as CloudFormation receives it: packaged by SAM, expanded by SAM's translator."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from samcli.yamlhelper import yaml_dump, yaml_parse
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

# The translator always warns that it has no feature toggles.
logging.getLogger("samtranslator").setLevel(logging.ERROR)

MANAGED_POLICIES = {
    "AWSLambdaBasicExecutionRole": "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
}
# Values of parameters without a default.
PARAMETERS = {"SupabaseUrl": "https://project.supabase.co"}


# The deployments: whether Managed Instances exist, and whether they serve requests.
DEPLOYMENTS = ((False, False), (True, False), (True, True))
NOTHING = {"Ref": "AWS::NoValue"}


@dataclass(frozen=True)
class Expansion:
    """A template before SAM's transformation, and after it, for one of the deployments."""

    source: dict[str, Any]
    resources: dict[str, Any]
    # The name of the function that serves OpenRouter's paths.
    proxy: str

    def of_type(self, kind: str) -> dict[str, Any]:
        """Properties of all resources of one type, by logical id."""
        return {
            name: resource.get("Properties", {})
            for name, resource in self.resources.items()
            if resource["Type"] == kind
        }

    def functions(self) -> dict[str, tuple[str, dict[str, Any]]]:
        """Logical id and properties of each function, by its name without the stack's."""
        return {
            text(function["FunctionName"]).removeprefix("${AWS::StackName}-"): (name, function)
            for name, function in self.of_type("AWS::Lambda::Function").items()
        }

    def role_of(self, function: dict[str, Any]) -> dict[str, Any]:
        """Properties of a function's execution role."""
        return self.resources[function["Role"]["Fn::GetAtt"][0]]["Properties"]

    def api(self) -> dict[str, Any]:
        """The OpenAPI definition of the only REST API."""
        (api,) = self.of_type("AWS::ApiGateway::RestApi").values()
        return api["Body"]

    def methods(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Method, path and integration of every route; `ANY` for API Gateway's any-method."""
        for path, item in self.api()["paths"].items():
            for method, operation in item.items():
                name = "ANY" if method == "x-amazon-apigateway-any-method" else method.upper()
                yield name, path, operation["x-amazon-apigateway-integration"]


def read(path: str) -> dict[str, Any]:
    """A template file, with YAML aliases replaced by copies."""
    with open(path, encoding="utf-8") as file:
        return packaged(yaml_parse(file.read()))


def packaged(source: dict[str, Any]) -> dict[str, Any]:
    """A deep copy, written and read as by `sam build` and `sam package`."""
    return yaml_parse(yaml_dump(source))


def copied(source: dict[str, Any]) -> dict[str, Any]:
    """A deep copy without shared parts: as `packaged`, in a hundredth of its time. Refuses what only YAML can write."""
    return json.loads(json.dumps(source))


def transformed(source: dict[str, Any]) -> dict[str, Any]:
    """All resources of a template; raises samtranslator's exceptions if it is not valid."""
    uploaded = copied(source)
    # `sam package` replaces the folder by the address of the uploaded build.
    uploaded["Globals"]["Function"]["CodeUri"] = "s3://bucket/code.zip"
    output = Translator(MANAGED_POLICIES, Parser()).translate(uploaded, dict(PARAMETERS))
    return json.loads(json.dumps(output))["Resources"]


def expand(source: dict[str, Any]) -> list[Expansion]:
    """Expands a template for each deployment."""
    resources = transformed(source)
    return [deployed(source, resources, *deployment) for deployment in DEPLOYMENTS]


def deployed(source: dict[str, Any], resources: dict[str, Any], has_instances: bool, they_serve: bool) -> Expansion:
    """The expansion with fixed conditions about Managed Instances."""
    decided = {
        "HasManagedInstances": has_instances,
        "HasManagedFunctionUrl": has_instances,
        "ManagedInstancesServe": they_serve,
    }
    there = {
        name: settled(resource, decided)
        for name, resource in resources.items()
        if decided.get(resource.get("Condition"), True)
    }
    return Expansion(source, there, "managed-proxy" if they_serve else "proxy")


def settled(value: Any, decided: dict[str, bool]) -> Any:
    """A value without the choices that depend on fixed conditions."""
    if isinstance(value, list):
        items = (settled(item, decided) for item in value)
        return [item for item in items if item != NOTHING]
    if not isinstance(value, dict):
        return value
    if set(value) == {"Fn::If"}:
        condition, *branches = value["Fn::If"]
        then, otherwise = (settled(branch, decided) for branch in branches)
        if condition in decided:
            return then if decided[condition] else otherwise
        return {"Fn::If": [condition, then, otherwise]}
    return {key: settled(item, decided) for key, item in value.items()}


def binary_of(function: str) -> str:
    """The program that a function runs, by the function's name."""
    return function.removeprefix("managed-")


def text(value: Any) -> str:
    """The string in a value that may be wrapped in `Fn::Sub`."""
    if isinstance(value, dict) and set(value) == {"Fn::Sub"}:
        value = value["Fn::Sub"]
    if isinstance(value, list):
        template, variables = value
        for name, variable in variables.items():
            template = template.replace(
                f"${{{name}}}", variable if isinstance(variable, str) else f"${{{variable['Ref']}}}"
            )
        value = template
    if not isinstance(value, str):
        raise ValueError(f"neither a string nor Fn::Sub: {value!r}")
    return value


def references(value: Any) -> Iterator[str]:
    """The logical ids to which a value refers by Ref, Fn::GetAtt, Fn::Sub or DependsOn."""
    if isinstance(value, list):
        for item in value:
            yield from references(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key == "Ref":
                yield item
            elif key == "Fn::GetAtt":
                yield item[0] if isinstance(item, list) else item.split(".")[0]
            elif key == "DependsOn":
                yield from [item] if isinstance(item, str) else item
            elif key == "Fn::Sub":
                template, variables = item if isinstance(item, list) else (item, {})
                yield from re.findall(r"\$\{([A-Za-z0-9]+)", template)
                yield from references(variables)
            else:
                yield from references(item)
