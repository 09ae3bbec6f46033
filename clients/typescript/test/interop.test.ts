import assert from "node:assert/strict";
import { createPublicKey, verify as verifySignature, type KeyObject } from "node:crypto";
import { test } from "node:test";

import { createVerifier, httpbis } from "http-message-signatures";
import * as messageSig from "http-message-sig";

import { createSigner, Identity } from "../src/index.js";
import { utf8 } from "../src/encoding.js";
import { ENCRYPTED, GATEWAY } from "./vectors.js";

const url = `${GATEWAY}/api/v1/keys?a=1&b=2`;
const body = "{}";

/** Each algorithm with a signed request and its public key. */
async function* signed() {
  for (const { pkcs8_hex, file } of ENCRYPTED.cases) {
    const algorithm = file.algorithm === "P-256" ? "ecdsa-p256-sha256" : "ed25519";
    const der = Uint8Array.from(Buffer.from(pkcs8_hex, "hex"));
    const pem = `-----BEGIN PRIVATE KEY-----\n${Buffer.from(der).toString("base64")}\n-----END PRIVATE KEY-----\n`;
    const identity = await Identity.fromPkcs8(der, algorithm);
    const sign = createSigner({ identity, audience: GATEWAY, scheme: "rfc9421" });
    const headers = await sign({ method: "POST", url, body: utf8(body) });
    yield { algorithm, did: identity.did, headers, publicKey: createPublicKey(pem) } as const;
  }
}

function isSignature(algorithm: string, data: Uint8Array, key: KeyObject, signature: Uint8Array): boolean {
  return algorithm === "ed25519"
    ? verifySignature(null, data, key, signature)
    : verifySignature("sha256", data, { key, dsaEncoding: "ieee-p1363" }, signature);
}

test("http-message-signatures verifies what is signed here", async () => {
  for await (const { algorithm, did, headers, publicKey } of signed()) {
    const verified = async (sentTo: string) =>
      httpbis.verifyMessage(
        {
          keyLookup: async () => ({ id: did, algs: [algorithm], verify: createVerifier(publicKey, algorithm) }),
        },
        { method: "POST", url: sentTo, headers },
      );
    assert.equal(await verified(url), true, algorithm);
    assert.equal(await verified(`${url}3`), false, algorithm);
  }
});

test("http-message-sig verifies what is signed here", async () => {
  for await (const { algorithm, headers, publicKey } of signed()) {
    const verified = async (sentTo: string) =>
      messageSig.verifySignature(new Request(sentTo, { method: "POST", headers, body }), {
        policy: {
          algorithms: [algorithm],
          requiredComponents: ["@method", "@target-uri", "content-digest"],
          requiredParameters: ["created", "keyid", "nonce"],
          maxAge: 300,
          clockSkew: 5,
        },
        resolveVerifier: () => ({
          algorithm,
          verify: async (data, signature) => isSignature(algorithm, data, publicKey, signature),
        }),
      });
    assert.ok(await verified(url), algorithm);
    await assert.rejects(verified(`${url}3`), algorithm);
  }
});
