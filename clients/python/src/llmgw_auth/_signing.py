"""The scheme `x-did-v1`: the signed text, and the headers that carry its signature."""

from __future__ import annotations

import base64
import hashlib
import secrets
import time as system_time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime

from ._canonical import canonical_base, canonical_path, canonical_query, split_base, split_target
from ._identity import Identity

# Seconds between a request's timestamp and the gateway's time from which it is refused, less what the
# whole seconds of `Date` and the time of the response explain.
_REFUSED_DIFFERENCE = 290
# The largest difference that is corrected, a week: nobody gets a signature for a distant day.
_CORRECTED_DIFFERENCE = 7 * 24 * 3600


class Signer:
    """Signs requests to one gateway, for any HTTP library.

    `audience` is the base URL that the gateway is configured with; `base_url` is the base URL that
    requests are sent to, if that is another (a tunnel, a local process). `clock` returns Unix time,
    `nonce` 16 to 128 characters of `A-Za-z0-9_-` that it has never returned before.
    """

    def __init__(
        self,
        identity: Identity,
        audience: str,
        *,
        base_url: str | None = None,
        clock: Callable[[], float] = system_time.time,
        nonce: Callable[[], str] = lambda: secrets.token_urlsafe(16),
    ) -> None:
        self.identity = identity
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
        text = signing_string(
            audience=self.audience,
            did=self.identity.did,
            timestamp=timestamp,
            nonce=nonce,
            method=method,
            path=self._below_base(canonical_path(path)),
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
