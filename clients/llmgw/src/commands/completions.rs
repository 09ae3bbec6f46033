//! `llmgw completions`.

use anyhow::Result;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Outcome, Surroundings};
use crate::cli::Cli;

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

/// Prints the script.
pub fn run(args: &CompletionsArgs, around: &mut Surroundings<'_>) -> Result<Outcome> {
    // The generator does not expect to be stopped in the middle.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "llmgw", &mut script);
    around.stdout.write_all(&script)?;
    Ok(Outcome::Done)
}
