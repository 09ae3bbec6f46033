//! `llmgw`, the command line of LLM Gateway's users.

use std::{env, io, io::Write, path::PathBuf, process::ExitCode};

use clap::Parser;
use llmgw::{
    cli::Cli,
    commands::{self, Outcome, Surroundings},
    identity,
};
use shared::clock::Clock;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = commands::run(
        cli,
        &mut Surroundings {
            clock: Clock::system(),
            random: getrandom::fill,
            default_identity: default_identity(),
            stdin: &mut io::stdin().lock(),
            stdout: &mut io::stdout().lock(),
            stderr: &mut io::stderr().lock(),
        },
    );
    match result {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Refused) => ExitCode::FAILURE,
        Err(error) => {
            // Nobody is left to tell when stderr is closed.
            let _ = writeln!(io::stderr(), "llmgw: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the XDG variable is no configuration of ours, and this is where the environment enters"
)]
fn default_identity() -> Option<PathBuf> {
    let config_home = env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    identity::default_path(config_home, env::home_dir())
}
