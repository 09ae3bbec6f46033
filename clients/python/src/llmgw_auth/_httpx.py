"""Signing in httpx and httpx2, and so in the SDKs that are built on them."""

from __future__ import annotations

import importlib
from collections.abc import Generator
from os import PathLike
from typing import TYPE_CHECKING, Any

from ._identity import Identity
from ._signing import Signer

if TYPE_CHECKING:
    import httpx
    import httpx2

    # What the two differ in, their requests, is Any below.
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

    # An httpx client takes only its own httpx's Auth. One class is of both, so that it does not
    # matter which of them an SDK was built on; with neither it is of no use, and no harm.
    _Auth = type("_Auth", tuple(module.Auth for module in _installed("httpx", "httpx2")), {})

# What SDKs send as proof of who is calling. The gateway has no use for it, so that a key of
# somebody else's, found in the environment, stays here.
_OTHER_CREDENTIALS = ("authorization", "x-api-key", "api-key")


class DidAuth(_Auth):
    """Signs every request of an httpx client, in place of any `Authorization` that an SDK adds.

    It reads the whole body before sending it: SHA-256 of it is signed. What can be read only once,
    such as a generator, can be sent only once; httpx raises `StreamConsumed` at the second attempt.

    Leave `follow_redirects` off, as it is by default: a signature holds for one address.
    """

    requires_request_body = True

    def __init__(self, signer: Signer) -> None:
        self.signer = signer

    @classmethod
    def from_file(
        cls, path: str | PathLike[str], audience: str, *, base_url: str | None = None
    ) -> DidAuth:
        """With the identity of a file (`Identity.from_file`), for a gateway (`Signer`)."""
        return cls(Signer(Identity.from_file(path), audience, base_url=base_url))

    @property
    def did(self) -> str:
        """Who signs."""
        return self.signer.identity.did

    def auth_flow(self, request: Any) -> Generator[Any, Any, None]:
        """Called by httpx for every attempt, after it has read the whole body."""
        body: bytes = request.content
        for name in _OTHER_CREDENTIALS:
            request.headers.pop(name, None)
        if request.headers.pop("transfer-encoding", None):
            # Its length was not known before it was read.
            request.headers["content-length"] = str(len(body))
        request.headers.update(self.signer.headers(request.method, str(request.url), body))
        yield request

    def __repr__(self) -> str:
        return f"DidAuth(did={self.did!r}, audience={self.signer.audience!r})"
