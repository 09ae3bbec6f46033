//! `cargo xtask package`: the artifacts that are deployed, built as `sam deploy` wants them, their sizes,
//! and whether Lambda can start them.

mod executable;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use stack::process::run_visibly;
use stack::{Tools, Workspace, clients};

use executable::{Architecture, Glibc};

/// The largest that a stripped executable may be, in bytes: its size is a part of every cold start.
const TARGETS: [(&str, usize); 7] = [
    ("console", 4_000_000),
    ("proxy", 6_500_000),
    ("usage", 6_000_000),
    ("keys", 6_000_000),
    ("tokens", 6_000_000),
    ("reconcile", 6_000_000),
    ("health", 4_000_000),
];

/// The output of `sam build`, below the workspace's root.
pub(crate) const ARTIFACTS: &str = ".aws-sam/build";

#[derive(Args)]
pub(crate) struct Options {
    /// The processor to build for [default: this machine's]
    #[arg(long)]
    architecture: Option<Architecture>,
}

/// Each function's executable, by the function's name.
struct Artifacts(BTreeMap<String, PathBuf>);

pub(crate) fn run(options: &Options) -> Result<()> {
    let workspace = Workspace::locate();
    let tools = Tools::install(&workspace)?;
    build(&workspace, &tools, options.architecture)
}

/// Builds all functions, and refuses those that are too large or that Lambda could not start.
pub(crate) fn build(
    workspace: &Workspace,
    tools: &Tools,
    architecture: Option<Architecture>,
) -> Result<()> {
    let architecture = architecture.map_or_else(Architecture::host, Ok)?;
    // It is compiled into one of the functions.
    clients::console(workspace)?;
    let mut command = Command::new(tools.python_program("sam"));
    stack::cargo::clean(&mut command);
    let path = path_with(tools)?;
    command
        .args(["build", "--parameter-overrides"])
        .arg(format!("Architecture={architecture}"))
        .current_dir(workspace.root())
        .env("PATH", path)
        // It requires a region, although it sends nothing there.
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("SAM_CLI_TELEMETRY", "0");
    let status = run_visibly(&mut command)?;
    if !status.success() {
        bail!("sam build: {status}");
    }
    Artifacts::find(&workspace.root().join(ARTIFACTS))?.check(architecture)
}

/// The path of programs, beginning with where `sam build` finds cargo-lambda.
#[expect(
    clippy::disallowed_methods,
    reason = "a program's path is no configuration of ours"
)]
fn path_with(tools: &Tools) -> Result<OsString> {
    let ours = tools.python().parent().map(Path::to_owned);
    let others = std::env::var_os("PATH").unwrap_or_default();
    Ok(std::env::join_paths(
        ours.into_iter().chain(std::env::split_paths(&others)),
    )?)
}

impl Artifacts {
    fn find(folder: &Path) -> Result<Self> {
        let mut executables = BTreeMap::new();
        for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
            let entry = entry?;
            let executable = entry.path().join("bootstrap");
            let resource = entry.file_name().to_string_lossy().to_ascii_lowercase();
            if let Some(name) = resource.strip_suffix("function")
                && executable.is_file()
            {
                executables.insert(name.to_owned(), executable);
            }
        }
        Ok(Self(executables))
    }

    fn check(&self, architecture: Architecture) -> Result<()> {
        let mut problems = Vec::new();
        println!(
            "{:<10} {:>12} {:>12} {:>7}",
            architecture, "bytes", "at most", "glibc"
        );
        for (name, target) in TARGETS {
            let Some(path) = self.0.get(name) else {
                problems.push(format!("{name} was not built"));
                continue;
            };
            let executable = fs::read(path)?;
            let size = executable.len();
            if size > target {
                problems.push(format!("{name} has {size} bytes, more than {target}"));
            }
            let glibc = match executable::check(&executable, architecture, Glibc::OF_LAMBDA) {
                Ok(glibc) => glibc.map_or("none".to_owned(), |it| it.to_string()),
                Err(error) => {
                    problems.push(format!("Lambda can't start {name}: {error:#}"));
                    "✗".to_owned()
                }
            };
            println!("{name:<10} {size:>12} {target:>12} {glibc:>7}");
        }
        if problems.is_empty() {
            return Ok(());
        }
        bail!("{}", problems.join("; "))
    }
}
