//! `cargo xtask bench`.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    match bench::run(&bench::Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
