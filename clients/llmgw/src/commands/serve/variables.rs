//! The environment variables that programs read for a base URL and a key.

use std::net::SocketAddr;

/// The variables, for programs that reach the server at `address` and send `key`.
pub(in crate::commands) fn variables(
    address: SocketAddr,
    key: &str,
) -> [(&'static str, String); 9] {
    let root = format!("http://{address}");
    let openai = format!("{root}/v1");
    let openrouter = format!("{root}/api/v1");
    let key = key.to_owned();
    [
        ("OPENAI_BASE_URL", openai.clone()),
        // The older name, which aider, LangChain and LiteLLM still read.
        ("OPENAI_API_BASE", openai),
        ("OPENAI_API_KEY", key.clone()),
        ("ANTHROPIC_BASE_URL", root),
        ("ANTHROPIC_AUTH_TOKEN", key.clone()),
        // Claude Code asks its user about one that is set and prefers it to the token.
        ("ANTHROPIC_API_KEY", String::new()),
        ("OPENROUTER_BASE_URL", openrouter.clone()),
        // LangChain, LiteLLM, aider, DSPy and LlamaIndex.
        ("OPENROUTER_API_BASE", openrouter),
        ("OPENROUTER_API_KEY", key),
    ]
}
