#!/usr/bin/env python3
"""Writes the sample events: one per route and per refusal, signed.

    python tools/events.py                                    the committed ones, at the tests' clock
    python tools/events.py --now --audience URL --out DIR     fresh ones, which a running gateway accepts

Signs with the Python client (clients/python), which needs `cryptography`.
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
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "clients" / "python" / "src"))

from cryptography.hazmat.primitives.asymmetric import ec, utils  # noqa: E402
from cryptography.hazmat.primitives.hashes import SHA256  # noqa: E402
from llmgw_auth import Identity, signature_base, signing_string  # noqa: E402

# RFC 8032, section 7.1, test 1: published, so it protects nothing.
SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
IDENTITY = Identity.from_seed(SEED)
# RFC 6979, appendix A.2.5, as public.
P256_KEY = ec.derive_private_key(
    0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721, ec.SECP256R1()
)
P256 = Identity(P256_KEY)
# Another DID of the same key.
DID_JWK = (
    "did:jwk:eyJrdHkiOiJPS1AiLCJjcnYiOiJFZDI1NTE5IiwieCI6IjExcVlBWUt4Q3JmVlNfN1R5V1FIT2c3aGN2UGFwaU1s"
    "cndJYWFQY0hVUm8ifQ"
)
# 2025-01-01T00:00:00Z, the time of the tests' clock.
TEST_CLOCK = 1_735_689_600
TEST_AUDIENCE = "https://gw.example.com"

SOURCE_IP = "203.0.113.7"
ACCOUNT = "123456789012"
USER_AGENT = "llm-gateway-events/1"

OPENROUTER = "/api/v1/openrouter"
USAGE = "/api/v1/usage"
REQUESTS = f"{USAGE}/requests"
CSV = ("format", "csv")
KEYS = "/api/v1/keys"
TOKENS = "/api/v1/tokens"
# The API's paths that are not greedy.
EXACT = ("/", "/api/v1/health", "/api/v1/health/database", USAGE, REQUESTS, KEYS, TOKENS)


@dataclass(frozen=True)
class Clock:
    """The time and the audience for which events are signed."""

    now: int
    audience: str
    fresh: bool


@dataclass(frozen=True)
class Credentials:
    """The credentials of a request; the defaults make a request that passes."""

    did: str = IDENTITY.did
    offset: int = 0
    """Seconds from the clock to the signature's time."""
    audience: str | None = None
    """The audience of another gateway, in place of this one."""
    signed_body: bytes | None = None
    """The body that is signed in place of the one that is sent."""
    scheme: str = "x-did-v1"
    sent: dict[str, str] = field(default_factory=dict)
    """Credential headers that replace the right ones."""


@dataclass(frozen=True)
class Sample:
    """A request, and the gateway's answer."""

    name: str
    method: str
    path: str
    """The path as the client sends it, percent-encoded."""
    query: tuple[tuple[str, str], ...] = ()
    raw_query: str | None = None
    """The query in place of `query`, in v2 events, which hold it encoded."""
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    """Headers beyond the usual ones; the content type of a body is JSON unless one is given."""
    credentials: Credentials | None = None
    status: int = 200
    reason: str | None = None
    note: str = ""

    @property
    def function(self) -> str:
        """The function that receives it."""
        return "health" if self.name.startswith("root-") else self.name.split("-")[0]

    @property
    def version(self) -> int:
        """The format of the event: 1 for a REST API; 2, if the name ends in -v2, for a Function URL, an HTTP API
        and `cargo lambda watch`."""
        return 2 if self.name.endswith("-v2") else 1

    def all_headers(self, fixed: dict[str, str], clock: Clock) -> dict[str, str]:
        """All headers of the event, given those that its format always has."""
        body_type = {"content-type": "application/json"} if self.body else {}
        return fixed | body_type | self.headers | credential_headers(self, clock)


def chat(stream: bool = False, **more: object) -> bytes:
    """A small chat request."""
    request = {
        "model": "openai/gpt-4o-mini",
        "messages": [{"role": "user", "content": "Say hello in Chinese: 你好"}],
    }
    return json.dumps(request | ({"stream": True} if stream else {}) | more, ensure_ascii=False).encode()


def messages() -> bytes:
    """A small request to the Messages API, whose SDKs add v1 to the path."""
    ask = {"role": "user", "content": "Hello!"}
    return json.dumps({"model": "anthropic/claude-sonnet-4.6", "max_tokens": 64, "messages": [ask]}).encode()


def transcription() -> bytes:
    """A multipart form with bytes that are not UTF-8."""
    return (
        b'--boundary\r\nContent-Disposition: form-data; name="model"\r\n\r\nopenai/whisper-1\r\n'
        b'--boundary\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n'
        b"Content-Type: audio/wav\r\n\r\nRIFF\xff\xfe\x00\x80WAVE\r\n--boundary--\r\n"
    )


SIGNED = Credentials()
MESSAGE = Credentials(scheme="rfc9421")
# CREATED stands for the signature's time.
REST_OF_INPUT = f';created=CREATED;nonce="0123456789abcdef";keyid="{IDENTITY.did}"'
ONLY_THE_METHOD = f'sig=("@method"){REST_OF_INPUT}'
HOST_TOO = f'sig=("@method" "@target-uri" "content-digest" "host"){REST_OF_INPUT}'
EXPIRED = f'sig=("@method" "@target-uri" "content-digest"){REST_OF_INPUT};expires=1'
COMPLETIONS = f"{OPENROUTER}/chat/completions"
FORM = {"content-type": "application/x-www-form-urlencoded"}
MULTIPART = {"content-type": "multipart/form-data; boundary=boundary"}
ANTHROPIC = {"anthropic-version": "2023-06-01", "authorization": "Bearer unused"}
ENDPOINTS = f"{OPENROUTER}/models/deepseek/deepseek-r1%3Afree/endpoints"
ANY_ORDER = (("q", "a b/你"), ("category", "programming"), ("category", "法律"))
JANUARY = (("start_date", "2025-01-01"), ("end_date", "2025-01-31"))
NO_DAY = (("start_date", "2025-02-30"),)
BY_DAY = (*JANUARY, ("time_zone", "Europe/Berlin"), ("group_by", "day,model"))
FAILED = (("status", "failed"), ("min_cost", "0.01"), ("limit", "100"))
# Not a real key.
STORED_KEY = b'{"api_key":"sk-or-v1-for-the-samples-only","key_name":"sample","verify":false}'
TOKEN = b'{"name":"sample","budgets":[{"period":"day","amount":"5","time_zone":"Europe/Berlin"}]}'
OTHER_TOKEN = b'{"name":"another sample","expires_at":"2199-01-01T00:00:00Z","models":["openai/*","*:free"]}'
# Of the right form, and nobody's.
UNKNOWN_TOKEN = "sk-lgw-003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf0CXMVh"
NO_TOKEN = f"{TOKENS}/00000000-0000-4000-8000-000000000000"
# A key type that the gateway does not know.
SECP256K1 = "did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme"


def samples() -> list[Sample]:
    """All samples."""
    any_other = "every path without a function of its own is health's"
    return [
        Sample("root-v1", "GET", "/"),
        Sample("health-v1", "GET", "/api/v1/health"),
        Sample("health-v2", "GET", "/api/v1/health"),
        Sample(
            "health-deep", "GET", "/api/v1/health", (("deep", "true"),), note="asks what it depends on too"
        ),
        Sample("usage-health-v1", "GET", "/api/v1/health/database", note="with the deployed key"),
        Sample("health-not-found-v1", "GET", "/api/v2/chat", status=404, reason="not_found", note=any_other),
        Sample(
            "health-not-found-authorization-v1",
            "POST",
            "/chat/completions",
            body=chat(),
            headers={"authorization": "Bearer unused"},
            status=404,
            reason="not_found",
            note=any_other,
        ),
        Sample("health-not-found-v2", "GET", "/api/v2/health", status=404, reason="not_found", note=any_other),
        Sample("health-method-not-allowed-v1", "POST", "/", status=405, reason="method_not_allowed"),
        #
        post("proxy-chat-v1", chat()),
        post("proxy-chat-stream-v1", chat(stream=True), note="server-sent events"),
        post("proxy-chat-stream-v2", chat(stream=True), note="server-sent events"),
        post(
            "proxy-chat-form-content-type-v1", chat(), headers=FORM, note="`curl -d` without a content type"
        ),
        post("proxy-chat-did-jwk-v1", chat(), credentials=Credentials(did=DID_JWK), note="the same key"),
        post(
            "proxy-messages-v1",
            messages(),
            f"{OPENROUTER}/v1/messages",
            headers=ANTHROPIC,
            note="with a second v1",
        ),
        post(
            "proxy-transcription-v1", transcription(), f"{OPENROUTER}/audio/transcriptions", headers=MULTIPART
        ),
        get("proxy-models-get-v1", f"{OPENROUTER}/models", ANY_ORDER, note="unsorted, with a repeated name"),
        get("proxy-models-get-v2", ENDPOINTS, note="an encoded path"),
        post(
            "proxy-chat-p256-v1", chat(), credentials=Credentials(did=P256.did), note="signed with P-256"
        ),
        post("proxy-chat-rfc9421-v1", chat(), credentials=MESSAGE, note="an HTTP message signature"),
        post("proxy-chat-rfc9421-v2", chat(), credentials=MESSAGE, note="an HTTP message signature"),
        post(
            "proxy-chat-rfc9421-p256-v1",
            chat(),
            credentials=Credentials(did=P256.did, scheme="rfc9421"),
            note="the same with P-256",
        ),
        #
        refused("missing-credentials", None),
        refused("malformed-did", Credentials(sent={"x-did": "alice"})),
        refused("unsupported-did-method", Credentials(did="did:example:123"), note="the original README's"),
        refused("unsupported-key-type", Credentials(did=SECP256K1), note="secp256k1"),
        refused("malformed-timestamp", Credentials(sent={"x-did-timestamp": "2025-01-01T00:00:00Z"})),
        refused("expired-timestamp", Credentials(offset=-301), "timestamp_out_of_window", "signed 301 s ago"),
        refused("future-timestamp", Credentials(offset=600), "timestamp_out_of_window", "10 min ahead"),
        refused("malformed-signature", Credentials(sent={"x-did-signature": "c2lnbmF0dXJl"}), note="9 bytes"),
        refused("malformed-nonce", Credentials(sent={"x-did-nonce": "short"})),
        refused(
            "invalid-signature", Credentials(signed_body=chat(max_tokens=1)), note="body changed on the way"
        ),
        refused(
            "malformed-signature-input",
            Credentials(scheme="rfc9421", sent={"signature-input": 'sig=("@method");created=1'}),
            note="no keyid",
        ),
        refused(
            "component-not-covered",
            Credentials(scheme="rfc9421", sent={"signature-input": ONLY_THE_METHOD}),
            note="only `@method` is covered",
        ),
        refused(
            "component-not-supported",
            Credentials(scheme="rfc9421", sent={"signature-input": HOST_TOO}),
            note="`host` is covered",
        ),
        refused("signature-expired", Credentials(scheme="rfc9421", sent={"signature-input": EXPIRED})),
        refused(
            "malformed-digest",
            Credentials(scheme="rfc9421", sent={"content-digest": "md5=:AAAAAAAAAAAAAAAAAAAAAA==:"}),
            note="MD5 alone",
        ),
        refused(
            "digest-mismatch",
            Credentials(scheme="rfc9421", signed_body=chat(max_tokens=1)),
            note="body changed on the way",
        ),
        refused(
            "invalid-message-signature",
            Credentials(scheme="rfc9421", audience="https://other.example.com"),
            "invalid_signature",
        ),
        post(
            "proxy-two-schemes",
            chat(),
            credentials=Credentials(sent={"signature-input": "sig=()", "signature": "sig=:AA==:"}),
            status=400,
            reason="ambiguous_credentials",
            note="signed by both schemes",
        ),
        refused("wrong-audience", Credentials(audience="https://other.example.com"), "invalid_signature"),
        #
        Sample(
            "proxy-malformed-token",
            "POST",
            COMPLETIONS,
            body=chat(),
            headers={"authorization": f"Bearer {UNKNOWN_TOKEN[:-1]}"},
            status=401,
            reason="malformed_token",
            note="a character is missing",
        ),
        Sample(
            "proxy-unknown-token-v1",
            "POST",
            COMPLETIONS,
            body=chat(),
            headers={"authorization": f"Bearer {UNKNOWN_TOKEN}"},
            status=401,
            reason="unknown_token",
        ),
        Sample(
            "proxy-unknown-token-v2",
            "POST",
            f"{OPENROUTER}/v1/messages",
            body=messages(),
            headers={"x-api-key": UNKNOWN_TOKEN},
            status=401,
            reason="unknown_token",
            note="as Anthropic's clients send it",
        ),
        post(
            "proxy-ambiguous-credentials",
            chat(),
            headers={"authorization": f"Bearer {UNKNOWN_TOKEN}"},
            status=400,
            reason="ambiguous_credentials",
            note="a token beside a signature",
        ),
        get("proxy-path-not-allowed", f"{OPENROUTER}/keys", status=403, reason="path_not_allowed"),
        post(
            "proxy-content-encoding",
            chat(),
            headers={"content-encoding": "gzip"},
            status=415,
            reason="content_encoding_not_supported",
        ),
        get(
            "proxy-malformed-path", f"{OPENROUTER}/models/a%2F..%2Fkeys", status=400, reason="malformed_path"
        ),
        get(
            "proxy-malformed-query-v2",
            f"{OPENROUTER}/models",
            raw_query="q=%FF",
            status=400,
            reason="malformed_query",
            note="`q=%FF`, not UTF-8",
        ),
        #
        get("usage-v1", USAGE, JANUARY),
        get("usage-v2", USAGE, JANUARY),
        get("usage-rfc9421-v1", USAGE, JANUARY, credentials=MESSAGE, note="an HTTP message signature"),
        get("usage-rfc9421-v2", USAGE, JANUARY, credentials=MESSAGE, note="an HTTP message signature"),
        Sample("usage-missing-credentials", "GET", USAGE, JANUARY, status=401, reason="missing_credentials"),
        get("usage-groups-v1", USAGE, BY_DAY, note="sums by local day and model"),
        get("usage-csv-v1", USAGE, (*BY_DAY, CSV), note="the same as CSV"),
        get("usage-requests-v1", REQUESTS, FAILED, note="single requests"),
        get("usage-requests-v2", REQUESTS, FAILED, note="single requests"),
        get("usage-requests-csv-v1", REQUESTS, (CSV,), note="the latest requests, as CSV"),
        get(
            "usage-bad-time-zone",
            USAGE,
            (("time_zone", "Mars/Olympus"),),
            status=400,
            reason="invalid_parameter",
            note="no such zone",
        ),
        get(
            "usage-requests-bad-cursor",
            REQUESTS,
            (("cursor", "AAAA"),),
            status=400,
            reason="invalid_parameter",
            note="an unknown cursor",
        ),
        get("usage-bad-date", USAGE, NO_DAY, status=400, reason="invalid_parameter", note="no such day"),
        post(
            "usage-method-not-allowed-v2",
            b"{}",
            USAGE,
            status=405,
            reason="method_not_allowed",
        ),
        #
        put("keys-put-v1", STORED_KEY, note="not checked with OpenRouter (`ALLOW_UNVERIFIED_KEYS`)"),
        put("keys-put-v2", STORED_KEY, note="not checked with OpenRouter (`ALLOW_UNVERIFIED_KEYS`)"),
        get("keys-get-v1", KEYS),
        get("keys-get-v2", KEYS),
        get("keys-get-rfc9421-v1", KEYS, credentials=MESSAGE, note="an HTTP message signature"),
        post(
            "keys-post-v1",
            b"{}",
            KEYS,
            status=403,
            reason="provisioning_not_allowed",
            note="unless the operator provides keys",
        ),
        Sample("keys-delete-v1", "DELETE", KEYS, credentials=SIGNED),
        Sample("keys-missing-credentials", "GET", KEYS, status=401, reason="missing_credentials"),
        put("keys-malformed-body", b"sk-or-v1-sample", status=400, reason="malformed_body"),
        put(
            "keys-unknown-member",
            b'{"key":"sk-or-v1-sample"}',
            status=400,
            reason="invalid_parameter",
            note="`api_key` is its name",
        ),
        Sample(
            "keys-method-not-allowed-v2",
            "PATCH",
            KEYS,
            credentials=SIGNED,
            status=405,
            reason="method_not_allowed",
        ),
        #
        post("tokens-post-v1", TOKEN, TOKENS, status=201, note="shows the new token"),
        post("tokens-post-v2", OTHER_TOKEN, TOKENS, status=201, note="shows the new token"),
        post(
            "tokens-unbounded",
            b'{"name":"sample"}',
            TOKENS,
            status=400,
            reason="invalid_parameter",
            note="neither an expiry nor a budget",
        ),
        get("tokens-get-v1", TOKENS),
        get("tokens-get-rfc9421-v1", TOKENS, credentials=MESSAGE, note="an HTTP message signature"),
        get("tokens-get-v2", TOKENS, (("all", "true"),), note="those that have ended, too"),
        get("tokens-no-such-token", NO_TOKEN, status=404, reason="no_such_token"),
        Sample(
            "tokens-patch-no-such-token-v1",
            "PATCH",
            NO_TOKEN,
            body=b'{"disabled":true}',
            credentials=SIGNED,
            status=404,
            reason="no_such_token",
        ),
        post(
            "tokens-rotate-no-such-token-v1",
            b'{"overlap_seconds":3600}',
            f"{NO_TOKEN}/rotate",
            status=404,
            reason="no_such_token",
        ),
        Sample(
            "tokens-delete-no-such-token-v1",
            "DELETE",
            NO_TOKEN,
            credentials=SIGNED,
            status=404,
            reason="no_such_token",
        ),
        Sample("tokens-missing-credentials", "GET", TOKENS, status=401, reason="missing_credentials"),
        Sample(
            "tokens-signature-required",
            "GET",
            TOKENS,
            headers={"authorization": f"Bearer {UNKNOWN_TOKEN}"},
            status=403,
            reason="signature_required",
            note="a token manages no tokens",
        ),
        Sample(
            "tokens-method-not-allowed-v2",
            "PUT",
            TOKENS,
            credentials=SIGNED,
            status=405,
            reason="method_not_allowed",
        ),
    ]


def put(name: str, body: bytes, **more: Any) -> Sample:
    """A signed PUT of a key."""
    return Sample(name, "PUT", KEYS, body=body, **({"credentials": SIGNED} | more))


def get(name: str, path: str, query: tuple[tuple[str, str], ...] = (), **more: Any) -> Sample:
    """A signed GET."""
    return Sample(name, "GET", path, query, **({"credentials": SIGNED} | more))


def post(name: str, body: bytes, path: str = COMPLETIONS, **more: Any) -> Sample:
    """A signed POST."""
    return Sample(name, "POST", path, body=body, **({"credentials": SIGNED} | more))


def refused(name: str, credentials: Credentials | None, reason: str | None = None, note: str = "") -> Sample:
    """A chat request that is refused for its credentials, for the reason in its name."""
    reason = reason or name.replace("-", "_")
    return post(f"proxy-{name}", chat(), credentials=credentials, status=401, reason=reason, note=note)


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def sign_p256(message: bytes) -> bytes:
    """Signs as RFC 6979 does, so that the committed events never change."""
    algorithm = ec.ECDSA(SHA256(), deterministic_signing=True)
    r, s = utils.decode_dss_signature(P256_KEY.sign(message, algorithm))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def credential_headers(sample: Sample, clock: Clock) -> dict[str, str]:
    """The headers of the scheme, for a sample that has credentials."""
    credentials = sample.credentials
    if credentials is None:
        return {}
    # Fresh events have new nonces; the committed ones never change.
    nonce = (
        secrets.token_urlsafe(16)
        if clock.fresh
        else base64url(hashlib.sha256(sample.name.encode()).digest()[:16])
    )
    timestamp = str(clock.now + credentials.offset)
    body = sample.body if credentials.signed_body is None else credentials.signed_body
    # A malformed path is refused before the signature is read.
    path = "/" if sample.reason == "malformed_path" else sample.path
    sign = sign_p256 if credentials.did == P256.did else IDENTITY.sign
    if credentials.scheme == "rfc9421":
        base = signature_base(
            audience=credentials.audience or clock.audience,
            did=credentials.did,
            algorithm=P256.algorithm if sign == sign_p256 else IDENTITY.algorithm,
            created=timestamp,
            nonce=nonce,
            method=sample.method,
            path=path,
            query=urlencode(sample.query),
            body=body,
        )
        signature = base64.b64encode(sign(base.text.encode())).decode()
        right = {"signature-input": f"sig={base.params}", "signature": f"sig=:{signature}:"}
        digest = {"content-digest": base.content_digest} if base.content_digest else {}
        sent = {name: it.replace("CREATED", timestamp) for name, it in credentials.sent.items()}
        return right | digest | sent
    text = signing_string(
        audience=credentials.audience or clock.audience,
        did=credentials.did,
        timestamp=timestamp,
        nonce=nonce,
        method=sample.method,
        path=path,
        query=urlencode(sample.query),
        body=body,
    )
    right = {
        "x-did": credentials.did,
        "x-did-timestamp": timestamp,
        "x-did-nonce": nonce,
        "x-did-signature": base64url(sign(text.encode())),
    }
    return right | credentials.sent


def event(sample: Sample, clock: Clock) -> dict[str, object]:
    """The event that the function receives."""
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
    fixed = {
        "Accept": "*/*",
        "Host": host,
        "User-Agent": USER_AGENT,
        "X-Amzn-Trace-Id": trace_id(sample, clock),
        "X-Forwarded-For": SOURCE_IP,
        "X-Forwarded-Port": "443",
        "X-Forwarded-Proto": "https",
    }
    headers = sample.all_headers(fixed, clock)
    many: dict[str, list[str]] = {}
    for name, value in sample.query:
        many.setdefault(name, []).append(value)
    # The most specific greedy path of the API, unless the API has this very path.
    below = (f"{it}/" for it in (OPENROUTER, TOKENS) if sample.path.startswith(f"{it}/"))
    greedy = next(below, "/")
    if sample.path in EXACT:
        greedy = ""
    resource = f"{greedy}{{proxy+}}" if greedy else sample.path
    return {
        "resource": resource,
        "path": sample.path,
        "httpMethod": sample.method,
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        # The last value of a repeated name.
        "queryStringParameters": {name: values[-1] for name, values in many.items()} or None,
        "multiValueQueryStringParameters": many or None,
        "pathParameters": {"proxy": sample.path.removeprefix(greedy)} if greedy else None,
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
    fixed = {
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
    headers = sample.all_headers(fixed, clock)
    value: dict[str, object] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": sample.path,
        "rawQueryString": urlencode(sample.query) if sample.raw_query is None else sample.raw_query,
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


def scheduled_event(clock: Clock) -> dict[str, object]:
    """The event that EventBridge Scheduler sends to a target without an input of its own.

    https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-targets.html
    """
    return {
        "version": "0",
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"scheduled/{clock.now}")),
        "detail-type": "Scheduled Event",
        "source": "aws.scheduler",
        "account": ACCOUNT,
        "time": datetime.fromtimestamp(clock.now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": "us-east-1",
        "resources": [f"arn:aws:scheduler:us-east-1:{ACCOUNT}:schedule/default/llm-gateway-reconcile"],
        "detail": "{}",
    }


def trace_id(sample: Sample, clock: Clock) -> str:
    return f"Root=1-{clock.now:08x}-{hashlib.sha256(sample.name.encode()).hexdigest()[:24]}"


def request_time(clock: Clock) -> str:
    """The time as API Gateway writes it, e.g. 01/Jan/2025:00:00:00 +0000."""
    return datetime.fromtimestamp(clock.now, UTC).strftime("%d/%b/%Y:%H:%M:%S +0000")


def files(clock: Clock) -> dict[str, str]:
    """The content of each file, by its name."""
    every = samples()
    written = {f"{sample.name}.json": as_json(event(sample, clock)) for sample in every}
    expected = {
        f"{sample.name}.json": {"function": sample.function, "status": sample.status, "reason": sample.reason}
        for sample in every
    }
    readme = README.format(rows="".join(map(table_row, every)))
    scheduled = {"reconcile-scheduled.json": as_json(scheduled_event(clock))}
    return written | scheduled | {"expected.json": as_json(expected), "README.md": readme}


def table_row(sample: Sample) -> str:
    """A line of the README's table."""
    reason = f"`{sample.reason}`" if sample.reason else ""
    cells = (
        f"`{sample.name}.json`",
        f"{sample.method} `{sample.path}`",
        str(sample.status),
        reason,
        sample.note,
    )
    return f"| {' | '.join(cells)} |\n"


def as_json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def differences(directory: Path) -> list[str]:
    """The differences between the committed events and the output of this program."""
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


README = """\
# Sample events

One event for each route, and for each refusal that a request alone can cause, in the form in which functions
receive them: that of production's REST API, and with the suffix `-v2` that of Function URLs and `cargo lambda
watch`. `tools/events.py` writes them; change that, not the files. Tests load all of them with `expected.json`,
which has the response to each while storage and OpenRouter work.

They are signed with the key of RFC 8032's first test, for `https://gw.example.com`, at 2025-01-01T00:00:00Z,
the time of the tests' clock. A gateway with a running clock refuses them as too old, so sign new ones for it,
with one of its `GATEWAY_AUDIENCES`. For `cargo xtask dev`, which stores a key for their identity, with the
programs of `.tools/venv/bin`:

```bash
python tools/events.py --now --audience http://127.0.0.1:9000 --out target/events
cargo lambda invoke --invoke-address 127.0.0.1 proxy --data-file target/events/proxy-chat-v1.json
```

An event that is sent twice is refused as `replayed_request`; sign again instead. `cargo lambda invoke` reports
a refusal by the proxy as an invalid error payload, because it expects one of Lambda's own; curl to
`http://127.0.0.1:9000/2015-03-31/functions/proxy/invocations` shows the refusal itself.

`reconcile-scheduled.json` is not a request: EventBridge Scheduler starts the reconcile function with it. The
response says what the run did; any other JSON starts a run, too.

```bash
cargo lambda invoke reconcile --data-file events/reconcile-scheduled.json
```

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
        default=ROOT / "events",
        help="folder to write to",
    )
    options = parser.parse_args()
    clock = Clock(int(time.time()) if options.now else TEST_CLOCK, options.audience, fresh=options.now)
    options.out.mkdir(parents=True, exist_ok=True)
    for name, content in files(clock).items():
        (options.out / name).write_text(content, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
