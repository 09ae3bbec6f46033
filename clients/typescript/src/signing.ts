/** The schemes `x-did-v1` and `rfc9421`: the signed texts, and the headers that carry their signatures. */

import { canonicalBase, canonicalPath, canonicalQuery } from "./canonical.js";
import { base64, base64url, hex, utf8, type Bytes } from "./encoding.js";
import { SigningError } from "./error.js";
import type { Algorithm, Identity } from "./identity.js";

/**
 * Milliseconds between a request's timestamp and the gateway's time from which it is refused, less what the
 * whole seconds of `Date` and the time of the response explain.
 */
const REFUSED_DIFFERENCE = 290_000;
/** The largest difference that is corrected, a week: nobody gets a signature for a distant day. */
const CORRECTED_DIFFERENCE = 7 * 24 * 3_600_000;

/** The gateway's own scheme, or HTTP message signatures (RFC 9421, RFC 9530). */
export type Scheme = "x-did-v1" | "rfc9421";

/** RFC 9421's parameter with the time of signing. */
const CREATED = /;created=(\d+)/;

export interface SignerOptions {
  /** The signer. */
  readonly identity: Identity;
  /** The base URL that the gateway is configured with. */
  readonly audience: string;
  /** The base URL that requests are sent to, if it is another: a tunnel, a local process. */
  readonly baseUrl?: string | undefined;
  /** By default `x-did-v1`. */
  readonly scheme?: Scheme | undefined;
  /** Unix time in milliseconds; by default `Date.now`. */
  readonly clock?: (() => number) | undefined;
  /** 16 to 128 characters of `A-Za-z0-9_-` that it has never returned before; by default random. */
  readonly nonce?: (() => string) | undefined;
}

/** A request as it is sent. */
export interface Target {
  /** Exactly as on the wire: methods are case-sensitive (RFC 9110 §9.1). */
  readonly method: string;
  readonly url: string | URL;
  /** The exact bytes on the wire. */
  readonly body?: Uint8Array<ArrayBuffer> | undefined;
  /** Unix time in milliseconds, in place of the clock's. */
  readonly time?: number | undefined;
}

/** Header names and values. */
export type SignedHeaders = Record<string, string>;

/**
 * Returns a function that signs one request, once, for any HTTP library: each call returns other headers.
 * It throws a `SigningError` for an address that is not the gateway's or that gateways refuse.
 */
export function createSigner(options: SignerOptions): (target: Target) => Promise<SignedHeaders> {
  const { identity, scheme = "x-did-v1" } = options;
  const audience = canonicalBase(options.audience);
  const sentTo = canonicalBase(options.baseUrl ?? options.audience);
  const clock = options.clock ?? Date.now;
  const nonceOf = options.nonce ?? randomNonce;
  return async ({ method, url, body, time }) => {
    const { origin, pathname, search } = new URL(url);
    // A server that receives a signature for the gateway could use it there first.
    if (origin !== sentTo.origin) {
      throw new SigningError(
        `${origin} is not the gateway at ${sentTo.origin}, and gets no signature; give baseUrl if it is not the audience`,
      );
    }
    const timestamp = String(Math.floor((time ?? clock()) / 1000));
    const nonce = nonceOf();
    const parts: SignedParts = {
      audience: audience.base,
      did: identity.did,
      timestamp,
      nonce,
      method,
      path: below(sentTo.path, canonicalPath(pathname)),
      query: search.slice(1),
      body: body ?? new Uint8Array(),
    };
    if (scheme === "rfc9421") {
      const { text, params, contentDigest } = await signatureBase(parts, identity.algorithm);
      const headers: SignedHeaders = {
        "signature-input": `sig=${params}`,
        signature: `sig=:${base64(await identity.sign(utf8(text)))}:`,
      };
      if (contentDigest !== undefined) {
        headers["content-digest"] = contentDigest;
      }
      return headers;
    }
    const text = await signingString(parts);
    return {
      "x-did": identity.did,
      "x-did-timestamp": timestamp,
      "x-did-nonce": nonce,
      "x-did-signature": base64url(await identity.sign(utf8(text))),
    };
  };
}

/** The parts of a request that are signed. */
export interface SignedParts {
  readonly audience: string;
  readonly did: string;
  readonly timestamp: string;
  /** Empty if none is sent. */
  readonly nonce: string;
  readonly method: string;
  /** Relative to the audience. */
  readonly path: string;
  /** Without `?`. */
  readonly query: string;
  readonly body: Bytes;
}

/**
 * Returns the gateway's time in milliseconds if a response refuses a request for its timestamp, and otherwise
 * `undefined`. The request may be signed with it once.
 */
export function serverTime(response: Response, signed: SignedHeaders): number | undefined {
  if (response.status !== 401 || response.headers.has("x-gateway-upstream")) {
    return undefined;
  }
  const time = Date.parse(response.headers.get("date") ?? "");
  const signedAt = signed["x-did-timestamp"] ?? CREATED.exec(signed["signature-input"] ?? "")?.[1];
  const difference = Math.abs(time - Number(signedAt) * 1000);
  return difference >= REFUSED_DIFFERENCE && difference <= CORRECTED_DIFFERENCE ? time : undefined;
}

/** Returns the text that is signed: nine lines. */
export async function signingString(parts: SignedParts): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", parts.body));
  return [
    "x-did-v1",
    parts.audience,
    parts.did,
    parts.timestamp,
    parts.nonce,
    parts.method,
    canonicalPath(parts.path),
    canonicalQuery(parts.query),
    hex(digest),
  ].join("\n");
}

/** The text that is signed by RFC 9421, with the parts that are sent. */
export interface SignatureBase {
  readonly text: string;
  /** The value of `@signature-params`. */
  readonly params: string;
  /** The header of a request with a body. */
  readonly contentDigest: string | undefined;
}

/**
 * Returns the signature base (RFC 9421 §2.5) over `@method`, `@target-uri` and, where there is a body,
 * `content-digest`. The timestamp is in seconds.
 */
export async function signatureBase(parts: SignedParts, algorithm: Algorithm): Promise<SignatureBase> {
  const query = canonicalQuery(parts.query);
  const target = `${parts.audience}${canonicalPath(parts.path)}${query && `?${query}`}`;
  const covered = new Map([
    ["@method", parts.method],
    ["@target-uri", target],
  ]);
  let contentDigest: string | undefined;
  if (parts.body.length > 0) {
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", parts.body));
    contentDigest = `sha-256=:${base64(digest)}:`;
    covered.set("content-digest", contentDigest);
  }
  const names = [...covered.keys()].map((name) => `"${name}"`).join(" ");
  const nonce = parts.nonce && `;nonce="${parts.nonce}"`;
  const params = `(${names});created=${parts.timestamp}${nonce};keyid="${parts.did}";alg="${algorithm}";tag="llm-gateway"`;
  const lines = [...covered].map(([name, value]) => `"${name}": ${value}`);
  return { text: [...lines, `"@signature-params": ${params}`].join("\n"), params, contentDigest };
}

function below(base: string, path: string): string {
  if (path === base) {
    return "/";
  }
  if (!path.startsWith(`${base}/`)) {
    throw new SigningError(
      `${path} is not below ${base}, the path of the gateway's base URL; give baseUrl if it is not the audience`,
    );
  }
  return path.slice(base.length);
}

function randomNonce(): string {
  return base64url(crypto.getRandomValues(new Uint8Array(16)));
}
