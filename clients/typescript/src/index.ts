/**
 * Signs requests to LLM Gateway with the key of a DID, by `x-did-v1` or RFC 9421. It needs only WebCrypto, for
 * Ed25519 keys that of Node 20, Deno, Bun, Chrome 137, Firefox 129, Safari 17.
 *
 * @packageDocumentation
 */

export { canonicalPath, canonicalQuery } from "./canonical.js";
export { SigningError } from "./error.js";
export { createSigningFetch, type Fetch, type SigningFetchOptions } from "./fetch.js";
export { Identity, didKey, type Algorithm, type StoredIdentity } from "./identity.js";
export {
  createSigner,
  signatureBase,
  signingString,
  type Scheme,
  type SignatureBase,
  type SignedHeaders,
  type SignedParts,
  type SignerOptions,
  type Target,
} from "./signing.js";
