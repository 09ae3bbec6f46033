//! `cargo xtask test`: every check and test, each timed, one table at the end.

mod steps;

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use stack::process::{run as run_quietly, run_visibly};
use stack::{Tools, Workspace, cargo};

use self::steps::{STEPS, Step};
use crate::needs::Needs;
use crate::package;

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

/// A step that didn't fail.
#[derive(Default)]
struct Outcome {
    /// What was left out of it, and why.
    not_run: Vec<String>,
    /// Whether that is all of it.
    skipped: bool,
}

impl Outcome {
    fn skipped(reason: impl Into<String>) -> Self {
        Self {
            not_run: vec![reason.into()],
            skipped: true,
        }
    }
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
    let bench = Bench::new(options)?;
    let mut lines = Vec::new();
    for Step(name, work) in STEPS {
        if !options.steps.is_empty() && !options.steps.iter().any(|it| it == name) {
            continue;
        }
        eprintln!("\n──── {name}");
        let start = Instant::now();
        let result = work(&bench);
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

/// A need that has steps of its own.
const STORAGE: &str = "STORAGE_URL";

/// What the steps share.
struct Bench {
    workspace: Workspace,
    tools: Tools,
    needs: Needs,
    /// What tests may need, as environment variables.
    available: Vec<(&'static str, PathBuf)>,
}

impl Bench {
    fn new(options: &Options) -> Result<Self> {
        let workspace = Workspace::locate();
        let tools = Tools::install(&workspace)?;
        let needs = Needs::of_workspace(workspace.root()).context("can't read the sources")?;
        let data = workspace.root().join("../shared/data");
        let mut available = vec![
            ("ORACLE_PYTHON", tools.python()),
            ("TOOLS", workspace.tools()),
            // What the step "package" builds.
            ("ARTIFACTS", workspace.root().join(package::ARTIFACTS)),
        ];
        let recordings = options.openrouter_recordings.clone();
        let recordings = recordings.or_else(|| data.join("openrouter").canonicalize().ok());
        available.extend(recordings.map(|folder| ("OPENROUTER_RECORDINGS", folder)));
        Ok(Self {
            workspace,
            tools,
            needs,
            available,
        })
    }

    fn cargo(&self, arguments: &[&str]) -> Result<Outcome> {
        check(cargo::command(&self.workspace).args(arguments))?;
        Ok(Outcome::default())
    }

    /// Runs the tests of some packages, also those that need something that is available.
    fn test(&self, packages: &[&str]) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        let mut skip = Vec::new();
        if self.list(packages, &[])?.is_empty() {
            bail!("there are no tests");
        }
        let ignored = self.list(packages, &["--ignored"])?;
        for need in self.needs.all() {
            if self.available.iter().any(|(name, _)| *name == need) {
                continue;
            }
            let unmet = matching(&ignored, self.needs.tests(need));
            // Storage has steps of its own.
            if !unmet.is_empty() && need != STORAGE {
                outcome
                    .not_run
                    .push(format!("{} tests that need {need}", unmet.len()));
            }
            skip.extend(unmet);
        }
        let mut command = cargo::command(&self.workspace);
        command
            .arg("test")
            .args(packages)
            .args(["--", "--include-ignored", "--exact"])
            .envs(self.available.iter().map(|(name, path)| (name, path)));
        for test in skip {
            command.args(["--skip", &test]);
        }
        check(&mut command)?;
        Ok(outcome)
    }

    /// The full paths of the tests that `options` select. Compiles them.
    fn list(&self, packages: &[&str], options: &[&str]) -> Result<Vec<String>> {
        let output = run_quietly(
            cargo::command(&self.workspace)
                .args(["test", "--quiet"])
                .args(packages)
                .args(["--", "--list", "--format", "terse"])
                .args(options),
        )?;
        Ok(String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter_map(|line| line.strip_suffix(": test"))
            .map(str::to_owned)
            .collect())
    }
}

/// Those of the full test paths that end in one of the names.
fn matching(paths: &[String], names: &[String]) -> Vec<String> {
    paths
        .iter()
        .filter(|path| {
            let name = path.rsplit("::").next().unwrap_or(path);
            names.iter().any(|it| it == name)
        })
        .cloned()
        .collect()
}

/// Runs a command with its output visible.
fn check(command: &mut Command) -> Result<()> {
    let status = run_visibly(command)?;
    if status.success() {
        return Ok(());
    }
    let program = command.get_program().to_string_lossy().into_owned();
    bail!("{program}: {status}")
}
