/** The encodings of DIDs and signatures, without APIs of Node or of the DOM. */

const BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
/** RFC 4648 §5, without padding. */
const BASE64URL = /^[A-Za-z0-9_-]*$/;

/** Bytes that are not shared between threads, as WebCrypto requires. */
export type Bytes = Uint8Array<ArrayBuffer>;

export function utf8(text: string): Bytes {
  return new TextEncoder().encode(text);
}

export function hex(bytes: Bytes): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** base64 with padding (RFC 4648 §4). */
export function base64(bytes: Bytes): string {
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
}

/** base64url without padding (RFC 4648 §5). */
export function base64url(bytes: Bytes): string {
  return base64(bytes).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** Only the canonical spelling: no padding, no spaces, no bits left over. */
export function fromBase64url(text: string): Bytes | undefined {
  if (!BASE64URL.test(text) || text.length % 4 === 1) {
    return undefined;
  }
  const binary = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  const bytes = Uint8Array.from(binary, (character) => character.charCodeAt(0));
  return base64url(bytes) === text ? bytes : undefined;
}

/** base58btc of bytes that do not begin with zero. */
export function base58(bytes: Bytes): string {
  let number = BigInt(`0x${hex(bytes)}`);
  let digits = "";
  while (number > 0n) {
    digits = BASE58.charAt(Number(number % 58n)) + digits;
    number /= 58n;
  }
  return digits;
}
