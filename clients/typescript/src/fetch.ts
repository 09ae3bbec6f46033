import { canonicalPath } from "./canonical.js";
import { SigningError } from "./error.js";
import { createSigner, serverTime, type SignerOptions } from "./signing.js";

/** The type of `fetch`, as SDKs take it. */
export type Fetch = (input: string | URL | Request, init?: RequestInit) => Promise<Response>;

export interface SigningFetchOptions extends SignerOptions {
  /** The function that sends the signed requests; by default the global one. */
  readonly fetch?: Fetch | undefined;
}

/**
 * Headers in which SDKs send API keys. The gateway has no use for them, so a key for somebody else, found in
 * the environment, is not sent.
 */
const OTHER_CREDENTIALS = ["authorization", "x-api-key", "api-key"];

/**
 * Creates a `fetch` that signs each request separately, so that an SDK's retries are not taken for replays.
 *
 * The whole body is read before it is sent, because its SHA-256 is signed: a stream is buffered, and
 * a form gets its boundary here. A request that the gateway refuses because this machine's clock is wrong is
 * signed once more, with the gateway's time. Redirects are not followed: a signature holds for one address,
 * and would be carried elsewhere.
 */
export function createSigningFetch(options: SigningFetchOptions): Fetch {
  const sign = createSigner(options);
  return async (input, init) => {
    // Reads any body as fetch does, and sets the headers that follow from it. `duplex` is required for
    // streams and unknown to the DOM's types.
    const request = new Request(input, { ...init, ...{ duplex: "half" } });
    const { method, headers } = request;
    const url = withPlainModel(request.url);
    const body = new Uint8Array(await request.arrayBuffer());
    for (const name of OTHER_CREDENTIALS) {
      headers.delete(name);
    }
    const send = options.fetch ?? globalThis.fetch;
    const attempt = async (time?: number) => {
      const signed = await sign({ method, url, body, time });
      for (const [name, value] of Object.entries(signed)) {
        headers.set(name, value);
      }
      const response = await send(url, {
        ...(input instanceof Request && kept(input)),
        // Also options that only this platform knows, such as Node's `dispatcher`.
        ...init,
        method,
        headers,
        body: body.length === 0 ? null : body,
        redirect: request.redirect === "error" ? "error" : "manual",
      });
      return { response, signed };
    };
    let { response, signed } = await attempt();
    const time = serverTime(response, signed);
    if (time !== undefined) {
      await response.body?.cancel();
      ({ response } = await attempt(time));
    }
    if (response.type === "opaqueredirect") {
      // Browsers tell no more about it.
      throw new SigningError("the gateway's address redirects; a signature holds for one address");
    }
    return response;
  };
}

/** Decodes the id of a model, which SDKs send as one segment of the path. */
function withPlainModel(address: string): string {
  const url = new URL(address);
  if (/%2f/i.test(url.pathname)) {
    url.pathname = canonicalPath(url.pathname);
  }
  return url.href;
}

/** Returns the options of a `Request` that are not signed. */
function kept(request: Request): RequestInit {
  const { cache, credentials, integrity, keepalive, mode, referrer, referrerPolicy, signal } = request;
  return { cache, credentials, integrity, keepalive, mode, referrer, referrerPolicy, signal };
}
