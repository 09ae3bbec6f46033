/**
 * A program's request for a token, and the token sealed for it (docs/use/console.md).
 *
 * The request is in the address's fragment, which no server sees. The token leaves this page only encrypted to
 * the program's ephemeral key, so that the browser's history and a code on a screen hold nothing usable.
 */

import { base64url, concat, fromBase64url, random, utf8, type Bytes } from "./bytes.js";
import type { Scope } from "./scope.js";

const VERSION = "1";
const INFO = utf8("llm-gateway-approval:1");
/** An uncompressed point of P-256. */
const POINT = 65;
/** `127.0.0.1` and `[::1]` (RFC 8252 §7.3); names may lead elsewhere. */
const LOOPBACK = /^http:\/\/(127\.0\.0\.1|\[::1\]):([1-9][0-9]{0,4})(\/[A-Za-z0-9_-]*)?$/;
const ECDH = { name: "ECDH", namedCurve: "P-256" } as const;

export interface Request {
  readonly scope: Scope;
  /** The program's public key, an uncompressed point. */
  readonly key: Bytes;
  readonly state: string;
  /** Where the sealed token goes; absent: it is shown as a code. */
  readonly callback: string | undefined;
}

export type Reading = Request | "broken" | "foreign callback";

const PERIODS = ["day", "week", "month", "total"];

/** Reads a request from a fragment, without `#`. */
export function readRequest(fragment: string): Reading {
  const given = new URLSearchParams(fragment);
  const one = (name: string) => (given.getAll(name).length > 1 ? undefined : (given.get(name) ?? ""));
  const [name, state, budget, models, expires] = ["name", "state", "budget", "models", "expires"].map(one);
  const key = fromBase64url(one("key"));
  const callback = one("callback");
  if (
    one("v") !== VERSION ||
    key?.length !== POINT ||
    key[0] !== 4 ||
    name === undefined ||
    name.trim() === "" ||
    name.length > 100 ||
    state === undefined ||
    !/^[A-Za-z0-9_-]{16,128}$/.test(state) ||
    budget === undefined ||
    models === undefined ||
    expires === undefined ||
    callback === undefined
  ) {
    return "broken";
  }
  const [, amount = "", period = "day"] = /^([0-9]{1,9}(?:\.[0-9]{1,9})?)\/([a-z]+)$/.exec(budget) ?? [];
  const days = /^([1-9][0-9]{0,3})d$/.exec(expires)?.[1];
  if (
    (budget !== "" && (amount === "" || !PERIODS.includes(period))) ||
    (expires !== "" && expires !== "never" && days === undefined)
  ) {
    return "broken";
  }
  if (callback !== "" && !isLoopback(callback)) {
    return "foreign callback";
  }
  return {
    scope: {
      name: name.trim(),
      amount,
      period,
      models: models.split(",").join("\n"),
      expires: days ?? (expires === "never" ? "never" : "90"),
    },
    key,
    state,
    callback: callback === "" ? undefined : callback,
  };
}

export function isLoopback(callback: string): boolean {
  const port = Number(LOOPBACK.exec(callback)?.[2]);
  return port > 0 && port < 65_536;
}

/** Seals a token for the program: point ‖ nonce ‖ ciphertext with its tag, as base64url. */
export async function seal(
  token: string,
  { key, state }: Pick<Request, "key" | "state">,
  ephemeral?: CryptoKeyPair,
  nonce: Bytes = random(12),
): Promise<string> {
  const { subtle } = crypto;
  const theirs = await subtle.importKey("raw", key, ECDH, false, []);
  const ours = ephemeral ?? (await subtle.generateKey(ECDH, false, ["deriveBits"]));
  const point = new Uint8Array(await subtle.exportKey("raw", ours.publicKey));
  const shared = await subtle.deriveBits({ ...ECDH, public: theirs }, ours.privateKey, 256);
  const material = await subtle.importKey("raw", shared, "HKDF", false, ["deriveKey"]);
  const aes = await subtle.deriveKey(
    { name: "HKDF", hash: "SHA-256", salt: concat(point, key), info: INFO },
    material,
    { name: "AES-GCM", length: 256 },
    false,
    ["encrypt"],
  );
  const sealed = await subtle.encrypt({ name: "AES-GCM", iv: nonce, additionalData: utf8(state) }, aes, utf8(token));
  return base64url(concat(point, nonce, new Uint8Array(sealed)));
}

/** The address that tells the program the outcome. */
export function answered(callback: string, state: string, outcome: { sealed: string } | { error: string }): string {
  return `${callback}?${new URLSearchParams({ state, ...outcome })}`;
}
