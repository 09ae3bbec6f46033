"""Faults put into the template in memory, and the rule that has to notice each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Template = dict[str, Any]
PROXY_PATH = "/api/v1/openrouter/{proxy+}"
ANY = "x-amazon-apigateway-any-method"
INTEGRATION = "x-amazon-apigateway-integration"


def definition(template: Template) -> dict[str, Any]:
    return template["Resources"]["Api"]["Properties"]["DefinitionBody"]


def proxy_route(template: Template) -> dict[str, Any]:
    return definition(template)["paths"][PROXY_PATH][ANY][INTEGRATION]


def properties(template: Template, resource: str) -> dict[str, Any]:
    return template["Resources"][resource]["Properties"]


def environment(template: Template, function: str) -> dict[str, Any]:
    return properties(template, function)["Environment"]["Variables"]


def statement(template: Template) -> dict[str, Any]:
    return properties(template, "ProxyFunction")["Policies"][0]["Statement"][0]


def replace_uri(template: Template, old: str, new: str) -> None:
    uri = proxy_route(template)["uri"]
    assert old in uri["Fn::Sub"], f"{old} is not in {uri}"
    uri["Fn::Sub"] = uri["Fn::Sub"].replace(old, new)


def generated_by_sam(mode: str) -> Callable[[Template], None]:
    """SAM's own way to stream: an event property, whose wrong value passes every linter."""

    def mutate(template: Template) -> None:
        del definition(template)["paths"][PROXY_PATH][ANY]
        properties(template, "Api")["MergeDefinitions"] = True
        for function in ("ProxyFunction", "UsageFunction", "HealthFunction"):
            for event in properties(template, function)["Events"].values():
                path, method = event["Properties"]["Path"], event["Properties"]["Method"].lower()
                definition(template)["paths"].get(path, {}).pop(method, None)
        event = properties(template, "ProxyFunction")["Events"]["OpenRouter"]["Properties"]
        event |= {"ResponseTransferMode": mode, "TimeoutInMillis": 900000}

    return mutate


MUTATIONS: list[tuple[str, str, Callable[[Template], Any]]] = [
    ("SAM's event with STREAM, which buffers", "proxy-streams", generated_by_sam("STREAM")),
    (
        "SAM's event with RESPONSE_STREAM, which refers back",
        "nothing-waits-for-itself",
        generated_by_sam("RESPONSE_STREAM"),
    ),
    ("no transfer mode", "proxy-streams", lambda t: proxy_route(t).pop("responseTransferMode")),
    (
        "SAM's word for the mode",
        "proxy-streams",
        lambda t: proxy_route(t).update(responseTransferMode="RESPONSE_STREAM"),
    ),
    ("buffered URI", "proxy-streams", lambda t: replace_uri(t, "response-streaming-", "")),
    ("old API version in the URI", "proxy-streams", lambda t: replace_uri(t, "2021-11-15", "2015-03-31")),
    ("default integration timeout", "proxy-streams", lambda t: proxy_route(t).pop("timeoutInMillis")),
    ("short function timeout", "proxy-streams", lambda t: properties(t, "ProxyFunction").update(Timeout=30)),
    (
        "streamed usage",
        "others-are-buffered",
        lambda t: definition(t)["paths"]["/api/v1/usage"]["get"][INTEGRATION].update(
            responseTransferMode="STREAM"
        ),
    ),
    (
        "usage outlives its integration",
        "others-are-buffered",
        lambda t: properties(t, "UsageFunction").update(Timeout=60),
    ),
    ("dropped route", "routes-are-complete", lambda t: definition(t)["paths"]["/api/v1/usage"].pop("get")),
    (
        "extra route",
        "routes-are-complete",
        lambda t: definition(t)["paths"].update({"/debug": definition(t)["paths"]["/"]}),
    ),
    (
        "only GET on the proxy",
        "routes-are-complete",
        lambda t: definition(t)["paths"][PROXY_PATH].update(get=definition(t)["paths"][PROXY_PATH].pop(ANY)),
    ),
    ("route to the wrong function", "routes-are-complete", lambda t: replace_uri(t, "-proxy/", "-usage/")),
    ("route to no function", "routes-are-complete", lambda t: replace_uri(t, "-proxy/", "-prox/")),
    (
        "no permission to invoke",
        "api-may-invoke",
        lambda t: properties(t, "UsageFunction")["Events"].pop("Requests"),
    ),
    (
        "permission for too much",
        "api-may-invoke",
        lambda t: properties(t, "UsageFunction")["Events"]["Summary"]["Properties"].update(Path="/{proxy+}"),
    ),
    (
        "no preflight",
        "preflight-needs-no-function",
        lambda t: definition(t)["paths"]["/api/v1/usage"].pop("options"),
    ),
    (
        "preflight to the function",
        "preflight-needs-no-function",
        lambda t: definition(t)["paths"][PROXY_PATH]["options"].update({INTEGRATION: proxy_route(t)}),
    ),
    (
        "binary preflight",
        "preflight-needs-no-function",
        lambda t: definition(t)["paths"][PROXY_PATH]["options"][INTEGRATION].pop("contentHandling"),
    ),
    (
        "nonce not allowed",
        "preflight-needs-no-function",
        lambda t: definition(t)["paths"][PROXY_PATH]["options"][INTEGRATION]["responses"]["default"][
            "responseParameters"
        ].update(
            {
                "method.response.header.Access-Control-Allow-Headers": "'x-did,x-did-timestamp,x-did-signature,content-type'"
            }
        ),
    ),
    (
        "text bodies",
        "bodies-stay-bytes",
        lambda t: definition(t).pop("x-amazon-apigateway-binary-media-types"),
    ),
    (
        "status and code differ",
        "own-errors-have-the-error-body",
        lambda t: definition(t)["x-amazon-apigateway-gateway-responses"]["THROTTLED"].update(
            statusCode="503"
        ),
    ),
    (
        "API Gateway's own 404",
        "own-errors-have-the-error-body",
        lambda t: definition(t)["x-amazon-apigateway-gateway-responses"].pop("MISSING_AUTHENTICATION_TOKEN"),
    ),
    ("wildcard resource", "iam-has-no-wildcards", lambda t: statement(t).update(Resource="*")),
    ("wildcard action", "iam-has-no-wildcards", lambda t: statement(t).update(Action="secretsmanager:*")),
    (
        "managed policy",
        "iam-has-no-wildcards",
        lambda t: properties(t, "UsageFunction").update(
            Policies=["arn:aws:iam::aws:policy/SecretsManagerReadWrite"]
        ),
    ),
    (
        "usage reads the keyset",
        "only-proxy-reads-the-keyset",
        lambda t: properties(t, "UsageFunction").update(Policies=properties(t, "ProxyFunction")["Policies"]),
    ),
    (
        "proxy cannot read the keyset",
        "only-proxy-reads-the-keyset",
        lambda t: properties(t, "ProxyFunction").pop("Policies"),
    ),
    (
        "secrets with the keyset's prefix",
        "only-proxy-reads-the-keyset",
        lambda t: statement(t).update(
            Resource={
                "Fn::Sub": "arn:${AWS::Partition}:secretsmanager:${AWS::Region}:${AWS::AccountId}:secret:${KeysetSecretName}*"
            }
        ),
    ),
    (
        "missing variable",
        "environment-is-exact",
        lambda t: environment(t, "ProxyFunction").pop("KEYSET_SECRET_NAME"),
    ),
    (
        "variable for all",
        "environment-is-exact",
        lambda t: t["Globals"]["Function"].update(Environment={"Variables": {"KEYSET_SECRET_NAME": "x"}}),
    ),
    (
        "health knows the secret key",
        "secrets-are-dynamic-references",
        lambda t: environment(t, "HealthFunction").update(
            SUPABASE_SECRET_KEY=environment(t, "UsageFunction")["SUPABASE_SECRET_KEY"]
        ),
    ),
    (
        "health knows it by another name",
        "secrets-are-dynamic-references",
        lambda t: environment(t, "HealthFunction").update(
            SUPABASE_URL=environment(t, "UsageFunction")["SUPABASE_SECRET_KEY"]
        ),
    ),
    (
        "plain secret",
        "secrets-are-dynamic-references",
        lambda t: environment(t, "UsageFunction").update(SUPABASE_SECRET_KEY="sb_secret_x"),
    ),
    ("logs for ever", "logs-expire", lambda t: properties(t, "ProxyLogs").pop("RetentionInDays")),
    ("implicit log group", "logs-expire", lambda t: properties(t, "ProxyFunction").pop("LoggingConfig")),
    (
        "binary that is no crate",
        "binaries-exist",
        lambda t: t["Resources"]["UsageFunction"]["Metadata"]["BuildProperties"].update(Binary="usages"),
    ),
    (
        "generated function name",
        "binaries-exist",
        lambda t: properties(t, "HealthFunction").update(FunctionName="health"),
    ),
    (
        "edge endpoint",
        "endpoint-lets-streams-idle",
        lambda t: properties(t, "Api").pop("EndpointConfiguration"),
    ),
    (
        "SAM's second stage",
        "endpoint-lets-streams-idle",
        lambda t: (
            properties(t, "Api").pop("OpenApiVersion"),
            definition(t).pop("openapi"),
            definition(t).update(swagger="2.0"),
        ),
    ),
    (
        "circular dependency",
        "nothing-waits-for-itself",
        lambda t: proxy_route(t).update(
            uri={
                "Fn::Sub": "arn:aws:apigateway:${AWS::Region}:lambda:path/2021-11-15/functions/${ProxyFunction.Arn}/response-streaming-invocations"
            }
        ),
    ),
    (
        "audience without pattern",
        "parameters-guard-themselves",
        lambda t: t["Parameters"]["Audiences"].update(AllowedPattern=".*"),
    ),
    (
        "undescribed parameter",
        "parameters-guard-themselves",
        lambda t: t["Parameters"]["MemorySize"].pop("Description"),
    ),
]
