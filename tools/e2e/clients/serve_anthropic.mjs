// @anthropic-ai/sdk, as any program uses it: with nothing but its variables.

import Anthropic, { APIError } from "@anthropic-ai/sdk";
import { VERSION } from "@anthropic-ai/sdk/version";

const MESSAGES = [{ role: "user", content: "Say hello" }];
const WEATHER = {
  name: "weather",
  input_schema: { type: "object", properties: { city: { type: "string" } } },
};
const [STRANGER, DOWN] = [process.env.STRANGER, process.env.DOWN].map((url) => url.replace(/\/v1$/, ""));

const asked = (ai, model, more) =>
  ai.messages.create({ model, messages: MESSAGES, max_tokens: 64, ...more });

async function refusal(options, model = "sdk/chat") {
  try {
    await asked(new Anthropic(options), model);
  } catch (error) {
    return (
      error instanceof APIError &&
      `${error.constructor.name} ${error.status} ${error.error.error.message}`
    );
  }
  return "none";
}

const ai = new Anthropic();
const raw = await asked(ai, "sdk/chat").asResponse();
const rawStream = await asked(ai, "sdk/chat", { stream: true }).asResponse();
const chat = await asked(ai, "sdk/chat");
let stream = "";
for await (const event of await asked(ai, "sdk/chat", { stream: true })) {
  stream += event.delta?.text ?? "";
}
const [called] = (await asked(ai, "sdk/tools", { tools: [WEATHER] })).content;

const seen = {
  version: VERSION,
  message_body: await raw.text(),
  message_stream_body: await rawStream.text(),
  chat: `${chat.content[0].text} (${chat.usage.input_tokens + chat.usage.output_tokens} tokens)`,
  stream,
  tool: `${called.name}(${JSON.stringify(called.input)})`,
  model: (await ai.models.retrieve("sdk/chat:free")).id,
  counted: (await ai.messages.countTokens({ model: "sdk/chat", messages: MESSAGES })).input_tokens,
  retried: (await asked(ai, "sdk/once-429")).content[0].text,
  refused_upstream: await refusal({}, "sdk/unpaid"),
  refused_by_gateway: await refusal({ baseURL: STRANGER }),
  wrong_token: await refusal({ authToken: "sk-wrong" }),
  gateway_down: await refusal({ baseURL: DOWN, maxRetries: 0 }),
};
process.stdout.write(JSON.stringify(seen));
