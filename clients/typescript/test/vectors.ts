import { readFileSync } from "node:fs";

import { Identity } from "../src/index.js";

interface Vectors {
  secret_key_seed_hex: string;
  cases: {
    did: string;
    ts: string;
    nonce: string;
    method: string;
    aud: string;
    path: string;
    query: string;
    body: string;
    canonical: string;
    sig: string;
  }[];
}

interface Spelling {
  raw: string;
  /** null if it is refused. */
  canonical: string | null;
}

interface Canonical {
  paths: Spelling[];
  queries: Spelling[];
  audiences: Spelling[];
  dids: { did: string; of_the_seed: boolean }[];
}

interface Messages {
  p256_secret_key_hex: string;
  cases: {
    did: string;
    alg: string;
    created: string;
    nonce: string;
    method: string;
    aud: string;
    path: string;
    query: string;
    body: string;
    content_digest: string;
    params: string;
    base: string;
    signature: string;
  }[];
}

interface Encrypted {
  cases: { pkcs8_hex: string; file: { did: string; algorithm: string } }[];
}

/** Reads a file of the gateway's own vectors; run from this package's folder. */
function read(name: string): unknown {
  return JSON.parse(readFileSync(`../../shared/testdata/${name}`, "utf8"));
}

export const VECTORS = read("x_did_v1.json") as Vectors;
export const CANONICAL = read("x_did_v1_canonical.json") as Canonical;
export const MESSAGES = read("rfc9421.json") as Messages;
export const ENCRYPTED = read("encrypted_identity.json") as Encrypted;
export const SEED = Buffer.from(VECTORS.secret_key_seed_hex, "hex");
export const ENCODED_SEED = SEED.toString("base64url");
export const IDENTITY = await Identity.fromSeed(SEED);
export const GATEWAY = "https://gw.example.com";
