import { SigningError } from "./error.js";
import { createSigner, type SignerOptions } from "./signing.js";

/** What SDKs take as their `fetch`. */
export type Fetch = (input: string | URL | Request, init?: RequestInit) => Promise<Response>;

export interface SigningFetchOptions extends SignerOptions {
  /** What sends the signed requests; the global one unless given. */
  readonly fetch?: Fetch | undefined;
}

/**
 * What SDKs send as proof of who is calling. The gateway has no use for it, so that a key of
 * somebody else's, found in the environment, stays here.
 */
const OTHER_CREDENTIALS = ["authorization", "x-api-key", "api-key"];

/**
 * A `fetch` that signs each request separately, so that an SDK's retries are not taken for replays.
 *
 * The whole body is read before it is sent, because its SHA-256 is signed: a stream is buffered, and
 * a form gets its boundary here. Redirects are not followed: a signature holds for one address, and
 * would be carried elsewhere.
 */
export function createSigningFetch(options: SigningFetchOptions): Fetch {
  const sign = createSigner(options);
  return async (input, init) => {
    // Reads any body as fetch does, and knows the headers that come of it. `duplex` is required for
    // streams and unknown to the DOM's types.
    const request = new Request(input, { ...init, ...{ duplex: "half" } });
    const { url, method, headers } = request;
    const body = new Uint8Array(await request.arrayBuffer());
    for (const name of OTHER_CREDENTIALS) {
      headers.delete(name);
    }
    for (const [name, value] of Object.entries(await sign({ method, url, body }))) {
      headers.set(name, value);
    }
    const send = options.fetch ?? globalThis.fetch;
    const response = await send(url, {
      ...(input instanceof Request && kept(input)),
      // Also what only this platform knows, such as Node's `dispatcher`.
      ...init,
      method,
      headers,
      body: body.length === 0 ? null : body,
      redirect: request.redirect === "error" ? "error" : "manual",
    });
    if (response.type === "opaqueredirect") {
      // All that browsers tell of it.
      throw new SigningError("the gateway's address redirects; a signature holds for one address");
    }
    return response;
  };
}

/** What a `Request` says beyond what is signed. */
function kept(request: Request): RequestInit {
  const { cache, credentials, integrity, keepalive, mode, referrer, referrerPolicy, signal } = request;
  return { cache, credentials, integrity, keepalive, mode, referrer, referrerPolicy, signal };
}
