// The ends of broken streams, as each SDK tells its user.

import Anthropic from "@anthropic-ai/sdk";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenRouter } from "@openrouter/ai-sdk-provider";
import { OpenRouter } from "@openrouter/sdk";
import { streamText } from "ai";
import { readFile } from "node:fs/promises";
import OpenAI from "openai";

const { CASES, NAME, ANTHROPIC_BASE_URL, OPENAI_API_KEY, OPENAI_BASE_URL } = process.env;
const { OPENROUTER_API_KEY, OPENROUTER_BASE_URL } = process.env;
const messages = [{ role: "user", content: "Say hello" }];

// Else it warns of models that it does not know.
globalThis.AI_SDK_LOG_WARNINGS = false;
const openai = new OpenAI();
const openrouter = new OpenRouter({
  serverURL: OPENROUTER_BASE_URL,
  apiKey: OPENROUTER_API_KEY,
  // Else it repeats what fails for an hour.
  retryConfig: { strategy: "none" },
});
const anthropic = new Anthropic();
const providers = {
  openai: createOpenAI({ baseURL: OPENAI_BASE_URL, apiKey: OPENAI_API_KEY }),
  // It appends /messages, not /v1/messages, and knows one way to send a key.
  anthropic: createAnthropic({ baseURL: `${ANTHROPIC_BASE_URL}/v1`, apiKey: OPENAI_API_KEY }),
  openrouter: createOpenRouter({ baseURL: OPENROUTER_BASE_URL, apiKey: OPENROUTER_API_KEY }),
};

const ofObject = (error) => `${error.code} ${error.message}`;

/** A typed event of Responses that says that the answer failed. */
function failure(event) {
  if (event.type === "response.failed") return `${event.type}: ${ofObject(event.response.error)}`;
  if (event.type === "error") return `${event.type}: ${ofObject(event)}`;
}

async function* openaiResponses(events) {
  for await (const event of await events) yield failure(event);
}

async function* openrouterChat(model) {
  for await (const chunk of await openrouter.chat.send({ chatRequest: { model, messages, stream: true } })) {
    if (chunk.error) yield `chunk.error: ${ofObject(chunk.error)}`;
    else if (chunk.choices[0]?.finishReason === "error") yield "finishReason: error";
  }
}

async function* openrouterResponses(model) {
  const responsesRequest = { model, input: "Say hello", stream: true };
  for await (const event of await openrouter.responses.send({ responsesRequest })) yield failure(event);
}

/** Vercel's `ai` has a stream with errors in it, and throws none. */
async function* vercels(model) {
  for await (const part of streamText({ model, prompt: "Say hello", maxRetries: 0, onError() {} }).fullStream) {
    if (part.type === "error") throw part.error;
  }
}

const READERS = {
  openai: {
    chat: (model) => openai.chat.completions.create({ model, messages, stream: true }),
    "chat.stream": (model) => openai.chat.completions.stream({ model, messages }),
    responses: (model) => openaiResponses(openai.responses.create({ model, input: "Say hello", stream: true })),
    "responses.stream": (model) => openaiResponses(openai.responses.stream({ model, input: "Say hello" })),
  },
  "@openrouter/sdk": { chat: openrouterChat, responses: openrouterResponses },
  "@anthropic-ai/sdk": {
    messages: (model) => anthropic.messages.create({ model, messages, max_tokens: 64, stream: true }),
    "messages.stream": (model) => anthropic.messages.stream({ model, messages, max_tokens: 64 }),
  },
  "@ai-sdk/openai": {
    chat: (model) => vercels(providers.openai.chat(model)),
    responses: (model) => vercels(providers.openai.responses(model)),
  },
  "@ai-sdk/anthropic": { messages: (model) => vercels(providers.anthropic(model)) },
  "@openrouter/ai-sdk-provider": { chat: (model) => vercels(providers.openrouter(model)) },
};

/** What a program that only reads the answer learns. */
async function outcome(read, model) {
  let told;
  try {
    for await (const it of await read(model)) {
      if (typeof it === "string") told = it;
    }
  } catch (error) {
    return `raises ${error?.constructor?.name}: ${error?.message ?? JSON.stringify(error)}`;
  }
  return told ? `yields ${told}` : "ends silently";
}

async function version(name) {
  const file = new URL(`node_modules/${name}/package.json`, import.meta.url);
  return JSON.parse(await readFile(file, "utf8")).version;
}

const jobs = [];
let number = 0;
for (const [name, ways] of Object.entries(READERS)) {
  const sdk = `${name} ${await version(name)}`;
  for (const [way, read] of Object.entries(ways)) {
    for (const test of CASES.split(",")) {
      // Each model has a name of its own, so that the test can count the requests.
      const model = `sdk/${test}--${NAME}-${number}-`;
      jobs.push(outcome(read, model).then((it) => [`${sdk} ${way}`, test, model, it]));
    }
    number += 1;
  }
}
process.stdout.write(JSON.stringify(await Promise.all(jobs)));
