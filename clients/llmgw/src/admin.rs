//! The operator's commands.
//!
//! ```text
//! keyset (its rotation) · rewrap · legacy (import) · accounts · doctor
//!   └─ keyset_store (a file, or a secret) · services · output · passphrase
//! ```
//!
//! Nothing here prints key material, API keys or passphrases. What could lose data is refused, with
//! what to do instead.

mod accounts;
pub mod cli;
mod doctor;
mod keyset;
mod keyset_store;
mod legacy;
mod output;
mod passphrase;
mod rewrap;
mod secret;
mod services;

use anyhow::Result;

use self::{
    cli::{AdminArgs, AdminCommand},
    output::Output,
    services::Services,
};
use crate::commands::{Outcome, Surroundings};

/// Runs an operator's command.
pub(crate) fn run(args: AdminArgs, around: &mut Surroundings<'_>) -> Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let services = Services::new(args.file, around.clock.clone())?;
    let output = &mut Output::new(args.json, around.stdout, around.stderr);
    runtime.block_on(async {
        match args.command {
            AdminCommand::Keyset(command) => {
                keyset::run(&command, &services, around.random, output).await
            }
            AdminCommand::Rewrap(args) => rewrap::run(args, &services, output).await,
            AdminCommand::ImportLegacy(args) => {
                legacy::run(&args, &services, around.stdin, output).await
            }
            AdminCommand::Did(command) => accounts::run(command, &services, output).await,
            AdminCommand::Doctor(args) => doctor::run(&args, &services, output).await,
        }
    })
}
