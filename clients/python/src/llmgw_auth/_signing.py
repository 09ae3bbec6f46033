"""The schemes `x-did-v1` and `rfc9421`: the signed texts, and the headers with the signatures."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import time as system_time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Literal, NamedTuple

from ._canonical import canonical_base, canonical_path, canonical_query, split_base, split_target
from ._identity import Identity

# Seconds between a request's timestamp and the gateway's time from which it is refused, less what the
# whole seconds of `Date` and the time of the response explain.
_REFUSED_DIFFERENCE = 290
# The largest difference that is corrected, a week: nobody gets a signature for a distant day.
_CORRECTED_DIFFERENCE = 7 * 24 * 3600
# RFC 9421's parameter with the time of signing.
_CREATED = re.compile(r";created=(\d+)")

Scheme = Literal["x-did-v1", "rfc9421"]


class Signer:
    """Signs requests to one gateway, for any HTTP library.

    `audience` is the base URL that the gateway is configured with; `base_url` is the base URL that
    requests are sent to, if that is another (a tunnel, a local process). `clock` returns Unix time,
    `nonce` 16 to 128 characters of `A-Za-z0-9_-` that it has never returned before. `scheme` is the
    gateway's own, or `"rfc9421"` for HTTP message signatures (RFC 9421, RFC 9530).
    """

    def __init__(
        self,
        identity: Identity,
        audience: str,
        *,
        base_url: str | None = None,
        scheme: Scheme = "x-did-v1",
        clock: Callable[[], float] = system_time.time,
        nonce: Callable[[], str] = lambda: secrets.token_urlsafe(16),
    ) -> None:
        if scheme not in ("x-did-v1", "rfc9421"):
            raise ValueError(f"the scheme {scheme!r} is neither 'x-did-v1' nor 'rfc9421'")
        self.identity = identity
        self.scheme = scheme
        self.audience = canonical_base(audience)
        self._origin, self._base_path = split_base(canonical_base(base_url or audience))
        self._clock = clock
        self._nonce = nonce

    def headers(
        self, method: str, url: str, body: bytes = b"", *, time: float | None = None
    ) -> dict[str, str]:
        """Returns the headers to send with this request, once: each call returns others.

        `url` and `body` have to be those that are sent, to the byte; `time` replaces the clock's.
        Raises ValueError for an address that is not the gateway's or that gateways refuse.
        """
        origin, path, query = split_target(url)
        self._must_be_ours(origin)
        timestamp = str(int(self._clock() if time is None else time))
        nonce = self._nonce()
        path = self._below_base(canonical_path(path))
        if self.scheme == "rfc9421":
            return self._message_headers(method, path, query, body, timestamp, nonce)
        text = signing_string(
            audience=self.audience,
            did=self.identity.did,
            timestamp=timestamp,
            nonce=nonce,
            method=method,
            path=path,
            query=query,
            body=body,
        )
        signature = base64.urlsafe_b64encode(self.identity.sign(text.encode("ascii")))
        return {
            "x-did": self.identity.did,
            "x-did-timestamp": timestamp,
            "x-did-nonce": nonce,
            "x-did-signature": signature.rstrip(b"=").decode("ascii"),
        }

    def _message_headers(
        self, method: str, path: str, query: str, body: bytes, created: str, nonce: str
    ) -> dict[str, str]:
        base = signature_base(
            audience=self.audience,
            did=self.identity.did,
            algorithm=self.identity.algorithm,
            created=created,
            nonce=nonce,
            method=method,
            path=path,
            query=query,
            body=body,
        )
        signature = base64.b64encode(self.identity.sign(base.text.encode("ascii"))).decode("ascii")
        headers = {"signature-input": f"sig={base.params}", "signature": f"sig=:{signature}:"}
        return headers | ({"content-digest": base.content_digest} if base.content_digest else {})

    def __repr__(self) -> str:
        return f"Signer(did={self.identity.did!r}, audience={self.audience!r})"

    def _must_be_ours(self, origin: str) -> None:
        # A server that receives a signature for the gateway could use it there first.
        if origin != self._origin:
            raise ValueError(
                f"{origin} is not the gateway at {self._origin}, and gets no signature; "
                "give base_url if it is not the audience"
            )

    def _below_base(self, path: str) -> str:
        if path == self._base_path:
            return "/"
        if path.startswith(self._base_path + "/"):
            return path[len(self._base_path) :]
        raise ValueError(
            f"{path} is not below {self._base_path}, the path of the gateway's base URL; "
            "give base_url if it is not the audience"
        )


def signed_at(headers: Mapping[str, str]) -> int:
    """Returns the time in the headers of a `Signer`."""
    if "x-did-timestamp" in headers:
        return int(headers["x-did-timestamp"])
    created = _CREATED.search(headers["signature-input"])
    return int(created[1]) if created else 0


def server_time(status: int, headers: Mapping[str, str], signed_at: int) -> float | None:
    """Returns the gateway's time if a response with this status and these headers (in lower case)
    refuses a request for its timestamp, `signed_at`, and otherwise None. The request may be signed
    with it once."""
    if status != 401 or "x-gateway-upstream" in headers:
        return None
    try:
        time = parsedate_to_datetime(headers.get("date", "")).timestamp()
    except (TypeError, ValueError):
        return None
    difference = abs(time - signed_at)
    return time if _REFUSED_DIFFERENCE <= difference <= _CORRECTED_DIFFERENCE else None


def signing_string(
    *,
    audience: str,
    did: str,
    timestamp: str,
    nonce: str,
    method: str,
    path: str,
    query: str,
    body: bytes,
) -> str:
    """Returns the text that is signed: nine lines. `nonce` is empty if none is sent; `path` is
    relative to the audience."""
    lines = (
        "x-did-v1",
        audience,
        did,
        timestamp,
        nonce,
        method,
        canonical_path(path),
        canonical_query(query),
        hashlib.sha256(body).hexdigest(),
    )
    return "\n".join(lines)


class SignatureBase(NamedTuple):
    """The text that is signed by RFC 9421, with the parts that are sent."""

    text: str
    params: str
    """The value of `@signature-params`."""
    content_digest: str | None
    """The header of a request with a body."""


def signature_base(
    *,
    audience: str,
    did: str,
    algorithm: str,
    created: str,
    nonce: str,
    method: str,
    path: str,
    query: str,
    body: bytes,
) -> SignatureBase:
    """Returns the signature base (RFC 9421, section 2.5) over `@method`, `@target-uri` and, where
    there is a body, `content-digest`. `path` is relative to the audience."""
    canonical = canonical_query(query)
    target = audience + canonical_path(path) + (f"?{canonical}" if canonical else "")
    covered = {"@method": method, "@target-uri": target}
    digest = None
    if body:
        digest = f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode('ascii')}:"
        covered["content-digest"] = digest
    names = " ".join(f'"{name}"' for name in covered)
    params = (
        f'({names});created={created};nonce="{nonce}";keyid="{did}";alg="{algorithm}";'
        'tag="llm-gateway"'
    )
    lines = [f'"{name}": {value}' for name, value in covered.items()]
    lines.append(f'"@signature-params": {params}')
    return SignatureBase("\n".join(lines), params, digest)
