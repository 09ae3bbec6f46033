//! Steps that run beside others when all steps run, so that both cores are in use.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow, bail};
use stack::RunDir;
use stack::process::{ProcessError, run_visibly};

use super::context::Context;
use super::report::{self, Line};

/// A step, and the steps that start with it in a process of their own, one after another. They keep about one
/// core busy and don't hold Cargo's lock on the build for long.
const BESIDE: [(&str, &[&str]); 2] = [
    (
        "clippy",
        &[
            "workflows",
            "template",
            "Python client",
            "TypeScript client",
        ],
    ),
    // Its optimisation uses one core.
    (
        "package",
        &[
            "storage on PostgreSQL",
            "storage on partitions",
            "storage on PGlite",
            "ledger",
        ],
    ),
];

/// Whether a step runs beside another one.
pub(super) fn is_beside(step: &str) -> bool {
    BESIDE.iter().any(|(_, steps)| steps.contains(&step))
}

/// Steps that run in a process of their own.
pub(super) struct Beside {
    steps: &'static [&'static str],
    log: PathBuf,
    report: PathBuf,
    start: Instant,
    process: JoinHandle<Result<ExitStatus, ProcessError>>,
}

impl Beside {
    /// Starts the steps that run beside `step`, if there are any: with `program`, which is this one, and with the
    /// options of this run.
    pub(super) fn start(
        step: &str,
        program: &Path,
        context: &Context,
        options: &[OsString],
    ) -> Result<Option<Self>> {
        let Some((_, steps)) = BESIDE.iter().find(|(name, _)| *name == step) else {
            return Ok(None);
        };
        let run = RunDir::unique(&context.workspace, &format!("beside-{step}"))?;
        let log = run.path().join("output.log");
        let report = run.path().join("report.json");
        let output = File::create(&log)?;
        let mut command = Command::new(program);
        command
            .arg("test")
            .args(*steps)
            .args(options)
            .arg("--report")
            .arg(&report)
            .stdout(output.try_clone()?)
            .stderr(output);
        eprintln!("\n──── beside {step}: {}", steps.join(", "));
        Ok(Some(Self {
            steps,
            log,
            report,
            start: Instant::now(),
            process: thread::spawn(move || run_visibly(&mut command)),
        }))
    }

    /// Waits for the steps, prints their output, and returns their rows of the table. Steps that could not be run
    /// have failed.
    pub(super) fn finish(self) -> Vec<Line> {
        let (steps, start) = (self.steps, self.start);
        self.lines().unwrap_or_else(|error| {
            eprintln!("{}: {error:#}", steps.join(", "));
            let failed = |step: &&str| Line::new(step, start.elapsed(), Err(anyhow!("not run")));
            steps.iter().map(failed).collect()
        })
    }

    fn lines(self) -> Result<Vec<Line>> {
        let Ok(status) = self.process.join() else {
            bail!("the thread panicked");
        };
        let status = status?;
        eprintln!("{}", fs::read_to_string(&self.log)?);
        report::read(&self.report).with_context(|| format!("ended early: {status}"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::steps::STEPS;
    use super::*;

    #[test]
    fn every_step_runs_once() {
        let is_step = |name: &str| STEPS.iter().any(|step| step.0 == name);
        let mut seen = Vec::new();
        for (step, steps) in BESIDE {
            assert!(is_step(step) && !is_beside(step), "{step}");
            for name in steps {
                assert!(is_step(name) && !seen.contains(name), "{name}");
                seen.push(name);
            }
        }
    }
}
