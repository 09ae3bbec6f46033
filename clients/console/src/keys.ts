/** Key pairs whose private half no script can read. */

import { Identity } from "llmgw-auth";

import { fromBase64url, type Bytes } from "./bytes.js";
import { texts } from "./texts.js";

/** The first that a browser has is used. */
export const ALGORITHMS = ["Ed25519", "P-256"] as const;
export type Algorithm = (typeof ALGORITHMS)[number];

export interface Keys {
  readonly did: string;
  readonly algorithm: Algorithm;
  /** Not extractable. */
  readonly pair: CryptoKeyPair;
}

const parameters = (algorithm: Algorithm) =>
  algorithm === "Ed25519" ? { name: "Ed25519" } : { name: "ECDSA", namedCurve: "P-256" };

/** Makes a key, gives its PKCS#8 to `backup`, and forgets the extractable form. */
export async function generated(
  backup: (did: string, algorithm: Algorithm, pkcs8: Bytes) => Promise<void>,
): Promise<Keys> {
  const { algorithm, pair: extractable } = await firstSupported();
  const { did } = await Identity.fromKeyPair(extractable);
  const pkcs8 = new Uint8Array(await crypto.subtle.exportKey("pkcs8", extractable.privateKey));
  try {
    await backup(did, algorithm, pkcs8);
    return { did, algorithm, pair: await imported(algorithm, pkcs8) };
  } finally {
    pkcs8.fill(0);
  }
}

async function firstSupported(): Promise<{ algorithm: Algorithm; pair: CryptoKeyPair }> {
  for (const algorithm of ALGORITHMS) {
    try {
      const pair = await crypto.subtle.generateKey(parameters(algorithm), true, ["sign", "verify"]);
      return { algorithm, pair: pair as CryptoKeyPair };
    } catch (error) {
      if (!(error instanceof DOMException && error.name === "NotSupportedError")) {
        throw error;
      }
    }
  }
  throw new Error(texts.identity.unsupported);
}

/** Imports a private key as one that cannot be exported again, with its public half. */
export async function imported(algorithm: Algorithm, pkcs8: Bytes): Promise<CryptoKeyPair> {
  const kind = parameters(algorithm);
  const { subtle } = crypto;
  // WebCrypto shows the public half of a private key only in an export of both.
  const readable = await subtle.importKey("pkcs8", pkcs8, kind, true, ["sign"]);
  const { d: _, key_ops: __, ...jwk } = await subtle.exportKey("jwk", readable);
  const publicKey = await subtle.importKey("jwk", jwk, kind, true, ["verify"]);
  const privateKey = await subtle.importKey("pkcs8", pkcs8, kind, false, ["sign"]);
  return { privateKey, publicKey };
}

/** A private key of RFC 8410 §7, up to the seed. */
const SEED_PREFIX = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/** An Ed25519 key as PKCS#8, from its 32 bytes. */
export const pkcs8Of = (seed: Bytes): Bytes => Uint8Array.from([...SEED_PREFIX, ...seed]);

/** The key of RFC 8032's first test: everybody has it, and `cargo xtask dev` gives it an account. */
const DEMO_SEED = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";

export async function demoKeys(): Promise<Keys> {
  const seed = fromBase64url(DEMO_SEED) ?? new Uint8Array();
  const pair = await imported("Ed25519", pkcs8Of(seed));
  return { did: (await Identity.fromKeyPair(pair)).did, algorithm: "Ed25519", pair };
}
