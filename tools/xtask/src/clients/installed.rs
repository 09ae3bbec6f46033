//! The programs in `.tools/programs`.

use std::path::PathBuf;
use std::process::Command;

/// The installed programs.
pub(super) struct Installed {
    pub(super) sources: PathBuf,
    pub(super) npm: PathBuf,
    /// The folder of the virtual environments.
    pub(super) environments: PathBuf,
}

impl Installed {
    /// A script of an npm package.
    pub(super) fn node(&self, script: &str) -> Command {
        let mut command = Command::new("node");
        command.arg(self.npm.join("node_modules").join(script));
        command
    }

    /// opencode's executable, which its script of installation would link.
    pub(super) fn opencode(&self) -> Command {
        let system = match std::env::consts::OS {
            "macos" => "darwin",
            other => other,
        };
        let architecture = match std::env::consts::ARCH {
            "aarch64" => "arm64",
            "x86_64" => "x64",
            other => other,
        };
        let package = format!("opencode-{system}-{architecture}");
        let modules = self.npm.join("node_modules");
        Command::new(modules.join(package).join("bin/opencode"))
    }

    pub(super) fn python(&self, environment: &str, program: &str) -> Command {
        Command::new(
            self.environments
                .join(environment)
                .join("bin")
                .join(program),
        )
    }
}
