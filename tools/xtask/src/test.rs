//! `cargo xtask test`: every check and test, each timed, one table at the end.

mod beside;
mod browser;
mod console;
mod context;
mod executables;
mod report;
mod steps;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::Args;

use self::beside::{Beside, is_beside};
use self::context::Context;
use self::report::Line;
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
    /// Write the table to this file, too, one JSON object per step
    #[arg(long, hide = true)]
    report: Option<PathBuf>,
}

impl Options {
    /// The arguments that steps in another process have in common with these.
    fn passed_on(&self) -> Vec<OsString> {
        let recordings = self.openrouter_recordings.iter();
        recordings
            .flat_map(|it| ["--openrouter-recordings".into(), it.into()])
            .chain(self.fail_fast.then(|| "--fail-fast".into()))
            .collect()
    }
}

/// Takes the pictures that the documentation shows.
pub(crate) fn screenshots() -> Result<()> {
    console::illustrate(&Context::new(None)?)
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
    let everything = options.steps.is_empty();
    // Asked for now: the steps build this program again, and the file that runs here is then a deleted one.
    let program = std::env::current_exe()?;
    let mut lines = Vec::new();
    let mut beside = Vec::new();
    for Step(name, work) in STEPS {
        if everything {
            if is_beside(name) {
                continue;
            }
            beside.extend(Beside::start(
                name,
                &program,
                &context,
                &options.passed_on(),
            )?);
        } else if !options.steps.iter().any(|it| it == name) {
            continue;
        }
        eprintln!("\n──── {name}");
        let start = Instant::now();
        let result = work(&context);
        if let Err(error) = &result {
            eprintln!("{name} failed: {error:#}");
        }
        let failed = result.is_err();
        lines.push(Line::new(name, start.elapsed(), result));
        if failed && options.fail_fast {
            break;
        }
    }
    for lane in beside {
        lines.extend(lane.finish());
    }
    if let Some(path) = &options.report {
        report::write(path, &lines)?;
    }
    Ok(report::print(&lines))
}
