//! How programs take a token: a base URL and a key, each in its own way.

use clap::ValueEnum;

use crate::curl::quoted;

/// A program that takes a base URL and a key.
#[expect(
    clippy::doc_markdown,
    reason = "the comments are the command line's help"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Program {
    /// curl
    Curl,
    /// OpenAI's SDKs
    Openai,
    /// Anthropic's SDKs
    Anthropic,
    /// Claude Code
    ClaudeCode,
    /// Codex
    Codex,
    /// aider
    Aider,
    /// Open WebUI
    OpenWebui,
    /// LibreChat
    Librechat,
    /// n8n
    N8n,
    /// Cursor
    Cursor,
    /// Cline
    Cline,
    /// LangChain
    Langchain,
    /// Vercel's AI SDK
    AiSdk,
}

impl Program {
    /// What to paste or to fill in, with the token in it. `gateway` is the gateway's base URL.
    pub(in crate::commands) fn text(self, gateway: &str, token: &str) -> String {
        let base = format!("{}/api/v1/openrouter", gateway.trim_end_matches('/'));
        let key = quoted(token);
        match self {
            Self::Curl => format!(
                "curl {base}/chat/completions \\\n  -H 'authorization: Bearer {token}' -H 'content-type: application/json' \\\n  -d '{{\"model\":\"openai/gpt-4o-mini\",\"messages\":[{{\"role\":\"user\",\"content\":\"Say hello\"}}]}}'\n"
            ),
            Self::Openai => {
                format!("export OPENAI_BASE_URL={base}/v1\nexport OPENAI_API_KEY={key}\n")
            }
            Self::Anthropic => {
                format!("export ANTHROPIC_BASE_URL={base}\nexport ANTHROPIC_API_KEY={key}\n")
            }
            // It asks its user about an ANTHROPIC_API_KEY, and prefers it to the token.
            Self::ClaudeCode => format!(
                "export ANTHROPIC_BASE_URL={base}\nexport ANTHROPIC_AUTH_TOKEN={key}\nexport ANTHROPIC_API_KEY=''\n"
            ),
            Self::Codex => format!(
                "# In ~/.codex/config.toml:\n#   model_provider = \"llmgw\"\n#   [model_providers.llmgw]\n#   name = \"LLM Gateway\"\n#   base_url = \"{base}/v1\"\n#   env_key = \"LLMGW_TOKEN\"\n#   wire_api = \"responses\"\nexport LLMGW_TOKEN={key}\n"
            ),
            Self::Aider => format!(
                "export OPENAI_API_BASE={base}/v1\nexport OPENAI_API_KEY={key}\n# aider --model openai/openai/gpt-4o-mini\n"
            ),
            Self::OpenWebui => settings(
                "Admin Panel > Settings > Connections > OpenAI API > +",
                &[("URL", &format!("{base}/v1")), ("Key", token)],
            ),
            Self::Librechat => format!(
                "# In librechat.yaml, and LLMGW_TOKEN={token} in .env:\nendpoints:\n  custom:\n    - name: LLM Gateway\n      apiKey: ${{LLMGW_TOKEN}}\n      baseURL: {base}/v1\n      models:\n        default: [openai/gpt-4o-mini]\n        fetch: true\n"
            ),
            Self::N8n => settings(
                "Credentials > OpenAI",
                &[("API Key", token), ("Base URL", &format!("{base}/v1"))],
            ),
            Self::Cursor => settings(
                "Settings > Models > API Keys",
                &[
                    ("OpenAI API Key", token),
                    ("Override OpenAI Base URL", &format!("{base}/v1")),
                ],
            ),
            Self::Cline => settings(
                "Settings > API Provider: OpenAI Compatible",
                &[("Base URL", &format!("{base}/v1")), ("API Key", token)],
            ),
            Self::Langchain => format!(
                "from langchain_openai import ChatOpenAI\n\nmodel = ChatOpenAI(\n    model=\"openai/gpt-4o-mini\",\n    base_url=\"{base}/v1\",\n    api_key=\"{token}\",\n)\n"
            ),
            Self::AiSdk => format!(
                "import {{ createOpenAICompatible }} from \"@ai-sdk/openai-compatible\";\n\nconst gateway = createOpenAICompatible({{\n  name: \"llmgw\",\n  baseURL: \"{base}/v1\",\n  apiKey: \"{token}\",\n}});\n"
            ),
        }
    }
}

/// Fields of a form, and where it is.
fn settings(place: &str, fields: &[(&str, &str)]) -> String {
    let fields = fields
        .iter()
        .map(|(name, value)| format!("  {name}: {value}\n"));
    format!("{place}\n{}", fields.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_is_told_the_address_and_the_token() {
        for program in Program::value_variants() {
            let text = program.text("https://gw.example.com/", "sk-lgw-abc");
            assert!(
                text.contains("https://gw.example.com/api/v1/openrouter"),
                "{text}"
            );
            assert!(text.contains("sk-lgw-abc"), "{text}");
            assert!(text.ends_with('\n'), "{text}");
        }
    }
}
