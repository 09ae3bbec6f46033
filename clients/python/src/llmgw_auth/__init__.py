"""Sign requests to LLM Gateway with the key of a DID (`x-did-v1`, or RFC 9421).

In httpx, httpx2 and SDKs that are built on them, such as OpenAI's::

    import httpx2
    from llmgw_auth import DidAuth
    from openai import OpenAI

    gateway = "http://127.0.0.1:9000"
    client = OpenAI(
        base_url=f"{gateway}/api/v1/openrouter",
        api_key="unused",
        http_client=httpx2.Client(auth=DidAuth.from_file("identity.json", gateway), timeout=600),
    )

For any other HTTP library, `Signer.headers` returns the headers of one request.
"""

from ._canonical import canonical_path, canonical_query
from ._httpx import DidAuth
from ._identity import Identity, IdentityError, did_key
from ._signing import SignatureBase, Signer, signature_base, signing_string

__all__ = [
    "DidAuth",
    "Identity",
    "IdentityError",
    "SignatureBase",
    "Signer",
    "canonical_path",
    "canonical_query",
    "did_key",
    "signature_base",
    "signing_string",
]
