//! `cargo xtask ledger`: the ledger test, as long as wanted.

use std::process::ExitCode;

use anyhow::Result;
use simulation::Options;

/// Runs the simulation; the exit code tells whether the ledgers are equal.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    Ok(if simulation::run(options)? {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
