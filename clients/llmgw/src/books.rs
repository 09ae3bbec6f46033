//! The operator's commands that keep the books in order. Unlike the users' commands they speak to the
//! storage itself, with the gateway's own variables: `SUPABASE_URL`, `SUPABASE_SECRET_KEY`, and for
//! `reconcile` those of the keyset.

mod csv;
mod find;
mod reconcile;
mod restore;

use anyhow::{Context, Result};
use clap::Subcommand;

pub use find::{Found, find};

use crate::commands::{Outcome, Surroundings};

/// What to do with the books.
#[derive(Debug, Subcommand)]
pub enum BooksCommand {
    /// Write what the storage did not hear: emergency records out of the gateway's log
    Restore(restore::Args),
    /// Find out costs that are still open, as the scheduled function does
    Reconcile(reconcile::Args),
}

/// Runs one of them.
pub fn run(command: BooksCommand, around: &mut Surroundings<'_>) -> Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime")?;
    match command {
        BooksCommand::Restore(args) => runtime.block_on(restore::run(args, around)),
        BooksCommand::Reconcile(args) => runtime.block_on(reconcile::run(&args, around)),
    }
}
