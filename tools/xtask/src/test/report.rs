//! The table at the end: printed, and exchanged with the steps that run beside the others.

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::context::Outcome;

/// A row of the table.
#[derive(Serialize, Deserialize)]
pub(super) struct Line {
    name: String,
    took: Duration,
    verdict: Verdict,
    /// The parts that were left out, with the reasons.
    not_run: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Verdict {
    Ok,
    NotRun,
    Failed,
}

impl Line {
    pub(super) fn new(name: &str, took: Duration, result: Result<Outcome>) -> Self {
        let (verdict, not_run) = match result {
            Ok(outcome) if outcome.skipped => (Verdict::NotRun, outcome.not_run),
            Ok(outcome) => (Verdict::Ok, outcome.not_run),
            Err(_) => (Verdict::Failed, Vec::new()),
        };
        Self {
            name: name.to_owned(),
            took,
            verdict,
            not_run,
        }
    }
}

/// Prints the table.
pub(super) fn print(lines: &[Line]) -> ExitCode {
    eprintln!("\n──── summary");
    for line in lines {
        let verdict = match line.verdict {
            Verdict::Ok => "ok",
            Verdict::NotRun => "NOT RUN",
            Verdict::Failed => "FAILED",
        };
        eprintln!(
            "{verdict:<8} {:>6.1} s  {}",
            line.took.as_secs_f32(),
            line.name
        );
    }
    for line in lines {
        for gap in &line.not_run {
            eprintln!("not run: {}: {gap}", line.name);
        }
    }
    let failed: Vec<&str> = lines
        .iter()
        .filter(|line| line.verdict == Verdict::Failed)
        .map(|line| line.name.as_str())
        .collect();
    if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        eprintln!("failed: {}", failed.join(", "));
        ExitCode::FAILURE
    }
}

/// Writes the table for another process.
pub(super) fn write(path: &Path, lines: &[Line]) -> Result<()> {
    fs::write(path, serde_json::to_vec(lines)?)
        .with_context(|| format!("can't write {}", path.display()))
}

/// Reads the table of another process.
pub(super) fn read(path: &Path) -> Result<Vec<Line>> {
    let text = fs::read(path).with_context(|| format!("can't read {}", path.display()))?;
    Ok(serde_json::from_slice(&text)?)
}
