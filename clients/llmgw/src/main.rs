//! `llmgw`, the command line of LLM Gateway.

use std::{env, ffi::OsString, io, io::Write, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result};
use clap::Parser;
use llmgw::{
    commands::{self, Cli},
    config,
    context::{Context, Outcome},
    debug,
    settings::Settings,
    terminal::Terminal,
};
use shared::clock::Clock;

const SIGPIPE: u8 = 13;

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(Outcome::Success) => ExitCode::SUCCESS,
        Ok(Outcome::Failure) => ExitCode::FAILURE,
        // A reader such as `head` has closed stdout: the status of a program that SIGPIPE ends. Broken
        // connections are errors of the HTTP client instead.
        Err(error)
            if error
                .downcast_ref::<io::Error>()
                .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) =>
        {
            ExitCode::from(128 + SIGPIPE)
        }
        Err(error) => {
            // With stderr closed there is nowhere left to report to.
            let _ = writeln!(io::stderr(), "llmgw: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<Outcome> {
    if cli.debug {
        debug::init().context("the log cannot be shown")?;
    }
    let no_color = variable("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = variable("TERM").is_some_and(|value| value == "dumb");
    let config_home = variable("XDG_CONFIG_HOME").map(PathBuf::from);
    let context = &mut Context {
        settings: Settings {
            directory: config::directory(config_home, env::home_dir()),
            profile: cli.profile,
            identity: cli.identity,
        },
        clock: Clock::system(),
        random: getrandom::fill,
        terminal: Terminal::of_process(no_color, dumb),
        // Not locked: the line editor reads it in another thread.
        stdin: &mut io::stdin(),
        stdout: &mut io::stdout().lock(),
        stderr: &mut io::stderr().lock(),
    };
    commands::run(cli.command, context)
}

#[expect(
    clippy::disallowed_methods,
    reason = "common conventions rather than configuration, read here and passed on"
)]
fn variable(name: &str) -> Option<OsString> {
    env::var_os(name)
}
