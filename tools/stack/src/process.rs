//! Child processes that start completely or not at all, and never outlive this process.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

use crate::port::{Port, PortError};
use crate::probe::Probe;
use crate::watchdog;
use crate::workspace::RunDir;

/// The time that a group has to end before it is killed.
const GRACE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);
/// The lines of a log that an error message shows.
const TAIL_LINES: usize = 25;

#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    #[error("{name}: {cause}")]
    Port { name: String, cause: PortError },
    #[error("can't run {program}: {cause}")]
    Spawn { program: String, cause: io::Error },
    #[error("can't write the log {}: {cause}", log.display())]
    Log { log: PathBuf, cause: io::Error },
    #[error("{name} ended while it was starting ({status}). The end of {}:\n{tail}", log.display())]
    Died {
        name: String,
        status: ExitStatus,
        log: PathBuf,
        tail: String,
    },
    #[error("{name} was not ready after {} s. The end of {}:\n{tail}", after.as_secs(), log.display())]
    NotReady {
        name: String,
        after: Duration,
        log: PathBuf,
        tail: String,
    },
    #[error("{program} failed ({status}):\n{tail}")]
    Failed {
        program: String,
        status: ExitStatus,
        tail: String,
    },
}

/// A service about to be started.
#[derive(Debug)]
pub struct Launch<'a> {
    name: &'a str,
    command: Command,
    log: PathBuf,
    port: Option<&'a Port>,
    ready: Probe,
    timeout: Duration,
    stop: Signal,
}

impl<'a> Launch<'a> {
    /// Output goes to `<run>/<name>.log`.
    #[must_use]
    pub fn new(name: &'a str, command: Command, run: &RunDir) -> Self {
        Self {
            name,
            command,
            log: run.log(name),
            port: None,
            ready: Probe::None,
            timeout: Duration::from_secs(30),
            stop: Signal::TERM,
        }
    }

    /// The port that the service will listen on: checked before the start, since the service's
    /// own message about a busy port is often a stack trace.
    #[must_use]
    pub fn port(mut self, port: &'a Port) -> Self {
        self.port = Some(port);
        self
    }

    /// Sets the test of whether the service is ready, and the timeout for it.
    #[must_use]
    pub fn ready(mut self, probe: Probe, timeout: Duration) -> Self {
        self.ready = probe;
        self.timeout = timeout;
        self
    }

    /// Sets the signal that ends the service, in place of SIGTERM.
    #[must_use]
    pub fn stop(mut self, signal: Signal) -> Self {
        self.stop = signal;
        self
    }

    /// Starts the service and waits until it is ready.
    pub fn start(mut self) -> Result<Process, ProcessError> {
        if let Some(port) = self.port {
            port.check().map_err(|cause| ProcessError::Port {
                name: self.name.to_owned(),
                cause,
            })?;
        }
        let log_error = |cause| ProcessError::Log {
            log: self.log.clone(),
            cause,
        };
        let output = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .map_err(log_error)?;
        let errors = output.try_clone().map_err(log_error)?;
        self.command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors);
        let mut process = Process {
            name: self.name.to_owned(),
            group: Group::spawn(&mut self.command, self.stop)?,
            log: self.log,
        };
        process.wait_until(&mut self.ready, self.timeout)?;
        Ok(process)
    }
}

/// A running service. Dropping it ends its whole process group.
#[derive(Debug)]
pub struct Process {
    name: String,
    group: Group,
    log: PathBuf,
}

impl Process {
    /// The file of its output.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The last lines of its output.
    fn log_tail(&self) -> String {
        tail(&fs::read(&self.log).unwrap_or_default())
    }

    /// The id of the process and of its process group.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.group.child.id()
    }

    /// `Some` once it has ended.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.group.child.try_wait().ok().flatten()
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.exit_status().is_some()
    }

    fn wait_until(&mut self, ready: &mut Probe, timeout: Duration) -> Result<(), ProcessError> {
        let start = Instant::now();
        loop {
            // Checked first, because another process may be listening on the same port.
            if let Some(status) = self.exit_status() {
                return Err(ProcessError::Died {
                    name: self.name.clone(),
                    status,
                    log: self.log.clone(),
                    tail: self.log_tail(),
                });
            }
            if ready.succeeds() {
                return Ok(());
            }
            if start.elapsed() > timeout {
                return Err(ProcessError::NotReady {
                    name: self.name.clone(),
                    after: timeout,
                    log: self.log.clone(),
                    tail: self.log_tail(),
                });
            }
            thread::sleep(POLL);
        }
    }
}

/// Runs a command to its end. It is killed when this process ends, as services are.
///
/// # Errors
///
/// With the end of its output when it fails.
pub fn run(command: &mut Command) -> Result<Output, ProcessError> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let program = program(command);
    let output = Group::spawn(command, Signal::TERM)?
        .output()
        .map_err(|cause| ProcessError::Spawn {
            program: program.clone(),
            cause,
        })?;
    if output.status.success() {
        return Ok(output);
    }
    let mut text = output.stdout;
    text.extend_from_slice(&output.stderr);
    Err(ProcessError::Failed {
        program,
        status: output.status,
        tail: tail(&text),
    })
}

/// Runs a command to its end with this process's own output. It is killed when this process ends.
pub fn run_visibly(command: &mut Command) -> Result<ExitStatus, ProcessError> {
    let program = program(command);
    command.stdin(Stdio::null());
    let mut group = Group::spawn(command, Signal::TERM)?;
    group
        .child
        .wait()
        .map_err(|cause| ProcessError::Spawn { program, cause })
}

/// Ends a process group with this process, for children that are started by other means than a
/// [`Launch`]. Dropped once the group has ended.
#[derive(Debug)]
pub struct Guard(Pid);

impl Guard {
    /// Guards the group that `leader` leads.
    pub fn of(leader: Pid) -> io::Result<Self> {
        watchdog::watch(leader)?;
        Ok(Self(leader))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        watchdog::forget(self.0);
    }
}

/// A child that leads its own process group.
#[derive(Debug)]
struct Group {
    id: Pid,
    child: Child,
    stop: Signal,
}

impl Group {
    fn spawn(command: &mut Command, stop: Signal) -> Result<Self, ProcessError> {
        let error = |cause, command: &Command| ProcessError::Spawn {
            program: program(command),
            cause,
        };
        let child = command
            .process_group(0)
            .spawn()
            .map_err(|cause| error(cause, command))?;
        let group = Self {
            id: Pid::from_child(&child),
            child,
            stop,
        };
        // On failure, `drop` ends the child.
        watchdog::watch(group.id).map_err(|cause| error(cause, command))?;
        Ok(group)
    }

    fn output(mut self) -> io::Result<Output> {
        let stdout = self.child.stdout.take().map(read_in_background);
        let stderr = self.child.stderr.take().map(read_in_background);
        Ok(Output {
            status: self.child.wait()?,
            stdout: collect(stdout)?,
            stderr: collect(stderr)?,
        })
    }

    /// Waits until neither the leader nor anything that it left in the group is alive.
    fn ends_within(&mut self, limit: Duration) -> bool {
        let start = Instant::now();
        loop {
            // Reaps the leader: a zombie would count as alive.
            let _ = self.child.try_wait();
            if test_kill_process_group(self.id).is_err() {
                return true;
            }
            if start.elapsed() > limit {
                return false;
            }
            thread::sleep(POLL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = kill_process_group(self.id, self.stop);
        if !self.ends_within(GRACE) {
            let _ = kill_process_group(self.id, Signal::KILL);
            // init reaps its orphans, which takes a moment.
            self.ends_within(GRACE);
        }
        watchdog::forget(self.id);
    }
}

type Reader = thread::JoinHandle<io::Result<Vec<u8>>>;

fn read_in_background(mut source: impl io::Read + Send + 'static) -> Reader {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        source.read_to_end(&mut bytes)?;
        Ok(bytes)
    })
}

fn collect(reader: Option<Reader>) -> io::Result<Vec<u8>> {
    match reader {
        Some(reader) => reader
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("reading the output panicked"))),
        None => Ok(Vec::new()),
    }
}

fn program(command: &Command) -> String {
    let path = Path::new(command.get_program());
    path.file_name()
        .unwrap_or(OsStr::new("?"))
        .to_string_lossy()
        .into_owned()
}

fn tail(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(TAIL_LINES);
    lines.get(from..).unwrap_or_default().join("\n")
}

/// Finds a program in `PATH`, by the first of its names that is there.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "a program's path is no configuration of ours"
)]
pub fn find(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    names.iter().find_map(|name| {
        std::env::split_paths(&path)
            .map(|folder| folder.join(name))
            .find(|it| it.is_file())
    })
}

#[cfg(test)]
mod tests;
