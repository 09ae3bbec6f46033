import assert from "node:assert/strict";
import { test } from "node:test";

import {
  canonicalPath,
  canonicalQuery,
  createSigner,
  Identity,
  signatureBase,
  SigningError,
  signingString,
} from "../src/index.js";
import { canonicalBase } from "../src/canonical.js";
import { utf8 } from "../src/encoding.js";
import { CANONICAL, GATEWAY, IDENTITY, MESSAGES, VECTORS } from "./vectors.js";

test("the vectors", async () => {
  assert.equal(VECTORS.cases.length, 3);
  for (const it of VECTORS.cases) {
    const text = await signingString({
      audience: it.aud,
      did: it.did,
      timestamp: it.ts,
      nonce: it.nonce,
      method: it.method,
      path: it.path,
      query: it.query,
      body: utf8(it.body),
    });
    assert.equal(text, it.canonical);
    const signature = await IDENTITY.sign(utf8(text));
    assert.equal(Buffer.from(signature).toString("base64url"), it.sig);
    assert.equal(IDENTITY.did, it.did);
  }
});

const forms = {
  paths: canonicalPath,
  queries: canonicalQuery,
  audiences: (raw: string) => canonicalBase(raw).base,
};
for (const kind of ["paths", "queries", "audiences"] as const) {
  test(`canonical ${kind}, and those that are refused`, () => {
    assert.ok(CANONICAL[kind].length > 20);
    for (const { raw, canonical } of CANONICAL[kind]) {
      if (canonical === null) {
        assert.throws(() => forms[kind](raw), SigningError, raw);
      } else {
        assert.equal(forms[kind](raw), canonical, raw);
      }
    }
  });
}

test("headers for any other HTTP library", async () => {
  for (const it of VECTORS.cases.filter(({ nonce }) => nonce !== "")) {
    const sign = createSigner({
      identity: IDENTITY,
      audience: it.aud,
      clock: () => Number(it.ts) * 1000 + 999,
      nonce: () => it.nonce,
    });
    const target = { method: it.method, url: `${it.aud}${it.path}`, body: utf8(it.body) };
    assert.deepEqual(await sign(target), {
      "x-did": it.did,
      "x-did-timestamp": it.ts,
      "x-did-nonce": it.nonce,
      "x-did-signature": it.sig,
    });
  }
});

test("RFC 9421", async () => {
  const p256 = await Identity.fromP256(Buffer.from(MESSAGES.p256_secret_key_hex, "hex"));
  for (const it of MESSAGES.cases) {
    const identity = it.alg === "ed25519" ? IDENTITY : p256;
    assert.equal(identity.did, it.did);
    const sign = createSigner({
      identity,
      audience: it.aud,
      scheme: "rfc9421",
      clock: () => Number(it.created) * 1000 + 999,
      nonce: () => it.nonce,
    });
    const url = `${it.aud}${it.path}${it.query && `?${it.query}`}`;
    const headers = await sign({ method: it.method, url, body: utf8(it.body) });
    assert.equal(headers["signature-input"], `sig=${it.params}`);
    assert.equal(headers["content-digest"] ?? "", it.content_digest);
    const { did, method, nonce, path, query, aud } = it;
    const parts = { did, method, nonce, path, query, audience: aud, timestamp: it.created };
    const { text } = await signatureBase({ ...parts, body: utf8(it.body) }, identity.algorithm);
    assert.equal(text, it.base);
    if (it.alg === "ed25519") {
      assert.equal(headers["signature"], `sig=:${it.signature}:`);
    }
  }
});

test("an address that is not the audience", async () => {
  const [, , it] = VECTORS.cases;
  assert.ok(it);
  const here = createSigner({
    identity: IDENTITY,
    audience: it.aud,
    baseUrl: "http://[::1]:9000/here/",
    clock: () => Number(it.ts) * 1000,
    nonce: () => it.nonce,
  });
  const headers = await here({ method: it.method, url: `http://[::1]:9000/here${it.path}` });
  assert.equal(headers["x-did-signature"], it.sig);

  const sign = createSigner({ identity: IDENTITY, audience: `${GATEWAY}/Prod` });
  for (const path of ["/api/v1/usage", "/Prodigy/usage"]) {
    await assert.rejects(sign({ method: "GET", url: GATEWAY + path }), /baseUrl/);
  }
});

test("no other host gets a signature", async () => {
  const sign = createSigner({ identity: IDENTITY, audience: "https://gw.example.com" });
  for (const url of [
    "https://gw.example.com.evil.example/x",
    "https://evil.example/x",
    "http://gw.example.com/x",
    "https://gw.example.com:8443/x",
    "https://gw.example.com@evil.example/x",
    "https://evil.example\\@gw.example.com/x",
  ]) {
    await assert.rejects(sign({ method: "GET", url }), /is not the gateway at https:\/\/gw.example.com/, url);
  }
  for (const url of ["https://GW.example.com/x", new URL("https://gw.example.com:443/x")]) {
    await sign({ method: "GET", url });
  }

  // With another baseUrl the audience's host is another host, too.
  const tunnelled = createSigner({
    identity: IDENTITY,
    audience: "https://gw.example.com",
    baseUrl: "http://[::1]:9000",
  });
  await tunnelled({ method: "GET", url: "http://[0:0::1]:9000/x" });
  for (const url of ["https://gw.example.com/x", "http://[::1]:9001/x", "http://[::2]:9000/x"]) {
    await assert.rejects(tunnelled({ method: "GET", url }), /baseUrl/, url);
  }
});
