// The common part of the scripts for Node's SDKs.

import { createSigningFetch } from "llmgw-auth";
import { readIdentity } from "llmgw-auth/node";
import { readFile } from "node:fs/promises";

const { GATEWAY, AUDIENCE } = process.env;

export const BASE_URL = `${GATEWAY}/api/v1/openrouter`;
export const MESSAGES = [{ role: "user", content: "Say hello" }];
export const WEATHER = { type: "object", properties: { city: { type: "string" } } };
export const AUDIO = new File(["RIFF\0 not really audio"], "hello.wav", { type: "audio/wav" });

/** Creates a `fetch` that signs with the identity file that the environment names, and a clock that is so many
 * milliseconds ahead. */
export async function signingFetch(identity, ahead = 0) {
  return createSigningFetch({
    identity: await readIdentity(process.env[identity]),
    audience: AUDIENCE,
    baseUrl: GATEWAY,
    clock: () => Date.now() + ahead,
  });
}

/** The same, which also keeps the bodies of all responses. */
export async function recordingFetch(identity) {
  const signed = await signingFetch(identity);
  const bodies = [];
  const fetch = async (...call) => {
    const response = await signed(...call);
    const [ours, theirs] = response.body.tee();
    bodies.push(new Response(ours).text());
    return new Response(theirs, response);
  };
  return { fetch, bodies };
}

/** The version of an installed package. */
export async function version(name) {
  const file = new URL(`node_modules/${name}/package.json`, import.meta.url);
  return JSON.parse(await readFile(file, "utf8")).version;
}

/** Describes the error of a promise that has to fail. */
export async function refusal(promise, describe) {
  try {
    await promise;
  } catch (error) {
    return describe(error);
  }
  return "none";
}

/** Writes the results that the SDK's user sees, for the test to check. */
export function report(seen) {
  process.stdout.write(JSON.stringify(seen));
}
