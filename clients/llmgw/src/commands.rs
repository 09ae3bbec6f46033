//! The command line: global options, and one module per command with its arguments.
//!
//! A new command is a module here, a variant of [`Command`], and a line in [`run()`].

mod chat;
pub mod completions;
mod connect;
mod doctor;
mod identity;
mod keys;
mod login;
mod models;
mod profile;
mod request;
mod run;
mod serve;
mod sign;
pub(crate) mod tokens;
mod usage;

#[cfg(fuzzing)]
pub use self::serve::fuzzing as serve_fuzzing;

use std::path::PathBuf;

use anyhow::Result;
use clap::{ColorChoice, Parser, Subcommand};

use crate::{
    admin::{self, AdminArgs},
    config::ProfileName,
    context::{Context, Outcome},
};

/// Call LLM Gateway as yourself: requests are signed with the key of your DID.
#[derive(Debug, Parser)]
#[command(name = "llmgw", version, color = ColorChoice::Never, after_help = EXAMPLES)]
pub struct Cli {
    /// The identity file.
    #[arg(long, global = true, env = "LLMGW_IDENTITY", value_name = "PATH", help = IDENTITY_HELP)]
    pub identity: Option<PathBuf>,
    /// The profile, one of `llmgw profile list` [default: the one chosen by `profile use`]
    #[arg(long, global = true, env = "LLMGW_PROFILE", value_name = "NAME")]
    pub profile: Option<ProfileName>,
    /// Log progress to stderr
    #[arg(long, global = true)]
    pub debug: bool,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

const IDENTITY_HELP: &str = "The identity file [default: the profile's, or llmgw/identity.json in \
     $XDG_CONFIG_HOME or ~/.config]";

const EXAMPLES: &str = r#"Examples:
  llmgw identity new
  llmgw profile add home https://gw.example.com
  llmgw doctor
  llmgw connect
  llmgw tokens create demo --budget 5/day --for curl
  llmgw chat -m openai/gpt-4o-mini
  llmgw run -- claude
  llmgw serve
  llmgw request -d '{"model":"openai/gpt-4o-mini","stream":true,"messages":[{"role":"user","content":"Hello!"}]}' \
      openrouter/chat/completions

The gateway, the audience and the identity come from arguments, else from environment variables, else
from the profile. Data goes to stdout, everything else to stderr; without colours if NO_COLOR is set or
stdout is not a terminal. Exit status: 0 for a response below 400, 1 for any other and for failures, 2
for wrong arguments."#;

/// A command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create, show, import or export the identity that signs requests
    #[command(subcommand)]
    Identity(identity::IdentityCommand),
    /// Manage several gateways and identities by name
    #[command(subcommand)]
    Profile(profile::ProfileCommand),
    /// Show what is missing to use the gateway, or get an access token by approval in a browser
    Login(login::LoginArgs),
    /// Store your OpenRouter key at the gateway, or have one created
    Connect(connect::ConnectArgs),
    /// Show or revoke your OpenRouter key at the gateway
    Keys(keys::KeysArgs),
    /// Make, list, change and end access tokens, for programs that take a base URL and a key
    #[command(subcommand)]
    Tokens(tokens::TokensCommand),
    /// List models and their prices
    Models(models::ModelsArgs),
    /// Chat with a model
    Chat(chat::ChatArgs),
    /// Show the conversations of `chat`, which are kept on this machine
    Logs(chat::LogsArgs),
    /// Show your usage and its cost
    Usage(usage::UsageArgs),
    /// Diagnose the connection to the gateway
    #[command(visible_alias = "status")]
    Doctor(doctor::DoctorArgs),
    /// Sign and send a request, and print the response as it arrives
    Request(request::RequestCommandArgs),
    /// Sign a request and print its headers, for another program to send
    Sign(sign::SignArgs),
    /// Sign other programs' requests: a local OpenAI, Anthropic and OpenRouter API
    Serve(serve::ServeArgs),
    /// Run a program with a local API of its own, and tell what it cost
    Run(run::RunArgs),
    /// Operate a gateway: keyset, accounts, costs, diagnosis
    Admin(AdminArgs),
    /// Print a shell completion script
    Completions(completions::CompletionsArgs),
}

/// Runs a command.
pub fn run(command: Command, context: &mut Context<'_>) -> Result<Outcome> {
    match command {
        Command::Identity(command) => identity::run(command, context),
        Command::Profile(command) => profile::run(command, context),
        Command::Login(args) => login::run(&args, context),
        Command::Connect(args) => connect::run(args, context),
        Command::Keys(args) => keys::run(args, context),
        Command::Tokens(command) => tokens::run(command, context),
        Command::Models(args) => models::run(&args, context),
        Command::Chat(args) => chat::run(args, context),
        Command::Logs(args) => chat::logs(&args, context),
        Command::Usage(args) => usage::run(args, context),
        Command::Doctor(args) => doctor::run(args, context),
        Command::Request(args) => request::run(args, context),
        Command::Sign(args) => sign::run(args, context),
        Command::Serve(args) => serve::run(args, context),
        Command::Run(args) => run::run(args, context),
        Command::Admin(args) => admin::run(args, context),
        Command::Completions(args) => completions::run(&args, context),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }
}
