//! The programs.

use std::process::Command;

use anyhow::Result;

use super::tasks::{self, Setting, framework};

/// A program that has a task.
pub(super) struct Program {
    /// The name in the table.
    pub(super) name: &'static str,
    /// The registry of its package.
    pub(super) source: Source,
    /// The package that is installed.
    pub(super) package: &'static str,
    /// Its version, which the lock files of `PyPI` have, too.
    pub(super) version: &'static str,
    /// A name for its folder.
    pub(super) command: &'static str,
    /// Makes the command that sends [`PROMPT`](stub::demo::PROMPT) and prints the response.
    pub(super) task: fn(&Setting<'_>) -> Result<Command>,
}

/// Where a program comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Npm,
    PyPI,
    /// `PyPI`, without what takes gigabytes, and not locked: only for those who want it.
    Heavy,
}

pub(super) const PROGRAMS: [Program; 17] = [
    Program {
        name: "Claude Code",
        source: Source::Npm,
        package: "@anthropic-ai/claude-code",
        version: "2.1.332",
        command: "claude",
        task: tasks::claude_code,
    },
    Program {
        name: "Codex",
        source: Source::Npm,
        package: "@openai/codex",
        version: "0.171.0",
        command: "codex",
        task: tasks::codex,
    },
    Program {
        name: "opencode",
        source: Source::Npm,
        package: "opencode-ai",
        version: "1.18.33",
        command: "opencode",
        task: tasks::opencode,
    },
    Program {
        name: "Qwen Code",
        source: Source::Npm,
        package: "@qwen-code/qwen-code",
        version: "0.24.4",
        command: "qwen",
        task: tasks::qwen_code,
    },
    Program {
        name: "Cline",
        source: Source::Npm,
        package: "cline",
        version: "3.0.65",
        command: "cline",
        task: tasks::cline,
    },
    Program {
        name: "Continue",
        source: Source::Npm,
        package: "@continuedev/cli",
        version: "1.5.47",
        command: "cn",
        task: tasks::continue_cli,
    },
    Program {
        name: "aider",
        source: Source::PyPI,
        package: "aider-chat",
        version: "0.86.2",
        command: "aider",
        task: tasks::aider,
    },
    Program {
        name: "gptme",
        source: Source::PyPI,
        package: "gptme",
        version: "0.35.1",
        command: "gptme",
        task: tasks::gptme,
    },
    Program {
        name: "llm",
        source: Source::PyPI,
        package: "llm",
        version: "0.36",
        command: "llm",
        task: tasks::llm,
    },
    Program {
        name: "DSPy",
        source: Source::PyPI,
        package: "dspy",
        version: "3.4.1",
        command: "dspy",
        task: |it| framework(it, "openai-3", "dspy"),
    },
    Program {
        name: "LangChain",
        source: Source::PyPI,
        package: "langchain-openai",
        version: "1.7.3",
        command: "langchain",
        task: |it| framework(it, "openai-3", "langchain"),
    },
    Program {
        name: "LlamaIndex",
        source: Source::PyPI,
        package: "llama-index-llms-openai-like",
        version: "0.8.1",
        command: "llama-index",
        task: |it| framework(it, "openai-2", "llama_index"),
    },
    Program {
        name: "OpenAI Agents SDK",
        source: Source::PyPI,
        package: "openai-agents",
        version: "0.24.0",
        command: "openai-agents",
        task: |it| framework(it, "openai-3", "openai_agents"),
    },
    Program {
        name: "pydantic-ai",
        source: Source::PyPI,
        package: "pydantic-ai-slim",
        version: "2.66.0",
        command: "pydantic-ai",
        task: |it| framework(it, "openai-3", "pydantic_ai"),
    },
    Program {
        name: "smolagents",
        source: Source::PyPI,
        package: "smolagents",
        version: "1.26.0",
        command: "smolagents",
        task: |it| framework(it, "openai-3", "smolagents"),
    },
    Program {
        name: "Vercel AI SDK",
        source: Source::Npm,
        package: "ai",
        version: "6.0.326",
        command: "ai-sdk",
        task: tasks::ai_sdk,
    },
    Program {
        name: "Open WebUI",
        source: Source::Heavy,
        package: "open-webui",
        version: "0.12.4",
        command: "open-webui",
        task: tasks::open_webui,
    },
];
