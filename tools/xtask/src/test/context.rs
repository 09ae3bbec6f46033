//! The data and the helpers that the steps share.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use stack::process::{run as run_quietly, run_visibly};
use stack::{Tools, Workspace, cargo};

use crate::needs::Needs;
use crate::package;

/// A step that didn't fail.
#[derive(Default)]
pub(super) struct Outcome {
    /// The parts that were left out, with the reasons.
    pub(super) not_run: Vec<String>,
    /// Whether all parts were left out.
    pub(super) skipped: bool,
}

impl Outcome {
    pub(super) fn skipped(reason: impl Into<String>) -> Self {
        Self {
            not_run: vec![reason.into()],
            skipped: true,
        }
    }
}

/// A need that has steps of its own.
pub(super) const STORAGE: &str = "STORAGE_URL";

/// The data that the steps share.
pub(super) struct Context {
    pub(super) workspace: Workspace,
    pub(super) tools: Tools,
    pub(super) needs: Needs,
    /// The environment variables that tests may need.
    available: Vec<(&'static str, PathBuf)>,
}

impl Context {
    /// Prepares the steps; `recordings` is the folder of recorded exchanges, if it was given.
    pub(super) fn new(recordings: Option<PathBuf>) -> Result<Self> {
        let workspace = Workspace::locate();
        let tools = Tools::install(&workspace)?;
        let needs = Needs::of_workspace(workspace.root()).context("can't read the sources")?;
        let data = workspace.root().join("../shared/data");
        let mut available = vec![
            ("ORACLE_PYTHON", tools.python()),
            ("TOOLS", workspace.tools()),
            // The step "package" builds them.
            ("ARTIFACTS", workspace.root().join(package::ARTIFACTS)),
        ];
        let recordings = recordings.or_else(|| data.join("openrouter").canonicalize().ok());
        available.extend(recordings.map(|folder| ("OPENROUTER_RECORDINGS", folder)));
        Ok(Self {
            workspace,
            tools,
            needs,
            available,
        })
    }

    pub(super) fn cargo(&self, arguments: &[&str]) -> Result<Outcome> {
        check(cargo::command(&self.workspace).args(arguments))?;
        Ok(Outcome::default())
    }

    /// Runs the tests of some packages, also those that need something that is available.
    pub(super) fn test(&self, packages: &[&str]) -> Result<Outcome> {
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
            .args(["test", "--no-fail-fast"])
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
    pub(super) fn list(&self, packages: &[&str], options: &[&str]) -> Result<Vec<String>> {
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

/// The full test paths that end in one of the names.
pub(super) fn matching(paths: &[String], names: &[String]) -> Vec<String> {
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
pub(super) fn check(command: &mut Command) -> Result<()> {
    let status = run_visibly(command)?;
    if status.success() {
        return Ok(());
    }
    let program = command.get_program().to_string_lossy().into_owned();
    bail!("{program}: {status}")
}
