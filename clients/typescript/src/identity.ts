import { base58, base64url, fromBase64url, type Bytes } from "./encoding.js";
import { SigningError } from "./error.js";

/** An identity file's content, as `llmgw identity new` writes it. */
export interface StoredIdentity {
  /** The DID as it is sent in `x-did`. */
  readonly did: string;
  /** The 32 bytes of RFC 8032 §5.1.5 as 43 characters of base64url. */
  readonly secret_key_seed: string;
}

const ED25519 = "Ed25519";
/** The multicodec `ed25519-pub` as an unsigned varint. */
const ED25519_PUB = [0xed, 0x01];
/** A private key of RFC 8410 §7, up to the seed. */
const PKCS8 = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
const SEED_LENGTH = 32;

/**
 * An Ed25519 key and the DID that it controls.
 *
 * The key is a `CryptoKey` that cannot be exported, in a private field: neither JSON nor `console.log`
 * shows it.
 */
export class Identity {
  /** The DID as it is sent in `x-did`. */
  readonly did: string;
  readonly #key: CryptoKey;

  private constructor(did: string, key: CryptoKey) {
    this.did = did;
    this.#key = key;
  }

  /** Creates one from an identity file's parsed JSON (see `readIdentity` of `llmgw-auth/node`). */
  static async fromStored(stored: unknown): Promise<Identity> {
    if (!isStored(stored)) {
      throw new SigningError(
        "not an identity; an identity is JSON with the fields did and secret_key_seed, as `llmgw identity new` writes it",
      );
    }
    const seed = fromBase64url(stored.secret_key_seed);
    if (seed?.length !== SEED_LENGTH) {
      throw new SigningError("secret_key_seed is not 32 bytes in base64url without padding");
    }
    return Identity.fromSeed(seed, stored.did);
  }

  /**
   * Creates one from the secret key, 32 random bytes. The DID is by default the `did:key` of the key;
   * another of its DIDs is a `did:jwk`, or one with a fragment.
   */
  static async fromSeed(seed: Uint8Array, did?: string): Promise<Identity> {
    if (seed.length !== SEED_LENGTH) {
      throw new SigningError("the seed of an Ed25519 key has 32 bytes");
    }
    const der = Uint8Array.from([...PKCS8, ...seed]);
    const importKey = async (extractable: boolean) =>
      crypto.subtle.importKey("pkcs8", der, ED25519, extractable, ["sign"]);
    // WebCrypto shows the public half of a private key only in an export of both.
    const { x = "" } = await crypto.subtle.exportKey("jwk", await importKey(true));
    const key = await importKey(false);
    der.fill(0);
    return new Identity(checkedDid(fromBase64url(x) ?? new Uint8Array(), did), key);
  }

  /**
   * Creates one from a key pair of WebCrypto, such as a browser keeps in IndexedDB:
   * `crypto.subtle.generateKey("Ed25519", false, ["sign", "verify"])`.
   */
  static async fromKeyPair(pair: CryptoKeyPair, did?: string): Promise<Identity> {
    if (pair.privateKey.algorithm.name !== ED25519) {
      throw new SigningError("the key is not an Ed25519 key");
    }
    const publicKey = new Uint8Array(await crypto.subtle.exportKey("raw", pair.publicKey));
    return new Identity(checkedDid(publicKey, did), pair.privateKey);
  }

  /** Returns the 64 bytes of an Ed25519 signature (RFC 8032 §5.1). */
  async sign(message: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
    return new Uint8Array(await crypto.subtle.sign(ED25519, this.#key, message));
  }

  /** Returns the DID alone, without the key. */
  toJSON(): { did: string } {
    return { did: this.did };
  }
}

/** Returns the `did:key` of an Ed25519 public key (https://w3c-ccg.github.io/did-key-spec/). */
export function didKey(publicKey: Uint8Array): string {
  return `did:key:z${base58(Uint8Array.from([...ED25519_PUB, ...publicKey]))}`;
}

function isStored(value: unknown): value is StoredIdentity {
  return (
    typeof value === "object" &&
    value !== null &&
    "did" in value &&
    typeof value.did === "string" &&
    "secret_key_seed" in value &&
    typeof value.secret_key_seed === "string"
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
  const isOfKey = method === "jwk" ? jwkNames(bare, publicKey) : bare === didKey(publicKey);
  const named = method === "jwk" ? "0" : identifier;
  return isOfKey && (fragment.length === 0 || fragment.join("#") === named);
}

function jwkNames(did: string, publicKey: Bytes): boolean {
  const text = fromBase64url(did.replace("did:jwk:", ""));
  const jwk = text && parse(text);
  return (
    jwk?.["kty"] === "OKP" &&
    jwk["crv"] === ED25519 &&
    jwk["x"] === base64url(publicKey) &&
    (jwk["use"] ?? "sig") === "sig" &&
    !("d" in jwk)
  );
}

function parse(text: Bytes): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(text));
    return typeof value === "object" && value !== null ? { ...value } : undefined;
  } catch {
    return undefined;
  }
}
