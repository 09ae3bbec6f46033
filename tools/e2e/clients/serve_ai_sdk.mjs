// Vercel's ai with @openrouter/ai-sdk-provider, with nothing but a base URL and a key.

import { createOpenRouter } from "@openrouter/ai-sdk-provider";
import { APICallError, embed, generateText, jsonSchema, streamText, tool } from "ai";

const { OPENROUTER_API_KEY, OPENROUTER_BASE_URL } = process.env;
const WEATHER = { type: "object", properties: { city: { type: "string" } } };

const client = (apiKey) => createOpenRouter({ baseURL: OPENROUTER_BASE_URL, apiKey });
const openrouter = client(OPENROUTER_API_KEY);
const ask = (model, more, by = openrouter) =>
  generateText({ model: by(model), prompt: "Say hello", ...more });

async function refusal(promise) {
  try {
    await promise;
  } catch (error) {
    return APICallError.isInstance(error) && `${error.name} ${error.statusCode} ${error.message}`;
  }
  return "none";
}

const chat = await ask("sdk/chat");
let stream = "";
for await (const text of streamText({ model: openrouter("sdk/chat"), prompt: "Say hello" }).textStream) {
  stream += text;
}
const weather = tool({ inputSchema: jsonSchema(WEATHER) });
const [called] = (await ask("sdk/tools", { tools: { weather } })).toolCalls;
const model = openrouter.textEmbeddingModel("sdk/embeddings");

const seen = {
  chat: `${chat.text} (${chat.usage.totalTokens} tokens)`,
  stream,
  tool: `${called.toolName}(${JSON.stringify(called.input)})`,
  embedding: (await embed({ model, value: "hello" })).embedding,
  retried: (await ask("sdk/once-429")).text,
  refused_upstream: await refusal(ask("sdk/unpaid")),
  wrong_token: await refusal(ask("sdk/chat", {}, client("sk-wrong"))),
};
process.stdout.write(JSON.stringify(seen));
