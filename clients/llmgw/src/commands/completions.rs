//! `llmgw completions`.

use anyhow::Result;
use clap::Args;
use clap_complete::Shell;

use crate::context::{Context, Outcome};

/// Arguments of `completions`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: Shell,
}

const EXAMPLES: &str = "Examples:
  llmgw completions bash > ~/.local/share/bash-completion/completions/llmgw
  llmgw completions zsh > ~/.zfunc/_llmgw
  llmgw completions fish > ~/.config/fish/completions/llmgw.fish";

/// Prints the completion script of `definition`.
pub(super) fn run(
    args: &CompletionsArgs,
    definition: &mut clap::Command,
    context: &mut Context<'_>,
) -> Result<Outcome> {
    // Into memory first: the generator panics if its output is closed.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, definition, "llmgw", &mut script);
    context.stdout.write_all(&script)?;
    Ok(Outcome::Success)
}
