import { readFileSync } from "node:fs";

import { describe, expect, it } from "vitest";

import { answered, isLoopback, readRequest, seal } from "../src/approval.js";
import { fromBase64url } from "../src/bytes.js";

interface Vector {
  readonly program: { readonly private_jwk: JsonWebKey; readonly key: string };
  readonly page: { readonly private_jwk: JsonWebKey };
  readonly nonce: string;
  readonly state: string;
  readonly token: string;
  readonly shared_secret: string;
  readonly sealed: string;
}

const vector = JSON.parse(
  readFileSync(new URL("../../../shared/testdata/approval.json", import.meta.url), "utf8"),
) as Vector;
const ECDH = { name: "ECDH", namedCurve: "P-256" };

const bytes = (text: string) => fromBase64url(text) ?? new Uint8Array();

async function pair(jwk: JsonWebKey): Promise<CryptoKeyPair> {
  const { d: _, ...open } = jwk;
  return {
    privateKey: await crypto.subtle.importKey("jwk", jwk, ECDH, false, ["deriveBits"]),
    publicKey: await crypto.subtle.importKey("jwk", open, ECDH, true, []),
  };
}

const request = (changes: Record<string, string> = {}) =>
  new URLSearchParams({
    v: "1",
    name: "llmgw on laptop",
    key: vector.program.key,
    state: vector.state,
    ...changes,
  }).toString();

describe("a request for a token", () => {
  it("is read", () => {
    const read = readRequest(
      request({ budget: "5/week", models: "openai/*,a/b", expires: "30d", callback: "http://127.0.0.1:4000/x" }),
    );
    expect(read).toMatchObject({
      scope: { name: "llmgw on laptop", amount: "5", period: "week", models: "openai/*\na/b", expires: "30" },
      callback: "http://127.0.0.1:4000/x",
    });
    expect(readRequest(request())).toMatchObject({ callback: undefined, scope: { expires: "90" } });
  });

  it("is refused where it is not understood", () => {
    for (const changes of [
      { v: "2" },
      { key: "AAAA" },
      { key: vector.program.key.replace(/^B/, "A") },
      { name: " " },
      { state: "short" },
      { budget: "5" },
      { budget: "5/year" },
      { expires: "soon" },
    ] as Record<string, string>[]) {
      expect(readRequest(request(changes)), JSON.stringify(changes)).toBe("broken");
    }
    expect(readRequest(`${request()}&name=another`)).toBe("broken");
  });

  it("sends a token to this computer alone", () => {
    for (const callback of [
      "http://example.com:80/",
      "http://localhost:4000/",
      "http://127.0.0.1.example.com:4000/",
      "http://127.0.0.1:4000@example.com/",
      "https://127.0.0.1:4000/",
      "http://127.0.0.1/",
      "http://127.0.0.1:99999/",
      "http://127.0.0.1:4000/?x=1",
      "javascript:alert(1)",
    ]) {
      expect(isLoopback(callback), callback).toBe(false);
      expect(readRequest(request({ callback })), callback).toBe("foreign callback");
    }
    expect(isLoopback("http://[::1]:4000/callback")).toBe(true);
    expect(answered("http://127.0.0.1:1/c", "s", { error: "access_denied" })).toBe(
      "http://127.0.0.1:1/c?state=s&error=access_denied",
    );
  });
});

describe("a sealed token", () => {
  it("is that of the vector", async () => {
    const sealed = await seal(
      vector.token,
      { key: bytes(vector.program.key), state: vector.state },
      await pair(vector.page.private_jwk),
      bytes(vector.nonce),
    );
    expect(sealed).toBe(vector.sealed);
    const [program, page] = [await pair(vector.program.private_jwk), await pair(vector.page.private_jwk)];
    const shared = await crypto.subtle.deriveBits({ ...ECDH, public: page.publicKey }, program.privateKey, 256);
    expect(new Uint8Array(shared)).toEqual(bytes(vector.shared_secret));
  });

  it("is another each time", async () => {
    const to = { key: bytes(vector.program.key), state: vector.state };
    expect(await seal(vector.token, to)).not.toBe(await seal(vector.token, to));
  });
});
