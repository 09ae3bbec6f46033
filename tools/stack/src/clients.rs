//! The signing helpers of `clients`, ready to run, and SDKs to run them with. Installed into
//! `.tools/clients/` when they are first needed.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use crate::install::{self, InstallError};
use crate::process::{self, ProcessError};
use crate::workspace::Workspace;

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error(transparent)]
    Install(#[from] InstallError),
    #[error("can't build a client: {0}")]
    Build(#[from] ProcessError),
    #[error("{}: {cause}", path.display())]
    File { path: PathBuf, cause: io::Error },
}

/// The Python that tests, checks and builds `llmgw-auth`.
pub fn python(workspace: &Workspace) -> Result<PathBuf, ClientError> {
    let requirements = python_source(workspace).join("requirements.txt");
    let python = install::python_packages(workspace, &requirements, "clients/python")?;
    Ok(python)
}

/// The folder of the Python package.
#[must_use]
pub fn python_source(workspace: &Workspace) -> PathBuf {
    workspace.root().join("clients/python")
}

/// Builds the wheel and the source distribution of `llmgw-auth`. Returns their folder.
pub fn python_package(workspace: &Workspace) -> Result<PathBuf, ClientError> {
    let python = python(workspace)?;
    let folder = workspace.tools().join("clients/dist");
    process::run(
        Command::new(python)
            .args(["-m", "hatchling", "build", "--directory"])
            .arg(&folder)
            .current_dir(python_source(workspace)),
    )?;
    Ok(folder)
}

/// Compiles `clients/typescript`, strictly. Returns a folder that is the package as its users
/// have it, with `package.json` and `dist/`; its tests are in `dist/test/`.
pub fn typescript_package(workspace: &Workspace) -> Result<PathBuf, ClientError> {
    let source = typescript_source(workspace);
    let package = install::npm_packages(workspace, &source, "clients/typescript")?;
    copy(&source.join("package.json"), &package)?;
    let modules = linked_modules(&source, &package)?;
    process::run(
        Command::new("node")
            .arg(modules.join("typescript/bin/tsc"))
            .arg("--project")
            .arg(&source)
            .arg("--typeRoots")
            .arg(modules.join("@types"))
            .arg("--outDir")
            .arg(package.join("dist")),
    )?;
    Ok(package)
}

/// The folder of the TypeScript package.
#[must_use]
pub fn typescript_source(workspace: &Workspace) -> PathBuf {
    workspace.root().join("clients/typescript")
}

/// Builds the console, strictly as far as the bundler is, into `clients/console/dist`, unless it is newer than its
/// sources. Returns its folder, which has `node_modules`.
pub fn console(workspace: &Workspace) -> Result<PathBuf, ClientError> {
    let source = workspace.root().join("clients/console");
    let packages = install::npm_packages(workspace, &source, "clients/console")?;
    linked_modules(&source, &packages)?;
    let sources = [
        "src",
        "index.html",
        "vite.config.ts",
        "compress.mjs",
        "package-lock.json",
        "../typescript/src",
    ];
    let built = modified(&source.join("dist/index.html"));
    let newest = sources.map(|it| newest(&source.join(it))).into_iter().max();
    if built > newest.flatten() {
        return Ok(source);
    }
    let bundler = packages.join("node_modules/vite/bin/vite.js");
    for arguments in [
        vec![bundler.as_os_str(), "build".as_ref()],
        vec!["compress.mjs".as_ref()],
    ] {
        process::run(Command::new("node").args(arguments).current_dir(&source))?;
    }
    Ok(source)
}

/// Links the installed packages into the folder of the sources, where the compiler and the bundler look for them.
fn linked_modules(source: &Path, packages: &Path) -> Result<PathBuf, ClientError> {
    let modules = source.join("node_modules");
    // Where somebody ran npm there, theirs are used.
    if modules.is_symlink() || !modules.is_dir() {
        link(&packages.join("node_modules"), &modules)?;
    }
    Ok(modules)
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|it| it.modified()).ok()
}

/// When a file, or one below a folder, was last changed.
fn newest(path: &Path) -> Option<SystemTime> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .map(|entry| newest(&entry.path()))
        .chain([modified(path)])
        .max()
        .flatten()
}

/// Third-party SDKs, each beside the helper as its users install it: the built package. Those in
/// `programs` are without it.
#[derive(Debug)]
pub struct Sdks {
    source: PathBuf,
    node: PathBuf,
    tools: PathBuf,
}

impl Sdks {
    /// Installs what `tools/e2e/clients` locks. Not for two threads at once.
    pub fn install(workspace: &Workspace) -> Result<Self, ClientError> {
        let source = workspace.root().join("tools/e2e/clients");
        let wheels = python_package(workspace)?;
        for name in ["openai-2", "openai-3"] {
            let requirements = source.join(format!("{name}.txt"));
            let python =
                install::python_packages(workspace, &requirements, &format!("clients/{name}"))?;
            process::run(
                Command::new(python)
                    .args(["-m", "pip", "install", "--quiet", "--no-input"])
                    .args(["--disable-pip-version-check", "--no-index", "--no-deps"])
                    .args(["--force-reinstall", "llmgw-auth", "--find-links"])
                    .arg(&wheels),
            )?;
        }
        // Programs without knowledge of the gateway.
        let requirements = source.join("programs.txt");
        install::python_packages(workspace, &requirements, "clients/programs")?;
        let helper = typescript_package(workspace)?;
        let node = install::npm_packages(workspace, &source, "clients/sdks")?;
        link(&helper, &node.join("node_modules/llmgw-auth"))?;
        // Node looks for packages where a script is.
        for script in scripts(&source)? {
            copy(&script, &node)?;
        }
        Ok(Self {
            source,
            node,
            tools: workspace.tools(),
        })
    }

    /// Runs a script of `tools/e2e/clients` with the Python packages of `{environment}.txt`.
    #[must_use]
    pub fn python(&self, environment: &str, script: &str) -> Command {
        let interpreter = format!("clients/{environment}/bin/python");
        let mut command = Command::new(self.tools.join(interpreter));
        command.arg("-B").arg(self.source.join(script));
        command
    }

    /// The folder of the npm packages.
    #[must_use]
    pub fn node_modules(&self) -> PathBuf {
        self.node.join("node_modules")
    }

    /// Runs a script of `tools/e2e/clients` with Node.
    #[must_use]
    pub fn node(&self, script: &str) -> Command {
        let mut command = Command::new("node");
        command.arg(self.node.join(script));
        command
    }
}

/// The scripts for Node in a folder.
fn scripts(folder: &Path) -> Result<Vec<PathBuf>, ClientError> {
    let entries = fs::read_dir(folder).map_err(|cause| ClientError::File {
        path: folder.to_owned(),
        cause,
    })?;
    let files = entries.flatten().map(|entry| entry.path());
    Ok(files
        .filter(|path| path.extension().is_some_and(|it| it == "mjs"))
        .collect())
}

/// Makes `link` a link to `to`, also if it is one to another checkout's folder.
fn link(to: &Path, link: &Path) -> Result<(), ClientError> {
    let file_error = |cause| ClientError::File {
        path: link.to_owned(),
        cause,
    };
    match fs::read_link(link) {
        Ok(found) if found == to => return Ok(()),
        Ok(_) => fs::remove_file(link).map_err(file_error)?,
        Err(_) => {}
    }
    symlink(to, link).map_err(file_error)
}

/// Copies a file into a folder.
fn copy(file: &Path, folder: &Path) -> Result<(), ClientError> {
    let path = folder.join(file.file_name().unwrap_or_default());
    match fs::copy(file, &path) {
        Ok(_) => Ok(()),
        Err(cause) => Err(ClientError::File { path, cause }),
    }
}
