// @anthropic-ai/sdk, which speaks Messages; the gateway drops the v1/ that it puts before its paths.

import Anthropic, { APIError } from "@anthropic-ai/sdk";
import { BASE_URL, MESSAGES, WEATHER, refusal, report, signingFetch, version } from "./common.mjs";

async function client(identity) {
  return new Anthropic({ baseURL: BASE_URL, apiKey: "unused", fetch: await signingFetch(identity) });
}

const describe = (error) =>
  error instanceof APIError && `${error.constructor.name} ${error.status} ${error.error.error.message}`;

const ai = await client("IDENTITY");
const ask = (model, more) =>
  ai.messages.create({ model, messages: MESSAGES, max_tokens: 64, ...more });

const raw = await ask("sdk/chat").asResponse();
const rawStream = await ask("sdk/chat", { stream: true }).asResponse();
const chat = await ask("sdk/chat");
let stream = "";
for await (const event of await ask("sdk/chat", { stream: true })) {
  stream += event.delta?.text ?? "";
}
const weather = { name: "weather", input_schema: WEATHER };
const [called] = (await ask("sdk/tools", { tools: [weather] })).content;
const stranger = await client("STRANGER");

report({
  version: await version("@anthropic-ai/sdk"),
  message_body: await raw.text(),
  message_stream_body: await rawStream.text(),
  chat: `${chat.content[0].text} (${chat.usage.input_tokens + chat.usage.output_tokens} tokens)`,
  stream,
  tool: `${called.name}(${JSON.stringify(called.input)})`,
  model: (await ai.models.retrieve("sdk/chat:free")).id,
  counted: (await ai.messages.countTokens({ model: "sdk/chat", messages: MESSAGES })).input_tokens,
  retried: (await ask("sdk/once-429")).content[0].text,
  refused_upstream: await refusal(ask("sdk/unpaid"), describe),
  refused_by_gateway: await refusal(
    stranger.messages.create({ model: "sdk/chat", messages: MESSAGES, max_tokens: 64 }),
    describe,
  ),
});
