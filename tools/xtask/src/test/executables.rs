//! The test executables of the workspace.
//!
//! They are built for the whole workspace at once, and each step runs those of its packages. `cargo test --package`
//! would build most dependencies again for each step: with the features that its packages alone ask for.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use stack::process::{run as run_quietly, run_visibly};
use stack::{Workspace, cargo};

/// A test executable.
pub(super) struct Executable {
    /// The folder of its package, in which its tests run.
    folder: PathBuf,
    path: PathBuf,
}

/// A line of Cargo's output (<https://doc.rust-lang.org/cargo/reference/external-tools.html>).
#[derive(Deserialize)]
struct Message {
    manifest_path: Option<PathBuf>,
    executable: Option<PathBuf>,
    profile: Option<Profile>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// Builds the workspace's tests.
pub(super) fn build(workspace: &Workspace) -> Result<Vec<Executable>> {
    let mut command = cargo::command(workspace);
    command.args([
        "test",
        "--workspace",
        "--no-run",
        "--message-format",
        "json-render-diagnostics",
    ]);
    let output = run_quietly(&mut command)?;
    let mut executables = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let message: Message = serde_json::from_str(line).context("Cargo's output")?;
        if let (Some(manifest), Some(path), Some(Profile { test: true })) =
            (message.manifest_path, message.executable, message.profile)
        {
            let folder = manifest.parent().context("a manifest without a folder")?;
            executables.push(Executable {
                folder: folder.to_owned(),
                path,
            });
        }
    }
    Ok(executables)
}

impl Executable {
    /// Whether it belongs to a package, which is named as its folder.
    pub(super) fn is_of(&self, package: &str) -> bool {
        self.folder.file_name().is_some_and(|name| name == package)
    }

    /// The full paths of the tests that `options` select.
    pub(super) fn list(&self, options: &[&str]) -> Result<Vec<String>> {
        let output = run_quietly(
            self.command()
                .args(["--list", "--format", "terse"])
                .args(options),
        )?;
        Ok(String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter_map(|line| line.strip_suffix(": test"))
            .map(str::to_owned)
            .collect())
    }

    /// The program, as `cargo test` starts it.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        cargo::clean(&mut command);
        command
            .current_dir(&self.folder)
            .env("CARGO_MANIFEST_DIR", &self.folder);
        command
    }
}

/// Runs executables one after another, each with its own arguments; fails at the end if some of them did.
pub(super) fn run<'a>(
    runs: impl IntoIterator<Item = (&'a Executable, Vec<String>)>,
    environment: &[(&str, String)],
) -> Result<()> {
    let mut failed = BTreeSet::new();
    for (executable, arguments) in runs {
        eprintln!("     Running {}", executable.path.display());
        let mut command = executable.command();
        command
            .args(arguments)
            .envs(environment.iter().map(|(name, value)| (name, value)));
        if !run_visibly(&mut command)?.success() {
            failed.insert(executable.path.display().to_string());
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    bail!("tests failed in {}", Vec::from_iter(failed).join(", "))
}
