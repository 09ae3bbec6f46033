// @openrouter/sdk.

import { HTTPClient, OpenRouter } from "@openrouter/sdk";
import { OpenRouterError } from "@openrouter/sdk/models/errors";
import { AUDIO, BASE_URL, MESSAGES, WEATHER, recordingFetch, refusal, report, version } from "./common.mjs";

async function client(identity) {
  const { fetch, bodies } = await recordingFetch(identity);
  const httpClient = new HTTPClient({ fetcher: fetch });
  return { ai: new OpenRouter({ serverURL: BASE_URL, apiKey: "unused", httpClient }), bodies };
}

const describe = (error) =>
  error instanceof OpenRouterError && `${error.name} ${error.statusCode} ${error.message}`;

const { ai, bodies } = await client("IDENTITY");
const backoff = { initialInterval: 50, maxInterval: 500, exponent: 1.5, maxElapsedTime: 5000 };
const retries = { retries: { strategy: "backoff", backoff }, retryCodes: ["429", "5XX"] };
const ask = (model, more) =>
  ai.chat.send({ chatRequest: { model, messages: MESSAGES, ...more } }, retries);

const chat = await ask("sdk/chat");
const chatBody = await bodies.pop();
let stream = "";
for await (const chunk of await ask("sdk/chat", { stream: true })) {
  stream += chunk.choices[0].delta.content ?? "";
}
const streamBody = await bodies.pop();
const weather = { type: "function", function: { name: "weather", parameters: WEATHER } };
const called = (await ask("sdk/tools", { tools: [weather] })).choices[0].message.toolCalls[0].function;
const vectors = await ai.embeddings.generate({
  requestBody: { model: "sdk/embeddings", input: "hello" },
});
const hear = async (model) => {
  const requestBody = { model, file: AUDIO };
  return (await ai.stt.createTranscriptionMultipart({ requestBody }, retries)).text;
};
const stranger = await client("STRANGER");

report({
  version: await version("@openrouter/sdk"),
  chat_body: chatBody,
  stream_body: streamBody,
  chat: `${chat.choices[0].message.content} (${chat.usage.totalTokens} tokens)`,
  stream,
  tool: `${called.name}(${called.arguments})`,
  embedding: vectors.data[0].embedding,
  transcription: await hear("sdk/transcription"),
  retried: (await ask("sdk/once-429")).choices[0].message.content,
  retried_upload: await hear("sdk/once-429"),
  refused_upstream: await refusal(ask("sdk/unpaid"), describe),
  refused_by_gateway: await refusal(
    stranger.ai.chat.send({ chatRequest: { model: "sdk/chat", messages: MESSAGES } }),
    describe,
  ),
});
