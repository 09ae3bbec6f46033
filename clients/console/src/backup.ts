/** The encrypted identity file, as `llmgw identity export --encrypted` writes and `import` reads it. */

import { Identity } from "llmgw-auth";

import { base64url, fromBase64url, random, utf8, type Bytes } from "./bytes.js";
import { ALGORITHMS, imported, pkcs8Of, type Algorithm, type Keys } from "./keys.js";
import { texts } from "./texts.js";

const ITERATIONS = { written: 600_000, least: 600_000, most: 10_000_000 };

/** A file that cannot be restored; the message is for people. */
export class BackupError extends Error {}

interface Kdf {
  readonly iterations: number;
  readonly salt: Bytes;
}

/** Encrypts a private key, given as PKCS#8. */
export async function encrypt(
  did: string,
  algorithm: Algorithm,
  pkcs8: Bytes,
  passphrase: string,
): Promise<string> {
  const kdf = { iterations: ITERATIONS.written, salt: random(16) };
  const iv = random(12);
  const key = await keyOf(passphrase, kdf);
  const ciphertext = await crypto.subtle.encrypt(cipher(iv, did), key, pkcs8);
  const file = {
    format: "llm-gateway-identity",
    version: 1,
    did,
    algorithm,
    kdf: { name: "PBKDF2", hash: "SHA-256", iterations: kdf.iterations, salt: base64url(kdf.salt) },
    cipher: { name: "AES-256-GCM", iv: base64url(iv) },
    ciphertext: base64url(new Uint8Array(ciphertext)),
  };
  return `${JSON.stringify(file, null, 2)}\n`;
}

/** Whether a file's passphrase is needed. */
export function isEncrypted(file: string): boolean {
  return record(parse(file))["format"] === "llm-gateway-identity";
}

/** Restores an identity from an encrypted file, or from `llmgw`'s plain one, whose passphrase is unused. */
export async function restore(file: string, passphrase: string): Promise<Keys> {
  const stored = record(parse(file));
  if (!isEncrypted(file)) {
    return plain(stored);
  }
  const { did, algorithm, kdf, iv, ciphertext } = read(stored);
  const key = await keyOf(passphrase, kdf);
  let pkcs8: Bytes;
  try {
    pkcs8 = new Uint8Array(await crypto.subtle.decrypt(cipher(iv, did), key, ciphertext));
  } catch {
    throw new BackupError(texts.identity.wrongPassphrase);
  }
  return checked(did, algorithm, pkcs8);
}

async function plain(stored: Record<string, unknown>): Promise<Keys> {
  const seed = fromBase64url(stored["secret_key_seed"]);
  const did = stored["did"];
  if (seed?.length !== 32 || typeof did !== "string") {
    throw new BackupError(texts.identity.notABackup);
  }
  return checked(did, "Ed25519", pkcs8Of(seed));
}

/** Imports a key, and checks that the DID is its own. */
async function checked(did: string, algorithm: Algorithm, pkcs8: Bytes): Promise<Keys> {
  try {
    const pair = await imported(algorithm, pkcs8);
    await Identity.fromKeyPair(pair, did);
    return { did, algorithm, pair };
  } catch {
    throw new BackupError(texts.identity.otherKey);
  } finally {
    pkcs8.fill(0);
  }
}

function read(stored: Record<string, unknown>) {
  const kdf = record(stored["kdf"]);
  const aes = record(stored["cipher"]);
  const did = stored["did"];
  const algorithm = ALGORITHMS.find((it) => it === stored["algorithm"]);
  const iterations = kdf["iterations"];
  const salt = fromBase64url(kdf["salt"]);
  const iv = fromBase64url(aes["iv"]);
  const ciphertext = fromBase64url(stored["ciphertext"]);
  const known =
    stored["version"] === 1 &&
    kdf["name"] === "PBKDF2" &&
    kdf["hash"] === "SHA-256" &&
    aes["name"] === "AES-256-GCM";
  if (!known || algorithm === undefined || typeof did !== "string") {
    throw new BackupError(texts.identity.unknownBackup);
  }
  if (
    typeof iterations !== "number" ||
    !Number.isInteger(iterations) ||
    iterations < ITERATIONS.least ||
    iterations > ITERATIONS.most
  ) {
    throw new BackupError(texts.identity.iterations);
  }
  if (salt?.length !== 16 || iv?.length !== 12 || ciphertext === undefined) {
    throw new BackupError(texts.identity.notABackup);
  }
  return { did, algorithm, kdf: { iterations, salt }, iv, ciphertext };
}

async function keyOf(passphrase: string, { iterations, salt }: Kdf): Promise<CryptoKey> {
  const secret = utf8(passphrase.normalize("NFC"));
  const material = await crypto.subtle.importKey("raw", secret, "PBKDF2", false, ["deriveKey"]);
  return crypto.subtle.deriveKey(
    { name: "PBKDF2", hash: "SHA-256", iterations, salt },
    material,
    { name: "AES-GCM", length: 256 },
    false,
    ["encrypt", "decrypt"],
  );
}

const cipher = (iv: Bytes, did: string) => ({
  name: "AES-GCM",
  iv,
  additionalData: utf8(`llm-gateway-identity:1:${did}`),
});

function parse(file: string): unknown {
  try {
    return JSON.parse(file);
  } catch {
    throw new BackupError(texts.identity.notABackup);
  }
}

const record = (value: unknown): Record<string, unknown> =>
  typeof value === "object" && value !== null ? { ...value } : {};
