//! The tasks: how each program is given one. Recipes for users in `docs/use/programs.md` are the same.

#![expect(
    clippy::unnecessary_wraps,
    reason = "all tasks have one signature, and some write files"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use serde_json::json;
use stub::demo::PROMPT;

use super::installed::Installed;

/// Models that the stand-in lists.
const OPENAI_MODEL: &str = "openai/gpt-4o-mini";
const ANTHROPIC_MODEL: &str = "anthropic/claude-sonnet-4.6";

/// Where a program runs. Of the gateway it is told by the variables of its environment alone.
pub(super) struct Setting<'a> {
    /// An empty home, with an empty folder `work`.
    pub(super) home: &'a Path,
    pub(super) installed: &'a Installed,
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

    /// A shell's script, which finds the program in `$@`.
    fn script(&self, script: &str, program: &Command) -> Command {
        let mut command = self.clean(Command::new("sh"));
        command
            .args(["-c", script, "sh"])
            .arg(program.get_program())
            .args(program.get_args())
            .env("MODEL", OPENAI_MODEL)
            .env("PROMPT", PROMPT);
        command
    }
}

pub(super) fn claude_code(it: &Setting<'_>) -> Result<Command> {
    let mut command = it.clean(
        it.installed
            .node("@anthropic-ai/claude-code/cli-wrapper.cjs"),
    );
    command
        .args(["-p", PROMPT, "--model", ANTHROPIC_MODEL])
        .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1");
    Ok(command)
}

pub(super) fn codex(it: &Setting<'_>) -> Result<Command> {
    let config = format!(
        "model = \"{OPENAI_MODEL}\"\nmodel_provider = \"gateway\"\n\n[model_providers.gateway]\nname = \"Gateway\"\n\
         env_key = \"OPENAI_API_KEY\"\nwire_api = \"responses\"\n"
    );
    it.write(".codex/config.toml", &config)?;
    let codex = it.installed.node("@openai/codex/bin/codex.js");
    Ok(it.script(
        r#"exec "$@" exec --skip-git-repo-check -c model_providers.gateway.base_url="$OPENAI_BASE_URL" "$PROMPT""#,
        &codex,
    ))
}

pub(super) fn opencode(it: &Setting<'_>) -> Result<Command> {
    let options =
        json!({"baseURL": "{env:OPENROUTER_BASE_URL}", "apiKey": "{env:OPENROUTER_API_KEY}"});
    let config = json!({
        "provider": {"openrouter": {"options": options}},
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

pub(super) fn qwen_code(it: &Setting<'_>) -> Result<Command> {
    let mut command = it.clean(it.installed.node("@qwen-code/qwen-code/cli.js"));
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

pub(super) fn cline(it: &Setting<'_>) -> Result<Command> {
    let cline = it.installed.node("cline/bin/cline");
    // The last one ends what it leaves in the background.
    let script = r#""$@" auth --provider openai-compatible --modelid "$MODEL" \
            --apikey "$OPENAI_API_KEY" --baseurl "$OPENAI_BASE_URL" &&
        "$@" "$PROMPT"
        status=$?
        "$@" hub stop
        exit $status"#;
    Ok(it.script(script, &cline))
}

pub(super) fn continue_cli(it: &Setting<'_>) -> Result<Command> {
    let model = json!({
        "name": "gateway",
        "provider": "openai",
        "model": OPENAI_MODEL,
        "apiBase": "${{ secrets.OPENAI_BASE_URL }}",
        "apiKey": "${{ secrets.OPENAI_API_KEY }}",
    });
    let config = json!({"name": "gateway", "version": "0.0.1", "schema": "v1", "models": [model]});
    // JSON is YAML.
    let file = it.write("continue.yaml", &config.to_string())?;
    let mut command = it.clean(it.installed.node("@continuedev/cli/dist/cn.js"));
    command.args(["-p", PROMPT, "--config"]).arg(file);
    Ok(command)
}

pub(super) fn aider(it: &Setting<'_>) -> Result<Command> {
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
        // Else LiteLLM asks GitHub for prices.
        .env("LITELLM_LOCAL_MODEL_COST_MAP", "True");
    Ok(command)
}

pub(super) fn gptme(it: &Setting<'_>) -> Result<Command> {
    let mut command = it.clean(it.installed.python("openai-2", "gptme"));
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

pub(super) fn llm(it: &Setting<'_>) -> Result<Command> {
    // Without `api_base` OpenAI's SDK reads the variables.
    let models = json!([{"model_id": "gateway", "model_name": OPENAI_MODEL}]);
    // JSON is YAML.
    let file = it.write("llm/extra-openai-models.yaml", &models.to_string())?;
    let mut command = it.clean(it.installed.python("openai-3", "llm"));
    command
        .args(["--model", "gateway", PROMPT])
        .env("LLM_USER_PATH", file.parent().unwrap_or(it.home));
    Ok(command)
}

/// A script that asks through a framework.
pub(super) fn framework(it: &Setting<'_>, environment: &str, name: &str) -> Result<Command> {
    let mut command = it.clean(it.installed.python(environment, "python"));
    command
        .arg("-B")
        .arg(it.installed.sources.join("frameworks.py"))
        .arg(name)
        .env("MODEL", OPENAI_MODEL)
        // Else DSPy's LiteLLM asks GitHub for prices.
        .env("LITELLM_LOCAL_MODEL_COST_MAP", "True");
    Ok(command)
}

pub(super) fn ai_sdk(it: &Setting<'_>) -> Result<Command> {
    let mut command = it.clean(Command::new("node"));
    command
        .arg(it.installed.sources.join("ai-sdk.cjs"))
        .env("MODEL", OPENAI_MODEL)
        .env("NODE_PATH", it.installed.npm.join("node_modules"));
    Ok(command)
}

pub(super) fn open_webui(it: &Setting<'_>) -> Result<Command> {
    let mut command = it.clean(it.installed.python("open-webui", "python"));
    command
        .arg("-B")
        .arg(it.installed.sources.join("open_webui.py"))
        .env("MODEL", OPENAI_MODEL);
    Ok(command)
}
