import { base58, base64url, fromBase64url, type Bytes } from "./encoding.js";
import { SigningError } from "./error.js";

/** An identity file's content, as `llmgw identity new` writes it, with either of the secrets. */
export interface StoredIdentity {
  /** The DID as it is sent. */
  readonly did: string;
  /** The 32 bytes of RFC 8032 §5.1.5 as 43 characters of base64url. */
  readonly secret_key_seed?: string;
  /** The private key on P-256, 32 bytes, big-endian, as 43 characters of base64url. */
  readonly p256_secret_key?: string;
}

/** The algorithm of a key, by its name in RFC 9421. */
export type Algorithm = "ed25519" | "ecdsa-p256-sha256";

const ED25519 = "Ed25519";
const ECDSA = "ECDSA";
const P256 = "P-256";
/** The multicodecs `ed25519-pub` and `p256-pub` as unsigned varints. */
const ED25519_PUB = [0xed, 0x01];
const P256_PUB = [0x80, 0x24];
const P256_LENGTH = 33;
/** A private key of RFC 8410 §7, up to the seed. */
const PKCS8 = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
/** A private key on P-256 (RFC 5915 in PKCS #8) without its public half, up to the number. */
const P256_PKCS8 = [
  0x30, 0x41, 2, 1, 0, 0x30, 0x13, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3,
  1, 7, 4, 0x27, 0x30, 0x25, 2, 1, 1, 4, 0x20,
];
const SECRET_LENGTH = 32;

/**
 * An Ed25519 or P-256 key and the DID that it controls.
 *
 * The key is a `CryptoKey` that cannot be exported, in a private field: neither JSON nor `console.log`
 * shows it.
 */
export class Identity {
  /** The DID as it is sent. */
  readonly did: string;
  /** The algorithm that the key signs with. */
  readonly algorithm: Algorithm;
  readonly #key: CryptoKey;

  private constructor(did: string, key: CryptoKey) {
    this.did = did;
    this.algorithm = key.algorithm.name === ED25519 ? "ed25519" : "ecdsa-p256-sha256";
    this.#key = key;
  }

  /** Creates one from an identity file's parsed JSON (see `readIdentity` of `llmgw-auth/node`). */
  static async fromStored(stored: unknown): Promise<Identity> {
    if (!isStored(stored)) {
      throw new SigningError(
        "not an identity; an identity is JSON with the fields did and secret_key_seed, as `llmgw identity new` writes it",
      );
    }
    const field = stored.p256_secret_key === undefined ? "secret_key_seed" : "p256_secret_key";
    const secret = fromBase64url(stored[field] ?? "");
    if (secret?.length !== SECRET_LENGTH) {
      throw new SigningError(`${field} is not 32 bytes in base64url without padding`);
    }
    return field === "secret_key_seed"
      ? Identity.fromSeed(secret, stored.did)
      : Identity.fromP256(secret, stored.did);
  }

  /**
   * Creates one from the secret key, 32 random bytes. The DID is by default the `did:key` of the key;
   * another of its DIDs is a `did:jwk`, a `did:web#key`, or one with a fragment.
   */
  static async fromSeed(seed: Uint8Array, did?: string): Promise<Identity> {
    if (seed.length !== SECRET_LENGTH) {
      throw new SigningError("the seed of an Ed25519 key has 32 bytes");
    }
    return Identity.fromPkcs8(Uint8Array.from([...PKCS8, ...seed]), "ed25519", did);
  }

  /** Creates one from a private key on P-256, 32 bytes, big-endian. The DID is as in `fromSeed`. */
  static async fromP256(secret: Uint8Array, did?: string): Promise<Identity> {
    if (secret.length !== SECRET_LENGTH) {
      throw new SigningError("a private key on P-256 has 32 bytes");
    }
    return Identity.fromPkcs8(Uint8Array.from([...P256_PKCS8, ...secret]), "ecdsa-p256-sha256", did);
  }

  /**
   * Creates one from a private key in PKCS #8, DER-encoded, as WebCrypto exports it. The bytes are overwritten
   * with zeros.
   */
  static async fromPkcs8(der: Bytes, algorithm: Algorithm, did?: string): Promise<Identity> {
    const parameters = algorithm === "ed25519" ? { name: ED25519 } : { name: ECDSA, namedCurve: P256 };
    const importKey = async (extractable: boolean) =>
      crypto.subtle.importKey("pkcs8", der, parameters, extractable, ["sign"]);
    try {
      // WebCrypto shows the public half of a private key only in an export of both.
      const { x, y } = await crypto.subtle.exportKey("jwk", await importKey(true));
      return new Identity(checkedDid(publicKeyOf(x, y), did), await importKey(false));
    } catch (error) {
      throw error instanceof SigningError ? error : new SigningError(`not a private key for ${algorithm}`);
    } finally {
      der.fill(0);
    }
  }

  /**
   * Creates one from a key pair of WebCrypto, such as a browser keeps in IndexedDB. The private key need not be
   * extractable: `crypto.subtle.generateKey("Ed25519", false, ["sign", "verify"])`, or with
   * `{ name: "ECDSA", namedCurve: "P-256" }`.
   */
  static async fromKeyPair(pair: CryptoKeyPair, did?: string): Promise<Identity> {
    const { algorithm } = pair.privateKey;
    const isP256 =
      algorithm.name === ECDSA && "namedCurve" in algorithm && algorithm.namedCurve === P256;
    if (algorithm.name !== ED25519 && !isP256) {
      throw new SigningError("the key is neither an Ed25519 key nor an ECDSA key on P-256");
    }
    const { x, y } = await crypto.subtle.exportKey("jwk", pair.publicKey);
    return new Identity(checkedDid(publicKeyOf(x, y), did), pair.privateKey);
  }

  /** Returns the 64 bytes of a signature: of Ed25519 (RFC 8032 §5.1), or r and s of ECDSA with SHA-256. */
  async sign(message: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
    const parameters = this.algorithm === "ed25519" ? ED25519 : { name: ECDSA, hash: "SHA-256" };
    return new Uint8Array(await crypto.subtle.sign(parameters, this.#key, message));
  }

  /** Returns the DID alone, without the key. */
  toJSON(): { did: string } {
    return { did: this.did };
  }
}

/**
 * Returns the `did:key` of a public key (https://w3c-ccg.github.io/did-key-spec/): the 32 bytes of Ed25519, or the
 * 33 bytes of a compressed point on P-256.
 */
export function didKey(publicKey: Uint8Array): string {
  const multicodec = publicKey.length === P256_LENGTH ? P256_PUB : ED25519_PUB;
  return `did:key:z${base58(Uint8Array.from([...multicodec, ...publicKey]))}`;
}

/** The public key in the members of a JWK; of a point on P-256, whose y is there, too, the compressed form. */
function publicKeyOf(x = "", y?: string): Bytes {
  const first = fromBase64url(x) ?? new Uint8Array();
  const second = fromBase64url(y ?? "") ?? new Uint8Array();
  return y === undefined ? first : Uint8Array.from([2 + ((second.at(-1) ?? 0) & 1), ...first]);
}

function isStored(value: unknown): value is StoredIdentity {
  return (
    typeof value === "object" &&
    value !== null &&
    "did" in value &&
    typeof value.did === "string" &&
    (("secret_key_seed" in value && typeof value.secret_key_seed === "string") ||
      ("p256_secret_key" in value && typeof value.p256_secret_key === "string"))
  );
}

function checkedDid(publicKey: Bytes, did = didKey(publicKey)): string {
  if (!names(did, publicKey)) {
    throw new SigningError(`${JSON.stringify(did)} is not the did:key or did:jwk of this key`);
  }
  return did;
}

/** Whether a DID, with or without fragment, is one of this key. */
function names(did: string, publicKey: Bytes): boolean {
  const [bare = "", ...fragment] = did.split("#");
  const [, method, identifier = ""] = bare.split(":");
  if (method === "web") {
    // Its document has the keys, and the gateway reads it.
    return fragment.length === 1 && fragment[0] !== "";
  }
  const isOfKey = method === "jwk" ? jwkNames(bare, publicKey) : bare === didKey(publicKey);
  const named = method === "jwk" ? "0" : identifier;
  return isOfKey && (fragment.length === 0 || fragment.join("#") === named);
}

function jwkNames(did: string, publicKey: Bytes): boolean {
  const text = fromBase64url(did.replace("did:jwk:", ""));
  const jwk = text && parse(text);
  if (!jwk || (jwk["use"] ?? "sig") !== "sig" || "d" in jwk) {
    return false;
  }
  if (publicKey.length !== P256_LENGTH) {
    return jwk["kty"] === "OKP" && jwk["crv"] === ED25519 && jwk["x"] === base64url(publicKey);
  }
  const { x, y } = jwk;
  const isOnP256 = jwk["kty"] === "EC" && jwk["crv"] === P256;
  const hasPoint = typeof x === "string" && typeof y === "string" && fromBase64url(y)?.length === SECRET_LENGTH;
  return isOnP256 && hasPoint && base64url(publicKeyOf(x, y)) === base64url(publicKey);
}

function parse(text: Bytes): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(text));
    return typeof value === "object" && value !== null ? { ...value } : undefined;
  } catch {
    return undefined;
  }
}
