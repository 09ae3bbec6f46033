// Features of SDKs that know a base URL and an access token, and nothing else.

import Anthropic from "@anthropic-ai/sdk";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenRouter } from "@openrouter/ai-sdk-provider";
import { OpenRouter } from "@openrouter/sdk";
import { embed, generateText, jsonSchema, streamText, tool } from "ai";
import { readFile } from "node:fs/promises";
import OpenAI from "openai";

const { BASE, MODELS_BASE } = process.env;
const [TOKENS, REFUSED] = [process.env.TOKENS, process.env.REFUSED].map((it) => JSON.parse(it));
const PROMPT = "Say hello";
const messages = [{ role: "user", content: PROMPT }];
const parameters = { type: "object", properties: { city: { type: "string" } } };
const weather = { type: "function", function: { name: "weather", parameters } };
const audio = () => new File(["RIFF\0 not really audio"], "hello.wav", { type: "audio/wav" });

// Else it warns of models that it does not know.
globalThis.AI_SDK_LOG_WARNINGS = false;

/** The text of a stream, `text` being that of an event. */
async function joined(events, text) {
  let all = "";
  for await (const event of await events) all += text(event) ?? "";
  return all;
}

/** The first text of a stream that is left then. */
async function first(events, text) {
  for await (const event of await events) {
    if (text(event)) return text(event);
  }
}

function openai(base, apiKey) {
  const ai = new OpenAI({ baseURL: `${base}/v1`, apiKey, maxRetries: 0 });
  const ask = (model, more) => ai.chat.completions.create({ model, messages, ...more });
  const text = (chunk) => chunk.choices[0].delta.content;
  return {
    async whole() {
      const answer = await ask("sdk/chat");
      return `${answer.choices[0].message.content} (${answer.usage.total_tokens} tokens)`;
    },
    streamed: () => joined(ask("sdk/chat", { stream: true }), text),
    async tools() {
      const answer = await ask("sdk/tools", { tools: [weather] });
      const call = answer.choices[0].message.tool_calls[0].function;
      return `${call.name}(${call.arguments})`;
    },
    async responses() {
      const question = { model: "sdk/chat", input: PROMPT };
      const answer = await ai.responses.create(question);
      const streamed = await ai.responses.stream(question).finalResponse();
      return `${answer.output_text} ${streamed.output_text} (${streamed.usage.total_tokens} tokens)`;
    },
    async embeddings() {
      const question = { model: "sdk/embeddings", input: "hello", encoding_format: "float" };
      return JSON.stringify((await ai.embeddings.create(question)).data[0].embedding);
    },
    transcription: async () =>
      (await ai.audio.transcriptions.create({ model: "sdk/transcription", file: audio() })).text,
    async models() {
      const ids = [];
      for await (const model of ai.models.list()) ids.push(model.id);
      return ids.join(" ");
    },
    cancelled: () => first(ask("sdk/slow", { stream: true }), text),
  };
}

function openrouter(serverURL, apiKey) {
  const ai = new OpenRouter({ serverURL, apiKey, retryConfig: { strategy: "none" } });
  const ask = (model, more) => ai.chat.send({ chatRequest: { model, messages, ...more } });
  const text = (chunk) => chunk.choices[0].delta.content;
  return {
    async whole() {
      const answer = await ask("sdk/chat");
      return `${answer.choices[0].message.content} (${answer.usage.totalTokens} tokens)`;
    },
    streamed: () => joined(ask("sdk/chat", { stream: true }), text),
    async tools() {
      const call = (await ask("sdk/tools", { tools: [weather] })).choices[0].message.toolCalls[0].function;
      return `${call.name}(${call.arguments})`;
    },
    async responses() {
      const send = (more) =>
        ai.responses.send({ responsesRequest: { model: "sdk/chat", input: PROMPT, ...more } });
      const answer = await send();
      let [streamed, tokens] = ["", 0];
      for await (const event of await send({ stream: true })) {
        if (event.type === "response.output_text.delta") streamed += event.delta;
        if (event.type === "response.completed") tokens = event.response.usage.totalTokens;
      }
      return `${answer.output[0].content[0].text} ${streamed} (${tokens} tokens)`;
    },
    async embeddings() {
      const requestBody = { model: "sdk/embeddings", input: "hello" };
      return JSON.stringify((await ai.embeddings.generate({ requestBody })).data[0].embedding);
    },
    async transcription() {
      const requestBody = { model: "sdk/transcription", file: audio() };
      return (await ai.stt.createTranscriptionMultipart({ requestBody })).text;
    },
    async models() {
      const ids = [];
      for await (const page of await ai.models.list()) ids.push(...page.result.data.map((it) => it.id));
      return ids.join(" ");
    },
    async quota() {
      const key = (await ai.apiKeys.getCurrentKeyMetadata()).data;
      const credits = (await ai.credits.getCredits()).data;
      const isOne = credits.totalCredits - credits.totalUsage === key.limitRemaining;
      return `${key.limit} ${key.limitReset} ${isOne}`;
    },
    cancelled: () => first(ask("sdk/slow", { stream: true }), text),
  };
}

function anthropic(baseURL, apiKey) {
  const ai = new Anthropic({ baseURL, apiKey, maxRetries: 0 });
  // The same in the other header.
  const bearer = new Anthropic({ baseURL, authToken: apiKey, apiKey: null, maxRetries: 0 });
  const question = { model: "sdk/chat", messages, max_tokens: 64 };
  const text = (event) => event.delta?.text;
  return {
    async whole() {
      const answer = await bearer.messages.create(question);
      const tokens = answer.usage.input_tokens + answer.usage.output_tokens;
      return `${answer.content[0].text} (${tokens} tokens)`;
    },
    streamed: () => joined(ai.messages.stream(question), text),
    async tools() {
      const tools = [{ name: "weather", input_schema: parameters }];
      const [call] = (await ai.messages.create({ ...question, model: "sdk/tools", tools })).content;
      return `${call.name}(${JSON.stringify(call.input)})`;
    },
    async models() {
      const ids = [];
      for await (const model of ai.models.list()) ids.push(model.id);
      return ids.join(" ");
    },
    cancelled: () => first(ai.messages.stream({ ...question, model: "sdk/slow" }), text),
  };
}

/** The features of Vercel's `ai` with a provider: `chat` makes its models. */
function vercels(chat) {
  const ask = (model, more) => generateText({ model: chat(model), prompt: PROMPT, maxRetries: 0, ...more });
  const stream = (model, abortSignal) =>
    streamText({ model: chat(model), prompt: PROMPT, maxRetries: 0, abortSignal }).textStream;
  return {
    async whole() {
      const answer = await ask("sdk/chat");
      return `${answer.text} (${answer.usage.totalTokens} tokens)`;
    },
    streamed: () => joined(stream("sdk/chat"), (text) => text),
    async tools() {
      const tools = { weather: tool({ inputSchema: jsonSchema(parameters) }) };
      const [call] = (await ask("sdk/tools", { tools })).toolCalls;
      return `${call.toolName}(${JSON.stringify(call.input)})`;
    },
    async cancelled() {
      const abort = new AbortController();
      const text = await first(stream("sdk/slow", abort.signal), (it) => it);
      abort.abort();
      return text;
    },
  };
}

const embedded = async (model) => JSON.stringify((await embed({ model, value: "hello", maxRetries: 0 })).embedding);

function vercelsOpenai(baseURL, apiKey) {
  const provider = createOpenAI({ baseURL, apiKey });
  return {
    ...vercels((model) => provider.chat(model)),
    async responses() {
      const options = { model: provider.responses("sdk/chat"), prompt: PROMPT, maxRetries: 0 };
      const answer = await generateText(options);
      const streamed = streamText(options);
      const text = await joined(streamed.textStream, (it) => it);
      return `${answer.text} ${text} (${(await streamed.usage).totalTokens} tokens)`;
    },
    embeddings: () => embedded(provider.embedding("sdk/embeddings")),
  };
}

function vercelsOpenrouter(baseURL, apiKey) {
  const provider = createOpenRouter({ baseURL, apiKey });
  return { ...vercels(provider), embeddings: () => embedded(provider.textEmbeddingModel("sdk/embeddings")) };
}

const SDKS = {
  openai,
  "@openrouter/sdk": openrouter,
  "@anthropic-ai/sdk": anthropic,
  "@ai-sdk/openai": vercelsOpenai,
  "@ai-sdk/anthropic": (baseURL, apiKey) => vercels(createAnthropic({ baseURL, apiKey })),
  "@openrouter/ai-sdk-provider": vercelsOpenrouter,
};

/** What a program sees of a feature. */
async function outcome(feature) {
  try {
    return await feature();
  } catch (error) {
    return `${error?.constructor?.name}: ${error?.message}`;
  }
}

async function drive(sdk) {
  const of = SDKS[sdk];
  const seen = {};
  for (const [name, feature] of Object.entries(of(BASE, TOKENS[sdk]))) {
    seen[name] = await outcome(feature);
  }
  // The list of models comes from a gateway whose OpenRouter has one.
  if (seen.models !== undefined) seen.models = await outcome(of(MODELS_BASE, TOKENS[sdk]).models);
  for (const [status, token] of Object.entries(REFUSED)) {
    const { whole } = of(BASE, token);
    // One in a minute passes.
    if (status === "429") await outcome(whole);
    seen[status] = await outcome(whole);
  }
  const file = new URL(`node_modules/${sdk}/package.json`, import.meta.url);
  return [sdk, JSON.parse(await readFile(file, "utf8")).version, seen];
}

process.stdout.write(JSON.stringify(await Promise.all(Object.keys(TOKENS).map(drive))));
