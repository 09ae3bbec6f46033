/** OpenRouter's login for apps (OAuth with PKCE, RFC 7636), which makes a key in the user's own account. */

import { base64url, random, utf8 } from "./bytes.js";
import { openedAt } from "./router.js";
import { base } from "./session.js";
import { texts } from "./texts.js";

const OPENROUTER = "https://openrouter.ai";
const VERIFIER = "llm-gateway.verifier";

/** Leaves for OpenRouter, which comes back to this page with a code. */
export async function leaveForOpenRouter(): Promise<void> {
  const verifier = base64url(random(32));
  sessionStorage.setItem(VERIFIER, verifier);
  const digest = await crypto.subtle.digest("SHA-256", utf8(verifier));
  const query = new URLSearchParams({
    callback_url: `${base}/console`,
    code_challenge: base64url(new Uint8Array(digest)),
    code_challenge_method: "S256",
  });
  location.assign(`${OPENROUTER}/auth?${query}`);
}

/** The code that OpenRouter came back with, taken out of the address. */
export function returnedCode(): string | undefined {
  const code = new URLSearchParams(location.search).get("code");
  if (code === null) {
    return undefined;
  }
  openedAt("key");
  return code;
}

/** Exchanges a code for a key, once. */
export async function keyFor(code: string): Promise<string> {
  const verifier = sessionStorage.getItem(VERIFIER) ?? "";
  sessionStorage.removeItem(VERIFIER);
  const response = await fetch(`${OPENROUTER}/api/v1/auth/keys`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ code, code_verifier: verifier, code_challenge_method: "S256" }),
  });
  const body: unknown = await response.json().catch(() => undefined);
  const key = typeof body === "object" && body !== null && "key" in body ? body.key : undefined;
  if (!response.ok || typeof key !== "string") {
    throw new Error(texts.key.connectFailed(response.status));
  }
  return key;
}
