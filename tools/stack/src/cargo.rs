//! Cargo, run by a program that cargo runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{self, ProcessError};
use crate::workspace::Workspace;

#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(transparent)]
    Cargo(#[from] ProcessError),
    #[error("building gave no executable named {0}")]
    NoExecutable(String),
}

/// `cargo`, in the workspace's root.
///
/// `cargo run` gives its child variables about the package that is run. Cargo must not see them
/// again: build scripts such as ring's declare that they depend on them, and every change between
/// `cargo xtask` and plain `cargo` would rebuild half of the tree.
#[must_use]
pub fn command(workspace: &Workspace) -> Command {
    let mut command = Command::new("cargo");
    clean(&mut command);
    command.current_dir(workspace.root());
    command
}

/// Removes what `cargo run` added to the environment.
pub fn clean(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let of_package = name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
        });
        if of_package {
            command.env_remove(name);
        }
    }
}

/// The executables of the deployed functions, built for this machine without optimisation.
#[derive(Debug, Clone)]
pub struct Functions {
    executables: BTreeMap<String, PathBuf>,
}

impl Functions {
    /// Builds the executables `names`.
    pub fn build(workspace: &Workspace, names: &[&str]) -> Result<Self, BuildError> {
        let mut command = command(workspace);
        command.args(["build", "--message-format", "json-render-diagnostics"]);
        // Not `--package`: that selects other features of shared dependencies than the
        // `cargo run --bin` of `cargo lambda watch`, which would then build them all again.
        for name in names {
            command.args(["--bin", name]);
        }
        let output = process::run(&mut command)?;
        let executables = String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter_map(executable)
            .collect();
        Ok(Self { executables })
    }

    /// The executable of the function `name`.
    pub fn binary(&self, name: &str) -> Result<&Path, BuildError> {
        self.executables
            .get(name)
            .map(PathBuf::as_path)
            .ok_or_else(|| BuildError::NoExecutable(name.to_owned()))
    }
}

/// Name and path of the executable that a line of cargo's JSON messages announces.
/// <https://doc.rust-lang.org/cargo/reference/external-tools.html#artifact-messages>
fn executable(line: &str) -> Option<(String, PathBuf)> {
    let message: serde_json::Value = serde_json::from_str(line).ok()?;
    let name = message.pointer("/target/name")?.as_str()?;
    let path = message.get("executable")?.as_str()?;
    Some((name.to_owned(), path.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executables_are_found_in_cargos_messages() {
        let line = r#"{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"proxy"},"executable":"/t/debug/proxy"}"#;
        assert_eq!(
            executable(line),
            Some(("proxy".to_owned(), "/t/debug/proxy".into()))
        );
        let library = r#"{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"shared"},"executable":null}"#;
        assert_eq!(executable(library), None);
        assert_eq!(
            executable(r#"{"reason":"build-finished","success":true}"#),
            None
        );
    }
}
