"""Checks that .github/deploy-role.yaml permits all actions of a deployment of template.yaml, and denies GitHub
everything else.

The actions of CloudFormation for a resource are from its registry (`aws cloudformation describe-type`, the
handlers' permissions), without those for properties that the template does not use, such as VPCs and code
signing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from expansion import transformed
from rules import as_list

REGION = "us-east-1"
STACK = "llm-gateway"
ACCOUNT = "123456789012"
VALUES = {
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::AccountId": ACCOUNT,
    "AWS::StackName": STACK,
    "StackName": STACK,
    "SupabaseSecretName": "llm-gateway/supabase",
    "HostedZoneId": "Z0123456789",
    "Subject": "repo:octocat@1/llm-gateway@2:environment:production",
    "KeysetSecretName": "llm-gateway/keyset",
    "ManagementKeySecretName": "llm-gateway/management",
    "Boundary": f"arn:aws:iam::{ACCOUNT}:policy/{STACK}-deploy-Boundary-0123456789AB",
    "Provider": f"arn:aws:iam::{ACCOUNT}:oidc-provider/token.actions.githubusercontent.com",
}

ROLE_POLICY = "AttachRolePolicy DetachRolePolicy".split()
# Actions whose permission depends on the boundary of the role.
BOUNDED = {"iam:CreateRole", "iam:PutRolePolicy", "iam:AttachRolePolicy", "iam:PutRolePermissionsBoundary"}
BOUNDARY = {"iam:PermissionsBoundary": VALUES["Boundary"]}
# For each type of resource its actions and their target: `{name}` is the resource's, given or generated.
NEEDS: dict[str, tuple[str, str, str]] = {
    "AWS::Lambda::Function": (
        "lambda",
        "CreateFunction GetFunction UpdateFunctionCode UpdateFunctionConfiguration DeleteFunction"
        " PutFunctionConcurrency DeleteFunctionConcurrency GetRuntimeManagementConfig"
        " GetFunctionCodeSigningConfig GetFunctionRecursionConfig GetFunctionScalingConfig"
        " ListTags TagResource UntagResource",
        "arn:aws:lambda:{region}:{account}:function:{name}",
    ),
    "AWS::Lambda::Permission": (
        "lambda",
        "AddPermission RemovePermission GetPolicy",
        "arn:aws:lambda:{region}:{account}:function:{name}",
    ),
    "AWS::Lambda::Url": (
        "lambda",
        "CreateFunctionUrlConfig GetFunctionUrlConfig UpdateFunctionUrlConfig DeleteFunctionUrlConfig",
        "arn:aws:lambda:{region}:{account}:function:{name}",
    ),
    "AWS::Lambda::EventInvokeConfig": (
        "lambda",
        "PutFunctionEventInvokeConfig GetFunctionEventInvokeConfig UpdateFunctionEventInvokeConfig"
        " DeleteFunctionEventInvokeConfig",
        "arn:aws:lambda:{region}:{account}:function:{name}",
    ),
    "AWS::Lambda::CapacityProvider": (
        "lambda",
        "CreateCapacityProvider GetCapacityProvider UpdateCapacityProvider DeleteCapacityProvider"
        " PassCapacityProvider ListTags TagResource UntagResource",
        "arn:aws:lambda:{region}:{account}:capacity-provider:{name}",
    ),
    "AWS::IAM::Role": (
        "iam",
        "CreateRole GetRole GetRolePolicy PutRolePermissionsBoundary PutRolePolicy DeleteRolePolicy ListRolePolicies"
        " ListAttachedRolePolicies UpdateRole UpdateRoleDescription UpdateAssumeRolePolicy TagRole UntagRole"
        " DeleteRole",
        "arn:aws:iam::{account}:role/{name}",
    ),
    "AWS::Logs::LogGroup": (
        "logs",
        "CreateLogGroup DescribeLogGroups PutRetentionPolicy DeleteRetentionPolicy TagLogGroup UntagLogGroup"
        " ListTagsLogGroup GetDataProtectionPolicy DeleteLogGroup",
        "arn:aws:logs:{region}:{account}:log-group:{name}",
    ),
    "AWS::Scheduler::Schedule": (
        "scheduler",
        "CreateSchedule GetSchedule UpdateSchedule DeleteSchedule",
        "arn:aws:scheduler:{region}:{account}:schedule/default/{name}",
    ),
    "AWS::CloudWatch::Alarm": (
        "cloudwatch",
        "PutMetricAlarm DescribeAlarms DeleteAlarms ListTagsForResource TagResource UntagResource",
        "arn:aws:cloudwatch:{region}:{account}:alarm:{name}",
    ),
    "AWS::CloudWatch::Dashboard": (
        "cloudwatch",
        "PutDashboard GetDashboard DeleteDashboards",
        "arn:aws:cloudwatch::{account}:dashboard/{name}",
    ),
    "AWS::SNS::Topic": (
        "sns",
        "CreateTopic GetTopicAttributes SetTopicAttributes Subscribe Unsubscribe ListSubscriptionsByTopic"
        " ListTagsForResource GetDataProtectionPolicy TagResource UntagResource DeleteTopic",
        "arn:aws:sns:{region}:{account}:{name}",
    ),
    "AWS::Route53::RecordSetGroup": (
        "route53",
        "ChangeResourceRecordSets GetHostedZone ListResourceRecordSets",
        "arn:aws:route53:::hostedzone/Z0123456789",
    ),
    "AWS::WAFv2::WebACLAssociation": (
        "wafv2",
        "AssociateWebACL DisassociateWebACL GetWebACLForResource",
        "arn:aws:apigateway:{region}::/restapis/a1b2c3d4e5/stages/prod",
    ),
    "AWS::ApiGateway::Account": ("apigateway", "GET PATCH", "arn:aws:apigateway:{region}::/account"),
    "AWS::ApiGateway::DomainName": (
        "apigateway",
        "DELETE GET PATCH POST",
        "arn:aws:apigateway:{region}::/domainnames/gw.example.com",
    ),
    "AWS::ApiGateway::BasePathMapping": (
        "apigateway",
        "DELETE GET PATCH POST",
        "arn:aws:apigateway:{region}::/domainnames/gw.example.com/basepathmappings/(none)",
    ),
    "AWS::ApiGateway::RestApi": (
        "apigateway",
        "DELETE GET PATCH POST PUT",
        "arn:aws:apigateway:{region}::/restapis/a1b2c3d4e5",
    ),
    "AWS::ApiGateway::Deployment": (
        "apigateway",
        "DELETE GET PATCH POST PUT",
        "arn:aws:apigateway:{region}::/restapis/a1b2c3d4e5/deployments/f6g7h8",
    ),
    "AWS::ApiGateway::Stage": (
        "apigateway",
        "DELETE GET PATCH POST PUT",
        "arn:aws:apigateway:{region}::/restapis/a1b2c3d4e5/stages/prod",
    ),
}
NAMES = ("FunctionName", "LogGroupName", "Name", "AlarmName", "DashboardName")

# Requests that the role must not permit: action, resource, and IAM's context of the request.
OWN_ROLE = f"arn:aws:iam::{ACCOUNT}:role/{STACK}-deploy-DeployRole-0123456789AB"
PROXY_ROLE = f"arn:aws:iam::{ACCOUNT}:role/{STACK}-ProxyFunctionRole-0123456789AB"
FORBIDDEN: list[tuple[str, str, dict[str, str]]] = [
    ("iam:PutRolePolicy", OWN_ROLE, {}),
    ("iam:UpdateAssumeRolePolicy", OWN_ROLE, {}),
    ("iam:PassRole", OWN_ROLE, {"iam:PassedToService": "lambda.amazonaws.com"}),
    ("iam:PassRole", PROXY_ROLE, {"iam:PassedToService": "ec2.amazonaws.com"}),
    ("iam:AttachRolePolicy", PROXY_ROLE, BOUNDARY | {"iam:PolicyARN": "arn:aws:iam::aws:policy/AdministratorAccess"}),
    ("iam:CreateRole", PROXY_ROLE, {}),
    ("iam:CreateRole", PROXY_ROLE, {"iam:PermissionsBoundary": "arn:aws:iam::aws:policy/AdministratorAccess"}),
    ("iam:PutRolePolicy", PROXY_ROLE, {}),
    ("iam:PutRolePermissionsBoundary", PROXY_ROLE, {}),
    ("iam:DeleteRolePermissionsBoundary", PROXY_ROLE, BOUNDARY),
    ("iam:CreatePolicyVersion", VALUES["Boundary"], {}),
    ("iam:SetDefaultPolicyVersion", VALUES["Boundary"], {}),
    ("iam:CreateUser", f"arn:aws:iam::{ACCOUNT}:user/{STACK}-x", {}),
    (
        "cloudformation:CreateChangeSet",
        f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{STACK}-deploy/0",
        {},
    ),
    ("cloudformation:DeleteStack", f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{STACK}/0", {}),
    ("lambda:InvokeFunction", f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{STACK}-proxy", {}),
    ("lambda:UpdateFunctionCode", f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:other", {}),
    (
        "secretsmanager:GetSecretValue",
        f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:llm-gateway/keyset-AbCdEf",
        {},
    ),
    ("s3:PutObject", "arn:aws:s3:::other/key", {}),
    ("s3:DeleteObjectVersion", "arn:aws:s3:::aws-sam-cli-managed-default-samclisourcebucket-x/key", {}),
]
# Actions that no role of the stack can perform, whatever a template permits.
BEYOND = [
    ("iam:CreateUser", f"arn:aws:iam::{ACCOUNT}:user/x"),
    ("iam:PutRolePolicy", PROXY_ROLE),
    ("sts:AssumeRole", OWN_ROLE),
    ("lambda:UpdateFunctionCode", f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{STACK}-proxy"),
    ("s3:GetObject", "arn:aws:s3:::other/key"),
    ("dynamodb:GetItem", f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/other"),
    ("secretsmanager:GetSecretValue", f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:other-AbCdEf"),
    ("secretsmanager:PutSecretValue", f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:llm-gateway/keyset-AbCdEf"),
]
# The actions that this gateway needs out of AWS's policies.
MANAGED: dict[str, list[tuple[str, str]]] = {
    "AWSLambdaBasicExecutionRole": [
        (f"logs:{action}", f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/lambda/{STACK}-proxy:log-stream:x")
        for action in ("CreateLogStream", "PutLogEvents")
    ],
    "AWSXrayWriteOnlyAccess": [("xray:PutTraceSegments", "*"), ("xray:PutTelemetryRecords", "*")],
    "AmazonAPIGatewayPushToCloudWatchLogs": [
        (f"logs:{action}", f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/apigateway/{STACK}:log-stream:x")
        for action in ("CreateLogGroup", "CreateLogStream", "DescribeLogGroups", "DescribeLogStreams", "PutLogEvents")
    ],
    "AWSLambdaManagedEC2ResourceOperator": [
        (f"ec2:{action}", "*")
        for action in ("RunInstances", "CreateTags", "AttachNetworkInterface", "DescribeInstances", "DescribeSubnets")
    ],
}


def misfits(template: dict[str, Any], gateway: dict[str, Any]) -> Iterator[str]:
    """The permissions that the role lacks for deploying the template, and those that it must not have."""
    role = template["Resources"]["DeployRole"]["Properties"]
    statements = [
        statement for policy in resolve(role["Policies"]) for statement in policy["PolicyDocument"]["Statement"]
    ]
    needed = 0
    for action, resource, context in needs(transformed(gateway)):
        needed += 1
        if not allows(statements, action, resource, context):
            yield f"may not {action} {resource} {context or ''}"
    if not needed:
        yield "nothing was checked"
    for action, resource, context in FORBIDDEN:
        if allows(statements, action, resource, context):
            yield f"may {action} {resource} {context or ''}"
    # IAM's limit for a role's inline policies, which does not count white space.
    size = len(json.dumps(statements, separators=(",", ":")))
    if size > 10_000:
        yield f"the policy has {size} characters"
    yield from boundary_misfits(template, gateway)
    (statement,) = resolve(role["AssumeRolePolicyDocument"])["Statement"]
    if set(statement["Condition"]["StringEquals"]) != {
        "token.actions.githubusercontent.com:aud",
        "token.actions.githubusercontent.com:sub",
    }:
        yield f"trusts {statement}"


def boundary_misfits(template: dict[str, Any], gateway: dict[str, Any]) -> Iterator[str]:
    """The actions that the boundary denies the gateway's roles although they need them, and those that it should
    deny and permits."""
    boundary = template["Resources"]["Boundary"]["Properties"]["PolicyDocument"]
    statements = resolve(boundary)["Statement"]
    # IAM's bound for a managed policy.
    if (size := len(json.dumps(statements, separators=(",", ":")))) > 6_000:
        yield f"the boundary has {size} characters"
    for action, resource in BEYOND:
        if allows(statements, action, resource, {}):
            yield f"the boundary lets a role {action} {resource}"
    for logical_id, role in transformed(gateway).items():
        if role["Type"] != "AWS::IAM::Role":
            continue
        properties = role["Properties"]
        if properties.get("PermissionsBoundary") != BOUNDARY_PARAMETER:
            yield f"{logical_id}: its boundary is {properties.get('PermissionsBoundary')}"
        granted = [
            (action, as_text(resource))
            for policy in properties.get("Policies", [])
            for statement in resolve(policy["PolicyDocument"])["Statement"]
            for action in as_list(statement["Action"])
            for resource in as_list(statement["Resource"])
        ]
        for policy in resolve(properties.get("ManagedPolicyArns", [])):
            granted += MANAGED[policy.rsplit("/", 1)[-1]]
        for action, resource in granted:
            if not allows(statements, action, resource.replace("??????", "AbCdEf"), {}):
                yield f"{logical_id}: the boundary denies it {action} {resource}"


BOUNDARY_PARAMETER = {"Fn::If": ["HasPermissionsBoundary", {"Ref": "PermissionsBoundaryArn"}, {"Ref": "AWS::NoValue"}]}


def as_text(resource: Any) -> str:
    """The ARN of a statement's resource: the template's own functions are named by `Fn::GetAtt`."""
    if isinstance(resource, str):
        return resource
    (name, _) = resource["Fn::GetAtt"]
    return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{STACK}-{name.removesuffix('Function').lower()}"


def needs(resources: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, str]]]:
    """The requests of a deployment of these resources: action, resource and IAM's context."""
    stack = f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{STACK}/0"
    for action in "CreateChangeSet DescribeChangeSet DescribeStackEvents DescribeStacks ExecuteChangeSet".split():
        yield f"cloudformation:{action}", stack, {}
    yield "cloudformation:GetTemplateSummary", stack, {}
    transform = f"arn:aws:cloudformation:{REGION}:aws:transform/Serverless-2016-10-31"
    yield "cloudformation:CreateChangeSet", transform, {}
    managed = f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/aws-sam-cli-managed-default/0"
    yield "cloudformation:DescribeStacks", managed, {}
    for action in "GetObject GetObjectVersion PutObject".split():
        yield f"s3:{action}", "arn:aws:s3:::aws-sam-cli-managed-default-samclisourcebucket-0ab/code", {}
    secret = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:llm-gateway/supabase-AbCdEf"
    yield "secretsmanager:GetSecretValue", secret, {}

    for logical_id, resource in resources.items():
        kind, properties = resource["Type"], resource.get("Properties", {})
        if kind not in NEEDS:
            yield f"do anything with {kind}: add it to NEEDS, and to the role", logical_id, {}
            continue
        service, actions, pattern = NEEDS[kind]
        given = next((properties[key] for key in NAMES if key in properties), None)
        # Permissions, among others, name a function by Ref.
        name = resolve(given) if not isinstance(given, dict) or given.get("Ref") not in resources else None
        if name is None:
            name = f"{STACK}-proxy" if ":function:" in pattern else f"{STACK}-{logical_id}-0123456789AB"
        arn = pattern.format(region=REGION, account=ACCOUNT, name=name)
        for action in actions.split():
            bounded = f"{service}:{action}" in BOUNDED
            yield f"{service}:{action}", arn, BOUNDARY if bounded else {}
        if kind == "AWS::WAFv2::WebACLAssociation":
            acl = f"arn:aws:wafv2:{REGION}:{ACCOUNT}:regional/webacl/gw/0"
            for action in "AssociateWebACL DisassociateWebACL GetWebACL".split():
                yield f"wafv2:{action}", acl, {}
            yield "apigateway:SetWebACL", arn, {}
        if "CapacityProviderConfig" in properties:
            yield "lambda:PublishVersion", arn, {}
            yield "lambda:PutFunctionScalingConfig", arn, {}
        if kind == "AWS::IAM::Role":
            yield from role_needs(arn, properties)


def role_needs(arn: str, properties: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, str]]]:
    """The requests that attach AWS's policies to a role and pass it to its service."""
    for policy in resolve(properties.get("ManagedPolicyArns", [])):
        for action in ROLE_POLICY:
            yield f"iam:{action}", arn, BOUNDARY | {"iam:PolicyARN": policy}
    (statement,) = properties["AssumeRolePolicyDocument"]["Statement"]
    services = statement["Principal"]["Service"]
    for service in [services] if isinstance(services, str) else services:
        yield "iam:PassRole", arn, {"iam:PassedToService": service}


def allows(statements: list[dict[str, Any]], action: str, resource: str, context: dict[str, str]) -> bool:
    """Whether IAM permits a request by these statements, all of which allow."""
    return any(
        statement["Effect"] == "Allow"
        and any(matches(pattern, action) for pattern in as_list(statement["Action"]))
        and any(matches(pattern, resource) for pattern in as_list(statement["Resource"]))
        and all(
            context.get(key) in as_list(values)
            for comparison in statement.get("Condition", {}).values()
            for key, values in comparison.items()
        )
        for statement in statements
    )


def matches(pattern: str, value: str) -> bool:
    """Whether a text matches a pattern with IAM's wildcards for any text and any character."""
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), value) is not None


def resolve(value: Any) -> Any:
    """A value with CloudFormation's functions evaluated, with VALUES for parameters and every condition true."""
    if isinstance(value, list):
        return [resolve(item) for item in value if item != {"Ref": "AWS::NoValue"}]
    if not isinstance(value, dict):
        return value
    if set(value) == {"Ref"}:
        return VALUES[value["Ref"]]
    if set(value) == {"Fn::Sub"}:
        return re.sub(r"\$\{([A-Za-z:]+)\}", lambda found: VALUES[found[1]], value["Fn::Sub"])
    if set(value) == {"Fn::If"}:
        return resolve(value["Fn::If"][1])
    return {key: resolve(item) for key, item in value.items()}
