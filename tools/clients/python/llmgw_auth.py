"""Sign requests to LLM Gateway with the key of a DID (`x-did-v1`), in httpx and in what builds on it.

One file to copy. It needs `cryptography` and `httpx` or `httpx2`; with both it serves clients of
both, so that it does not matter which of them an SDK was built on::

    import httpx2 as httpx
    from openai import OpenAI
    from llmgw_auth import DidAuth

    gateway = "https://gw.example.com"
    client = OpenAI(
        base_url=f"{gateway}/api/v1/openrouter",
        api_key="unused",
        http_client=httpx.Client(auth=DidAuth.from_file("identity.json", gateway), timeout=600),
    )

Every attempt is signed anew with another nonce, so retries are not taken for replays. Redirects are
not: a signature holds for one address.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import json
import re
import secrets
import time
from collections.abc import Callable, Generator
from os import PathLike
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

__all__ = ["DidAuth", "canonical_path", "canonical_query", "did_key", "signing_string"]


def _installed(*names: str) -> list[Any]:
    found = []
    for name in names:
        try:
            found.append(importlib.import_module(name))
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
    if not found:
        raise ImportError(f"llmgw_auth needs one of {', '.join(names)}")
    return found


_HTTPX = _installed("httpx2", "httpx")

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
# The multicodec `ed25519-pub` as an unsigned varint.
_ED25519_PUB = b"\xed\x01"
_PATH = re.compile(rb"/[A-Za-z0-9\-._~!$&'()*+,;=:@/]*")
_ENCODED_SEPARATOR = re.compile(r"%(2f|5c)", re.IGNORECASE)
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


class DidAuth(*(module.Auth for module in _HTTPX)):  # type: ignore[misc]
    """Signs every request of an httpx client, in place of any `Authorization` that an SDK adds.

    `seed` is the secret key, 32 bytes (RFC 8032, section 5.1.5). `audience` is the base URL that the
    gateway is configured with; `base_url` is the one that requests are sent to, where it is another
    (a tunnel, a local process). `clock` gives Unix time, `nonce` 16 to 128 characters of
    `A-Za-z0-9_-` that never came before.
    """

    requires_request_body = True

    def __init__(
        self,
        seed: bytes,
        audience: str,
        *,
        base_url: str | None = None,
        clock: Callable[[], float] = time.time,
        nonce: Callable[[], str] = lambda: secrets.token_urlsafe(16),
    ) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self._audience = _base(audience)
        self._base_path = _path_of(_base(base_url or audience))
        self._clock = clock
        self._nonce = nonce
        self.did = did_key(self._key.public_key().public_bytes_raw())

    @classmethod
    def from_file(cls, path: str | PathLike[str], audience: str, **options: Any) -> DidAuth:
        """Reads the identity file that `llmgw identity new` writes. `options` as in the constructor."""
        identity = json.loads(Path(path).read_text(encoding="utf-8"))
        seed = base64.urlsafe_b64decode(identity["secret_key_seed"] + "=")
        auth = cls(seed, audience, **options)
        if auth.did != identity["did"]:
            raise ValueError(f"the did in {path} is not the did:key of secret_key_seed")
        return auth

    def auth_flow(self, request: Any) -> Generator[Any, Any, None]:
        """Called by httpx for every attempt, after it has read the whole body."""
        path, _, query = request.url.raw_path.decode("ascii").partition("?")
        timestamp = str(int(self._clock()))
        nonce = self._nonce()
        text = signing_string(
            audience=self._audience,
            did=self.did,
            timestamp=timestamp,
            nonce=nonce,
            method=request.method,
            path=self._below_base(canonical_path(path)),
            query=query,
            body=request.content,
        )
        signature = base64.urlsafe_b64encode(self._key.sign(text.encode("ascii")))
        request.headers.pop("authorization", None)
        request.headers["x-did"] = self.did
        request.headers["x-did-timestamp"] = timestamp
        request.headers["x-did-nonce"] = nonce
        request.headers["x-did-signature"] = signature.rstrip(b"=").decode("ascii")
        yield request

    def __repr__(self) -> str:
        return f"DidAuth(did={self.did!r}, audience={self._audience!r})"

    def _below_base(self, path: str) -> str:
        if path == self._base_path:
            return "/"
        if path.startswith(self._base_path + "/"):
            return path[len(self._base_path) :]
        raise ValueError(
            f"{path} is not below {self._base_path}, the path of the gateway's base URL; "
            "give base_url where it is not the audience"
        )


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
    """The text that is signed: nine lines. `nonce` is empty where none is sent; `path` is relative
    to the audience."""
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


def canonical_path(raw: str) -> str:
    """Decodes a path once; raises ValueError for what gateways refuse."""
    decoded = unquote_to_bytes(raw)
    if _ENCODED_SEPARATOR.search(raw) or not _PATH.fullmatch(decoded):
        raise ValueError(f"a gateway's path is of A-Za-z0-9-._~!$&'()*+,;=:@/, not {raw!r}")
    path = decoded.decode("ascii")
    segments = path[1:].removesuffix("/").split("/")
    if path != "/" and not {"", ".", ".."}.isdisjoint(segments):
        raise ValueError(f"a gateway's path has no empty and no dot segments: {raw!r}")
    return path


def canonical_query(raw: str) -> str:
    """Encodes a query (without `?`) as RFC 3986 does and sorts it; raises ValueError for broken
    escapes and for escapes that are not UTF-8."""
    if _BROKEN_ESCAPE.search(raw):
        raise ValueError("the query has a % that two hex digits do not follow")
    pairs = [piece.partition("=") for piece in raw.split("&") if piece]
    return "&".join(
        f"{name}={value}"
        for name, value in sorted((_encode(name), _encode(value)) for name, _, value in pairs)
    )


def did_key(public_key: bytes) -> str:
    """The `did:key` of an Ed25519 public key (https://w3c-ccg.github.io/did-key-spec/)."""
    # The multicodec is not zero, so no leading zeros need base58's special case.
    number = int.from_bytes(_ED25519_PUB + public_key, "big")
    digits = []
    while number:
        number, digit = divmod(number, 58)
        digits.append(_BASE58[digit])
    return "did:key:z" + "".join(reversed(digits))


def _encode(text: str) -> str:
    decoded = unquote_to_bytes(text.replace("+", " ")).decode("utf-8")
    return quote(decoded, safe="-._~")


def _base(text: str) -> str:
    """A base URL as it is signed: in lower case but for the path, without the default port."""
    scheme, separator, rest = text.partition("://")
    # httpx knows default ports only of schemes that are in lower case already.
    url = _HTTPX[0].URL(scheme.lower() + separator + rest)
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f"{text!r} is not a base URL like https://gw.example.com")
    if url.userinfo or url.query or url.fragment:
        raise ValueError("a base URL has no user, query or fragment")
    path = canonical_path(url.raw_path.decode("ascii"))
    return f"{url.scheme}://{url.netloc.decode('ascii')}{path.rstrip('/')}"


def _path_of(base: str) -> str:
    _, _, rest = base.partition("://")
    _, slash, path = rest.partition("/")
    return slash + path
