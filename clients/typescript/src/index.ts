/**
 * Signs requests to LLM Gateway with the key of a DID (`x-did-v1`). It needs only WebCrypto with Ed25519:
 * Node 20, Deno, Bun, Chrome 137, Firefox 129, Safari 17.
 *
 * @packageDocumentation
 */

export { canonicalPath, canonicalQuery } from "./canonical.js";
export { SigningError } from "./error.js";
export { createSigningFetch, type Fetch, type SigningFetchOptions } from "./fetch.js";
export { Identity, didKey, type StoredIdentity } from "./identity.js";
export {
  createSigner,
  signingString,
  type SignedHeaders,
  type SignedParts,
  type SignerOptions,
  type Target,
} from "./signing.js";
