// @openrouter/sdk, as any program uses it: with nothing but a base URL and a key.

import { OpenRouter } from "@openrouter/sdk";
import { OpenRouterError } from "@openrouter/sdk/models/errors";

const MESSAGES = [{ role: "user", content: "Say hello" }];
const { OPENROUTER_API_KEY, OPENROUTER_BASE_URL } = process.env;

const client = (apiKey) => new OpenRouter({ serverURL: OPENROUTER_BASE_URL, apiKey });
const ai = client(OPENROUTER_API_KEY);
const ask = (model, more, by = ai) =>
  by.chat.send({ chatRequest: { model, messages: MESSAGES, ...more } });

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
const vectors = await ai.embeddings.generate({
  requestBody: { model: "sdk/embeddings", input: "hello" },
});

const seen = {
  chat: `${chat.choices[0].message.content} (${chat.usage.totalTokens} tokens)`,
  stream,
  embedding: vectors.data[0].embedding,
  refused_upstream: await refusal(ask("sdk/unpaid")),
  wrong_token: await refusal(ask("sdk/chat", {}, client("sk-wrong"))),
};
process.stdout.write(JSON.stringify(seen));
