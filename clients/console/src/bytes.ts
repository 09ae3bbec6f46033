/** Encodings. */

export type Bytes = Uint8Array<ArrayBuffer>;

export const utf8 = (text: string): Bytes => new TextEncoder().encode(text);

export const text = (bytes: BufferSource): string => new TextDecoder("utf-8", { fatal: true }).decode(bytes);

/** base64url without padding (RFC 4648 §5). */
export function base64url(bytes: Uint8Array): string {
  const binary = Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** Only the canonical spelling; `undefined` for anything else. */
export function fromBase64url(encoded: unknown): Bytes | undefined {
  if (typeof encoded !== "string" || !/^[A-Za-z0-9_-]*$/.test(encoded) || encoded.length % 4 === 1) {
    return undefined;
  }
  const binary = atob(encoded.replaceAll("-", "+").replaceAll("_", "/"));
  const bytes = Uint8Array.from(binary, (character) => character.charCodeAt(0));
  return base64url(bytes) === encoded ? bytes : undefined;
}

export const random = (length: number): Bytes => crypto.getRandomValues(new Uint8Array(length));

export function concat(...parts: readonly Uint8Array[]): Bytes {
  const all = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
