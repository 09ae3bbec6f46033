/** Canonical paths, queries and base URLs, as in the gateway's `shared::identity::canonical`. */

import { SigningError } from "./error.js";
import { utf8, type Bytes } from "./encoding.js";

const PATH = /^\/[A-Za-z0-9\-._~!$&'()*+,=:@/]*$/;
/** The one character of PATH that separates segments. */
const ENCODED_SLASH = /%2f/i;
/** Behind this segment an encoded slash is a slash: SDKs send the id of a model as one segment. */
const MODELS = "/models/";
const BROKEN_ESCAPE = /%(?![0-9A-Fa-f]{2})/;

/** Decodes a path once; throws for a path that gateways refuse. */
export function canonicalPath(raw: string): string {
  // A broken escape stays as it is, and its `%` is refused below.
  const path = String.fromCharCode(...percentDecode(raw));
  const [route = ""] = raw.split(MODELS, 1);
  if (ENCODED_SLASH.test(route) || !PATH.test(path)) {
    throw new SigningError(
      `a gateway's path has only A-Za-z0-9-._~!$&'()*+,=:@/, not ${JSON.stringify(raw)}`,
    );
  }
  const segments = path.slice(1).replace(/\/$/, "").split("/");
  if (path !== "/" && segments.some((it) => it === "" || it === "." || it === "..")) {
    throw new SigningError(
      `a gateway's path has no empty and no dot segments: ${JSON.stringify(raw)}`,
    );
  }
  return path;
}

/**
 * Encodes a query (without `?`) by RFC 3986 and sorts it; throws for broken escapes and for
 * escapes that are not UTF-8.
 */
export function canonicalQuery(raw: string): string {
  if (BROKEN_ESCAPE.test(raw)) {
    throw new SigningError("the query contains a % that is not followed by two hex digits");
  }
  return raw
    .split("&")
    .filter((piece) => piece !== "")
    .map((piece) => {
      const [name = "", ...value] = piece.split("=");
      return { name: reencode(name), value: reencode(value.join("=")) };
    })
    .sort((a, b) => order(a.name, b.name) || order(a.value, b.value))
    .map(({ name, value }) => `${name}=${value}`)
    .join("&");
}

/** Returns a base URL as it is signed, without default port and trailing slash; throws for anything else. */
export function canonicalBase(text: string): { base: string; origin: string; path: string } {
  if (!URL.canParse(text)) {
    throw new SigningError(`${JSON.stringify(text)} is not a base URL like https://gw.example.com`);
  }
  const url = new URL(text);
  if (url.protocol !== "https:" && url.protocol !== "http:") {
    throw new SigningError("a base URL's scheme is https or http");
  }
  if (/[?#]/.test(text) || url.username !== "" || url.password !== "") {
    throw new SigningError("a base URL has no user, query or fragment");
  }
  const path = canonicalPath(url.pathname).replace(/\/$/, "");
  return { base: url.origin + path, origin: url.origin, path };
}

function percentDecode(text: string): Bytes {
  const bytes = utf8(text);
  const decoded: number[] = [];
  for (let at = 0; at < bytes.length; at += 1) {
    const byte = bytes[at] ?? 0;
    const escape = byte === 0x25 ? String.fromCharCode(...bytes.subarray(at + 1, at + 3)) : "";
    if (/^[0-9A-Fa-f]{2}$/.test(escape)) {
      decoded.push(Number.parseInt(escape, 16));
      at += 2;
    } else {
      decoded.push(byte);
    }
  }
  return Uint8Array.from(decoded);
}

function reencode(text: string): string {
  return encodeURIComponent(decodeText(text.replaceAll("+", " "))).replace(
    // Characters that it keeps although RFC 3986 §2.3 does not list them as unreserved.
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

function decodeText(text: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(percentDecode(text));
  } catch {
    throw new SigningError("the query is not UTF-8");
  }
}

/** Compares two texts, which are ASCII. */
function order(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}
