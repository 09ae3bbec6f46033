// Vercel's ai with @openrouter/ai-sdk-provider. Its provider transcribes nothing.

import { createOpenRouter } from "@openrouter/ai-sdk-provider";
import { APICallError, embed, generateText, jsonSchema, streamText, tool } from "ai";
import { BASE_URL, WEATHER, recordingFetch, refusal, report, version } from "./common.mjs";

async function client(identity) {
  const { fetch, bodies } = await recordingFetch(identity);
  return { openrouter: createOpenRouter({ baseURL: BASE_URL, apiKey: "unused", fetch }), bodies };
}

const describe = (error) =>
  APICallError.isInstance(error) && `${error.name} ${error.statusCode} ${error.message}`;

const { openrouter, bodies } = await client("IDENTITY");
const ask = (model, more) =>
  generateText({ model: openrouter(model), prompt: "Say hello", ...more });

const chat = await ask("sdk/chat");
const chatBody = await bodies.pop();
let stream = "";
for await (const text of streamText({ model: openrouter("sdk/chat"), prompt: "Say hello" }).textStream) {
  stream += text;
}
const streamBody = await bodies.pop();
const weather = tool({ inputSchema: jsonSchema(WEATHER) });
const [called] = (await ask("sdk/tools", { tools: { weather } })).toolCalls;
const model = openrouter.textEmbeddingModel("sdk/embeddings");
const stranger = await client("STRANGER");

report({
  version: `${await version("ai")} with ${await version("@openrouter/ai-sdk-provider")}`,
  chat_body: chatBody,
  stream_body: streamBody,
  chat: `${chat.text} (${chat.usage.totalTokens} tokens)`,
  stream,
  tool: `${called.toolName}(${JSON.stringify(called.input)})`,
  embedding: (await embed({ model, value: "hello" })).embedding,
  retried: (await ask("sdk/once-429")).text,
  refused_upstream: await refusal(ask("sdk/unpaid"), describe),
  refused_by_gateway: await refusal(
    generateText({ model: stranger.openrouter("sdk/chat"), prompt: "Say hello" }),
    describe,
  ),
});
