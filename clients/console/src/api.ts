/** Signed requests to the gateway. */

import { Identity, createSigningFetch, type Fetch } from "llmgw-auth";

import type { StoredIdentity } from "./database.js";
import { quoteMoney } from "./money-json.js";
import { current, gateway } from "./session.js";
import { texts } from "./texts.js";

/** A refusal, in the gateway's own words. */
export class GatewayError extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly reason: string,
    readonly requestId: string,
  ) {
    super(message);
  }
}

let signer: { identity: StoredIdentity; fetch: Promise<Fetch> } | undefined;

async function signingFetch(): Promise<Fetch> {
  const identity = current.value;
  if (!identity) {
    throw new GatewayError(texts.errors.noIdentity, 0, "no_identity", "");
  }
  if (signer?.identity !== identity) {
    signer = {
      identity,
      fetch: (async () => {
        const { audience, base: baseUrl } = await gateway();
        const signing = await Identity.fromKeyPair(identity.pair, identity.did);
        return createSigningFetch({ identity: signing, audience, baseUrl });
      })(),
    };
  }
  return signer.fetch;
}

/** A signed request; throws a `GatewayError` where the response is none. `path` begins behind the base URL. */
export async function send(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<Response> {
  const [signed, { base }] = await Promise.all([signingFetch(), gateway()]);
  const response = await signed(base + path, {
    method,
    ...(body === undefined
      ? {}
      : { body: JSON.stringify(body), headers: { "content-type": "application/json" } }),
    ...(signal ? { signal } : {}),
  });
  if (!response.ok) {
    throw await refusal(response);
  }
  return response;
}

/** The `data` of a JSON answer. */
export async function data<T>(method: string, path: string, body?: unknown): Promise<T> {
  return (await json<{ data: T }>(await send(method, path, body))).data;
}

/** An answer's JSON, with money as text, so that no digit is lost. */
export async function json<T>(response: Response): Promise<T> {
  return JSON.parse(quoteMoney(await response.text())) as T;
}

export async function refusal(response: Response): Promise<GatewayError> {
  const id = response.headers.get("x-gateway-request-id") ?? "";
  const body: unknown = await response.json().catch(() => undefined);
  const error = member(body, "error");
  const message = member(error, "message");
  const reason = member(member(error, "metadata"), "reason");
  return new GatewayError(
    typeof message === "string" ? message : texts.errors.unreadable(response.status),
    response.status,
    typeof reason === "string" ? reason : "",
    id,
  );
}

function member(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}
