// @openrouter/sdk, as any program uses it: with nothing but a base URL and a key.

import { OpenRouter } from "@openrouter/sdk";
import { OpenRouterError } from "@openrouter/sdk/models/errors";

const MESSAGES = [{ role: "user", content: "Say hello" }];
const WEATHER = { type: "object", properties: { city: { type: "string" } } };
const AUDIO = new File(["RIFF\0 not really audio"], "hello.wav", { type: "audio/wav" });
const { OPENROUTER_API_KEY, OPENROUTER_BASE_URL } = process.env;

const client = (apiKey) => new OpenRouter({ serverURL: OPENROUTER_BASE_URL, apiKey });
const ai = client(OPENROUTER_API_KEY);
const backoff = { initialInterval: 50, maxInterval: 500, exponent: 1.5, maxElapsedTime: 5000 };
const retries = { retries: { strategy: "backoff", backoff }, retryCodes: ["429", "5XX"] };
const ask = (model, more, by = ai) =>
  by.chat.send({ chatRequest: { model, messages: MESSAGES, ...more } }, retries);

async function refusal(promise) {
  try {
    await promise;
  } catch (error) {
    return error instanceof OpenRouterError && `${error.name} ${error.statusCode} ${error.message}`;
  }
  return "none";
}

const chat = await ask("sdk/chat");
let stream = "";
for await (const chunk of await ask("sdk/chat", { stream: true })) {
  stream += chunk.choices[0].delta.content ?? "";
}
const weather = { type: "function", function: { name: "weather", parameters: WEATHER } };
const called = (await ask("sdk/tools", { tools: [weather] })).choices[0].message.toolCalls[0].function;
const requestBody = { model: "sdk/transcription", file: AUDIO };
const heard = await ai.stt.createTranscriptionMultipart({ requestBody });
const vectors = await ai.embeddings.generate({
  requestBody: { model: "sdk/embeddings", input: "hello" },
});

const seen = {
  chat: `${chat.choices[0].message.content} (${chat.usage.totalTokens} tokens)`,
  stream,
  tool: `${called.name}(${called.arguments})`,
  transcription: heard.text,
  retried: (await ask("sdk/once-429")).choices[0].message.content,
  embedding: vectors.data[0].embedding,
  refused_upstream: await refusal(ask("sdk/unpaid")),
  wrong_token: await refusal(ask("sdk/chat", {}, client("sk-wrong"))),
};
process.stdout.write(JSON.stringify(seen));
