//! `cargo xtask ledger`: the ledger test, as long as wanted.

use std::process::ExitCode;

use anyhow::Result;
use ledger::Options;

/// Runs it; the exit code says whether the ledgers are equal.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    Ok(if ledger::run(options)? {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
