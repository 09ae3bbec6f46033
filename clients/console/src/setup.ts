/** How programs take a token; the same as `llmgw tokens create --for`. */

export interface Program {
  readonly id: string;
  readonly name: string;
  /** What to paste or to fill in. `base` is the base URL for OpenRouter's clients. */
  readonly text: (base: string, token: string) => string;
}

const settings = (place: string, fields: Record<string, string>): string =>
  [place, ...Object.entries(fields).map(([name, value]) => `  ${name}: ${value}`)].join("\n");

export const PROGRAMS: readonly Program[] = [
  {
    id: "curl",
    name: "curl",
    text: (base, token) =>
      `curl ${base}/chat/completions \\\n  -H 'authorization: Bearer ${token}' -H 'content-type: application/json' \\\n  -d '{"model":"openai/gpt-4o-mini","messages":[{"role":"user","content":"Say hello"}]}'`,
  },
  {
    id: "openai",
    name: "OpenAI SDKs",
    text: (base, token) => `export OPENAI_BASE_URL=${base}/v1\nexport OPENAI_API_KEY=${token}`,
  },
  {
    id: "anthropic",
    name: "Anthropic SDKs",
    text: (base, token) => `export ANTHROPIC_BASE_URL=${base}\nexport ANTHROPIC_API_KEY=${token}`,
  },
  {
    id: "claude-code",
    name: "Claude Code",
    text: (base, token) =>
      `export ANTHROPIC_BASE_URL=${base}\nexport ANTHROPIC_AUTH_TOKEN=${token}\nexport ANTHROPIC_API_KEY=''`,
  },
  {
    id: "codex",
    name: "Codex",
    text: (base, token) =>
      `# In ~/.codex/config.toml:\n#   model_provider = "llmgw"\n#   [model_providers.llmgw]\n#   name = "LLM Gateway"\n#   base_url = "${base}/v1"\n#   env_key = "LLMGW_TOKEN"\n#   wire_api = "responses"\nexport LLMGW_TOKEN=${token}`,
  },
  {
    id: "aider",
    name: "aider",
    text: (base, token) =>
      `export OPENAI_API_BASE=${base}/v1\nexport OPENAI_API_KEY=${token}\n# aider --model openai/openai/gpt-4o-mini`,
  },
  {
    id: "open-webui",
    name: "Open WebUI",
    text: (base, token) =>
      settings("Admin Panel > Settings > Connections > OpenAI API > +", { URL: `${base}/v1`, Key: token }),
  },
  {
    id: "librechat",
    name: "LibreChat",
    text: (base, token) =>
      `# In librechat.yaml, and LLMGW_TOKEN=${token} in .env:\nendpoints:\n  custom:\n    - name: LLM Gateway\n      apiKey: \${LLMGW_TOKEN}\n      baseURL: ${base}/v1\n      models:\n        default: [openai/gpt-4o-mini]\n        fetch: true`,
  },
  {
    id: "n8n",
    name: "n8n",
    text: (base, token) => settings("Credentials > OpenAI", { "API Key": token, "Base URL": `${base}/v1` }),
  },
  {
    id: "cursor",
    name: "Cursor",
    text: (base, token) =>
      settings("Settings > Models > API Keys", {
        "OpenAI API Key": token,
        "Override OpenAI Base URL": `${base}/v1`,
      }),
  },
  {
    id: "cline",
    name: "Cline",
    text: (base, token) =>
      settings("Settings > API Provider: OpenAI Compatible", { "Base URL": `${base}/v1`, "API Key": token }),
  },
  {
    id: "langchain",
    name: "LangChain",
    text: (base, token) =>
      `from langchain_openai import ChatOpenAI\n\nmodel = ChatOpenAI(\n    model="openai/gpt-4o-mini",\n    base_url="${base}/v1",\n    api_key="${token}",\n)`,
  },
  {
    id: "ai-sdk",
    name: "Vercel AI SDK",
    text: (base, token) =>
      `import { createOpenAICompatible } from "@ai-sdk/openai-compatible";\n\nconst gateway = createOpenAICompatible({\n  name: "llmgw",\n  baseURL: "${base}/v1",\n  apiKey: "${token}",\n});`,
  },
];
