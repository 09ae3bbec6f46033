import assert from "node:assert/strict";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { inspect } from "node:util";

import { Identity, SigningError } from "../src/index.js";
import { readIdentity } from "../src/node.js";
import { CANONICAL, ENCODED_SEED, ENCRYPTED, IDENTITY, MESSAGES, SEED } from "./vectors.js";

let directory = "";
let path = "";
before(async () => {
  directory = await mkdtemp(join(tmpdir(), "llmgw-"));
  path = join(directory, "identity.json");
});
after(() => rm(directory, { recursive: true }));

async function store(text: string, mode = 0o600): Promise<void> {
  await writeFile(path, text);
  await chmod(path, mode);
}

const stored = (did: string, seed: unknown = ENCODED_SEED) =>
  JSON.stringify({ did, secret_key_seed: seed });

/** Everything that is printed of an error. */
function printed(error: unknown): string {
  assert.ok(error instanceof SigningError);
  return inspect(error, { depth: null, showHidden: true });
}

test("only a key's own DIDs are taken", async () => {
  assert.equal(CANONICAL.dids.length, 22);
  for (const { did, of_the_seed: ofTheSeed } of CANONICAL.dids) {
    await store(stored(did));
    if (ofTheSeed) {
      assert.equal((await readIdentity(path)).did, did);
    } else {
      await assert.rejects(readIdentity(path), SigningError, did);
    }
  }
});

test("an identity that others may read is refused", async () => {
  for (const mode of [0o640, 0o604, 0o620, 0o660]) {
    await store(stored(IDENTITY.did), mode);
    await assert.rejects(readIdentity(path), new RegExp(`mode 0${mode.toString(8)}.*chmod 600`));
  }
  for (const mode of [0o600, 0o400]) {
    await store(stored(IDENTITY.did), mode);
    assert.equal((await readIdentity(path)).did, IDENTITY.did);
    await rm(path);
  }
  await assert.rejects(readIdentity(path), /llmgw identity new/);
});

test("broken files are explained and not quoted", async () => {
  const { did } = IDENTITY;
  const notAnIdentity = [
    "",
    "{",
    "[]",
    "null",
    JSON.stringify(ENCODED_SEED),
    JSON.stringify({ secret_key_seed: ENCODED_SEED }),
    JSON.stringify({ did }),
    stored(did, [ENCODED_SEED]),
    stored(did) + ENCODED_SEED,
    JSON.stringify({ [ENCODED_SEED]: "a".repeat(5000), did, secret_key_seed: ENCODED_SEED }),
  ];
  for (const text of notAnIdentity) {
    await store(text);
    await assert.rejects(readIdentity(path), (error) => {
      assert.match(printed(error), /not an identity/);
      assert.doesNotMatch(printed(error), /nWGxne/);
      return true;
    });
  }
  const seeds = ["", ENCODED_SEED.slice(1), `${ENCODED_SEED}=`, `${ENCODED_SEED.slice(0, 42)}B`];
  for (const seed of [...seeds, "nWGx+e", "é".repeat(43)]) {
    await store(stored(did, seed));
    await assert.rejects(readIdentity(path), (error) => {
      assert.match(printed(error), /is not 32 bytes in base64url/);
      assert.doesNotMatch(printed(error), /nWGxne/);
      return true;
    });
  }
});

test("the key does not print", () => {
  const outputs = [
    inspect(IDENTITY, { depth: null, showHidden: true }),
    JSON.stringify(IDENTITY),
    JSON.stringify({ ...IDENTITY }),
    String(IDENTITY),
  ];
  for (const output of outputs) {
    assert.doesNotMatch(output, /nWGxne/);
    assert.doesNotMatch(output, new RegExp(SEED.toString("hex").slice(0, 6)));
  }
  assert.equal(JSON.stringify(IDENTITY), JSON.stringify({ did: IDENTITY.did }));
  assert.equal(structuredClone({ ...IDENTITY }).did, IDENTITY.did);
});

test("seeds and key pairs", async () => {
  await assert.rejects(Identity.fromSeed(SEED.subarray(1)), SigningError);
  const pair = await crypto.subtle.generateKey("Ed25519", false, ["sign", "verify"]);
  assert.ok("publicKey" in pair);
  const identity = await Identity.fromKeyPair(pair);
  const message = new TextEncoder().encode("message");
  const signature = await identity.sign(message);
  assert.ok(await crypto.subtle.verify("Ed25519", pair.publicKey, signature, message));
  assert.match(identity.did, /^did:key:z6Mk/);
  await assert.rejects(Identity.fromKeyPair(pair, IDENTITY.did), SigningError);
  // The gateway finds out whose key it is, in the document.
  assert.equal((await Identity.fromKeyPair(pair, "did:web:example.com#a")).did, "did:web:example.com#a");
  for (const did of ["did:web:example.com", "did:web:example.com#", "did:web:example.com#a#b"]) {
    await assert.rejects(Identity.fromKeyPair(pair, did), SigningError);
  }
  const other = { name: "ECDSA", namedCurve: "P-384" };
  const ecdsa = await crypto.subtle.generateKey(other, false, ["sign", "verify"]);
  await assert.rejects(Identity.fromKeyPair(ecdsa), /neither an Ed25519 key nor/);
});

test("P-256: key pairs that cannot be exported, stored keys, PKCS #8", async () => {
  const parameters = { name: "ECDSA", namedCurve: "P-256" };
  const hashed = { name: "ECDSA", hash: "SHA-256" };
  const message = new TextEncoder().encode("message");
  // Points with an even and with an odd y.
  for (let round = 0; round < 8; round += 1) {
    const pair = await crypto.subtle.generateKey(parameters, false, ["sign", "verify"]);
    assert.equal(pair.privateKey.extractable, false);
    const identity = await Identity.fromKeyPair(pair);
    const signature = await identity.sign(message);
    assert.equal(signature.length, 64);
    assert.ok(await crypto.subtle.verify(hashed, pair.publicKey, signature, message));
    assert.match(identity.did, /^did:key:zDn/);
    assert.equal(identity.algorithm, "ecdsa-p256-sha256");
    const { kty, crv, x, y } = await crypto.subtle.exportKey("jwk", pair.publicKey);
    const jwk = `did:jwk:${Buffer.from(JSON.stringify({ kty, crv, x, y })).toString("base64url")}`;
    assert.equal((await Identity.fromKeyPair(pair, jwk)).did, jwk);
    await assert.rejects(Identity.fromKeyPair(pair, IDENTITY.did), SigningError);
  }
  const secret = Buffer.from(MESSAGES.p256_secret_key_hex, "hex");
  const did = MESSAGES.cases.find(({ alg }) => alg !== "ed25519")?.did ?? "";
  assert.equal((await Identity.fromP256(secret)).did, did);
  const stored = { did, p256_secret_key: secret.toString("base64url") };
  assert.equal((await Identity.fromStored(stored)).did, did);
  await assert.rejects(Identity.fromStored({ ...stored, did: IDENTITY.did }), SigningError);
  await assert.rejects(Identity.fromP256(new Uint8Array(32)), SigningError);
  for (const { pkcs8_hex, file } of ENCRYPTED.cases) {
    const der = Uint8Array.from(Buffer.from(pkcs8_hex, "hex"));
    const algorithm = file.algorithm === "P-256" ? "ecdsa-p256-sha256" : "ed25519";
    assert.equal((await Identity.fromPkcs8(der, algorithm)).did, file.did);
    assert.ok(der.every((byte) => byte === 0));
  }
});
