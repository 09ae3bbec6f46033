//! The programs, and how each is given its task. They are installed into `.tools/programs`, as `tools/xtask/clients`
//! locks them.

#![expect(
    clippy::unnecessary_wraps,
    reason = "all tasks have one signature, and some write files"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use serde_json::{Value, json};
use stack::progress::step;
use stack::{Workspace, install, process};
use stub::demo::PROMPT;

use super::stack::Access;

/// Models that the stand-in lists.
const OPENAI_MODEL: &str = "openai/gpt-4o-mini";
const ANTHROPIC_MODEL: &str = "anthropic/claude-sonnet-4.6";

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
    /// Makes the command that sends [`PROMPT`] and prints the response.
    pub(super) task: fn(&Setting<'_>) -> Result<Command>,
}

/// Where a program comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Npm,
    PyPI,
}

/// Where a program runs, and what it is told of the gateway.
pub(super) struct Setting<'a> {
    pub(super) access: &'a Access,
    /// An empty home, with an empty folder `work`.
    pub(super) home: &'a Path,
    pub(super) installed: &'a Installed,
}

/// The installed programs.
pub(super) struct Installed {
    sources: PathBuf,
    npm: PathBuf,
    /// The folder of the virtual environments.
    environments: PathBuf,
}

/// The virtual environments: aider names the version of each of its dependencies, and others take openai-python 2 or 3.
const ENVIRONMENTS: [&str; 3] = ["aider", "openai-2", "openai-3"];

pub(super) const PROGRAMS: [Program; 12] = [
    Program {
        name: "Claude Code",
        source: Source::Npm,
        package: "@anthropic-ai/claude-code",
        version: "2.1.332",
        command: "claude",
        task: claude_code,
    },
    Program {
        name: "Codex",
        source: Source::Npm,
        package: "@openai/codex",
        version: "0.171.0",
        command: "codex",
        task: codex,
    },
    Program {
        name: "opencode",
        source: Source::Npm,
        package: "opencode-ai",
        version: "1.18.33",
        command: "opencode",
        task: opencode,
    },
    Program {
        name: "Qwen Code",
        source: Source::Npm,
        package: "@qwen-code/qwen-code",
        version: "0.24.4",
        command: "qwen",
        task: qwen_code,
    },
    Program {
        name: "aider",
        source: Source::PyPI,
        package: "aider-chat",
        version: "0.86.2",
        command: "aider",
        task: aider,
    },
    Program {
        name: "gptme",
        source: Source::PyPI,
        package: "gptme",
        version: "0.35.1",
        command: "gptme",
        task: gptme,
    },
    Program {
        name: "llm",
        source: Source::PyPI,
        package: "llm",
        version: "0.36",
        command: "llm",
        task: llm,
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
];

impl Installed {
    pub(super) fn install(workspace: &Workspace) -> Result<Self> {
        let sources = workspace.root().join("tools/xtask/clients");
        let npm = workspace.tools().join("programs/npm");
        install_npm_packages(&npm)?;
        for name in ENVIRONMENTS {
            let requirements = sources.join(format!("{name}.txt"));
            install::python_packages(workspace, &requirements, &format!("programs/{name}"))?;
        }
        Ok(Self {
            sources,
            npm,
            environments: workspace.tools().join("programs"),
        })
    }

    /// A script of an npm package.
    fn node(&self, script: &str) -> Command {
        let mut command = Command::new("node");
        command.arg(self.npm.join("node_modules").join(script));
        command
    }

    /// opencode's executable, which its script of installation would link.
    fn opencode(&self) -> Command {
        let system = match std::env::consts::OS {
            "macos" => "darwin",
            other => other,
        };
        let architecture = match std::env::consts::ARCH {
            "aarch64" => "arm64",
            "x86_64" => "x64",
            other => other,
        };
        let package = format!("opencode-{system}-{architecture}");
        let modules = self.npm.join("node_modules");
        Command::new(modules.join(package).join("bin/opencode"))
    }

    fn python(&self, environment: &str, program: &str) -> Command {
        Command::new(
            self.environments
                .join(environment)
                .join("bin")
                .join(program),
        )
    }
}

/// Installs the programs of npm that are not there in their version.
///
/// Without a lock file: `npm ci` refuses one if a registry lacks an optional package for another system. Each of these
/// packages brings what it needs, or names the version.
fn install_npm_packages(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let is_missing = |program: &&Program| {
        let package = folder.join("node_modules").join(program.package);
        let read = fs::read(package.join("package.json")).ok();
        let found = read.and_then(|text| serde_json::from_slice::<Value>(&text).ok());
        found.is_none_or(|it| it["version"] != program.version)
    };
    let of_npm = PROGRAMS
        .iter()
        .filter(|program| program.source == Source::Npm);
    if !of_npm.clone().any(|program| is_missing(&program)) {
        return Ok(());
    }
    let wanted = of_npm.map(|program| format!("{}@{}", program.package, program.version));
    step("installing programs of npm (about 1 min)", || {
        process::run(
            Command::new("npm")
                .args([
                    "install",
                    "--no-save",
                    "--no-package-lock",
                    "--ignore-scripts",
                    "--no-audit",
                    "--no-fund",
                    "--prefix",
                ])
                .arg(folder)
                .args(wanted)
                .current_dir(folder),
        )
    })?;
    Ok(())
}

impl Setting<'_> {
    /// The environment of a program: nothing of this process's but the search path.
    #[expect(
        clippy::disallowed_methods,
        reason = "programs find Node and git by it"
    )]
    fn clean(&self, mut command: Command) -> Command {
        let path = std::env::var_os("PATH").unwrap_or_default();
        command
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.home)
            .env("TERM", "dumb")
            .env("LANG", "C.UTF-8");
        command
    }

    /// Writes a file of the program's configuration into its home.
    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.home.join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&path, text)?;
        Ok(path)
    }

    /// The two variables of OpenAI's SDKs.
    fn with_openai(&self, command: Command) -> Command {
        let mut command = self.clean(command);
        command
            .env("OPENAI_BASE_URL", &self.access.openai)
            .env("OPENAI_API_KEY", &self.access.key);
        command
    }
}

fn claude_code(it: &Setting<'_>) -> Result<Command> {
    let mut command = it.clean(
        it.installed
            .node("@anthropic-ai/claude-code/cli-wrapper.cjs"),
    );
    command
        .args(["-p", PROMPT, "--model", ANTHROPIC_MODEL])
        .env("ANTHROPIC_BASE_URL", &it.access.anthropic)
        .env("ANTHROPIC_AUTH_TOKEN", &it.access.key)
        .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1");
    Ok(command)
}

fn codex(it: &Setting<'_>) -> Result<Command> {
    let provider = json!({"name": "Gateway", "base_url": it.access.openai, "env_key": "GATEWAY_KEY", "wire_api": "responses"});
    let lines: Vec<String> = provider
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("{name} = {value}\n"))
        .collect();
    let config = format!(
        "model = \"{OPENAI_MODEL}\"\nmodel_provider = \"gateway\"\n\n[model_providers.gateway]\n{}",
        lines.concat()
    );
    it.write(".codex/config.toml", &config)?;
    let mut command = it.clean(it.installed.node("@openai/codex/bin/codex.js"));
    command
        .args(["exec", "--skip-git-repo-check", PROMPT])
        .env("GATEWAY_KEY", &it.access.key);
    Ok(command)
}

fn opencode(it: &Setting<'_>) -> Result<Command> {
    let config = json!({
        "provider": {"openrouter": {"options": {"baseURL": it.access.openrouter, "apiKey": it.access.key}}},
        "autoupdate": false,
        "share": "disabled",
    });
    it.write(".config/opencode/opencode.json", &config.to_string())?;
    let mut command = it.clean(it.installed.opencode());
    command.args([
        "run",
        "--model",
        &format!("openrouter/{OPENAI_MODEL}"),
        PROMPT,
    ]);
    Ok(command)
}

fn qwen_code(it: &Setting<'_>) -> Result<Command> {
    let mut command = it.with_openai(it.installed.node("@qwen-code/qwen-code/cli.js"));
    command.args([
        "--auth-type",
        "openai",
        "--model",
        OPENAI_MODEL,
        "-p",
        PROMPT,
    ]);
    Ok(command)
}

fn aider(it: &Setting<'_>) -> Result<Command> {
    let mut command = it.clean(it.installed.python("aider", "aider"));
    command
        .args([
            "--model",
            &format!("openrouter/{OPENAI_MODEL}"),
            "--message",
            PROMPT,
        ])
        .args([
            "--yes-always",
            "--no-git",
            "--no-check-update",
            "--no-show-release-notes",
            "--analytics-disable",
        ])
        .args(["--no-show-model-warnings", "--no-pretty"])
        // Else they are beside the repository's files, in which its home is.
        .arg("--chat-history-file")
        .arg(it.home.join("chat.md"))
        .arg("--input-history-file")
        .arg(it.home.join("input.txt"))
        .env("OPENROUTER_API_BASE", &it.access.openrouter)
        .env("OPENROUTER_API_KEY", &it.access.key)
        // Else LiteLLM asks GitHub for prices.
        .env("LITELLM_LOCAL_MODEL_COST_MAP", "True");
    Ok(command)
}

fn gptme(it: &Setting<'_>) -> Result<Command> {
    let mut command = it.with_openai(it.installed.python("openai-2", "gptme"));
    command.args([
        "--non-interactive",
        "--model",
        &format!("local/{OPENAI_MODEL}"),
        "--tools",
        "none",
        PROMPT,
    ]);
    Ok(command)
}

fn llm(it: &Setting<'_>) -> Result<Command> {
    let models = json!([{"model_id": "gateway", "model_name": OPENAI_MODEL, "api_base": it.access.openai, "api_key_name": "gateway"}]);
    // JSON is YAML.
    let file = it.write("llm/extra-openai-models.yaml", &models.to_string())?;
    it.write(
        "llm/keys.json",
        &json!({"gateway": it.access.key}).to_string(),
    )?;
    let mut command = it.clean(it.installed.python("openai-3", "llm"));
    command
        .args(["--model", "gateway", PROMPT])
        .env("LLM_USER_PATH", file.parent().unwrap_or(it.home));
    Ok(command)
}

/// A script that asks through a framework.
fn framework(it: &Setting<'_>, environment: &str, name: &str) -> Result<Command> {
    let mut command = it.with_openai(it.installed.python(environment, "python"));
    command
        .arg("-B")
        .arg(it.installed.sources.join("frameworks.py"))
        .arg(name)
        .env("MODEL", OPENAI_MODEL)
        // Else DSPy's LiteLLM asks GitHub for prices.
        .env("LITELLM_LOCAL_MODEL_COST_MAP", "True");
    Ok(command)
}
