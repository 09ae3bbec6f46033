//! `llmgw`, the command line of LLM Gateway's users.

use std::{env, ffi::OsString, io, io::Write, path::PathBuf, process::ExitCode};

use clap::Parser;
use llmgw::{
    cli::Cli,
    commands::{self, Outcome, Surroundings},
    config,
    terminal::Terminal,
};
use shared::clock::Clock;

const SIGPIPE: u8 = 13;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let no_color = variable("NO_COLOR").is_some_and(|value| !value.is_empty());
    let config_home = variable("XDG_CONFIG_HOME").map(PathBuf::from);
    let result = commands::run(
        cli,
        &mut Surroundings {
            clock: Clock::system(),
            random: getrandom::fill,
            config_directory: config::directory(config_home, env::home_dir()),
            terminal: Terminal::of_process(no_color),
            stdin: &mut io::stdin().lock(),
            stdout: &mut io::stdout().lock(),
            stderr: &mut io::stderr().lock(),
        },
    );
    match result {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Refused) => ExitCode::FAILURE,
        // As other programs, which the signal ends, when a reader such as `head` has seen enough. A
        // connection that breaks is an error of the HTTP client.
        Err(error)
            if error
                .downcast_ref::<io::Error>()
                .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) =>
        {
            ExitCode::from(128 + SIGPIPE)
        }
        Err(error) => {
            // Nobody is left to tell when stderr is closed.
            let _ = writeln!(io::stderr(), "llmgw: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "common conventions, no configuration of ours, and this is where the environment enters"
)]
fn variable(name: &str) -> Option<OsString> {
    env::var_os(name)
}
