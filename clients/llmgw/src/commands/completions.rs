//! `llmgw completions`: scripts for shells, which ask this program for what comes next.
//!
//! The scripts set [`VARIABLE`] and pass the words of the command line behind `--`. `clap_complete` answers from the
//! definition of the command line; names of profiles, models and tokens are added here.

mod names;

use std::{ffi::OsString, path::PathBuf, sync::Arc};

use anyhow::{Context as _, Result};
use clap::{Arg, Args, Command, CommandFactory, Parser};
use clap_complete::{ArgValueCandidates, CompleteEnv, CompletionCandidate, Shell, env::Shells};
use shared::clock::Clock;

pub(super) use self::names::remember_models;
use self::names::{List, Source};
use super::Cli;
use crate::{
    args::GatewayArgs,
    client::FillRandom,
    config::ProfileName,
    context::{Context, Outcome},
    settings::Settings,
};

/// The variable with which a script asks.
pub const VARIABLE: &str = "LLMGW_COMPLETE";
/// The script for bash. The one of `clap_complete` does not know that readline splits words at colons, which ids of
/// models contain.
const BASH: &str = include_str!("completions/llmgw.bash");

/// Arguments of `completions`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: Shell,
}

const EXAMPLES: &str = "Examples:
  echo 'source <(llmgw completions bash)' >> ~/.bashrc
  echo 'source <(llmgw completions zsh)' >> ~/.zshrc      # below compinit
  echo 'llmgw completions fish | source' >> ~/.config/fish/config.fish

The scripts ask llmgw, so they know your profiles, the gateway's models and your tokens. Names of the \
gateway are kept in ~/.cache/llmgw; to learn them, a completion waits for it for a second at most.";

/// Prints the completion script.
pub(super) fn run(args: &CompletionsArgs, context: &mut Context<'_>) -> Result<Outcome> {
    let mut script = Vec::new();
    if args.shell == Shell::Bash {
        script.extend_from_slice(BASH.as_bytes());
    } else {
        let shells = Shells::builtins();
        let name = args.shell.to_string();
        let shell = shells.completer(&name).context("this shell is unknown")?;
        shell.write_registration(VARIABLE, "llmgw", "llmgw", "llmgw", &mut script)?;
    }
    context.stdout.write_all(&script)?;
    Ok(Outcome::Success)
}

/// The options that choose a gateway and a user, among other words.
#[derive(Debug, Parser)]
#[command(no_binary_name = true)]
struct Choice {
    #[command(flatten)]
    gateway: GatewayArgs,
    #[arg(long, env = "LLMGW_IDENTITY")]
    identity: Option<PathBuf>,
    #[arg(long, env = "LLMGW_PROFILE")]
    profile: Option<ProfileName>,
}

impl Choice {
    fn of(words: &[OsString]) -> Option<Self> {
        let command = Self::command();
        let is_ours = |word: &str| {
            word.strip_prefix("--").is_some_and(|name| {
                command
                    .get_arguments()
                    .any(|it| it.get_long() == Some(name))
            })
        };
        let mut chosen = Vec::new();
        for (at, word) in words.iter().enumerate() {
            let Some(word) = word.to_str() else { continue };
            if is_ours(word) {
                chosen.extend(words.get(at..at + 2).into_iter().flatten().cloned());
            } else if word.split_once('=').is_some_and(|(it, _)| is_ours(it)) {
                chosen.push(word.into());
            }
        }
        Self::try_parse_from(chosen).ok()
    }
}

/// Answers a script, which has set [`VARIABLE`], with the completions of `words`, the process's arguments, on stdout.
pub fn answer(
    words: &[OsString],
    mut settings: Settings,
    clock: Clock,
    random: FillRandom,
) -> Result<()> {
    // `llmgw -- llmgw --profile …`
    let line = words.split(|word| word == "--").nth(1).unwrap_or_default();
    let source = Choice::of(line).map(|choice| {
        settings.profile = choice.profile;
        settings.identity = choice.identity;
        Arc::new(Source {
            settings,
            gateway: choice.gateway,
            clock,
            random,
        })
    });
    let definition = || match &source {
        Some(source) => with_names(Cli::command(), source),
        None => Cli::command(),
    };
    let completion = CompleteEnv::with_factory(definition).var(VARIABLE);
    let answered = completion.try_complete(words, std::env::current_dir().ok().as_deref());
    answered.map(drop).context("the shell is unknown")
}

/// The definition of the command line, with names for the arguments that take some.
fn with_names(command: Command, source: &Arc<Source>) -> Command {
    let of = command.get_name().to_owned();
    command
        .mut_args(|argument| match (of.as_str(), argument.get_id().as_str()) {
            (_, "profile") | ("use" | "remove", "name") => profiles(argument, source),
            (_, "model" | "models") => listed(argument, source, List::Models),
            ("show" | "edit" | "rotate" | "revoke", "token") => {
                listed(argument, source, List::Tokens)
            }
            _ => argument,
        })
        .mut_subcommands(|subcommand| with_names(subcommand, source))
}

fn profiles(argument: Arg, source: &Arc<Source>) -> Arg {
    let source = source.clone();
    argument.add(ArgValueCandidates::new(move || {
        let profiles = source.profiles().into_iter();
        let candidate = |(name, gateway): (String, Option<String>)| {
            CompletionCandidate::new(name).help(gateway.map(Into::into))
        };
        profiles.map(candidate).collect()
    }))
}

fn listed(argument: Arg, source: &Arc<Source>, list: List) -> Arg {
    let source = source.clone();
    argument.add(ArgValueCandidates::new(move || {
        let names = source.names(list).into_iter();
        names.map(CompletionCandidate::new).collect()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_choice_is_found_among_other_words() {
        let choice = |line: &str| {
            let words: Vec<_> = line.split(' ').map(OsString::from).collect();
            Choice::of(&words).map(|it| {
                let gateway = it.gateway.gateway.map(|it| it.to_string());
                (it.profile.map(|it| it.to_string()), gateway)
            })
        };
        let (work, gateway) = (Some("work".to_owned()), Some("http://[::1]:1".to_owned()));
        assert_eq!(choice("llmgw chat -m"), Some((None, None)));
        let line = "llmgw --profile work chat --gateway=http://[::1]:1 -m x";
        assert_eq!(choice(line), Some((work, gateway)));
        assert_eq!(choice("llmgw chat --gateway :"), None);
        // The value is missing, as it is while it is completed.
        assert_eq!(choice("llmgw --profile"), Some((None, None)));
    }
}
