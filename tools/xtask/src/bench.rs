//! `cargo xtask bench`: what the gateway adds to a request.

use anyhow::{Result, bail};
use clap::Args;
use stack::process::run_visibly;
use stack::{Workspace, cargo};

#[derive(Args)]
pub(crate) struct Options {
    /// Handed on to `tools/bench`; `-- --help` tells what there is
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// Builds the benchmark with optimisation, unlike this program, and runs it.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut command = cargo::command(&Workspace::locate());
    command
        .args(["run", "--profile", "tools", "--package", "bench", "--"])
        .args(&options.arguments);
    let status = run_visibly(&mut command)?;
    if !status.success() {
        bail!("the benchmark: {status}");
    }
    Ok(())
}
