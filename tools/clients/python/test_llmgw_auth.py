"""python -m unittest, in this directory."""

import asyncio
import base64
import json
import tempfile
import unittest
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import llmgw_auth
from llmgw_auth import DidAuth, canonical_path, canonical_query, did_key, signing_string

VECTORS = json.loads(
    (Path(__file__).parents[3] / "shared/testdata/x_did_v1.json").read_text(encoding="utf-8")
)
SEED = bytes.fromhex(VECTORS["secret_key_seed_hex"])
KEY = Ed25519PrivateKey.from_private_bytes(SEED)
GATEWAY = "https://gw.example.com"


def signature(encoded):
    return base64.urlsafe_b64decode(encoded + "==")


def verify(request, *, audience, path, query=""):
    """Checks a request as the gateway does; the path and the query are the expected ones."""
    text = signing_string(
        audience=audience,
        did=request.headers["x-did"],
        timestamp=request.headers["x-did-timestamp"],
        nonce=request.headers["x-did-nonce"],
        method=request.method,
        path=path,
        query=query,
        body=request.content,
    )
    KEY.public_key().verify(signature(request.headers["x-did-signature"]), text.encode())


class Recorder:
    """A server that answers with the given statuses and keeps what it got."""

    def __init__(self, httpx, *statuses):
        self.requests = []
        statuses = iter(statuses or (200,))

        def answer(request):
            # A copy: the client may change the request for its next attempt.
            self.requests.append(
                httpx.Request(
                    request.method, request.url, headers=request.headers, content=request.content
                )
            )
            return httpx.Response(next(statuses))

        self.transport = httpx.MockTransport(answer)


class Scheme(unittest.TestCase):
    def test_vectors(self):
        self.assertEqual(len(VECTORS["cases"]), 3)
        for case in VECTORS["cases"]:
            text = signing_string(
                audience=case["aud"],
                did=case["did"],
                timestamp=case["ts"],
                nonce=case["nonce"],
                method=case["method"],
                path=case["path"],
                query=case["query"],
                body=case["body"].encode(),
            )
            self.assertEqual(text, case["canonical"])
            self.assertEqual(KEY.sign(text.encode()), signature(case["sig"]))
            self.assertEqual(did_key(KEY.public_key().public_bytes_raw()), case["did"])

    def test_paths(self):
        for raw, canonical in (
            ("/", "/"),
            ("/a/", "/a/"),
            ("/models/deepseek/r1%3Afree", "/models/deepseek/r1:free"),
            ("/%41%2d%7E", "/A-~"),
            ("/a+b/...", "/a+b/..."),
        ):
            self.assertEqual(canonical_path(raw), canonical)
        for raw in (
            *("", "a", "//", "//a", "/a//b", "/a//", "/.", "/..", "/a/../b", "/a/%2e%2E/b"),
            *("/a%2Fb", "/a%5cb", "/a\\b", "/a%252Fb", "/a%", "/a%zz", "/a%3Fb", "/a b", "/%C3%A9"),
            *("/a\n", "/%0A", "/é"),
        ):
            with self.assertRaises(ValueError, msg=raw):
                canonical_path(raw)

    def test_queries(self):
        for raw, canonical in (
            ("", ""),
            ("&", ""),
            ("=", "="),
            ("a", "a="),
            ("a=b=c", "a=b%3Dc"),
            ("a=2&a=1&a=10", "a=1&a=10&a=2"),
            ("a-b=1&a=2", "a=2&a-b=1"),
            ("~=1&%C3%A9=2", "%C3%A9=2&~=1"),
            ("q=a+b%2f%e4%bd%a0%2B", "q=a%20b%2F%E4%BD%A0%2B"),
            ("q=%7e-._*!'()", "q=~-._%2A%21%27%28%29"),
        ):
            self.assertEqual(canonical_query(raw), canonical)
        for raw in ("%", "a=%4", "a=%zz", "a=%%41", "a=%FF", "%C3=%A9"):
            with self.assertRaises(ValueError, msg=raw):
                canonical_query(raw)


class Auth(unittest.TestCase):
    def test_requests_of_the_vectors(self):
        for httpx in llmgw_auth._HTTPX:
            cases = [case for case in VECTORS["cases"] if case["nonce"]]
            self.assertEqual(len(cases), 2)
            for case in cases:
                auth = DidAuth(
                    SEED,
                    case["aud"],
                    clock=lambda case=case: int(case["ts"]) + 0.9,
                    nonce=lambda case=case: case["nonce"],
                )
                recorder = Recorder(httpx)
                with httpx.Client(auth=auth, transport=recorder.transport) as client:
                    client.request(
                        case["method"], case["aud"] + case["path"], content=case["body"].encode()
                    )
                headers = recorder.requests[0].headers
                self.assertEqual(headers["x-did"], case["did"])
                self.assertEqual(headers["x-did-timestamp"], case["ts"])
                self.assertEqual(headers["x-did-nonce"], case["nonce"])
                self.assertEqual(headers["x-did-signature"], case["sig"])

    def test_every_attempt_is_another_request(self):
        for httpx in llmgw_auth._HTTPX:
            recorder = Recorder(httpx, 429, 200)
            auth = DidAuth(SEED, GATEWAY)
            with httpx.Client(auth=auth, transport=recorder.transport) as client:
                request = client.build_request(
                    "POST",
                    f"{GATEWAY}/api/v1/openrouter/chat/completions",
                    json={"a": "你好"},
                    headers={"Authorization": "Bearer unused"},
                )
                # As SDKs do it, with one request object.
                client.send(request)
                client.send(request)
            one, two = recorder.requests
            for sent in (one, two):
                verify(sent, audience=GATEWAY, path="/api/v1/openrouter/chat/completions")
                self.assertNotIn("authorization", sent.headers)
            self.assertNotEqual(one.headers["x-did-nonce"], two.headers["x-did-nonce"])
            self.assertNotEqual(one.headers["x-did-signature"], two.headers["x-did-signature"])

    def test_a_changed_body_does_not_verify(self):
        httpx = llmgw_auth._HTTPX[0]
        recorder = Recorder(httpx)
        with httpx.Client(auth=DidAuth(SEED, GATEWAY), transport=recorder.transport) as client:
            client.post(f"{GATEWAY}/x", content=b"{}")
        sent = recorder.requests[0]
        changed = httpx.Request("POST", sent.url, headers=sent.headers, content=b"{ }")
        with self.assertRaises(InvalidSignature):
            verify(changed, audience=GATEWAY, path="/x")

    def test_streamed_bodies_and_async_clients(self):
        for httpx in llmgw_auth._HTTPX:
            recorder = Recorder(httpx, 200, 200)
            auth = DidAuth(SEED, GATEWAY)

            async def pieces():
                yield b'{"a":'
                yield b"1}"

            async def post(httpx=httpx, recorder=recorder, auth=auth, pieces=pieces):
                async with httpx.AsyncClient(auth=auth, transport=recorder.transport) as client:
                    await client.post(f"{GATEWAY}/x", content=pieces())

            asyncio.run(post())
            with httpx.Client(auth=auth, transport=recorder.transport) as client:
                client.post(f"{GATEWAY}/x", content=iter([b'{"a":', b"1}"]))
            for sent in recorder.requests:
                self.assertEqual(sent.content, b'{"a":1}')
                verify(sent, audience=GATEWAY, path="/x")

    def test_paths_and_queries_as_httpx_sends_them(self):
        for httpx in llmgw_auth._HTTPX:
            recorder = Recorder(httpx)
            auth = DidAuth(SEED, "HTTPS://GW.example.com:443/Prod/")
            with httpx.Client(auth=auth, transport=recorder.transport) as client:
                client.get(
                    f"{GATEWAY}/Prod/api/v1/openrouter/models/r1:free",
                    params=[("q", "a b+c%2B"), ("q", "你"), ("a", "")],
                )
            verify(
                recorder.requests[0],
                audience=f"{GATEWAY}/Prod",
                path="/api/v1/openrouter/models/r1:free",
                query="a=&q=%E4%BD%A0&q=a%20b%2Bc%252B",
            )

    def test_an_address_that_is_not_the_audience(self):
        httpx = llmgw_auth._HTTPX[0]
        audience = f"{GATEWAY}/Prod"
        recorder = Recorder(httpx)
        auth = DidAuth(SEED, audience, base_url="http://[::1]:9000")
        with httpx.Client(auth=auth, transport=recorder.transport) as client:
            client.get("http://[::1]:9000/api/v1/usage")
        verify(recorder.requests[0], audience=audience, path="/api/v1/usage")

        auth = DidAuth(SEED, audience)
        with httpx.Client(auth=auth, transport=recorder.transport) as client:
            for path in ("/api/v1/usage", "/Prodigy/usage"):
                with self.assertRaisesRegex(ValueError, "base_url"):
                    client.get(f"http://localhost{path}")

    def test_audiences(self):
        for text, audience in (
            ("HTTPS://GW.Example.com:443/", "https://gw.example.com"),
            ("http://gw:80", "http://gw"),
            ("http://[::1]:9000", "http://[::1]:9000"),
            ("https://h/a/B/", "https://h/a/B"),
            ("https://bücher.example", "https://xn--bcher-kva.example"),
        ):
            self.assertIn(f"audience={audience!r}", repr(DidAuth(SEED, text)))
        for text in ("gw", "ftp://h", "https://u@h", "https://h/?a", "https://h/#a", "https://h//"):
            with self.assertRaises(ValueError, msg=text):
                DidAuth(SEED, text)

    def test_identity_files(self):
        did = VECTORS["cases"][0]["did"]
        seed = base64.urlsafe_b64encode(SEED).rstrip(b"=").decode()
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "identity.json"
            path.write_text(json.dumps({"did": did, "secret_key_seed": seed}))
            auth = DidAuth.from_file(path, GATEWAY)
            self.assertEqual(auth.did, did)
            self.assertNotIn(seed, repr(auth))
            path.write_text(json.dumps({"did": did + "x", "secret_key_seed": seed}))
            with self.assertRaises(ValueError) as caught:
                DidAuth.from_file(path, GATEWAY)
            self.assertNotIn(seed, str(caught.exception))


if __name__ == "__main__":
    unittest.main()
