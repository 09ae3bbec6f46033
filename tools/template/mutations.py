"""Faults that are put into the template in memory, each with the rule that has to notice it."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

Template = dict[str, Any]
Change = Callable[[Template], None]
Place = tuple[str | int, ...]

ANY = "x-amazon-apigateway-any-method"
INTEGRATION = "x-amazon-apigateway-integration"
API: Place = ("Resources", "Api", "Properties")
DEFINITION: Place = (*API, "DefinitionBody")
PATHS: Place = (*DEFINITION, "paths")
PROXY_PATH: Place = (*PATHS, "/api/v1/openrouter/{proxy+}")
PROXY_ROUTE: Place = (*PROXY_PATH, ANY, INTEGRATION)
PREFLIGHT: Place = (*PROXY_PATH, "options", INTEGRATION)
ALLOWED_HEADERS = "method.response.header.Access-Control-Allow-Headers"
USAGE_PATH: Place = (*PATHS, "/api/v1/usage")
OWN_ERRORS: Place = (*DEFINITION, "x-amazon-apigateway-gateway-responses")
PROXY: Place = ("Resources", "ProxyFunction", "Properties")
MANAGED_PROXY: Place = ("Resources", "ManagedProxyFunction", "Properties")
INSTANCES: Place = ("Resources", "ManagedInstances")
USAGE: Place = ("Resources", "UsageFunction", "Properties")
TOKENS: Place = ("Resources", "TokensFunction", "Properties")
KEYS: Place = ("Resources", "KeysFunction", "Properties")
HEALTH: Place = ("Resources", "HealthFunction", "Properties")
CONSOLE: Place = ("Resources", "ConsoleFunction", "Properties")
RECONCILE: Place = ("Resources", "ReconcileFunction", "Properties")
SCHEDULE: Place = (*RECONCILE, "Events", "Schedule")
VARIABLES: Place = ("Environment", "Variables")
READ_KEYSET: Place = (*PROXY, "Policies", 0, "Statement", 0)
KEYS_STATEMENTS: Place = (*KEYS, "Policies", 0, "Statement")
READ_MANAGEMENT_KEY: Place = (*KEYS_STATEMENTS, 1, "Fn::If")
KEYS_PATH: Place = (*PATHS, "/api/v1/keys")
SECRET_KEY: Place = (*USAGE, *VARIABLES, "SUPABASE_SECRET_KEY")


def look(template: Template, place: Place) -> Any:
    """The value at a place; raises KeyError if the template has changed and there is none."""
    value: Any = template
    for step in place:
        value = value[step]
    return value


def put(place: Place, value: Any) -> Change:
    """Sets one value."""

    def change(template: Template) -> None:
        look(template, place[:-1])[place[-1]] = value

    return change


def drop(*places: Place) -> Change:
    """Removes the value at a place."""

    def change(template: Template) -> None:
        for place in places:
            del look(template, place[:-1])[place[-1]]

    return change


def copy(source: Place, to: Place) -> Change:
    """Copies the value at one place to another."""
    return lambda template: put(to, deepcopy(look(template, source)))(template)


def edit(place: Place, old: str, new: str) -> Change:
    """Changes a part of a string, also one that is the first argument of Fn::Sub."""

    def change(template: Template) -> None:
        inner = (*place, "Fn::Sub")
        if isinstance(look(template, inner), list):
            inner = (*inner, 0)
        value = look(template, inner)
        if old not in value:
            raise ValueError(f"{old} is not in {value}")
        put(inner, value.replace(old, new))(template)

    return change


def both(first: Change, second: Change) -> Change:
    """Makes several changes in order."""

    def change(template: Template) -> None:
        first(template)
        second(template)

    return change


def generated_by_sam(mode: str) -> Change:
    """Changes SAM's event property for streaming, whose wrong value passes every linter."""

    def change(template: Template) -> None:
        put((*API, "MergeDefinitions"), True)(template)
        drop((*PROXY_PATH, ANY))(template)
        for function in (USAGE, KEYS, TOKENS, HEALTH, CONSOLE):
            drop((*function, "Events"))(template)
        event = look(template, (*PROXY, "Events", "OpenRouter", "Properties"))
        event |= {"ResponseTransferMode": mode, "TimeoutInMillis": 900_000}

    return change


# By the name of the rule: the description of a fault, and the change that makes it.
MUTATIONS: dict[str, dict[str, Change]] = {
    "proxy-streams": {
        "SAM's event property with STREAM": generated_by_sam("STREAM"),
        "no transfer mode": drop((*PROXY_ROUTE, "responseTransferMode")),
        "SAM's word for the mode": put((*PROXY_ROUTE, "responseTransferMode"), "RESPONSE_STREAM"),
        "buffered URI": edit((*PROXY_ROUTE, "uri"), "response-streaming-", ""),
        "old API version in the URI": edit((*PROXY_ROUTE, "uri"), "2021-11-15", "2015-03-31"),
        "default integration timeout": drop((*PROXY_ROUTE, "timeoutInMillis")),
        "short function timeout": put((*PROXY, "Timeout"), 30),
    },
    "console-streams": {
        "buffered": drop((*PATHS, "/console", ANY, INTEGRATION, "responseTransferMode")),
        "buffered files": edit(
            (*PATHS, "/console/{proxy+}", ANY, INTEGRATION, "uri"), "response-streaming-", ""
        ),
    },
    "others-are-buffered": {
        "streamed usage": put((*USAGE_PATH, ANY, INTEGRATION, "responseTransferMode"), "STREAM"),
        "streamed keys": put((*KEYS_PATH, ANY, INTEGRATION, "responseTransferMode"), "STREAM"),
        "usage outlives its integration": put((*USAGE, "Timeout"), 60),
    },
    "routes-are-complete": {
        "dropped route": drop((*USAGE_PATH, ANY)),
        "nobody can revoke": both(copy((*KEYS_PATH, ANY), (*KEYS_PATH, "get")), drop((*KEYS_PATH, ANY))),
        "AWS answers unknown paths": drop((*PATHS, "/{proxy+}")),
        "extra route": copy((*PATHS, "/"), (*PATHS, "/debug")),
        "only GET on the proxy": both(
            copy((*PROXY_PATH, ANY), (*PROXY_PATH, "get")), drop((*PROXY_PATH, ANY))
        ),
        "route to the wrong function": edit((*PROXY_ROUTE, "uri"), "-${Proxy}/", "-usage/"),
        "route to no function": edit((*PROXY_ROUTE, "uri"), "-${Proxy}/", "-prox/"),
        "always to the function on demand": edit((*PROXY_ROUTE, "uri"), "-${Proxy}/", "-proxy/"),
    },
    "local-api-has-the-same-routes": {
        "another function": edit((*PROXY_ROUTE, "uri"), "-${Proxy}/", "-usage/"),
        "a route that only AWS has": copy((*PATHS, "/"), (*PATHS, "/debug")),
    },
    "api-may-invoke": {
        "no permission": drop((*USAGE, "Events", "Summary")),
        "permission for all paths": put((*USAGE, "Events", "Summary", "Properties", "Path"), "/{proxy+}"),
        "none on Managed Instances": drop((*MANAGED_PROXY, "Events")),
    },
    "preflight-needs-no-function": {
        "no preflight": drop((*USAGE_PATH, "options")),
        "preflight by the function": copy(PROXY_ROUTE, PREFLIGHT),
        "binary preflight": drop((*PREFLIGHT, "contentHandling")),
        "nonce not allowed": put(
            (*PREFLIGHT, "responses", "default", "responseParameters", ALLOWED_HEADERS),
            "'x-did,x-did-timestamp,x-did-signature,content-type'",
        ),
    },
    "bodies-stay-bytes": {"text bodies": drop((*DEFINITION, "x-amazon-apigateway-binary-media-types"))},
    "own-errors-have-the-error-body": {
        "status and code differ": put((*OWN_ERRORS, "THROTTLED", "statusCode"), "503"),
        "API Gateway's own 404": drop((*OWN_ERRORS, "MISSING_AUTHENTICATION_TOKEN")),
        "API Gateway's own 400": drop((*OWN_ERRORS, "DEFAULT_4XX")),
        "a lack of concurrency reads 500": drop((*OWN_ERRORS, "INTEGRATION_FAILURE")),
        "every other status becomes 500": put((*OWN_ERRORS, "DEFAULT_5XX", "statusCode"), "500"),
        "a code that is not the status": put(
            (*OWN_ERRORS, "DEFAULT_4XX", "responseTemplates", "application/json"),
            '{"success":false,"type":"error","error":{"type":"x","code":400,"message":"x",'
            '"metadata":{"reason":"x"}},"request_id":"$context.extendedRequestId"}',
        ),
        "no word when to come back": drop(
            (*OWN_ERRORS, "INTEGRATION_FAILURE", "responseParameters", "gatewayresponse.header.Retry-After")
        ),
        "sent again although it may be billed": drop(
            (*OWN_ERRORS, "INTEGRATION_TIMEOUT", "responseParameters", "gatewayresponse.header.x-should-retry")
        ),
        "quotes what clients send": put(
            (*OWN_ERRORS, "DEFAULT_4XX", "responseTemplates", "application/json"),
            '{"success":false,"type":"error","error":{"type":"x","code":"$context.error.responseType",'
            '"message":"$context.error.message","metadata":{"reason":"x"}},"request_id":"$context.extendedRequestId"}',
        ),
        "quotes an id that clients choose": put(
            (*OWN_ERRORS, "DEFAULT_4XX", "responseTemplates", "application/json"),
            '{"success":false,"type":"error","error":{"type":"x","code":"$context.error.responseType",'
            '"message":"x","metadata":{"reason":"x"}},"request_id":"$context.requestId"}',
        ),
    },
    "iam-has-no-wildcards": {
        "wildcard resource": put((*READ_KEYSET, "Resource"), "*"),
        "wildcard action": put((*READ_KEYSET, "Action"), "secretsmanager:*"),
        "managed policy": put((*USAGE, "Policies"), ["arn:aws:iam::aws:policy/SecretsManagerReadWrite"]),
    },
    "only-who-needs-a-secret-reads-it": {
        "usage reads the management key": copy((*KEYS, "Policies"), (*USAGE, "Policies")),
        "keys cannot read the keyset": drop((*KEYS_STATEMENTS, 0)),
        "keys cannot read the management key": drop((*KEYS_STATEMENTS, 1)),
        "the management key without a condition": copy((*READ_MANAGEMENT_KEY, 1), (*KEYS_STATEMENTS, 1)),
        "the management key where there is none": copy(
            (*READ_MANAGEMENT_KEY, 1), (*READ_MANAGEMENT_KEY, 2)
        ),
        "the proxy reads it without a condition": put(
            (*PROXY, "Policies", 0, "Statement", 1, "Fn::If", 0), "HasManagementKey"
        ),
        "a condition that always holds": put(
            ("Conditions", "ProxyMakesKeys"), {"Fn::Equals": ["true", "true"]}
        ),
        "all secrets, where there is no management key": edit(
            (*READ_MANAGEMENT_KEY, 1, "Resource"), "${ManagementKeySecretName}-??????", "*"
        ),
        "tokens reads it": copy((*PROXY, "Policies"), (*TOKENS, "Policies")),
        "tokens reads the management key": copy((*KEYS, "Policies"), (*TOKENS, "Policies")),
        "usage reads it": copy((*PROXY, "Policies"), (*USAGE, "Policies")),
        "proxy cannot read it": drop((*PROXY, "Policies")),
        "reconcile cannot read it": drop((*RECONCILE, "Policies")),
        "all secrets whose name starts alike": edit((*READ_KEYSET, "Resource"), "-??????", "*"),
    },
    "reconciliation-is-scheduled": {
        "no schedule": drop((*RECONCILE, "Events")),
        "switched off": put((*SCHEDULE, "Properties", "State"), "DISABLED"),
        "a schedule of its own": put((*SCHEDULE, "Properties", "ScheduleExpression"), "rate(1 day)"),
        "the wrong function": both(
            copy((*RECONCILE, "Events", "Schedule"), (*USAGE, "Events", "Schedule")),
            drop((*RECONCILE, "Events")),
        ),
        "SAM's name for it": drop((*SCHEDULE, "Properties", "Name")),
        "Lambda's own repetitions": drop((*RECONCILE, "EventInvokeConfig")),
        "the schedule's repetitions": drop((*SCHEDULE, "Properties", "RetryPolicy")),
        "runs that outlive their leases": put((*RECONCILE, "Timeout"), 300),
    },
    "environment-is-exact": {
        "missing variable": drop((*PROXY, *VARIABLES, "KEYSET_SECRET_NAME")),
        "missing on Managed Instances": drop((*MANAGED_PROXY, *VARIABLES, "KEYSET_SECRET_NAME")),
        "variable for all": put(
            ("Globals", "Function", "Environment"), {"Variables": {"KEYSET_SECRET_NAME": "x"}}
        ),
    },
    "secrets-are-dynamic-references": {
        "the console knows the key": copy(SECRET_KEY, (*CONSOLE, *VARIABLES, "SUPABASE_SECRET_KEY")),
        "health knows the key": copy(SECRET_KEY, (*HEALTH, *VARIABLES, "SUPABASE_SECRET_KEY")),
        "health knows it by another name": copy(SECRET_KEY, (*HEALTH, *VARIABLES, "SUPABASE_URL")),
        "plain value": put(SECRET_KEY, "sb_secret_x"),
    },
    "logs-expire": {
        "logs without an end": drop(("Resources", "ProxyLogs", "Properties", "RetentionInDays")),
        "implicit log group": drop((*PROXY, "LoggingConfig")),
    },
    "binaries-exist": {
        "no such crate": put(
            ("Resources", "UsageFunction", "Metadata", "BuildProperties", "Binary"), "usages"
        ),
        "a name that the API does not call": put((*HEALTH, "FunctionName"), "health"),
    },
    "proxies-are-alike": {
        "another limit of time": put((*MANAGED_PROXY, "Timeout"), 30),
        "an environment of its own": put(
            (*MANAGED_PROXY, *VARIABLES, "HOLD_USD"), {"Ref": "RequestsPerMinute"}
        ),
        "rights of its own": drop((*MANAGED_PROXY, "Policies", 0, "Statement", 1)),
    },
    "managed-instances-are-bounded": {
        "as many as Lambda likes": drop((*INSTANCES, "Properties", "CapacityProviderScalingConfig", "MaxVCpuCount")),
        "always there": drop((*INSTANCES, "Condition"), ("Resources", "ManagedInstancesRole", "Condition")),
        "of any processor": put((*INSTANCES, "Properties", "InstanceRequirements", "Architectures"), ["arm64"]),
        "never published again": drop((*MANAGED_PROXY, "PublishToLatestPublished")),
        "reserved concurrency": put((*MANAGED_PROXY, "ReservedConcurrentExecutions"), 10),
        "on demand after all": drop((*MANAGED_PROXY, "CapacityProviderConfig")),
        "too small an environment": put(("Parameters", "ManagedInstanceMemorySize", "MinValue"), 512),
    },
    "endpoint-lets-streams-idle": {
        "edge-optimised endpoint": drop((*API, "EndpointConfiguration")),
        "SAM's second stage": both(
            drop((*API, "OpenApiVersion"), (*DEFINITION, "openapi")), put((*DEFINITION, "swagger"), "2.0")
        ),
    },
    "parameters-reach-the-stage": {"SAM's default": drop((*API, "AlwaysDeploy"))},
    "nothing-waits-for-itself": {
        "SAM's event property with RESPONSE_STREAM": generated_by_sam("RESPONSE_STREAM"),
        "the function by its ARN": edit(
            (*PROXY_ROUTE, "uri"), "${AWS::StackName}-${Proxy}", "${ProxyFunction.Arn}"
        ),
    },
    "parameters-guard-themselves": {
        "audience without pattern": put(("Parameters", "Audiences", "AllowedPattern"), ".*"),
        "undescribed parameter": drop(("Parameters", "MemorySize", "Description")),
    },
}

# The faults of .github/deploy-role.yaml.
DEPLOY_ROLE: Place = ("Resources", "DeployRole", "Properties")
DEPLOY_STATEMENTS: Place = (*DEPLOY_ROLE, "Policies", 0, "PolicyDocument", "Statement")
# The statement about roles that may be made.
BOUNDED_ROLES = 15
FUNCTIONS_STATEMENT: Place = (*DEPLOY_STATEMENTS, 4)
BOUNDARY_STATEMENTS: Place = ("Resources", "Boundary", "Properties", "PolicyDocument", "Statement")
ROLE_FAULTS: dict[str, Change] = {
    "roles without a boundary": drop((*DEPLOY_STATEMENTS, BOUNDED_ROLES, "Condition")),
    "roles with a boundary of their own": put(
        (*DEPLOY_STATEMENTS, BOUNDED_ROLES, "Condition"),
        {"StringLike": {"iam:PermissionsBoundary": "arn:aws:iam::*:policy/*"}},
    ),
    "a boundary that bounds nothing": put((*BOUNDARY_STATEMENTS, 0), {"Effect": "Allow", "Action": "*", "Resource": "*"}),
    "a boundary that lets no function log": drop((*BOUNDARY_STATEMENTS, 0)),
    "functions out of reach": drop(FUNCTIONS_STATEMENT),
    "everybody's functions in reach": put((*FUNCTIONS_STATEMENT, "Resource"), "*"),
    "everything in reach": put((*FUNCTIONS_STATEMENT, "Action"), "*"),
    "tokens that were made for others": drop(
        (
            *DEPLOY_ROLE,
            *("AssumeRolePolicyDocument", "Statement", 0, "Condition", "StringEquals"),
            "token.actions.githubusercontent.com:aud",
        )
    ),
}
