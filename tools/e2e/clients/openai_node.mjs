// openai-node.

import OpenAI, { APIError } from "openai";
import { AUDIO, BASE_URL, MESSAGES, WEATHER, refusal, report, signingFetch, version } from "./common.mjs";

async function client(identity, ahead) {
  return new OpenAI({ baseURL: BASE_URL, apiKey: "unused", fetch: await signingFetch(identity, ahead) });
}

const describe = (error) =>
  error instanceof APIError && `${error.constructor.name} ${error.status} ${error.error.message}`;

const ai = await client("IDENTITY");
const ask = (model, more) => ai.chat.completions.create({ model, messages: MESSAGES, ...more });

const raw = await ask("sdk/chat").asResponse();
const rawStream = await ask("sdk/chat", { stream: true }).asResponse();
const chat = await ask("sdk/chat");
let stream = "";
for await (const chunk of await ask("sdk/chat", { stream: true })) {
  stream += chunk.choices[0].delta.content ?? "";
}
const weather = { type: "function", function: { name: "weather", parameters: WEATHER } };
const called = (await ask("sdk/tools", { tools: [weather] })).choices[0].message.tool_calls[0].function;
const vectors = await ai.embeddings.create({
  model: "sdk/embeddings",
  input: "hello",
  encoding_format: "float",
});
const hear = async (model) => (await ai.audio.transcriptions.create({ model, file: AUDIO })).text;
const skewed = await client("IDENTITY", -3_600_000);
const stranger = await client("STRANGER");

report({
  version: await version("openai"),
  chat_body: await raw.text(),
  stream_body: await rawStream.text(),
  chat: `${chat.choices[0].message.content} (${chat.usage.total_tokens} tokens)`,
  stream,
  tool: `${called.name}(${called.arguments})`,
  embedding: vectors.data[0].embedding,
  transcription: await hear("sdk/transcription"),
  model: (await ai.models.retrieve("sdk/chat:free")).id,
  wrong_clock: (await skewed.chat.completions.create({ model: "sdk/chat", messages: MESSAGES })).choices[0]
    .message.content,
  retried: (await ask("sdk/once-429")).choices[0].message.content,
  retried_upload: await hear("sdk/once-429"),
  refused_upstream: await refusal(ask("sdk/unpaid"), describe),
  refused_by_gateway: await refusal(
    stranger.chat.completions.create({ model: "sdk/chat", messages: MESSAGES }),
    describe,
  ),
});
