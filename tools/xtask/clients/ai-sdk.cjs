// One question to a model through Vercel's AI SDK. The variables say where, and `MODEL` which.
const { streamText } = require("ai");
const { createOpenRouter } = require("@openrouter/ai-sdk-provider");

const { OPENROUTER_BASE_URL, OPENROUTER_API_KEY, MODEL } = process.env;

async function main() {
  const openrouter = createOpenRouter({ baseURL: OPENROUTER_BASE_URL, apiKey: OPENROUTER_API_KEY });
  const { textStream } = streamText({ model: openrouter(MODEL), prompt: "Say hello" });
  for await (const text of textStream) process.stdout.write(text);
}

main();
