//! The operators' commands: one module each, with its arguments.
//!
//! ```text
//! keyset (rotation) · rewrap · import_legacy · did · reconcile · restore · doctor
//!   └─ row (opening stored keys) · services ── keyset_store (a file, or a secret)
//!        └─ output
//! ```
//!
//! None of them prints key material, API keys or passphrases. A step that could lose data is refused,
//! with the alternative.

mod did;
mod doctor;
mod import_legacy;
mod keyset;
mod keyset_edit;
mod keyset_store;
mod output;
mod reconcile;
mod restore;
mod rewrap;
mod row;
mod services;
pub mod storage;

#[cfg(fuzzing)]
pub use self::restore::fuzzing as restore_fuzzing;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};

use self::{output::Output, services::Services};
use crate::context::{Context, Outcome, block_on};

const NOTES: &str = r#"The database and Secrets Manager are found through the environment variables of the functions:
SUPABASE_URL, SUPABASE_SECRET_KEY, KEYSET_SECRET_NAME, AWS_REGION, AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN. From a profile of the AWS command line:
  eval "$(aws configure export-credentials --profile NAME --format env)"

A rotation:
  llmgw admin keyset add
  llmgw admin keyset promote      # five minutes later
  llmgw admin rewrap
  llmgw admin keyset disable      # five minutes after the promotion
  llmgw admin keyset destroy      # a week later

Exit status: 0 for success, 1 if something was refused, failed or found wrong, 2 for wrong arguments."#;

/// Arguments of `admin`.
#[derive(Debug, Args)]
#[command(after_help = NOTES)]
pub struct AdminArgs {
    /// Print one JSON object instead of text
    #[arg(long, global = true)]
    pub json: bool,
    /// Use the keyset in this file instead of the one in Secrets Manager
    #[arg(long, global = true, value_name = "PATH")]
    pub keyset_file: Option<PathBuf>,
    /// The command.
    #[command(subcommand)]
    pub command: AdminCommand,
}

/// An operator's command.
#[derive(Debug, Subcommand)]
pub enum AdminCommand {
    /// Create or rotate the keyset that seals users' keys
    #[command(subcommand)]
    Keyset(keyset::KeysetCommand),
    /// Seal every stored key with the primary key; may be interrupted and repeated
    Rewrap(rewrap::RewrapArgs),
    /// Import keys that the original system encrypted; reads its passphrase from stdin
    ImportLegacy(import_legacy::ImportLegacyArgs),
    /// Show and change users' accounts
    #[command(subcommand)]
    Did(did::DidCommand),
    /// Determine costs that are still open, as the scheduled function does
    Reconcile(reconcile::ReconcileArgs),
    /// Restore requests from the emergency records in the gateway's log
    Restore(restore::RestoreArgs),
    /// Check everything that the gateway depends on
    Doctor(doctor::DoctorArgs),
}

/// Runs an operator's command.
pub(crate) fn run(args: AdminArgs, context: &mut Context<'_>) -> Result<Outcome> {
    let services = Services::new(args.keyset_file, context.clock.clone())?;
    let output = &mut Output::new(args.json, context.terminal, context.stdout, context.stderr);
    block_on(async {
        match args.command {
            AdminCommand::Keyset(command) => {
                keyset::run(&command, &services, context.random, output).await
            }
            AdminCommand::Rewrap(args) => rewrap::run(args, &services, output).await,
            AdminCommand::ImportLegacy(args) => {
                import_legacy::run(&args, &services, context.stdin, output).await
            }
            AdminCommand::Did(command) => did::run(command, &services, output).await,
            AdminCommand::Reconcile(args) => reconcile::run(&args, &services, output).await,
            AdminCommand::Restore(args) => {
                restore::run(&args, &services, context.stdin, output).await
            }
            AdminCommand::Doctor(args) => doctor::run(&args, &services, output).await,
        }
    })
}
