import { readFileSync } from "node:fs";

import { Identity } from "llmgw-auth";
import { describe, expect, it } from "vitest";

import { BackupError, encrypt, isEncrypted, restore } from "../src/backup.js";
import { base64url } from "../src/bytes.js";
import { demoKeys, generated, type Algorithm } from "../src/keys.js";

const PASSPHRASE = "correct horse battery stäple";

async function made(): Promise<{ did: string; algorithm: Algorithm; file: string }> {
  let file = "";
  const keys = await generated(async (did, algorithm, pkcs8) => {
    file = await encrypt(did, algorithm, pkcs8, PASSPHRASE);
  });
  await expect(crypto.subtle.exportKey("pkcs8", keys.pair.privateKey)).rejects.toThrow();
  return { did: keys.did, algorithm: keys.algorithm, file };
}

interface Vectors {
  readonly cases: readonly { readonly passphrase: string; readonly file: { readonly did: string } }[];
}

const vectors = JSON.parse(
  readFileSync(new URL("../../../shared/testdata/encrypted_identity.json", import.meta.url), "utf8"),
) as Vectors;

describe("a backup", () => {
  it("is that of the vectors, which llmgw reads, too", async () => {
    for (const { passphrase, file } of vectors.cases) {
      expect((await restore(JSON.stringify(file), passphrase)).did).toBe(file.did);
      await expect(restore(JSON.stringify(file), `${passphrase} `)).rejects.toThrow(BackupError);
    }
  });

  it("restores the same identity, whose key can't be exported", async () => {
    const { did, file } = await made();
    expect(isEncrypted(file)).toBe(true);
    // The same passphrase, spelled with a combining character.
    const restored = await restore(file, PASSPHRASE.normalize("NFD"));
    expect(restored.did).toBe(did);
    expect(restored.pair.privateKey.extractable).toBe(false);
    const message = new TextEncoder().encode("signed");
    const signing = await Identity.fromKeyPair(restored.pair, did);
    const signature = await signing.sign(message);
    expect(await crypto.subtle.verify("Ed25519", restored.pair.publicKey, signature, message)).toBe(true);
  });

  it("is refused where anything is wrong", async () => {
    const { file } = await made();
    const stored = JSON.parse(file) as Record<string, unknown> & { kdf: object; cipher: object };
    const other = (await demoKeys()).did;
    for (const changed of [
      { ...stored, did: other },
      { ...stored, version: 2 },
      { ...stored, algorithm: "RSA" },
      { ...stored, kdf: { ...stored.kdf, iterations: 599_999 } },
      { ...stored, kdf: { ...stored.kdf, iterations: 1e8 } },
      { ...stored, kdf: { ...stored.kdf, salt: "AA" } },
      { ...stored, cipher: { ...stored.cipher, iv: base64url(new Uint8Array(12)) } },
      { ...stored, ciphertext: `A${String(stored["ciphertext"]).slice(1)}_` },
    ]) {
      await expect(restore(JSON.stringify(changed), PASSPHRASE)).rejects.toThrow(BackupError);
    }
    await expect(restore(file, "another")).rejects.toThrow("The passphrase is wrong");
    await expect(restore("{}", "")).rejects.toThrow(BackupError);
    await expect(restore("nonsense", "")).rejects.toThrow(BackupError);
  });

  it("may be llmgw's plain identity file", async () => {
    const { did } = await demoKeys();
    const seed = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
    expect((await restore(JSON.stringify({ did, secret_key_seed: seed }), "")).did).toBe(did);
    const others = { did: (await made()).did, secret_key_seed: seed };
    await expect(restore(JSON.stringify(others), "")).rejects.toThrow("does not belong");
  });
});
