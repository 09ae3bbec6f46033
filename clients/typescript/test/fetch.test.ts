import assert from "node:assert/strict";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, beforeEach, test } from "node:test";

import { createSigningFetch, SigningError, signingString, type Fetch } from "../src/index.js";
import { GATEWAY, IDENTITY, VECTORS } from "./vectors.js";

interface Received {
  request: IncomingMessage;
  body: Buffer<ArrayBuffer>;
}

const received: Received[] = [];
const server = createServer(async (request, response) => {
  const pieces: Buffer[] = [];
  for await (const piece of request) {
    pieces.push(piece as Buffer);
  }
  received.push({ request, body: Buffer.concat(pieces) });
  const redirects = request.url?.startsWith("/redirect") ?? false;
  response.writeHead(redirects ? 307 : 200, redirects ? { location: "/elsewhere" } : {});
  response.end("answer");
});
let base = "";
let signed: Fetch;
before(async () => {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  signed = createSigningFetch({ identity: IDENTITY, audience: GATEWAY, baseUrl: base });
});
after(() => server.close());
beforeEach(() => received.splice(0));

/** Returns the only request, if its signature holds for the expected path and query. */
async function verified(path: string, query = ""): Promise<Received> {
  assert.equal(received.length, 1);
  const [it] = received;
  assert.ok(it);
  await verify(it, path, query);
  return it;
}

async function verify({ request, body }: Received, path: string, query = ""): Promise<void> {
  const header = (name: string) => String(request.headers[name]);
  const text = await signingString({
    audience: GATEWAY,
    did: header("x-did"),
    timestamp: header("x-did-timestamp"),
    nonce: header("x-did-nonce"),
    method: String(request.method),
    path,
    query,
    body: new Uint8Array(body),
  });
  const expected = await IDENTITY.sign(new TextEncoder().encode(text));
  assert.equal(header("x-did-signature"), Buffer.from(expected).toString("base64url"));
  assert.ok(Math.abs(Date.now() / 1000 - Number(header("x-did-timestamp"))) < 60);
  assert.match(header("x-did-nonce"), /^[A-Za-z0-9_-]{22}$/);
}

const TEXT = '{"a":"你好"}';
const BYTES = new TextEncoder().encode(TEXT);
const stream = () =>
  new ReadableStream<Uint8Array>({
    start(controller) {
      controller.enqueue(BYTES.subarray(0, 7));
      controller.enqueue(BYTES.subarray(7));
      controller.close();
    },
  });

const bodies: [string, () => BodyInit, string | undefined][] = [
  ["a string", () => TEXT, "text/plain;charset=UTF-8"],
  ["bytes", () => BYTES, undefined],
  ["a view of bytes", () => new Uint8Array([0, ...BYTES, 0]).subarray(1, -1), undefined],
  ["an ArrayBuffer", () => BYTES.buffer.slice(0), undefined],
  ["a Blob", () => new Blob([BYTES], { type: "a/b" }), "a/b"],
  ["a stream", stream, undefined],
];
for (const [name, body, type] of bodies) {
  test(`a body that is ${name}`, async () => {
    const init = { method: "POST", body: body(), duplex: "half" };
    const response = await signed(`${base}/x`, init);
    assert.equal(await response.text(), "answer");
    const it = await verified("/x");
    assert.equal(it.body.toString(), TEXT);
    assert.equal(it.request.headers["content-type"], type);
    assert.equal(it.request.headers["content-length"], String(BYTES.length));
  });
}

test("a body of URLSearchParams", async () => {
  await signed(`${base}/x`, { method: "POST", body: new URLSearchParams({ a: "b c" }) });
  const it = await verified("/x");
  assert.equal(it.body.toString(), "a=b+c");
  assert.match(String(it.request.headers["content-type"]), /^application\/x-www-form-urlencoded/);
});

test("a form is signed with the boundary that is sent", async () => {
  const form = new FormData();
  form.set("model", "m");
  form.set("file", new Blob([new Uint8Array([0, 255])], { type: "audio/wav" }), "a.wav");
  await signed(`${base}/x`, { method: "POST", body: form });
  const { body, request } = await verified("/x");
  const [, boundary] = /boundary=(.+)$/.exec(String(request.headers["content-type"])) ?? [];
  assert.ok(boundary);
  assert.ok(body.includes(`--${boundary}\r\n`));
  assert.ok(body.includes('filename="a.wav"'));
  assert.ok(body.includes(Buffer.from([13, 10, 0, 255, 13, 10])));
});

test("a Request, with its body, headers and signal", async () => {
  const abort = new AbortController();
  const init = { method: "PATCH", body: TEXT, headers: { "x-kept": "1" }, signal: abort.signal };
  await signed(new Request(`${base}/x`, init));
  const it = await verified("/x");
  assert.equal(it.request.method, "PATCH");
  assert.equal(it.body.toString(), TEXT);
  assert.equal(it.request.headers["x-kept"], "1");

  abort.abort();
  await assert.rejects(signed(new Request(`${base}/x`, init)), { name: "AbortError" });
  const request = new Request(`${base}/x`);
  await assert.rejects(signed(request, { signal: abort.signal }), { name: "AbortError" });
  assert.equal(received.length, 1);
});

test("a URL, and queries as they are sent", async () => {
  const url = new URL(`${base}/models/r1:free#fragment`);
  url.searchParams.append("q", "a b+c%2B");
  url.searchParams.append("q", "你");
  url.searchParams.append("a", "");
  await signed(url);
  const query = "a=&q=%E4%BD%A0&q=a%20b%2Bc%252B";
  assert.equal((await verified("/models/r1:free", query)).body.length, 0);
});

test("each attempt is another request", async () => {
  const init = { method: "POST", body: TEXT };
  await signed(`${base}/x`, init);
  await signed(`${base}/x`, init);
  const [one, two] = received;
  assert.ok(one && two);
  await verify(one, "/x");
  await verify(two, "/x");
  for (const name of ["x-did-nonce", "x-did-signature"]) {
    assert.notEqual(one.request.headers[name], two.request.headers[name]);
  }
});

test("credentials for others are not sent", async () => {
  const headers = { Authorization: "Bearer another", "X-Api-Key": "another", "api-key": "another" };
  await signed(`${base}/x`, { headers });
  const { request } = await verified("/x");
  assert.doesNotMatch(JSON.stringify(request.headers), /another/);
});

test("redirects are not followed", async () => {
  const response = await signed(`${base}/redirect`, { method: "POST", redirect: "follow" });
  assert.equal(response.status, 307);
  await verified("/redirect");
  await assert.rejects(signed(`${base}/redirect`, { redirect: "error" }), TypeError);

  const browser = createSigningFetch({
    identity: IDENTITY,
    audience: GATEWAY,
    fetch: async () => Object.defineProperty(new Response(), "type", { value: "opaqueredirect" }),
  });
  await assert.rejects(browser(`${GATEWAY}/x`), SigningError);
});

test("the id of a model is sent with a plain slash", async () => {
  await signed(`${base}/models/deepseek%2Fr1%3Afree?a=b%2Fc`);
  const { request } = await verified("/models/deepseek/r1:free", "a=b%2Fc");
  assert.equal(request.url, "/models/deepseek/r1:free?a=b%2Fc");
});

/** A fetch before a gateway with another clock, which refuses requests that are out of its window. */
function skewed(ahead: number, headers: (date: string) => Record<string, string>) {
  const signatures: Headers[] = [];
  const fetch = createSigningFetch({
    identity: IDENTITY,
    audience: GATEWAY,
    fetch: async (_url, init) => {
      const sent = new Headers(init?.headers);
      signatures.push(sent);
      assert.equal(new TextDecoder().decode(init?.body as Uint8Array), TEXT);
      const now = Date.now() + ahead * 1000;
      const refused = Math.abs(now - Number(sent.get("x-did-timestamp")) * 1000) > 300_000;
      const date = headers(new Date(now).toUTCString());
      return new Response("{}", { status: refused ? 401 : 200, headers: date });
    },
  });
  const send = async () => fetch(`${GATEWAY}/x`, { method: "POST", body: TEXT });
  return { send, signatures };
}

test("with a wrong clock it signs once more, by the gateway's", async () => {
  for (const ahead of [-6 * 24 * 3600, -301, 301, 3600, 6 * 24 * 3600]) {
    const { send, signatures } = skewed(ahead, (date) => ({ date }));
    assert.equal((await send()).status, 200, String(ahead));
    const [one, two] = signatures;
    assert.equal(signatures.length, 2);
    assert.notEqual(one?.get("x-did-nonce"), two?.get("x-did-nonce"));
  }
  // No difference, one that is too large, no date, one that is none, and OpenRouter's own refusal.
  const dates: [number, number, (date: string) => Record<string, string>][] = [
    [0, 200, (date) => ({ date })],
    [8 * 24 * 3600, 401, (date) => ({ date })],
    [3600, 401, () => ({})],
    [3600, 401, () => ({ date: "tomorrow" })],
    [3600, 401, (date) => ({ date, "x-gateway-upstream": "openrouter" })],
  ];
  for (const [ahead, status, headers] of dates) {
    const { send, signatures } = skewed(ahead, headers);
    assert.equal((await send()).status, status);
    assert.equal(signatures.length, 1);
  }
  // A gateway whose `Date` is not the time that it checks by.
  const { send, signatures } = skewed(3600, () => ({ date: new Date(Date.now() - 3_600_000).toUTCString() }));
  assert.equal((await send()).status, 401);
  assert.equal(signatures.length, 2);
});

test("what is refused is not sent", async () => {
  for (const path of ["/a%2Fb", "/a//b", "/a?b=%", "/a%20b"]) {
    await assert.rejects(signed(base + path), SigningError, path);
  }
  assert.equal(received.length, 0);
});

test("a given fetch gets its own options, and the vectors", async () => {
  for (const it of VECTORS.cases.filter(({ nonce }) => nonce !== "")) {
    const calls: Parameters<Fetch>[] = [];
    const own = createSigningFetch({
      identity: IDENTITY,
      audience: it.aud,
      clock: () => Number(it.ts) * 1000,
      nonce: () => it.nonce,
      fetch: async (...call) => {
        calls.push(call);
        return new Response();
      },
    });
    const init = { method: it.method, ...(it.body && { body: it.body }), dispatcher: "own" };
    await own(it.aud + it.path, init);
    assert.equal(calls.length, 1);
    const [url, sent] = calls[0] ?? [];
    assert.equal(url, it.aud + it.path);
    assert.equal((sent as typeof init).dispatcher, "own");
    assert.equal(new Headers(sent?.headers).get("x-did-signature"), it.sig);
  }
});
