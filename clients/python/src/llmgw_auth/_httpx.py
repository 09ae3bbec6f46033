"""Signing in httpx and httpx2, and so in the SDKs that are built on them."""

from __future__ import annotations

import importlib
from collections.abc import Generator
from os import PathLike
from typing import TYPE_CHECKING, Any

from ._canonical import canonical_path
from ._identity import Identity
from ._signing import Scheme, Signer, server_time, signed_at

if TYPE_CHECKING:
    import httpx
    import httpx2

    # Their requests, in which the two differ, are Any below.
    class _Auth(httpx.Auth, httpx2.Auth):  # type: ignore[misc]
        pass

else:

    def _installed(*names: str) -> list[Any]:
        found = []
        for name in names:
            try:
                found.append(importlib.import_module(name))
            except ModuleNotFoundError as error:
                if error.name != name:
                    raise
        return found

    # An httpx client takes only its own httpx's Auth. One class is a subclass of both, so that it
    # does not matter which of them an SDK was built on; without either, it is useless and harmless.
    _Auth = type("_Auth", tuple(module.Auth for module in _installed("httpx", "httpx2")), {})

# Headers in which SDKs send API keys. The gateway has no use for them, so a key for somebody else,
# found in the environment, is not sent.
_OTHER_CREDENTIALS = ("authorization", "x-api-key", "api-key")


class DidAuth(_Auth):
    """Signs every request of an httpx client, in place of any `Authorization` that an SDK adds.

    It reads the whole body before sending it, because its SHA-256 is signed. A body that can be read
    only once, such as a generator, can be sent only once; httpx raises `StreamConsumed` at the
    second attempt.

    A request that the gateway refuses because this machine's clock is wrong is signed once more,
    with the gateway's time.

    Leave `follow_redirects` off, as it is by default: a signature holds for one address.
    """

    requires_request_body = True

    def __init__(self, signer: Signer) -> None:
        self.signer = signer

    @classmethod
    def from_file(
        cls,
        path: str | PathLike[str],
        audience: str,
        *,
        base_url: str | None = None,
        scheme: Scheme = "x-did-v1",
    ) -> DidAuth:
        """Creates one from an identity file (`Identity.from_file`) for a gateway (`Signer`)."""
        return cls(Signer(Identity.from_file(path), audience, base_url=base_url, scheme=scheme))

    @property
    def did(self) -> str:
        """The DID that signs."""
        return self.signer.identity.did

    def auth_flow(self, request: Any) -> Generator[Any, Any, None]:
        """Called by httpx for every attempt, after it has read the whole body."""
        body: bytes = request.content
        for name in _OTHER_CREDENTIALS:
            request.headers.pop(name, None)
        if request.headers.pop("transfer-encoding", None):
            # Its length was not known before it was read.
            request.headers["content-length"] = str(len(body))
        path, question_mark, query = request.url.raw_path.decode("ascii").partition("?")
        if "%2f" in path.lower():
            # SDKs send the id of a model as one segment.
            target = canonical_path(path) + question_mark + query
            request.url = request.url.copy_with(raw_path=target.encode("ascii"))
        request.headers.update(self.signer.headers(request.method, str(request.url), body))
        response = yield request
        time = server_time(response.status_code, response.headers, signed_at(request.headers))
        if time is not None:
            again = self.signer.headers(request.method, str(request.url), body, time=time)
            request.headers.update(again)
            yield request

    def __repr__(self) -> str:
        return f"DidAuth(did={self.did!r}, audience={self.signer.audience!r})"
