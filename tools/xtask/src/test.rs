//! `cargo xtask test`: every check and test, each timed, one table at the end.

mod console;
mod context;
mod steps;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;

use self::context::{Context, Outcome};
use self::steps::{STEPS, Step};

#[derive(Args)]
pub(crate) struct Options {
    /// Run only these steps; `--list` names them
    steps: Vec<String>,
    /// Name the steps and stop
    #[arg(long)]
    list: bool,
    /// Stop at the first step that fails
    #[arg(long)]
    fail_fast: bool,
    /// Folder with recorded exchanges [default: ../shared/data/openrouter, if there]
    #[arg(long, env = "OPENROUTER_RECORDINGS")]
    openrouter_recordings: Option<PathBuf>,
}

struct Line {
    name: &'static str,
    took: Duration,
    result: Result<Outcome>,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if options.list {
        for Step(name, _) in STEPS {
            println!("{name}");
        }
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(unknown) = options
        .steps
        .iter()
        .find(|wanted| !STEPS.iter().any(|Step(name, _)| name == wanted))
    {
        bail!("there is no step {unknown:?}; `cargo xtask test --list` names them");
    }
    let context = Context::new(options.openrouter_recordings.clone())?;
    let mut lines = Vec::new();
    for Step(name, work) in STEPS {
        if !options.steps.is_empty() && !options.steps.iter().any(|it| it == name) {
            continue;
        }
        eprintln!("\n──── {name}");
        let start = Instant::now();
        let result = work(&context);
        if let Err(error) = &result {
            eprintln!("{name} failed: {error:#}");
        }
        let failed = result.is_err();
        lines.push(Line {
            name,
            took: start.elapsed(),
            result,
        });
        if failed && options.fail_fast {
            break;
        }
    }
    Ok(report(&lines))
}

/// Prints the table.
fn report(lines: &[Line]) -> ExitCode {
    eprintln!("\n──── summary");
    for Line { name, took, result } in lines {
        let verdict = match result {
            Ok(outcome) if outcome.skipped => "NOT RUN",
            Ok(_) => "ok",
            Err(_) => "FAILED",
        };
        eprintln!("{verdict:<8} {:>6.1} s  {name}", took.as_secs_f32());
    }
    for Line { name, result, .. } in lines {
        for gap in result.iter().flat_map(|outcome| &outcome.not_run) {
            eprintln!("not run: {name}: {gap}");
        }
    }
    let failed: Vec<&str> = lines
        .iter()
        .filter(|line| line.result.is_err())
        .map(|line| line.name)
        .collect();
    if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        eprintln!("failed: {}", failed.join(", "));
        ExitCode::FAILURE
    }
}
