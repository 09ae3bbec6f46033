"""The rules for the deployed stack. Each takes an expansion and yields the problems that it finds."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from expansion import Expansion, binary_of, references, text

HERE = Path(__file__).parent
ROOT = HERE.parent.parent

ROUTES: dict[str, str] = json.loads((HERE / "routes.json").read_text())
# tools/e2e/tests/gateway/environment.rs compares the variables that the functions read with the same file.
ENVIRONMENT: dict[str, list[str]] = json.loads((HERE / "environment.json").read_text())["set"]

SIGNED_HEADERS = {
    *("x-did", "x-did-timestamp", "x-did-nonce", "x-did-signature", "content-type"),
    *("signature-input", "signature", "content-digest"),
}
EXPOSED_HEADERS = {
    "date",
    "retry-after",
    "x-gateway-request-id",
    "x-gateway-upstream",
    "x-generation-id",
    "x-should-retry",
}
# API Gateway's own errors and their statuses. The defaults have none: with one, every other error of their
# class would be answered with it.
OWN_ERRORS: dict[str, str | None] = {
    "MISSING_AUTHENTICATION_TOKEN": "404",
    "RESOURCE_NOT_FOUND": "404",
    "WAF_FILTERED": "403",
    "REQUEST_TOO_LARGE": "413",
    "THROTTLED": "429",
    "INTEGRATION_FAILURE": "503",
    "INTEGRATION_TIMEOUT": "504",
    "DEFAULT_4XX": None,
    "DEFAULT_5XX": None,
}
# The function may have asked OpenRouter before it failed, so an SDK must not send the request again by itself.
MAY_BE_BILLED = {"INTEGRATION_TIMEOUT", "DEFAULT_5XX"}
SECRET_ARN = "arn:${AWS::Partition}:secretsmanager:${AWS::Region}:${AWS::AccountId}:secret:${%s}-??????"
# The functions that answer with the streaming wire format.
STREAMING = {"proxy", "console"}
# Neither usage nor tokens is among them: they work on rows in which nothing is sealed.
SEALS_OR_OPENS_KEYS = {"proxy", "keys", "reconcile"}
# The functions that read the management key, and the condition under which they do.
MANAGES_KEYS = {"keys": "HasManagementKey", "reconcile": "HasManagementKey", "proxy": "ProxyMakesKeys"}
CONDITIONS = {
    "HasManagementKey": {"Fn::Not": [{"Fn::Equals": [{"Ref": "ManagementKeySecretName"}, ""]}]},
    "ProxyMakesKeys": {
        "Fn::And": [
            {"Condition": "HasManagementKey"},
            {"Fn::Equals": [{"Ref": "ProvisionOnFirstRequest"}, "true"]},
        ]
    },
}
# The time for which a run's rows are its own: the first of shared::reconcile::LEASES.
LEASE_SECONDS = 120
# API Gateway's timeout for a buffered answer without a raised quota.
BUFFERED_SECONDS = 29

# Properties in which the two proxies may differ. Their roles are compared separately.
WHERE_IT_RUNS = {
    "CapacityProviderConfig",
    "Description",
    "FunctionName",
    "MemorySize",
    "PublishToLatestPublished",
    "ReservedConcurrentExecutions",
    "Role",
}

MANAGED_POLICIES = {
    "AWSLambdaBasicExecutionRole",
    "AWSLambdaManagedEC2ResourceOperator",
    "AWSXrayWriteOnlyAccess",
    "AmazonAPIGatewayPushToCloudWatchLogs",
}

Rule = Callable[[Expansion], Iterator[str]]
RULES: dict[str, Rule] = {}


def rule(function: Rule) -> Rule:
    """Registers a rule under its name."""
    RULES[function.__name__.replace("_", "-")] = function
    return function


@rule
def proxy_streams(stack: Expansion) -> Iterator[str]:
    """The proxy's integrations have the mode, URI and timeouts that a stream needs: it would be buffered or cut
    silently."""
    integration = integrations_of(stack, stack.proxy)
    if not integration:
        yield "no route"
    for route, found in integration.items():
        if found.get("responseTransferMode") != "STREAM":
            yield f"{route}: responseTransferMode is {found.get('responseTransferMode')!r}, not 'STREAM'"
        uri = text(found["uri"])
        if ":lambda:path/2021-11-15/functions/" not in uri or not uri.endswith(
            "/response-streaming-invocations"
        ):
            yield f"{route}: the URI does not invoke with a response stream: {uri}"
        if found.get("timeoutInMillis") != 900_000:
            yield f"{route}: timeoutInMillis is {found.get('timeoutInMillis')!r}"
    if (timeout := stack.functions()[stack.proxy][1]["Timeout"]) != 900:
        yield f"the function's timeout is {timeout} s"


@rule
def console_streams(stack: Expansion) -> Iterator[str]:
    """The console's integrations stream: compressed files would be decoded as UTF-8."""
    for route, found in integrations_of(stack, "console").items():
        if found.get("responseTransferMode") != "STREAM" or not text(found["uri"]).endswith(
            "/response-streaming-invocations"
        ):
            yield f"{route}: does not stream"


@rule
def others_are_buffered(stack: Expansion) -> Iterator[str]:
    """The other functions' integrations do not stream, which lambda_http's plain `run` could not answer."""
    for name, (_, function) in stack.functions().items():
        if binary_of(name) in STREAMING:
            continue
        routes = integrations_of(stack, name)
        for route, found in routes.items():
            if "responseTransferMode" in found or not text(found["uri"]).endswith("/invocations"):
                yield f"{route}: streams, but {name} does not"
        if routes and function["Timeout"] > BUFFERED_SECONDS:
            yield f"{name} may run for {function['Timeout']} s, API Gateway waits {BUFFERED_SECONDS}"


@rule
def routes_are_complete(stack: Expansion) -> Iterator[str]:
    """The routes are exactly those of routes.json, each with its function."""
    found = {
        f"{method} {path}": bound_function(stack, integration)
        for method, path, integration in stack.methods()
        if method != "OPTIONS"
    }
    expected = {route: stack.proxy if binary == "proxy" else binary for route, binary in ROUTES.items()}
    for route in sorted(expected.keys() | found.keys()):
        if expected.get(route) != found.get(route):
            yield f"{route}: {found.get(route)}, expected {expected.get(route)}"


@rule
def local_api_has_the_same_routes(stack: Expansion) -> Iterator[str]:
    """`cargo lambda watch` sends each path to the function that the API sends it to."""
    manifest = tomllib.loads((ROOT / "Cargo.toml").read_text())
    local = manifest["workspace"]["metadata"]["lambda"]["watch"]["router"]
    found = {
        path.replace("{proxy+}", "{*path}"): binary_of(bound_function(stack, integration) or "")
        for method, path, integration in stack.methods()
        if method != "OPTIONS"
    }
    for path in sorted(local.keys() | found.keys()):
        if local.get(path) != found.get(path):
            yield f"{path}: {local.get(path)} locally, {found.get(path)} deployed"


@rule
def api_may_invoke(stack: Expansion) -> Iterator[str]:
    """Only API Gateway may invoke a function, and only on the function's own routes."""
    logical = {name: binary for binary, (name, _) in stack.functions().items()}
    found = set()
    for permission in stack.of_type("AWS::Lambda::Permission").values():
        if permission.get("FunctionUrlAuthType") or permission.get("InvokedViaFunctionUrl"):
            continue  # function_url_streams
        if permission["Principal"] != "apigateway.amazonaws.com":
            yield f"open to {permission['Principal']}"
        source = re.fullmatch(
            r"arn:aws:execute-api:[^/]*:\$\{Api\}/\*/([A-Z*]+)(/.*)", text(permission["SourceArn"])
        )
        if not source:
            yield f"open to {text(permission['SourceArn'])}"
            continue
        found.add((source[1], source[2], logical[permission["FunctionName"]["Ref"]]))
    expected = {
        (method.replace("ANY", "*"), path.replace("{proxy+}", "*"), function)
        for (method, path), binary in ((route.split(" "), binary) for route, binary in ROUTES.items())
        for function in stack.functions()
        if binary_of(function) == binary
    }
    for method, path, binary in sorted(found ^ expected):
        which = "missing" if (method, path, binary) in expected else "unexpected"
        yield f"{which}: {method} {path} → {binary}"


@rule
def preflight_needs_no_function(stack: Expansion) -> Iterator[str]:
    """Browsers cannot sign a preflight: API Gateway answers it on every route, so that a page can also read
    404s and 405s."""
    preflights = {path: found for method, path, found in stack.methods() if method == "OPTIONS"}
    for path in sorted({route.split(" ")[1] for route in ROUTES} - preflights.keys()):
        yield f"{path}: no preflight"
    for path, found in preflights.items():
        if found["type"] != "mock" or "uri" in found:
            yield f"{path}: not a mock integration"
        if found.get("contentHandling") != "CONVERT_TO_TEXT":
            yield f"{path}: without CONVERT_TO_TEXT it answers 500, since every media type is binary"
        sent = found.get("responses", {}).get("default", {}).get("responseParameters", {})
        allowed = listed(sent.get("method.response.header.Access-Control-Allow-Headers"))
        if missing := SIGNED_HEADERS - allowed:
            yield f"{path}: does not allow {sorted(missing)}"
        origin = sent.get("method.response.header.Access-Control-Allow-Origin")
        if origin is None or text(origin) != "'${AllowedOrigin}'":
            yield f"{path}: the origin is not the parameter's"


@rule
def bodies_stay_bytes(stack: Expansion) -> Iterator[str]:
    """All media types are binary: API Gateway would decode multipart and audio bodies as UTF-8."""
    if (types := stack.api().get("x-amazon-apigateway-binary-media-types")) != ["*/*"]:
        yield f"binary media types are {types}"


@rule
def own_errors_have_the_error_body(stack: Expansion) -> Iterator[str]:
    """API Gateway's own errors have the form of the functions' errors, also in a browser."""
    responses = stack.api().get("x-amazon-apigateway-gateway-responses", {})
    for kind in sorted(OWN_ERRORS.keys() - responses.keys()):
        yield f"{kind}: not given"
    for kind, response in responses.items():
        template = response["responseTemplates"]["application/json"]
        # Any other variable could hold a client's text, and none of them is escaped.
        known = template.replace("$context.extendedRequestId", "id")
        body = json.loads(known.replace("$context.error.responseType", kind))
        if "$" in json.dumps(body):
            yield f"{kind}: quotes {template}"
        error = body.get("error", {})
        status = response.get("statusCode")
        # The functions' own form and Anthropic's at once: the path cannot choose between them here.
        members = {"type", "code", "message", "metadata"}
        envelope = {"success": False, "type": "error", "error": error, "request_id": "id"}
        if body != envelope or set(error) != members:
            yield f"{kind}: not the error body: {body}"
        elif str(error["code"]) != (kind if status is None else status):
            yield f"{kind}: code {error['code']} under status {status}"
        if status != OWN_ERRORS.get(kind):
            yield f"{kind}: status {status}, expected {OWN_ERRORS.get(kind)}"
        sent = response["responseParameters"]
        if missing := EXPOSED_HEADERS - listed(
            sent.get("gatewayresponse.header.Access-Control-Expose-Headers")
        ):
            yield f"{kind}: does not expose {sorted(missing)}"
        if ("gatewayresponse.header.Retry-After" in sent) != (status in {"429", "503"}):
            yield f"{kind}: wrong about Retry-After"
        advice = "'false'" if kind in MAY_BE_BILLED else "'true'" if status in {"429", "503"} else None
        if sent.get("gatewayresponse.header.x-should-retry") != advice:
            yield f"{kind}: wrong about x-should-retry"


@rule
def iam_has_no_wildcards(stack: Expansion) -> Iterator[str]:
    """Own statements name their resources; AWS's policies are only for logs and traces."""
    for name, role in stack.of_type("AWS::IAM::Role").items():
        for policy in role.get("ManagedPolicyArns", []):
            if text(policy).rsplit("/", 1)[-1] not in MANAGED_POLICIES:
                yield f"{name}: managed policy {policy}"
        for statement in statements(role):
            resources = as_list(statement["Resource"])
            if any("Fn::GetAtt" not in resource and "*" in text(resource) for resource in resources):
                yield f"{name}: Resource {statement['Resource']}"
            if any("*" in action for action in as_list(statement["Action"])):
                yield f"{name}: Action {statement['Action']}"


@rule
def only_who_needs_a_secret_reads_it(stack: Expansion) -> Iterator[str]:
    """Functions read only the secrets that they need: the keyset, and the management key if there is one."""
    for function, (_, properties) in stack.functions().items():
        granted = {
            (condition, action, text(resource))
            for condition, statement in conditional_statements(stack.role_of(properties))
            for action in as_list(statement["Action"])
            for resource in as_list(statement["Resource"])
            if action == "*" or action.startswith("secretsmanager:") or ":secretsmanager:" in text(resource)
        }
        expected = set()
        if binary_of(function) in SEALS_OR_OPENS_KEYS:
            expected.add(("", "secretsmanager:GetSecretValue", SECRET_ARN % "KeysetSecretName"))
        if condition := MANAGES_KEYS.get(binary_of(function)):
            arn = SECRET_ARN % "ManagementKeySecretName"
            expected.add((condition, "secretsmanager:GetSecretValue", arn))
        if granted != expected:
            yield f"{function}: {sorted(granted)}"
    for name, condition in CONDITIONS.items():
        if (found := stack.source["Conditions"].get(name)) != condition:
            yield f"{name} is {found}"


@rule
def reconciliation_is_scheduled(stack: Expansion) -> Iterator[str]:
    """Only one schedule runs reconciliation, and may invoke nothing else; no run outlives its leases."""
    name, function = stack.functions()["reconcile"]
    arn = {"Fn::GetAtt": [name, "Arn"]}
    schedules = list(stack.of_type("AWS::Scheduler::Schedule").values())
    if len(schedules) != 1:
        yield f"{len(schedules)} schedules"
    for schedule in schedules:
        target = schedule["Target"]
        if "${AWS::StackName}" not in text(schedule.get("Name", "")):
            yield f"two stacks of an account would both name it {schedule.get('Name')}"
        if target["Arn"] != arn:
            yield f"it starts {target['Arn']}"
        when = (schedule["ScheduleExpression"], schedule.get("State"))
        if when != ({"Ref": "ReconcileSchedule"}, "ENABLED"):
            yield f"it runs at {when}"
        if target.get("RetryPolicy", {}).get("MaximumRetryAttempts") != 0:
            yield "a run that could not be started is tried again beside the next one"
        role = stack.resources[target["RoleArn"]["Fn::GetAtt"][0]]["Properties"]
        granted = [(as_list(it["Action"]), as_list(it["Resource"])) for it in statements(role)]
        if granted != [(["lambda:InvokeFunction"], [arn])]:
            yield f"its role grants {granted}"
    retries = [
        config["MaximumRetryAttempts"]
        for config in stack.of_type("AWS::Lambda::EventInvokeConfig").values()
        if config["FunctionName"] == {"Ref": name}
    ]
    if retries != [0]:
        yield f"Lambda repeats a failed run: {retries}"
    if function["Timeout"] >= LEASE_SECONDS:
        yield f"a run may last {function['Timeout']} s, its rows are its own for {LEASE_SECONDS}"


@rule
def environment_is_exact(stack: Expansion) -> Iterator[str]:
    """Each function has exactly the variables of environment.json."""
    functions = stack.functions()
    for binary in sorted(ENVIRONMENT.keys() - functions.keys()):
        yield f"{binary}: there is no such function"
    for name, (_, function) in functions.items():
        given = set(variables(function))
        for variable in sorted(given ^ set(ENVIRONMENT.get(binary_of(name), []))):
            yield f"{name}: {variable} is {'not read' if variable in given else 'not given'}"


@rule
def secrets_are_dynamic_references(stack: Expansion) -> Iterator[str]:
    """No template contains a secret's value; health and the console have no secret."""
    for function, (_, properties) in stack.functions().items():
        for name, value in variables(properties).items():
            secret = "SECRET_KEY" in name
            resolved = "{{resolve:" in json.dumps(value)
            if secret and value != {"Fn::Sub": "{{resolve:secretsmanager:${SupabaseSecretName}}}"}:
                yield f"{function}: {name} is {value}"
            if function in {"health", "console"} and (resolved or "SECRET" in name):
                yield f"{function}: {name} gives it a secret"


@rule
def logs_expire(stack: Expansion) -> Iterator[str]:
    """Each function logs to a group of its own with a retention."""
    used: dict[str, str] = {}
    for name, (_, function) in stack.functions().items():
        group = function.get("LoggingConfig", {}).get("LogGroup", {}).get("Ref")
        properties = stack.of_type("AWS::Logs::LogGroup").get(group)
        if properties is None:
            yield f"{name}: no log group of the stack"
        elif "RetentionInDays" not in properties:
            yield f"{name}: {group} keeps logs without an end"
        elif used.setdefault(group, binary_of(name)) != binary_of(name):
            yield f"{name}: shares {group}"


@rule
def binaries_exist(stack: Expansion) -> Iterator[str]:
    """Each function that `sam build` builds is a crate, and API Gateway calls it by its name."""
    for function, (name, properties) in stack.functions().items():
        metadata = stack.resources[name]["Metadata"]
        binary = metadata["BuildProperties"]["Binary"]
        if (
            metadata["BuildMethod"] != "rust-cargolambda"
            or not (ROOT / "functions" / binary / "Cargo.toml").is_file()
        ):
            yield f"{name}: cannot be built: {metadata}"
        if binary != binary_of(function) or function == text(properties["FunctionName"]):
            yield f"{name}: runs {binary} under the name {properties['FunctionName']}"


@rule
def proxies_are_alike(stack: Expansion) -> Iterator[str]:
    """The two proxies differ only in their compute."""
    functions = stack.functions()
    if stack.proxy not in functions:
        yield f"there is no {stack.proxy}"
    if "managed-proxy" not in functions:
        return
    _, managed = functions["managed-proxy"]
    _, other = functions["proxy"]
    for name in sorted((managed.keys() | other.keys()) - WHERE_IT_RUNS):
        if managed.get(name) != other.get(name):
            yield f"{name}: {managed.get(name)} and {other.get(name)}"
    if statements(stack.role_of(managed)) != statements(stack.role_of(other)):
        yield "they may do different things"


@rule
def managed_instances_are_bounded(stack: Expansion) -> Iterator[str]:
    """Managed Instances exist only if they are wanted; their architecture fits and a parameter bounds them."""
    providers = stack.of_type("AWS::Lambda::CapacityProvider")
    for name, (_, function) in stack.functions().items():
        config = function.get("CapacityProviderConfig", {}).get("LambdaManagedInstancesCapacityProviderConfig")
        if (config is not None) != (name == "managed-proxy"):
            yield f"{name}: runs on {config}"
        elif config is not None:
            if [config["CapacityProviderArn"]] != [{"Fn::GetAtt": [it, "Arn"]} for it in providers]:
                yield f"{name}: its instances are {config['CapacityProviderArn']}"
            if function.get("PublishToLatestPublished") is not True:
                yield f"{name}: deploying it again changes nothing that runs"
            if "ReservedConcurrentExecutions" in function:
                yield f"{name}: instances take no reserved concurrency"
    if bool(providers) != ("managed-proxy" in stack.functions()):
        yield f"{sorted(providers)} without need"
    for name, provider in providers.items():
        if provider["CapacityProviderScalingConfig"].get("MaxVCpuCount") != {"Ref": "ManagedInstanceMaxVCpus"}:
            yield f"{name}: nothing bounds its costs"
        if provider["InstanceRequirements"]["Architectures"] != [{"Ref": "Architecture"}]:
            yield f"{name}: {provider['InstanceRequirements']['Architectures']}"
    least = stack.source["Parameters"]["ManagedInstanceMemorySize"]["MinValue"]
    if least < 2048:
        yield f"Lambda refuses {least} MB there"


@rule
def endpoint_lets_streams_idle(stack: Expansion) -> Iterator[str]:
    """The endpoint is regional, which permits 5 minutes of silence; edge-optimised permits 30 seconds."""
    (api,) = stack.of_type("AWS::ApiGateway::RestApi").values()
    if api.get("EndpointConfiguration", {}).get("Types") != ["REGIONAL"]:
        yield f"{api.get('EndpointConfiguration')}"
    for name, deployment in stack.of_type("AWS::ApiGateway::Deployment").items():
        if "StageName" in deployment:
            yield f"{name}: makes a second stage, {deployment['StageName']}, that nothing throttles"


@rule
def parameters_reach_the_stage(stack: Expansion) -> Iterator[str]:
    """A new AllowedOrigin or ProxyCompute makes a new deployment, without which the stage would not change."""
    if stack.source["Resources"]["Api"]["Properties"].get("AlwaysDeploy") is not True:
        yield "the stage is deployed again only if the definition's text differs"


@rule
def nothing_waits_for_itself(stack: Expansion) -> Iterator[str]:
    """There are no circular dependencies, which CloudFormation refuses only when it deploys."""
    graph = {
        name: {other for other in references(resource) if other in stack.resources} - {name}
        for name, resource in stack.resources.items()
    }
    while free := {name for name, needs in graph.items() if not needs}:
        graph = {name: needs - free for name, needs in graph.items() if name not in free}
    if graph:
        yield f"circular: {', '.join(sorted(graph))}"


@rule
def parameters_guard_themselves(stack: Expansion) -> Iterator[str]:
    """All parameters are described; their patterns accept good values and refuse those that would fail later."""
    parameters = stack.source["Parameters"]
    for name, parameter in parameters.items():
        if not parameter.get("Description"):
            yield f"{name}: no description"
        if parameter["Type"] == "String" and not {"AllowedPattern", "AllowedValues"} & parameter.keys():
            yield f"{name}: takes anything"
    for name, cases in PARAMETER_CASES.items():
        # CloudFormation matches a pattern with the whole value.
        pattern = re.compile(parameters[name]["AllowedPattern"])
        for value, allowed in cases.items():
            if bool(pattern.fullmatch(value)) != allowed:
                yield f"{name}: {value!r} is {'refused' if allowed else 'taken'}"


PARAMETER_CASES: dict[str, dict[str, bool]] = {
    "Audiences": {
        "": True,
        "https://gw.example.com": True,
        "https://gw.example.com/llm,https://abc123.execute-api.us-east-1.amazonaws.com/Prod": True,
        ",".join(["https://gw.example.com"] * 4): True,
        ",".join(["https://gw.example.com"] * 5): False,
        "https://gw.example.com/": False,
        "https://gw.example.com,": False,
        "https://a.example.comhttps://b.example.com": False,
        "https://GW.example.com": False,
        "http://gw.example.com": False,
    },
    "AllowedOrigin": {
        "*": True,
        "https://app.example.com": True,
        "http://localhost:5173": True,
        "https://app.example.com/": False,
        "https://a.example.com,https://b.example.com": False,
        "https://a.example.com'": False,
    },
    "AllowedPathFamilies": {
        "": True,
        "credits": True,
        "credits,auth/keys,private-endpoints": True,
        "models": False,
        "credits,": False,
        "creditskeys": False,
    },
    "DidWebHosts": {
        "": True,
        "*": True,
        "example.com": True,
        "example.com,id.example.com:8443,xn--bcher-kva.example": True,
        "*.example.com": False,
        "*,example.com": False,
        "example.com,": False,
        "Example.com": False,
        "localhost": False,
        "127.0.0.1": False,
        "https://example.com": False,
    },
    "WebAclArn": {
        "": True,
        "arn:aws:wafv2:us-east-1:123456789012:regional/webacl/gw/01234567-89ab-cdef-0123-456789abcdef": True,
        "arn:aws:wafv2:us-east-1:123456789012:global/webacl/gw/01234567-89ab-cdef-0123-456789abcdef": False,
        "gw": False,
    },
    "PermissionsBoundaryArn": {
        "": True,
        "arn:aws:iam::123456789012:policy/llm-gateway-deploy-Boundary-0123456789AB": True,
        "arn:aws:iam::123456789012:role/x": False,
        "*": False,
    },
    "UpstreamIdleTimeoutMs": {"": True, "1": True, "899999": True, "900000": True, "900001": False, "0": False},
    "KeysetCacheSeconds": {"": True, "1": True, "300": True, "0": False, "301": False},
    "ManagedInstanceSubnets": {
        "": True,
        "subnet-0a1b2c3d": True,
        "subnet-0a1b2c3d,subnet-0a1b2c3e": True,
        "subnet-0a1b2c3d,": False,
        "vpc-0a1b2c3d": False,
    },
    "SupabaseUrl": {
        "https://abcdefgh.supabase.co": True,
        "https://abcdefgh.supabase.co/rest/v1": False,
        "": False,
    },
    "ReconcileSchedule": {
        "rate(5 minutes)": True,
        "cron(0/5 * * * ? *)": True,
        "rate(0 minutes)": False,
        "5 minutes": False,
        "": False,
    },
    "OpenRouterBaseUrl": {"https://openrouter.ai/api/v1": True, "https://openrouter.ai/api/v1/": False},
    "ManagementKeySecretName": {"": True, "llm-gateway/management": True, "*": False, "a:b": False},
    "ProvisionKeysFor": {
        "off": True,
        "anyone": True,
        "did:key:z6MkgszBQJH1xBExaxT1M8K441Z19BjALPu9anFjLZSU7rK6": True,
        "did:key:z6MkgszBQJH1xBExaxT1M8K441Z19BjALPu9anFjLZSU7rK6,did:jwk:eyJrdHkiOiJPS1AifQ": True,
        "": False,
        "everyone": False,
        "did:web:example.com%3A8443:users:7,did:key:z6Mk": True,
        "did:example:123": False,
        "did:key:z6Mk,": False,
        "anyone,did:key:z6Mk": False,
    },
    "ProvisionedKeyLimitUsd": {"1": True, "0.5": True, "100": True, "0": False, "0.0": False, "-1": False, "": False},
    "KeysetSecretName": {"llm-gateway/keyset": True, "*": False, "": False, "a:b": False},
    "SupabaseSecretName": {"llm-gateway/supabase": True, "a}}": False, "name:SecretString:key": False},
}


def integrations_of(stack: Expansion, binary: str) -> dict[str, dict[str, Any]]:
    """The integrations that invoke a function, by route."""
    return {
        f"{method} {path}": found
        for method, path, found in stack.methods()
        if bound_function(stack, found) == binary
    }


def bound_function(stack: Expansion, integration: dict[str, Any]) -> str | None:
    """The binary that an integration invokes, named in its URI by function name or by logical id."""
    if integration.get("type") != "aws_proxy":
        return None
    uri = text(integration["uri"])
    for binary, (name, function) in stack.functions().items():
        by_name = f":function:{text(function['FunctionName'])}/"
        if by_name in uri or f"functions/${{{name}.Arn}}/" in uri:
            return binary
    return None


def variables(function: dict[str, Any]) -> dict[str, Any]:
    """The variables of a function's environment."""
    return function.get("Environment", {}).get("Variables", {})


def statements(role: dict[str, Any]) -> list[dict[str, Any]]:
    """All statements of a role's own policies, under any condition."""
    return [statement for _, statement in conditional_statements(role)]


def conditional_statements(role: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """All statements with their conditions: a name, with an exclamation mark if it must not hold, or an empty
    text."""
    for policy in role.get("Policies", []):
        for statement in as_list(policy["PolicyDocument"]["Statement"]):
            if "Fn::If" not in statement:
                yield "", statement
                continue
            condition, then, otherwise = statement["Fn::If"]
            for name, branch in ((condition, then), (f"!{condition}", otherwise)):
                if branch != {"Ref": "AWS::NoValue"}:
                    yield name, branch


def as_list(value: Any) -> list[Any]:
    """A list, for which IAM may write its only item."""
    return value if isinstance(value, list) else [value]


def listed(value: str | None) -> set[str]:
    """The names in a quoted, comma-separated header value."""
    return set((value or "").strip("'").split(","))
