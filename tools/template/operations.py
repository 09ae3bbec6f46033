"""Rules for operations: alarms, dashboard, access log, domain, Function URL; and their faults."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from expansion import Expansion, text
from mutations import MUTATIONS, PROXY, both, drop, edit, put
from rules import rule

ALARMS = {
    "server-errors",
    "function-errors",
    "function-throttles",
    "emergency-records",
    "open-costs",
    "reconcile-stopped",
    "unknown-costs",
    "slow-requests",
}
# The metrics in the functions' log lines: METRICS in functions/adapter/src/log.rs.
OWN_NAMESPACE = "LlmGateway"
# Variables that an access log must not quote: the query, headers and paths may hold the client's secrets, and
# API Gateway escapes nothing, so text that a client may choose could forge fields. `requestId` is such a text:
# "Clients can override this request ID."
# https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-variables-for-access-logging.html
UNSAFE_VARIABLES = re.compile(
    r"requestOverride|userAgent|querystring|header|body|authorizer|error\.message\b|^path$|^requestId$|customDomain"
)
# Variables that a line must have, by the name of their field: the first joins it with the function's log.
LOGGED = {
    "request.id": "$context.integration.requestId",
    "api.request_id": "$context.extendedRequestId",
    "http.route": "$context.resourcePath",
}


@rule
def alarms_are_complete(stack: Expansion) -> Iterator[str]:
    """Each named alarm exists, notifies the topic, and watches functions that exist."""
    alarms = stack.of_type("AWS::CloudWatch::Alarm")
    found = {text(alarm["AlarmName"]).removeprefix("${AWS::StackName}-") for alarm in alarms.values()}
    for name in sorted(ALARMS ^ found):
        yield f"{name}: {'missing' if name in ALARMS else 'not in ALARMS'}"
    known = {f"${{AWS::StackName}}-{function}" for function in stack.functions()}
    for name, alarm in alarms.items():
        # A function that does not run sends no metric: only such an alarm looks for missing data.
        silence = "breaching" if name == "ReconcileStoppedAlarm" else "notBreaching"
        if alarm.get("TreatMissingData") != silence:
            yield f"{name}: missing data is not {silence}"
        if "SendsAlarms" not in json.dumps(alarm.get("AlarmActions")):
            yield f"{name}: notifies nobody"
        watched = {text(value) for value in function_dimensions(alarm)}
        for function in sorted(watched - known):
            yield f"{name}: watches {function}, which does not exist"
        if name in {"FunctionErrorsAlarm", "FunctionThrottlesAlarm"} and watched != known:
            yield f"{name}: does not watch {sorted(known - watched)}"


@rule
def dashboard_is_sound(stack: Expansion) -> Iterator[str]:
    """The dashboard is JSON and shows functions that exist."""
    (dashboard,) = stack.of_type("AWS::CloudWatch::Dashboard").values()
    body = text(dashboard["DashboardBody"])
    try:
        json.loads(body)
    except json.JSONDecodeError as error:
        yield f"not JSON: {error}"
    shown = set(re.findall(r"\$\{AWS::StackName\}-([a-z-]+)", body))
    for function in shown - stack.functions().keys():
        yield f"shows {function}, which does not exist"
    if stack.proxy not in shown:
        yield f"does not show {stack.proxy}"


@rule
def access_log_is_clean(stack: Expansion) -> Iterator[str]:
    """A line of the access log is a JSON object of values that API Gateway itself makes."""
    (stage,) = stack.of_type("AWS::ApiGateway::Stage").values()
    setting = stage.get("AccessLogSetting", {})
    condition, enabled, _ = setting.get("Fn::If", [None, {}, None])
    if condition != "LogsAccess":
        yield f"not switched by its parameter: {setting}"
        return
    line = enabled["Format"]
    try:
        members = json.loads(line)
    except json.JSONDecodeError as error:
        yield f"not JSON: {error}"
        return
    for variable in re.findall(r"\$context\.([A-Za-z.]+)", line):
        if UNSAFE_VARIABLES.search(variable):
            yield f"quotes $context.{variable}"
    for member, variable in LOGGED.items():
        if members.get(member) != variable:
            yield f"{member} is {members.get(member)}"


@rule
def function_url_streams(stack: Expansion) -> Iterator[str]:
    """Only the proxies have a Function URL, only if it is wanted; it streams and needs no IAM signature."""
    conditions = {"proxy": "HasFunctionUrl", "managed-proxy": "HasManagedFunctionUrl"}
    proxies = {
        stack.functions()[function][0]: condition
        for function, condition in conditions.items()
        if function in stack.functions()
    }
    for url_name, url in stack.of_type("AWS::Lambda::Url").items():
        name = url["TargetFunctionArn"]["Fn::GetAtt"][0]
        if name not in proxies or stack.resources[url_name].get("Condition") != proxies[name]:
            yield f"{url_name}: not switched by its parameter"
        if url.get("InvokeMode") != "RESPONSE_STREAM":
            yield f"{url_name}: {url}"
    for name, condition in proxies.items():
        actions = {
            permission["Action"]
            for permission_name, permission in stack.of_type("AWS::Lambda::Permission").items()
            if permission["Principal"] == "*"
            and permission["FunctionName"] == {"Ref": name}
            and stack.resources[permission_name].get("Condition") == condition
        }
        if actions != {"lambda:InvokeFunctionUrl", "lambda:InvokeFunction"}:
            yield f"{name}: anyone may {sorted(actions)}"


@rule
def web_acl_guards_the_stage(stack: Expansion) -> Iterator[str]:
    """Only where one is named, and in front of the one stage."""
    associations = stack.of_type("AWS::WAFv2::WebACLAssociation")
    if len(associations) != 1:
        yield f"{len(associations)} associations"
    for name, association in associations.items():
        if stack.resources[name].get("Condition") != "HasWebAcl":
            yield f"{name}: there without a web ACL"
        if association["WebACLArn"] != {"Ref": "WebAclArn"}:
            yield f"{name}: {association['WebACLArn']}"
        (stage,) = stack.of_type("AWS::ApiGateway::Stage")
        if not text(association["ResourceArn"]).endswith(f"::/restapis/${{Api}}/stages/${{{stage}}}"):
            yield f"{name}: guards {association['ResourceArn']}"


@rule
def domain_is_an_audience(stack: Expansion) -> Iterator[str]:
    """A stack with a domain accepts signatures for it without a second parameter."""
    for name, (_, function) in stack.functions().items():
        audiences = function["Environment"]["Variables"].get("GATEWAY_AUDIENCES")
        if audiences is not None and "https://${DomainName}," not in json.dumps(audiences):
            yield f"{name}: {audiences}"
    for kind in ("AWS::ApiGateway::DomainName", "AWS::ApiGateway::BasePathMapping"):
        for name in stack.of_type(kind):
            if stack.resources[name].get("Condition") != "HasDomain":
                yield f"{name}: there without a domain"


def function_dimensions(alarm: dict[str, Any]) -> Iterator[Any]:
    """The names of the functions whose metrics an alarm watches."""
    metrics = [alarm, *(query.get("MetricStat", {}).get("Metric", {}) for query in alarm.get("Metrics", []))]
    for metric in metrics:
        for dimension in metric.get("Dimensions", []):
            if dimension["Name"] in {"FunctionName", "faas.name"}:
                yield dimension["Value"]


def logged(more: dict[str, str]) -> str:
    """A log format with the required variables, and more."""
    return json.dumps(LOGGED | more)


RESOURCES = ("Resources",)
ACCESS_LOG = (*RESOURCES, "Api", "Properties", "AccessLogSetting", "Fn::If", 1, "Format")
MUTATIONS |= {
    "alarms-are-complete": {
        "an alarm less": drop((*RESOURCES, "EmergencyRecordsAlarm")),
        "an alarm that tells nobody": drop((*RESOURCES, "OpenCostsAlarm", "Properties", "AlarmActions")),
        "a misspelt function": edit(
            (*RESOURCES, "SlowRequestsAlarm", "Properties", "Dimensions", 0, "Value"), "-${Proxy}", "-prox"
        ),
        "an unwatched function": drop((*RESOURCES, "FunctionErrorsAlarm", "Properties", "Metrics", 2)),
        "alarm on silence": drop((*RESOURCES, "ServerErrorsAlarm", "Properties", "TreatMissingData")),
        "a stopped schedule unseen": drop((*RESOURCES, "ReconcileStoppedAlarm", "Properties", "TreatMissingData")),
    },
    "dashboard-is-sound": {
        "a comma less": edit((*RESOURCES, "Dashboard", "Properties", "DashboardBody"), '"x": 0,', '"x": 0'),
        "a misspelt function": edit(
            (*RESOURCES, "Dashboard", "Properties", "DashboardBody"), "-reconcile", "-reconciler"
        ),
        "always of the function on demand": edit(
            (*RESOURCES, "Dashboard", "Properties", "DashboardBody"), "${Proxy}", "proxy"
        ),
    },
    "access-log-is-clean": {
        "always on": put((*RESOURCES, "Api", "Properties", "AccessLogSetting"), {"Format": "{}"}),
        "quotes what clients choose": put(ACCESS_LOG, logged({"agent": "$context.identity.userAgent"})),
        "quotes the path": put(ACCESS_LOG, logged({"http.path": "$context.path"})),
        "quotes an id that clients choose": put(ACCESS_LOG, logged({"id": "$context.requestId"})),
        "does not join the functions' log": put(ACCESS_LOG, logged({"request.id": "$context.extendedRequestId"})),
    },
    "function-url-streams": {
        "buffered": put((*RESOURCES, "ProxyUrl", "Properties", "InvokeMode"), "BUFFERED"),
        "always there": drop((*RESOURCES, "ProxyUrl", "Condition")),
        "half a permission": drop((*RESOURCES, "ProxyUrlInvokePermission")),
        "half a permission on Managed Instances": drop((*RESOURCES, "ManagedProxyUrlPermission")),
    },
    "web-acl-guards-the-stage": {
        "always there": drop((*RESOURCES, "WebAcl", "Condition")),
        "none": drop((*RESOURCES, "WebAcl")),
        "another stage": edit((*RESOURCES, "WebAcl", "Properties", "ResourceArn"), "${Stage}", "Stage"),
    },
    "domain-is-an-audience": {
        "not the proxy's": put((*PROXY, "Environment", "Variables", "GATEWAY_AUDIENCES"), {"Ref": "Audiences"}),
        "a domain that nobody has": both(
            drop((*RESOURCES, "Domain", "Condition")), drop((*RESOURCES, "DomainAlias"))
        ),
    },
}
