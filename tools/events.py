#!/usr/bin/env python3
"""Writes the sample events: one per route and per refusal, signed.

    python tools/events.py                                    the committed ones, at the tests' clock
    python tools/events.py --now --audience URL --out DIR     fresh ones, which a running gateway accepts
    python tools/events.py --vectors x_did_v1.json            compares the signer with known signatures

Needs only `cryptography`. Signing is x-did-v1, written out in `signing_string`.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import secrets
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, unquote, urlencode, urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

# RFC 8032, section 7.1, test 1: published, so it protects nothing.
SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
DID_KEY = "did:key:z6MktwupdmLXVVqTzCw4i46r4uGyosGXRnR3XjN4Zq7oMMsw"
# 2025-01-01T00:00:00Z, where the clock of the tests stands.
TEST_CLOCK = 1_735_689_600
TEST_AUDIENCE = "https://gw.example.com"

SOURCE_IP = "203.0.113.7"
ACCOUNT = "123456789012"
USER_AGENT = "llm-gateway-events/1"

OPENROUTER = "/api/v1/openrouter"
USAGE = "/api/v1/usage"
JSON_TYPE = {"content-type": "application/json"}


@dataclass(frozen=True)
class Clock:
    """When and for whom events are signed."""

    now: int
    audience: str
    fresh: bool


@dataclass(frozen=True)
class Credentials:
    """How a request is signed; the defaults make a request that passes."""

    did: str = DID_KEY
    offset: int = 0
    """Seconds between the clock and the signature."""
    audience: str | None = None
    """Another gateway's, instead of this one's."""
    signed_body: bytes | None = None
    """What is signed instead of the body that is sent."""
    sent: dict[str, str] = field(default_factory=dict)
    """Credential headers that are sent instead of the right ones."""


@dataclass(frozen=True)
class Sample:
    """One request and what the gateway answers to it."""

    name: str
    why: str
    status: int
    reason: str | None
    method: str
    path: str
    """As the client sends it, still percent-encoded."""
    query: tuple[tuple[str, str], ...] = ()
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    credentials: Credentials | None = None

    @property
    def function(self) -> str:
        return "health" if self.name.startswith("root-") else self.name.split("-")[0]

    @property
    def version(self) -> int:
        """1: REST API, unless the name ends in -v2: Function URL, HTTP API, `cargo lambda watch`."""
        return 2 if self.name.endswith("-v2") else 1


def chat(stream: bool = False, **more: object) -> bytes:
    """A small chat request."""
    request = {
        "model": "openai/gpt-4o-mini",
        "messages": [{"role": "user", "content": "Say hello in Chinese: 你好"}],
    }
    return json.dumps(request | ({"stream": True} if stream else {}) | more, ensure_ascii=False).encode()


def transcription() -> bytes:
    """A multipart form with bytes that are not UTF-8."""
    return (
        b'--boundary\r\nContent-Disposition: form-data; name="model"\r\n\r\nopenai/whisper-1\r\n'
        b'--boundary\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n'
        b"Content-Type: audio/wav\r\n\r\nRIFF\xff\xfe\x00\x80WAVE\r\n--boundary--\r\n"
    )


def did_jwk() -> str:
    """The same key, as did:jwk."""
    public = Ed25519PrivateKey.from_private_bytes(SEED).public_key().public_bytes_raw()
    return "did:jwk:" + base64url(
        json.dumps({"kty": "OKP", "crv": "Ed25519", "x": base64url(public)}, separators=(",", ":")).encode()
    )


def samples() -> Iterator[Sample]:
    """All of them."""
    yield Sample("root-v1", "the service names itself", 200, None, "GET", "/")
    yield Sample("health-v1", "", 200, None, "GET", "/api/v1/health")
    yield Sample("health-v2", "", 200, None, "GET", "/api/v1/health")
    yield Sample(
        "health-deep",
        "asks the storage and OpenRouter too",
        200,
        None,
        "GET",
        "/api/v1/health",
        (("deep", "true"),),
    )
    yield Sample(
        "health-not-found-v2",
        "a Function URL routes nothing itself",
        404,
        "not_found",
        "GET",
        "/api/v2/health",
    )

    signed = Credentials()
    completions = f"{OPENROUTER}/chat/completions"
    yield Sample("proxy-chat-v1", "", 200, None, "POST", completions, (), JSON_TYPE, chat(), signed)
    yield Sample(
        "proxy-chat-stream-v1",
        "server-sent events",
        200,
        None,
        "POST",
        completions,
        (),
        JSON_TYPE,
        chat(stream=True),
        signed,
    )
    yield Sample(
        "proxy-chat-stream-v2",
        "server-sent events",
        200,
        None,
        "POST",
        completions,
        (),
        JSON_TYPE,
        chat(stream=True),
        signed,
    )
    form = {"content-type": "application/x-www-form-urlencoded"}
    yield Sample(
        "proxy-chat-form-content-type-v1",
        "`curl -d` without a content type",
        200,
        None,
        "POST",
        completions,
        (),
        form,
        chat(),
        signed,
    )
    yield Sample(
        "proxy-chat-did-jwk-v1",
        "the same key as did:jwk",
        200,
        None,
        "POST",
        completions,
        (),
        JSON_TYPE,
        chat(),
        Credentials(did=did_jwk()),
    )
    messages = json.dumps(
        {
            "model": "anthropic/claude-sonnet-4.6",
            "max_tokens": 64,
            "messages": [{"role": "user", "content": "Hello!"}],
        }
    ).encode()
    yield Sample(
        "proxy-messages-v1",
        "Anthropic's SDKs say v1 once more",
        200,
        None,
        "POST",
        f"{OPENROUTER}/v1/messages",
        (),
        JSON_TYPE | {"anthropic-version": "2023-06-01", "authorization": "Bearer unused"},
        messages,
        signed,
    )
    multipart = {"content-type": "multipart/form-data; boundary=boundary"}
    yield Sample(
        "proxy-transcription-v1",
        "a body that is not UTF-8",
        200,
        None,
        "POST",
        f"{OPENROUTER}/audio/transcriptions",
        (),
        multipart,
        transcription(),
        signed,
    )
    yield Sample(
        "proxy-models-get-v1",
        "a query in no canonical order, with a repeated name",
        200,
        None,
        "GET",
        f"{OPENROUTER}/models",
        (("q", "a b/你"), ("category", "programming"), ("category", "legal")),
        {},
        b"",
        signed,
    )
    yield Sample(
        "proxy-models-get-v2",
        "an encoded path",
        200,
        None,
        "GET",
        f"{OPENROUTER}/models/deepseek/deepseek-r1%3Afree/endpoints",
        (),
        {},
        b"",
        signed,
    )

    yield Sample(
        "proxy-missing-credentials",
        "",
        401,
        "missing_credentials",
        "POST",
        completions,
        (),
        JSON_TYPE,
        chat(),
    )
    for name, why, reason, credentials in refused_credentials():
        yield Sample(
            f"proxy-{name}", why, 401, reason, "POST", completions, (), JSON_TYPE, chat(), credentials
        )
    yield Sample(
        "proxy-path-not-allowed",
        "needs a management key",
        403,
        "path_not_allowed",
        "GET",
        f"{OPENROUTER}/keys",
        (),
        {},
        b"",
        signed,
    )
    yield Sample(
        "proxy-content-encoding",
        "the signature covers the plain bytes only",
        415,
        "content_encoding_not_supported",
        "POST",
        completions,
        (),
        JSON_TYPE | {"content-encoding": "gzip"},
        chat(),
        signed,
    )
    yield Sample(
        "proxy-malformed-path",
        "an encoded slash",
        400,
        "malformed_path",
        "GET",
        f"{OPENROUTER}/models/a%2F..%2Fkeys",
        (),
        {},
        b"",
        signed,
    )

    month = (("start_date", "2025-01-01"), ("end_date", "2025-01-31"))
    yield Sample("usage-v1", "", 200, None, "GET", USAGE, month, {}, b"", signed)
    yield Sample("usage-v2", "", 200, None, "GET", USAGE, month, {}, b"", signed)
    yield Sample(
        "usage-requests-v1", "", 200, None, "GET", f"{USAGE}/requests", (("limit", "20"),), {}, b"", signed
    )
    yield Sample("usage-missing-credentials", "", 401, "missing_credentials", "GET", USAGE, month)
    yield Sample(
        "usage-bad-date",
        "no such day",
        400,
        "invalid_parameter",
        "GET",
        USAGE,
        (("start_date", "2025-02-30"),),
        {},
        b"",
        signed,
    )
    yield Sample(
        "usage-method-not-allowed-v2",
        "a Function URL routes nothing itself",
        405,
        "method_not_allowed",
        "POST",
        USAGE,
        (),
        JSON_TYPE,
        b"{}",
        signed,
    )


def refused_credentials() -> Iterator[tuple[str, str, str, Credentials]]:
    """What is wrong with a signature, beyond its absence: name, why, reason, credentials."""
    yield "malformed-did", "no DID at all", "malformed_did", Credentials(sent={"x-did": "alice"})
    yield (
        "unsupported-did-method",
        "the original README's example",
        "unsupported_did_method",
        Credentials(did="did:example:123"),
    )
    p256 = "did:key:zDnaerx9CtbPJ1q36T5Ln5wYt3MQYeGRG5ehnPAmxcf5mDZpv"
    yield "unsupported-key-type", "a P-256 key", "unsupported_key_type", Credentials(did=p256)
    yield (
        "malformed-timestamp",
        "a date",
        "malformed_timestamp",
        Credentials(sent={"x-did-timestamp": "2025-01-01T00:00:00Z"}),
    )
    yield "expired-timestamp", "signed 301 s ago", "timestamp_out_of_window", Credentials(offset=-301)
    yield (
        "future-timestamp",
        "signed 10 min ahead of the gateway's clock",
        "timestamp_out_of_window",
        Credentials(offset=600),
    )
    yield (
        "malformed-signature",
        "not 64 bytes",
        "malformed_signature",
        Credentials(sent={"x-did-signature": "c2lnbmF0dXJl"}),
    )
    yield (
        "malformed-nonce",
        "shorter than 16 characters",
        "malformed_nonce",
        Credentials(sent={"x-did-nonce": "short"}),
    )
    yield (
        "invalid-signature",
        "the body was changed after signing",
        "invalid_signature",
        Credentials(signed_body=chat(max_tokens=1)),
    )
    yield (
        "wrong-audience",
        "signed for another gateway",
        "invalid_signature",
        Credentials(audience="https://other.example.com"),
    )


def signing_string(
    audience: str, did: str, timestamp: str, nonce: str, method: str, path: str, query: str, body: bytes
) -> bytes:
    """The bytes that are signed; path and query in canonical form."""
    digest = hashlib.sha256(body).hexdigest()
    return "\n".join(["x-did-v1", audience, did, timestamp, nonce, method, path, query, digest]).encode()


def canonical_query(pairs: tuple[tuple[str, str], ...]) -> str:
    """RFC 3986 encoding, always with `=`, sorted by encoded name, then value."""
    encoded = sorted((quote(name, safe="~"), quote(value, safe="~")) for name, value in pairs)
    return "&".join(f"{name}={value}" for name, value in encoded)


def sign(message: bytes) -> str:
    return base64url(Ed25519PrivateKey.from_private_bytes(SEED).sign(message))


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def credential_headers(sample: Sample, clock: Clock) -> dict[str, str]:
    """The four headers, for a sample that has credentials."""
    credentials = sample.credentials
    if credentials is None:
        return {}
    # Fresh events can be sent again and again; the committed ones never change.
    nonce = (
        secrets.token_urlsafe(16)
        if clock.fresh
        else base64url(hashlib.sha256(sample.name.encode()).digest()[:16])
    )
    timestamp = str(clock.now + credentials.offset)
    body = sample.body if credentials.signed_body is None else credentials.signed_body
    message = signing_string(
        credentials.audience or clock.audience,
        credentials.did,
        timestamp,
        nonce,
        sample.method,
        unquote(sample.path),
        canonical_query(sample.query),
        body,
    )
    right = {
        "x-did": credentials.did,
        "x-did-timestamp": timestamp,
        "x-did-nonce": nonce,
        "x-did-signature": sign(message),
    }
    return right | credentials.sent


def event(sample: Sample, clock: Clock) -> dict[str, object]:
    """The event that the function gets."""
    return (rest_event if sample.version == 1 else url_event)(sample, clock)


def rest_event(sample: Sample, clock: Clock) -> dict[str, object]:
    """REST API, Lambda proxy integration.

    Headers keep the client's spelling; the query arrives decoded and without its order; with */* as
    binary media type every body is base64.
    https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html
    """
    audience = urlsplit(clock.audience)
    host, base = audience.netloc, audience.path
    request_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{sample.name}/{clock.now}"))
    headers = (
        {
            "Accept": "*/*",
            "Host": host,
            "User-Agent": USER_AGENT,
            "X-Amzn-Trace-Id": trace_id(sample, clock),
            "X-Forwarded-For": SOURCE_IP,
            "X-Forwarded-Port": "443",
            "X-Forwarded-Proto": "https",
        }
        | sample.headers
        | credential_headers(sample, clock)
    )
    many: dict[str, list[str]] = {}
    for name, value in sample.query:
        many.setdefault(name, []).append(value)
    greedy = sample.path.startswith(f"{OPENROUTER}/")
    resource = f"{OPENROUTER}/{{proxy+}}" if greedy else sample.path
    return {
        "resource": resource,
        "path": sample.path,
        "httpMethod": sample.method,
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        # Of a repeated name the last value.
        "queryStringParameters": {name: values[-1] for name, values in many.items()} or None,
        "multiValueQueryStringParameters": many or None,
        "pathParameters": {"proxy": sample.path.removeprefix(f"{OPENROUTER}/")} if greedy else None,
        "stageVariables": None,
        "requestContext": {
            "resourceId": "a1b2c3",
            "resourcePath": resource,
            "httpMethod": sample.method,
            "extendedRequestId": "Dg4XkHxVoAMEVcw=",
            "requestTime": request_time(clock),
            # With the stage (execute-api) or the domain's base path in front.
            "path": base + sample.path,
            "accountId": ACCOUNT,
            "protocol": "HTTP/1.1",
            "stage": "prod",
            "domainPrefix": host.split(".")[0],
            "requestTimeEpoch": clock.now * 1000,
            "requestId": request_id,
            "identity": {
                "cognitoIdentityPoolId": None,
                "accountId": None,
                "cognitoIdentityId": None,
                "caller": None,
                "sourceIp": SOURCE_IP,
                "principalOrgId": None,
                "accessKey": None,
                "cognitoAuthenticationType": None,
                "cognitoAuthenticationProvider": None,
                "userArn": None,
                "userAgent": USER_AGENT,
                "user": None,
            },
            "domainName": host,
            "deploymentId": "d4e5f6",
            "apiId": "abc123defg",
        },
        "body": base64.b64encode(sample.body).decode() if sample.body else None,
        "isBase64Encoded": bool(sample.body),
    }


def url_event(sample: Sample, clock: Clock) -> dict[str, object]:
    """Function URL: payload format 2.0. Header names are lower case; JSON arrives as text.

    https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html
    """
    host = urlsplit(clock.audience).netloc
    headers = (
        {
            "accept": "*/*",
            "host": host,
            "user-agent": USER_AGENT,
            "x-amzn-tls-cipher-suite": "TLS_AES_128_GCM_SHA256",
            "x-amzn-tls-version": "TLSv1.3",
            "x-amzn-trace-id": trace_id(sample, clock),
            "x-forwarded-for": SOURCE_IP,
            "x-forwarded-port": "443",
            "x-forwarded-proto": "https",
        }
        | sample.headers
        | credential_headers(sample, clock)
    )
    value: dict[str, object] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": sample.path,
        "rawQueryString": urlencode(sample.query),
        "headers": headers,
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "abcdefghijklmnopqrstuvwxyz012345",
            "domainName": host,
            "domainPrefix": host.split(".")[0],
            "http": {
                "method": sample.method,
                "path": sample.path,
                "protocol": "HTTP/1.1",
                "sourceIp": SOURCE_IP,
                "userAgent": USER_AGENT,
            },
            "requestId": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{sample.name}/{clock.now}")),
            "routeKey": "$default",
            "stage": "$default",
            "time": request_time(clock),
            "timeEpoch": clock.now * 1000,
        },
        "isBase64Encoded": False,
    }
    if sample.query:
        many: dict[str, str] = {}
        for name, item in sample.query:
            many[name] = f"{many[name]},{item}" if name in many else item
        value["queryStringParameters"] = many
    if sample.body:
        value["body"] = sample.body.decode()
    return value


def trace_id(sample: Sample, clock: Clock) -> str:
    return f"Root=1-{clock.now:08x}-{hashlib.sha256(sample.name.encode()).hexdigest()[:24]}"


def request_time(clock: Clock) -> str:
    """As API Gateway writes it, e.g. 01/Jan/2025:00:00:00 +0000."""
    return datetime.fromtimestamp(clock.now, UTC).strftime("%d/%b/%Y:%H:%M:%S +0000")


def files(clock: Clock) -> dict[str, str]:
    """Everything to write, by file name."""
    every = list(samples())
    written = {f"{sample.name}.json": as_json(event(sample, clock)) for sample in every}
    expected = {
        f"{sample.name}.json": {"function": sample.function, "status": sample.status, "reason": sample.reason}
        for sample in every
    }
    rows = "".join(
        f"| `{sample.name}.json` | {sample.method} `{sample.path}` | {sample.status} | {f'`{sample.reason}`' if sample.reason else ''} | {sample.why} |\n"
        for sample in every
    )
    return written | {"expected.json": as_json(expected), "README.md": README.format(rows=rows)}


def as_json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def differences(directory: Path) -> list[str]:
    """How the committed events differ from what this program writes."""
    right = files(Clock(TEST_CLOCK, TEST_AUDIENCE, fresh=False))
    there = (
        {path.name: path.read_text(encoding="utf-8") for path in directory.iterdir()}
        if directory.is_dir()
        else {}
    )
    return [
        f"{name}: {'missing' if name not in there else 'unknown' if name not in right else 'differs'}"
        for name in sorted(right.keys() | there.keys())
        if right.get(name) != there.get(name)
    ]


def check_vectors(path: Path) -> list[str]:
    """The cases of a vector file that this program would sign otherwise."""
    vectors = json.loads(path.read_text(encoding="utf-8"))
    if bytes.fromhex(vectors["secret_key_seed_hex"]) != SEED or not vectors["cases"]:
        return ["made with another key, or empty"]
    wrong = []
    for number, case in enumerate(vectors["cases"]):
        pairs = tuple(split_query(case["query"]))
        message = signing_string(
            case["aud"],
            case["did"],
            case["ts"],
            case["nonce"],
            case["method"],
            unquote(case["path"]),
            canonical_query(pairs),
            case["body"].encode(),
        )
        if message.decode() != case["canonical"] or sign(message) != case["sig"]:
            wrong.append(f"case {number}: signs {message.decode()!r} as {sign(message)}")
    return wrong


def split_query(query: str) -> Iterator[tuple[str, str]]:
    for pair in filter(None, query.split("&")):
        name, _, value = pair.partition("=")
        yield unquote(name.replace("+", " ")), unquote(value.replace("+", " "))


README = """\
# Sample events

One event per route and per refusal, as the functions get them: REST API events (production), and
those ending in `-v2` as Function URLs and `cargo lambda watch` send them. Written by
`tools/events.py`; change that, not the files. Tests load all of them with `expected.json`, which
says what each is answered with when storage and OpenRouter work.

They are signed with the key of RFC 8032's first test, for `https://gw.example.com`, at
2025-01-01T00:00:00Z, where the clock of the tests stands. A gateway with a running clock refuses
them as too old, so sign fresh ones for it, with an audience that is in its `GATEWAY_AUDIENCES`:

```bash
python tools/events.py --now --audience https://gw.example.com --out target/events
cargo lambda invoke proxy --data-file target/events/proxy-chat-v1.json
```

Sending one of these twice is refused as `replayed_request`; sign again instead.

| event | request | status | reason | note |
|---|---|---|---|---|
{rows}"""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--now", action="store_true", help="sign at the present time, with new nonces")
    parser.add_argument(
        "--audience", default=TEST_AUDIENCE, help="the gateway's public base URL (default: %(default)s)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(__file__).resolve().parent.parent / "events",
        help="folder to write to",
    )
    parser.add_argument(
        "--vectors", type=Path, metavar="FILE", help="only compare the signer with x-did-v1 vectors"
    )
    options = parser.parse_args()
    if options.vectors:
        wrong = check_vectors(options.vectors)
        print("\n".join(wrong) or "every signature agrees")
        return 1 if wrong else 0
    clock = Clock(int(time.time()) if options.now else TEST_CLOCK, options.audience, fresh=options.now)
    options.out.mkdir(parents=True, exist_ok=True)
    for name, content in files(clock).items():
        (options.out / name).write_text(content, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
