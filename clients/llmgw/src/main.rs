//! `llmgw`, the command line of LLM Gateway.

use std::{env, ffi::OsString, io, io::Write, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result};
use clap::Parser;
use jiff::tz::TimeZone;
use llmgw::{
    commands::{self, Cli, completions},
    config::{self, ProfileName},
    context::{Context, Outcome},
    debug,
    settings::Settings,
    terminal::Terminal,
};
use shared::clock::Clock;

const SIGPIPE: u8 = 13;

fn main() -> ExitCode {
    if variable(completions::VARIABLE).is_some_and(|shell| !shell.is_empty()) {
        let words: Vec<_> = env::args_os().collect();
        let settings = settings(None, None);
        let answered = completions::answer(&words, settings, Clock::system(), getrandom::fill);
        return if answered.is_ok() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        };
    }
    let mut stdout = Stdout {
        out: io::stdout().lock(),
        reader_left: false,
    };
    let result = run(Cli::parse(), &mut stdout);
    match result {
        // A reader such as `head` has closed stdout: the status of a program that SIGPIPE ends.
        Err(_) if stdout.reader_left => ExitCode::from(128 + SIGPIPE),
        Ok(Outcome::Success) => ExitCode::SUCCESS,
        Ok(Outcome::Failure) => ExitCode::FAILURE,
        Ok(Outcome::Exit(code)) => ExitCode::from(code),
        Err(error) => {
            // With stderr closed there is nowhere left to report to.
            let _ = writeln!(io::stderr(), "llmgw: {}", format!("{error:#}").trim_end());
            ExitCode::FAILURE
        }
    }
}

/// The standard output, which remembers that its reader has left: libraries wrap the error in their own.
struct Stdout<'a> {
    out: io::StdoutLock<'a>,
    reader_left: bool,
}

impl Stdout<'_> {
    fn note<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        let is_broken = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
        self.reader_left |= result.as_ref().is_err_and(is_broken);
        result
    }
}

impl Write for Stdout<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes);
        self.note(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.out.flush();
        self.note(flushed)
    }
}

fn run(cli: Cli, stdout: &mut dyn Write) -> Result<Outcome> {
    if cli.debug {
        debug::init().context("the log cannot be shown")?;
    }
    let no_color = variable("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = variable("TERM").is_some_and(|value| value == "dumb");
    let context = &mut Context {
        settings: settings(cli.profile, cli.identity),
        clock: Clock::system(),
        time_zone: TimeZone::system(),
        random: getrandom::fill,
        terminal: Terminal::of_process(no_color, dumb),
        // Not locked: the line editor reads it in another thread.
        stdin: &mut io::stdin(),
        stdout,
        stderr: &mut io::stderr().lock(),
    };
    commands::run(cli.command, context)
}

fn settings(profile: Option<ProfileName>, identity: Option<PathBuf>) -> Settings {
    let base = |name| variable(name).map(PathBuf::from);
    Settings {
        directory: config::directory(base("XDG_CONFIG_HOME"), env::home_dir()),
        cache: config::cache_directory(base("XDG_CACHE_HOME"), env::home_dir()),
        profile,
        identity,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "common conventions rather than configuration, read here and passed on"
)]
fn variable(name: &str) -> Option<OsString> {
    env::var_os(name)
}
