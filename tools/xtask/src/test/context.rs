//! The data and the helpers that the steps share.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, anyhow, bail};
use stack::process::{find, run_visibly};
use stack::{Tools, Workspace, cargo};

use super::browser;
use super::executables::{self, Executable};
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
    available: Vec<(&'static str, String)>,
}

impl Context {
    /// Prepares the steps; `recordings` is the folder of recorded exchanges, if it was given.
    pub(super) fn new(recordings: Option<PathBuf>) -> Result<Self> {
        let workspace = Workspace::locate();
        let tools = Tools::install(&workspace)?;
        let needs = Needs::of_workspace(workspace.root()).context("can't read the sources")?;
        let data = workspace.root().join("../shared/data");
        let mut available = vec![
            ("ORACLE_PYTHON", text(tools.python())?),
            ("TOOLS", text(workspace.tools())?),
            // The step "package" builds them.
            (
                "ARTIFACTS",
                text(workspace.root().join(package::ARTIFACTS))?,
            ),
        ];
        let recordings = recordings.or_else(|| data.join("openrouter").canonicalize().ok());
        if let Some(folder) = recordings {
            available.push(("OPENROUTER_RECORDINGS", text(folder)?));
        }
        if let Some(module) = softhsm2() {
            available.push(("SOFTHSM2", text(module)?));
        }
        if let Some(program) = browser::find(browser::CHROMIUM) {
            available.push(("CHROMIUM", text(program)?));
        }
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

    /// The workspace's test executables that `selected` picks, which are built first.
    pub(super) fn executables(
        &self,
        selected: impl Fn(&Executable) -> bool,
    ) -> Result<Vec<Executable>> {
        let mut built = executables::build(&self.workspace)?;
        built.retain(selected);
        if built.is_empty() {
            bail!("there are no tests");
        }
        Ok(built)
    }

    /// Runs all tests of some executables, also those that need something that is available.
    pub(super) fn test(&self, selected: impl Fn(&Executable) -> bool) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        let built = self.executables(selected)?;
        let mut runs = Vec::new();
        let mut unmet: BTreeMap<&str, usize> = BTreeMap::new();
        for executable in &built {
            let ignored = executable.list(&["--ignored"])?;
            let mut arguments = vec!["--include-ignored".to_owned(), "--exact".to_owned()];
            for need in self.needs.all() {
                if self.available.iter().any(|(name, _)| *name == need) {
                    continue;
                }
                for test in matching(&ignored, self.needs.tests(need)) {
                    arguments.extend(["--skip".to_owned(), test]);
                    *unmet.entry(need).or_default() += 1;
                }
            }
            runs.push((executable, arguments));
        }
        // Storage has steps of its own.
        unmet.remove(STORAGE);
        for (need, count) in unmet {
            outcome
                .not_run
                .push(format!("{count} tests that need {need}"));
        }
        executables::run(runs, &self.available)?;
        Ok(outcome)
    }
}

/// The module of Debian's softhsm2, with the tools of opensc beside it.
fn softhsm2() -> Option<PathBuf> {
    let module = PathBuf::from("/usr/lib/softhsm/libsofthsm2.so");
    let has_tools = ["softhsm2-util", "pkcs11-tool"]
        .iter()
        .all(|it| find(&[it]).is_some());
    Some(module).filter(|it| has_tools && it.exists())
}

fn text(path: PathBuf) -> Result<String> {
    path.into_os_string()
        .into_string()
        .map_err(|path| anyhow!("a path is not UTF-8: {}", path.display()))
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
