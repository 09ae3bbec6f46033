"""python -m unittest discover --start-directory tests, with the package installed or src on
PYTHONPATH."""

import asyncio
import base64
import importlib.util
import io
import json
import pickle
import tempfile
import time
import traceback
import unittest
from email.utils import formatdate
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256

from llmgw_auth import (
    DidAuth,
    Identity,
    IdentityError,
    Signer,
    canonical_path,
    canonical_query,
    did_key,
    signature_base,
    signing_string,
)

TESTDATA = Path(__file__).parents[3] / "shared/testdata"
VECTORS = json.loads((TESTDATA / "x_did_v1.json").read_text(encoding="utf-8"))
CANONICAL = json.loads((TESTDATA / "x_did_v1_canonical.json").read_text(encoding="utf-8"))
MESSAGES = json.loads((TESTDATA / "rfc9421.json").read_text(encoding="utf-8"))
P256 = Identity.from_p256(bytes.fromhex(MESSAGES["p256_secret_key_hex"]))
SEED = bytes.fromhex(VECTORS["secret_key_seed_hex"])
ENCODED_SEED = base64.urlsafe_b64encode(SEED).rstrip(b"=").decode()
KEY = Ed25519PrivateKey.from_private_bytes(SEED)
IDENTITY = Identity.from_seed(SEED)
GATEWAY = "https://gw.example.com"
# The installed ones: the package works with either.
HTTPX = [importlib.import_module(it) for it in ("httpx", "httpx2") if importlib.util.find_spec(it)]


def auth_for(audience, **options):
    return DidAuth(Signer(IDENTITY, audience, **options))


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
    """A server that answers with the given statuses and keeps the requests."""

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
            return httpx.Response(next(statuses), headers={"location": "https://elsewhere/"})

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
            self.assertEqual(IDENTITY.sign(text.encode()), signature(case["sig"]))
            self.assertEqual(did_key(KEY.public_key().public_bytes_raw()), case["did"])

    def check(self, kind, canonical_form):
        cases = CANONICAL[kind]
        self.assertGreater(len(cases), 20)
        for case in cases:
            with self.subTest(kind, raw=case["raw"]):
                if case["canonical"] is None:
                    self.assertRaises(ValueError, canonical_form, case["raw"])
                else:
                    self.assertEqual(canonical_form(case["raw"]), case["canonical"])

    def test_paths(self):
        self.check("paths", canonical_path)

    def test_queries(self):
        self.check("queries", canonical_query)

    def test_audiences(self):
        self.check("audiences", lambda raw: Signer(IDENTITY, raw).audience)
        with self.assertRaisesRegex(ValueError, "xn--"):
            Signer(IDENTITY, "https://bücher.example")


class Messages(unittest.TestCase):
    """RFC 9421, against the gateway's own vectors."""

    def test_the_vectors(self):
        for case in MESSAGES["cases"]:
            with self.subTest(case["did"]):
                identity = IDENTITY if case["alg"] == "ed25519" else P256
                self.assertEqual(identity.did, case["did"])
                self.assertEqual(identity.algorithm, case["alg"])
                base = signature_base(
                    audience=case["aud"],
                    did=case["did"],
                    algorithm=case["alg"],
                    created=case["created"],
                    nonce=case["nonce"],
                    method=case["method"],
                    path=case["path"],
                    query=case["query"],
                    body=case["body"].encode(),
                )
                self.assertEqual(base.text, case["base"])
                self.assertEqual(base.content_digest or "", case["content_digest"])
                signer = Signer(
                    identity,
                    case["aud"],
                    scheme="rfc9421",
                    clock=lambda case=case: float(case["created"]) + 0.9,
                    nonce=lambda case=case: case["nonce"],
                )
                url = case["aud"] + case["path"] + ("?" + case["query"] if case["query"] else "")
                headers = signer.headers(case["method"], url, case["body"].encode())
                self.assertEqual(headers["signature-input"], "sig=" + case["params"])
                self.assertEqual(headers.get("content-digest", ""), case["content_digest"])
                if case["alg"] == "ed25519":
                    self.assertEqual(headers["signature"], f"sig=:{case['signature']}:")
                else:
                    made = base64.b64decode(headers["signature"][5:-1])
                    self.check_p256(made, base.text.encode())
                    self.check_p256(base64.b64decode(case["signature"]), base.text.encode())

    def check_p256(self, signature, text):
        number = int(MESSAGES["p256_secret_key_hex"], 16)
        key = ec.derive_private_key(number, ec.SECP256R1()).public_key()
        self.assertEqual(len(signature), 64)
        r, s = (int.from_bytes(it, "big") for it in (signature[:32], signature[32:]))
        key.verify(utils.encode_dss_signature(r, s), text, ec.ECDSA(SHA256()))

    def test_an_httpx_client_signs_by_it(self):
        for httpx in HTTPX:
            recorder = Recorder(httpx)
            auth = auth_for(GATEWAY, scheme="rfc9421")
            with httpx.Client(auth=auth, transport=recorder.transport) as client:
                client.post(f"{GATEWAY}/api/v1/keys", json={})
            (request,) = recorder.requests
            self.assertNotIn("x-did", request.headers)
            self.assertIn('keyid="did:key:z6Mk', request.headers["signature-input"])
            self.assertTrue(request.headers["content-digest"].startswith("sha-256=:"))

    @unittest.skipUnless(importlib.util.find_spec("http_message_signatures"), "not installed")
    def test_another_implementation_verifies_it(self):
        from http_message_signatures import (
            HTTPMessageVerifier,
            HTTPSignatureKeyResolver,
            InvalidSignature,
            algorithms,
        )

        number = int(MESSAGES["p256_secret_key_hex"], 16)
        p256 = ec.derive_private_key(number, ec.SECP256R1()).public_key()
        keys = {IDENTITY.did: KEY.public_key(), P256.did: p256}

        class Keys(HTTPSignatureKeyResolver):
            def resolve_private_key(self, key_id):
                raise NotImplementedError

            def resolve_public_key(self, key_id):
                return keys[key_id]

        class Message:
            method = "POST"

            def __init__(self, url, headers):
                self.url, self.headers = url, headers

        for identity, algorithm in (
            (IDENTITY, algorithms.ED25519),
            (P256, algorithms.ECDSA_P256_SHA256),
        ):
            signer = Signer(identity, GATEWAY, scheme="rfc9421")
            headers = signer.headers("POST", f"{GATEWAY}/api/v1/keys?b=2&a=1", b"{}")
            verifier = HTTPMessageVerifier(signature_algorithm=algorithm, key_resolver=Keys())
            required = ("@method", "@target-uri", "content-digest")
            for url, passes in (("?a=1&b=2", True), ("?a=1&b=3", False)):
                message = Message(f"{GATEWAY}/api/v1/keys{url}", headers)
                options = {"expect_tag": "llm-gateway", "require_components": required}
                if passes:
                    self.assertEqual(len(verifier.verify(message, body=b"{}", **options)), 1)
                else:
                    with self.assertRaises(InvalidSignature):
                        verifier.verify(message, body=b"{}", **options)

    def test_an_unknown_scheme_is_refused(self):
        with self.assertRaisesRegex(ValueError, "neither"):
            Signer(IDENTITY, GATEWAY, scheme="x-did-v2")

    def test_p256_identities(self):
        point = P256.did
        self.assertTrue(point.startswith("did:key:zDn"))
        for secret in (bytes(32), b"\xff" * 32, bytes(31)):
            with self.assertRaises(IdentityError):
                Identity.from_p256(secret)
        with self.assertRaisesRegex(IdentityError, "secp384r1"):
            Identity(ec.generate_private_key(ec.SECP384R1()))
        secret = bytes.fromhex(MESSAGES["p256_secret_key_hex"])
        encoded = base64.urlsafe_b64encode(secret).rstrip(b"=").decode()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "identity.json"
            path.touch(mode=0o600)
            path.write_text(json.dumps({"did": point, "p256_secret_key": encoded}))
            self.assertEqual(Identity.from_file(path).did, point)
            path.write_text(json.dumps({"did": IDENTITY.did, "p256_secret_key": encoded}))
            with self.assertRaisesRegex(IdentityError, "not one of its p256_secret_key"):
                Identity.from_file(path)
            path.write_text(json.dumps({"did": point, "sign_command": "sign"}))
            with self.assertRaisesRegex(IdentityError, "held by a command"):
                Identity.from_file(path)
        numbers = ec.derive_private_key(int.from_bytes(secret, "big"), ec.SECP256R1())
        numbers = numbers.public_key().public_numbers()
        x, y = (
            base64.urlsafe_b64encode(it.to_bytes(32, "big")).rstrip(b"=").decode()
            for it in (numbers.x, numbers.y)
        )
        jwk = json.dumps({"kty": "EC", "crv": "P-256", "x": x, "y": y})
        did = "did:jwk:" + base64.urlsafe_b64encode(jwk.encode()).rstrip(b"=").decode()
        self.assertEqual(Identity.from_p256(secret, did).did, did)


class Identities(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = Path(directory.name) / "identity.json"

    def store(self, text, mode=0o600):
        self.path.write_text(text)
        self.path.chmod(mode)

    def test_dids(self):
        self.assertEqual(len(CANONICAL["dids"]), 22)
        for case in CANONICAL["dids"]:
            self.store(json.dumps({"did": case["did"], "secret_key_seed": ENCODED_SEED}))
            with self.subTest(did=case["did"]):
                if case["of_the_seed"]:
                    self.assertEqual(Identity.from_file(self.path).did, case["did"])
                else:
                    self.assertRaises(IdentityError, Identity.from_file, self.path)
        # The gateway finds out whose key it is, in the document.
        did = "did:web:example.com:alice#laptop"
        self.store(json.dumps({"did": did, "secret_key_seed": ENCODED_SEED}))
        self.assertEqual(Identity.from_file(self.path).did, did)

    def test_an_identity_that_others_may_read_is_refused(self):
        text = json.dumps({"did": IDENTITY.did, "secret_key_seed": ENCODED_SEED})
        for mode in (0o640, 0o604, 0o620, 0o660):
            self.store(text, mode)
            with self.assertRaisesRegex(IdentityError, f"mode {mode:04o}.*chmod 600"):
                Identity.from_file(self.path)
        for mode in (0o600, 0o400):
            self.store(text, mode)
            self.assertEqual(Identity.from_file(self.path).did, IDENTITY.did)
            self.assertEqual(DidAuth.from_file(self.path, GATEWAY).did, IDENTITY.did)
            self.path.unlink()
        with self.assertRaisesRegex(IdentityError, "llmgw identity new"):
            Identity.from_file(self.path)

    def test_broken_files_are_explained_and_not_quoted(self):
        did, seed = IDENTITY.did, ENCODED_SEED
        whole = {"did": did, "secret_key_seed": seed}
        for text, message in (
            ("", "is not an identity file"),
            ("{", "is not an identity file"),
            ("[]", "is not an identity file"),
            (f'"{seed}"', "is not an identity file"),
            (json.dumps({"secret_key_seed": seed}), "is not an identity file"),
            (json.dumps({"did": did}), "is not an identity file"),
            (json.dumps({"did": did, "secret_key_seed": [seed]}), "is not an identity file"),
            (json.dumps(whole) + seed, "is not an identity file"),
            (json.dumps({seed: "a" * 5000} | whole), "is not an identity file"),
            *(
                (
                    json.dumps({"did": did, "secret_key_seed": broken}),
                    "is not 32 bytes in base64url",
                )
                for broken in ("", seed[1:], seed + "=", seed[:42] + "B", "nWGx+e", "é" * 43)
            ),
        ):
            self.store(text)
            with self.subTest(text=text), self.assertRaisesRegex(IdentityError, message) as caught:
                Identity.from_file(self.path)
            printed = "".join(traceback.format_exception(caught.exception))
            self.assertNotIn(seed[:6], printed)
            # The error of `json` contains the text.
            self.assertIsNone(caught.exception.__context__)

    def test_the_key_does_not_print(self):
        for value in (IDENTITY, Signer(IDENTITY, GATEWAY), auth_for(GATEWAY)):
            for printed in (repr(value), str(value), f"{value}"):
                self.assertIn(IDENTITY.did, printed)
                self.assertNotIn(ENCODED_SEED[:6], printed)
                self.assertNotIn(SEED.hex()[:6], printed)
            self.assertRaises(TypeError, pickle.dumps, value)
        self.assertFalse(hasattr(IDENTITY, "__dict__"))
        self.assertRaises(IdentityError, Identity.from_seed, SEED[1:])


class Auth(unittest.TestCase):
    def test_requests_of_the_vectors(self):
        self.assertTrue(HTTPX)
        for httpx in HTTPX:
            cases = [case for case in VECTORS["cases"] if case["nonce"]]
            self.assertEqual(len(cases), 2)
            for case in cases:
                auth = auth_for(
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
        for httpx in HTTPX:
            recorder = Recorder(httpx, 429, 200)
            with httpx.Client(auth=auth_for(GATEWAY), transport=recorder.transport) as client:
                request = client.build_request(
                    "POST",
                    f"{GATEWAY}/api/v1/openrouter/chat/completions",
                    json={"a": "你好"},
                    headers={"Authorization": "Bearer another", "x-api-key": "another"},
                )
                # SDKs retry with one request object.
                client.send(request)
                client.send(request)
            one, two = recorder.requests
            for sent in (one, two):
                verify(sent, audience=GATEWAY, path="/api/v1/openrouter/chat/completions")
                self.assertNotIn("another", "".join(sent.headers.values()))
            self.assertNotEqual(one.headers["x-did-nonce"], two.headers["x-did-nonce"])
            self.assertNotEqual(one.headers["x-did-signature"], two.headers["x-did-signature"])

    def test_a_changed_body_does_not_verify(self):
        httpx = HTTPX[0]
        recorder = Recorder(httpx)
        with httpx.Client(auth=auth_for(GATEWAY), transport=recorder.transport) as client:
            client.post(f"{GATEWAY}/x", content=b"{}")
        sent = recorder.requests[0]
        changed = httpx.Request("POST", sent.url, headers=sent.headers, content=b"{ }")
        with self.assertRaises(InvalidSignature):
            verify(changed, audience=GATEWAY, path="/x")

    def test_streamed_bodies_and_async_clients(self):
        for httpx in HTTPX:
            recorder = Recorder(httpx, 200, 200)
            auth = auth_for(GATEWAY)

            async def pieces():
                yield b'{"a":'
                yield b"1}"

            async def post(httpx=httpx, recorder=recorder, auth=auth, pieces=pieces):
                async with httpx.AsyncClient(auth=auth, transport=recorder.transport) as client:
                    await client.post(f"{GATEWAY}/x", content=pieces())

            asyncio.run(post())
            with httpx.Client(auth=auth, transport=recorder.transport) as client:
                client.post(f"{GATEWAY}/x", content=iter([b'{"a":', b"1}"]))
            self.assertEqual(len(recorder.requests), 2)
            for sent in recorder.requests:
                self.assertEqual(sent.content, b'{"a":1}')
                self.assertEqual(sent.headers["content-length"], "7")
                self.assertNotIn("transfer-encoding", sent.headers)
                verify(sent, audience=GATEWAY, path="/x")

    def test_a_body_that_was_read_already_is_an_error_and_not_an_empty_body(self):
        for httpx in HTTPX:
            recorder = Recorder(httpx, 200, 200)
            body = (piece for piece in [b"once"])
            with httpx.Client(auth=auth_for(GATEWAY), transport=recorder.transport) as client:
                request = client.build_request("POST", f"{GATEWAY}/x", content=body)
                for _ in request.stream:
                    pass
                with self.assertRaises(httpx.StreamConsumed):
                    client.send(request)
            self.assertEqual(recorder.requests, [])

    def test_multipart_bodies(self):
        for httpx in HTTPX:
            recorder = Recorder(httpx, 200, 200)
            auth = auth_for(GATEWAY)
            form = {"data": {"model": "m"}, "files": {"file": ("a.wav", io.BytesIO(b"\0\xff"))}}
            with httpx.Client(auth=auth, transport=recorder.transport) as client:
                client.post(f"{GATEWAY}/x", **form)

            async def post(httpx=httpx, recorder=recorder, auth=auth, form=form):
                async with httpx.AsyncClient(auth=auth, transport=recorder.transport) as client:
                    await client.post(f"{GATEWAY}/x", **form)

            asyncio.run(post())
            self.assertEqual(len(recorder.requests), 2)
            for sent in recorder.requests:
                boundary = sent.headers["content-type"].partition("boundary=")[2].encode()
                self.assertIn(b"--" + boundary + b"\r\n", sent.content)
                self.assertIn(b'filename="a.wav"', sent.content)
                self.assertIn(b"\r\n\0\xff\r\n", sent.content)
                verify(sent, audience=GATEWAY, path="/x")

    def test_redirects_are_not_followed(self):
        for httpx in HTTPX:
            recorder = Recorder(httpx, 307)
            with httpx.Client(auth=auth_for(GATEWAY), transport=recorder.transport) as client:
                self.assertEqual(client.post(f"{GATEWAY}/x").status_code, 307)
            self.assertEqual(len(recorder.requests), 1)

    def test_paths_and_queries_as_httpx_sends_them(self):
        for httpx in HTTPX:
            recorder = Recorder(httpx)
            auth = auth_for("HTTPS://GW.example.com:443/Prod/")
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

    def test_the_id_of_a_model_is_sent_with_a_plain_slash(self):
        for httpx in HTTPX:
            recorder = Recorder(httpx, 200, 200)
            with httpx.Client(auth=auth_for(GATEWAY), transport=recorder.transport) as client:
                client.get(f"{GATEWAY}/models/deepseek%2Fr1%3Afree?a=b%2Fc")
                client.get(f"{GATEWAY}/models/deepseek%2fr1")
                with self.assertRaises(ValueError):
                    client.get(f"{GATEWAY}/files/a%2Fb")
            one, two = recorder.requests
            self.assertEqual(one.url.raw_path, b"/models/deepseek/r1:free?a=b%2Fc")
            verify(one, audience=GATEWAY, path="/models/deepseek/r1:free", query="a=b%2Fc")
            self.assertEqual(two.url.raw_path, b"/models/deepseek/r1")
            verify(two, audience=GATEWAY, path="/models/deepseek/r1")

    def test_with_a_wrong_clock_it_signs_once_more_by_the_gateways(self):
        hour, day = 3600, 24 * 3600
        for httpx in HTTPX:
            for ahead, headers, statuses in (
                *((it, lambda it: {"date": it}, [401, 200]) for it in (301, -301, 6 * day, -hour)),
                (0, lambda it: {"date": it}, [200]),
                (8 * day, lambda it: {"date": it}, [401]),
                (hour, lambda it: {}, [401]),
                (hour, lambda it: {"date": "tomorrow"}, [401]),
                (hour, lambda it: {"date": it, "x-gateway-upstream": "openrouter"}, [401]),
                # A gateway whose `Date` is not the time that it checks by.
                (hour, lambda it: {"date": formatdate(time.time() - hour, usegmt=True)}, [401, 401]),
            ):
                seen = []

                def answer(request, ahead=ahead, headers=headers, seen=seen, httpx=httpx):
                    verify(request, audience=GATEWAY, path="/x")
                    now = time.time() + ahead
                    signed_at = int(request.headers["x-did-timestamp"])
                    status = 401 if abs(now - signed_at) > 300 else 200
                    seen.append((status, request.headers["x-did-nonce"], request.content))
                    date = formatdate(now, usegmt=True)
                    return httpx.Response(status, headers=headers(date), content=b"{}")

                def pieces():
                    yield b'{"a":'
                    yield b"1}"

                transport = httpx.MockTransport(answer)
                with httpx.Client(auth=auth_for(GATEWAY), transport=transport) as client:
                    status = client.post(f"{GATEWAY}/x", content=pieces()).status_code
                with self.subTest(ahead=ahead, statuses=statuses):
                    self.assertEqual([it[0] for it in seen], statuses)
                    self.assertEqual(status, statuses[-1])
                    self.assertEqual(len({nonce for _, nonce, _ in seen}), len(statuses))
                    self.assertEqual({body for _, _, body in seen}, {b'{"a":1}'})

    def test_an_address_that_is_not_the_audience(self):
        audience = f"{GATEWAY}/Prod"
        for httpx in HTTPX:
            recorder = Recorder(httpx)
            auth = auth_for(audience, base_url="http://[::1]:9000")
            with httpx.Client(auth=auth, transport=recorder.transport) as client:
                client.get("http://[::1]:9000/api/v1/usage")
            verify(recorder.requests[0], audience=audience, path="/api/v1/usage")

            auth = auth_for(audience)
            with httpx.Client(auth=auth, transport=recorder.transport) as client:
                for path in ("/api/v1/usage", "/Prodigy/usage"):
                    with self.assertRaisesRegex(ValueError, "base_url"):
                        client.get(f"{GATEWAY}{path}")

    def test_no_other_host_gets_a_signature(self):
        others = (
            "https://gw.example.com.evil.example/x",
            "https://evil.example/x",
            "http://gw.example.com/x",
            "https://gw.example.com:8443/x",
            "https://gw.example.com@evil.example/x",
            "https://evil.example\\@gw.example.com/x",
            "//gw.example.com/x",
            "/x",
        )
        signer = Signer(IDENTITY, "https://gw.example.com")
        for url in others:
            with self.assertRaises(ValueError, msg=url):
                signer.headers("GET", url)
        with self.assertRaisesRegex(ValueError, "evil.example is not the gateway"):
            signer.headers("GET", others[1])
        for url in ("https://GW.example.com/x", "https://gw.example.com:443/x"):
            signer.headers("GET", url)

        # With another base_url the audience's host is another host, too.
        tunnelled = Signer(IDENTITY, "https://gw.example.com", base_url="http://[::1]:9000")
        tunnelled.headers("GET", "http://[0:0::1]:9000/x")
        for url in ("https://gw.example.com/x", "http://[::1]:9001/x", "http://[::2]:9000/x"):
            with self.assertRaisesRegex(ValueError, "base_url"):
                tunnelled.headers("GET", url)

        for httpx in HTTPX:
            recorder = Recorder(httpx)
            with httpx.Client(auth=auth_for(GATEWAY), transport=recorder.transport) as client:
                with self.assertRaisesRegex(ValueError, "is not the gateway"):
                    client.get("https://evil.example/api/v1/usage")
            self.assertEqual(recorder.requests, [])

    def test_signing_for_any_other_library(self):
        case = VECTORS["cases"][0]
        signer = Signer(
            IDENTITY,
            case["aud"],
            clock=lambda: float(case["ts"]),
            nonce=lambda: case["nonce"],
        )
        url = case["aud"] + case["path"]
        self.assertEqual(
            signer.headers(case["method"], url, case["body"].encode()),
            {
                "x-did": case["did"],
                "x-did-timestamp": case["ts"],
                "x-did-nonce": case["nonce"],
                "x-did-signature": case["sig"],
            },
        )


if __name__ == "__main__":
    unittest.main()
