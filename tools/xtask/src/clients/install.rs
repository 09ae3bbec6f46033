//! Installs the programs into `.tools/programs`, as `tools/xtask/clients` locks them.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use serde_json::Value;
use stack::progress::step;
use stack::{Workspace, install as packages, process};

use super::installed::Installed;
use super::programs::{PROGRAMS, Program, Source};

/// The virtual environments: aider names the version of each of its dependencies, and others take openai-python 2 or 3.
const ENVIRONMENTS: [&str; 3] = ["aider", "openai-2", "openai-3"];

/// Installs what pip installs whole only. The version of its own.
const UV: &str = "uv==0.13.9";
/// Packages that are left out: with them Open `WebUI` searches documents, and CUDA comes with them.
const LEFT_OUT: [&str; 3] = ["torch", "torchvision", "triton"];

/// A package that a program of npm needs beside its own.
const PROVIDER: &str = "@openrouter/ai-sdk-provider@2.10.0";

/// Installs what `programs` need.
pub(super) fn install(workspace: &Workspace, programs: &[&Program]) -> Result<Installed> {
    let sources = workspace.root().join("tools/xtask/clients");
    let npm = workspace.tools().join("programs/npm");
    install_npm_packages(&npm)?;
    for name in ENVIRONMENTS {
        let requirements = sources.join(format!("{name}.txt"));
        packages::python_packages(workspace, &requirements, &format!("programs/{name}"))?;
    }
    let environments = workspace.tools().join("programs");
    for program in programs.iter().filter(|it| it.source == Source::Heavy) {
        install_heavy(&environments, program)?;
    }
    Ok(Installed {
        sources,
        npm,
        environments,
    })
}

/// Installs the programs of npm that are not there in their version.
///
/// Without a lock file: `npm ci` refuses one if a registry lacks an optional package for another system. Each of these
/// packages brings what it needs, or names the version.
fn install_npm_packages(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let is_missing = |program: &&Program| {
        let package = folder.join("node_modules").join(program.package);
        let read = fs::read(package.join("package.json")).ok();
        let found = read.and_then(|text| serde_json::from_slice::<Value>(&text).ok());
        found.is_none_or(|it| it["version"] != program.version)
    };
    let of_npm = PROGRAMS
        .iter()
        .filter(|program| program.source == Source::Npm);
    if !of_npm.clone().any(|program| is_missing(&program)) {
        return Ok(());
    }
    let wanted = of_npm.map(|program| format!("{}@{}", program.package, program.version));
    step("installing programs of npm (about 1 min)", || {
        process::run(
            Command::new("npm")
                .args([
                    "install",
                    "--no-save",
                    "--no-package-lock",
                    "--ignore-scripts",
                    "--no-audit",
                    "--no-fund",
                    "--prefix",
                ])
                .arg(folder)
                .args(wanted)
                .arg(PROVIDER)
                .current_dir(folder),
        )
    })?;
    Ok(())
}

/// Installs a program into an environment of its own, unless it is there in its version.
fn install_heavy(environments: &Path, program: &Program) -> Result<()> {
    let target = environments.join(program.command);
    let wanted = format!("{}=={}", program.package, program.version);
    let stamp = target.join("installed");
    if fs::read_to_string(&stamp).is_ok_and(|it| it == wanted) {
        return Ok(());
    }
    let label = format!("installing {wanted} (some minutes, 2 GB)");
    step(&label, || {
        let uv = target.join("uv");
        let python = |folder: &Path| {
            let mut command = Command::new("python3");
            command.args(["-m", "venv", "--clear"]).arg(folder);
            process::run(&mut command)
        };
        python(&target)?;
        python(&uv)?;
        process::run(
            Command::new(uv.join("bin/pip"))
                .args(["install", "--quiet"])
                .arg(UV),
        )?;
        let overrides = target.join("overrides.txt");
        let left_out = LEFT_OUT.map(|it| format!("{it}; sys_platform == \"never\"\n"));
        fs::write(&overrides, left_out.concat())?;
        process::run(
            Command::new(uv.join("bin/uv"))
                .args(["pip", "install", "--quiet", "--no-cache", "--python"])
                .arg(target.join("bin/python"))
                .arg("--override")
                .arg(overrides)
                .arg(&wanted),
        )?;
        fs::write(stamp, &wanted)?;
        anyhow::Ok(())
    })
}
