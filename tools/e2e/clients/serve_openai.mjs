// openai-node, as any program uses it: with nothing but its two variables.

import OpenAI, { APIError } from "openai";
import { VERSION } from "openai/version";

const MESSAGES = [{ role: "user", content: "Say hello" }];
const WEATHER = {
  type: "function",
  function: {
    name: "weather",
    parameters: { type: "object", properties: { city: { type: "string" } } },
  },
};
const { STRANGER, DOWN } = process.env;

const asked = (ai, model, more) => ai.chat.completions.create({ model, messages: MESSAGES, ...more });

async function refusal(options, model = "sdk/chat") {
  try {
    await asked(new OpenAI(options), model);
  } catch (error) {
    return error instanceof APIError && `${error.constructor.name} ${error.status} ${error.error.message}`;
  }
  return "none";
}

const ai = new OpenAI();
const raw = await asked(ai, "sdk/chat").asResponse();
const rawStream = await asked(ai, "sdk/chat", { stream: true }).asResponse();
const chat = await asked(ai, "sdk/chat");
let stream = "";
for await (const chunk of await asked(ai, "sdk/chat", { stream: true })) {
  stream += chunk.choices[0].delta.content ?? "";
}
const called = await asked(ai, "sdk/tools", { tools: [WEATHER] });
const call = called.choices[0].message.tool_calls[0].function;
const file = new File(["RIFF\0 not really audio"], "hello.wav", { type: "audio/wav" });
const heard = await ai.audio.transcriptions.create({ model: "sdk/transcription", file });

const seen = {
  version: VERSION,
  chat_body: await raw.text(),
  stream_body: await rawStream.text(),
  chat: `${chat.choices[0].message.content} (${chat.usage.total_tokens} tokens)`,
  stream,
  tool: `${call.name}(${call.arguments})`,
  transcription: heard.text,
  model: (await ai.models.retrieve("sdk/chat:free")).id,
  retried: (await asked(ai, "sdk/once-429")).choices[0].message.content,
  refused_upstream: await refusal({}, "sdk/unpaid"),
  refused_by_gateway: await refusal({ baseURL: STRANGER }),
  wrong_token: await refusal({ apiKey: "sk-wrong" }),
  gateway_down: await refusal({ baseURL: DOWN, maxRetries: 0 }),
};
process.stdout.write(JSON.stringify(seen));
