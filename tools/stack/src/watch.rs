//! API Gateway's and Lambda's stand-in: `cargo lambda watch` (PyPI `cargo-lambda`).
//!
//! # Routing
//!
//! The router in the root `Cargo.toml`, `[workspace.metadata.lambda.watch.router]`, maps paths to
//! functions, in both modes below, so `GET {url}/api/v1/health` works as it does when deployed.
//! Any function is also at `{url}/lambda-url/<function>/<path>`, where the function sees `/<path>`.
//! Both make events of the v2 format. A raw event, such as a REST v1 one from `events/`, is sent
//! with `POST {url}/2015-03-31/functions/<function>/invocations`; its answer is the function's
//! JSON, or, from a streaming function, the prelude and the body as they are.
//!
//! A path without a function of its own is `health`'s, as behind API Gateway, so it is answered by the
//! gateway's own 404.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::cargo;
use crate::install::Tools;
use crate::port::Port;
use crate::probe::Probe;
use crate::process::{Launch, Process, ProcessError};
use crate::workspace::RunDir;

const READY: Duration = Duration::from_secs(30);

/// The greatest number of concurrent instances of a function, which answer one request at a time. They are
/// started as requests wait for one; those above the number wait, where Lambda refuses them.
pub const INSTANCES: usize = 64;

/// A running `cargo lambda watch`.
#[derive(Debug)]
pub struct Watch {
    process: Process,
    port: Port,
}

impl Watch {
    /// Builds and starts each function on its first request. Code that changes is not its concern: `cargo lambda
    /// watch` 1.9.2 would kill functions that answer.
    /// The functions get `env` in addition to this process's environment.
    pub fn functions(
        tools: &Tools,
        run: &RunDir,
        port: Port,
        env: &[(&str, String)],
    ) -> Result<Self, ProcessError> {
        let process = Self::launch(tools, run, &port, env)?;
        Ok(Self { process, port })
    }

    /// Starts the functions of [`Watch::functions`] again if it has ended.
    pub fn revive(
        &mut self,
        tools: &Tools,
        run: &RunDir,
        env: &[(&str, String)],
    ) -> Result<bool, ProcessError> {
        let ended = self.process.has_ended();
        if ended {
            self.process = Self::launch(tools, run, &self.port, env)?;
        }
        Ok(ended)
    }

    fn launch(
        tools: &Tools,
        run: &RunDir,
        port: &Port,
        env: &[(&str, String)],
    ) -> Result<Process, ProcessError> {
        let mut command = watch(tools, run, port);
        command
            .arg("--ignore-changes")
            .args(["--concurrency", &INSTANCES.to_string()])
            // The functions use this stack's credentials, not the developer's.
            .env_remove("AWS_PROFILE")
            .env_remove("AWS_SESSION_TOKEN")
            .env_remove("GATEWAY_OPENROUTER_KEY")
            // Not on the command line, where every user of the machine could read them.
            .envs(env.iter().map(|(name, value)| (name, value)));
        Self::start(command, run, port)
    }

    /// Starts without functions: [`Function::spawn`] runs them, from executables that are already built.
    /// A request waits until its function asks for work.
    pub fn only_apis(tools: &Tools, run: &RunDir, port: Port) -> Result<Self, ProcessError> {
        let mut command = watch(tools, run, &port);
        // `--verbose` logs when a function connects, which `Function::spawn` waits for.
        command.args(["--only-lambda-apis", "--verbose"]);
        let process = Self::start(command, run, &port)?;
        Ok(Self { process, port })
    }

    /// The gateway's base URL, without a trailing slash.
    #[must_use]
    pub fn url(&self) -> String {
        self.port.url()
    }

    /// The gateway's port on this machine.
    #[must_use]
    pub fn port(&self) -> &Port {
        &self.port
    }

    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    fn start(command: Command, run: &RunDir, port: &Port) -> Result<Process, ProcessError> {
        Launch::new("gateway", command, run)
            .port(port)
            .ready(Probe::Tcp(port.number()), READY)
            .start()
    }
}

/// A function's executable, run as Lambda runs it. Several of the same name share its requests.
#[derive(Debug)]
pub struct Function {
    process: Process,
}

impl Function {
    /// Runs `binary` as an instance of the function `name`, with `env` and nothing else in its
    /// environment, so that a test sees which variables it needs. Its log is `<run>/<name>.log`.
    ///
    /// Returns once a function of this name has asked for work: `cargo lambda watch` 1.9.2 may lose a
    /// request, with status 500, that arrives together with a function's first request for work.
    ///
    /// # Errors
    ///
    /// [`ProcessError::Died`] if it ends instead, for instance for lack of configuration.
    pub fn spawn(
        watch: &Watch,
        run: &RunDir,
        name: &str,
        binary: &Path,
        env: &[(&str, String)],
    ) -> Result<Self, ProcessError> {
        let mut command = Command::new(binary);
        command
            .env_clear()
            .env("AWS_LAMBDA_FUNCTION_NAME", name)
            .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
            .env(
                "AWS_LAMBDA_RUNTIME_API",
                format!("{}/.rt/{name}", watch.url()),
            )
            .envs(env.iter().map(|(name, value)| (name, value)))
            .current_dir(run.path());
        let connected = Probe::Line {
            file: watch.process.log().to_owned(),
            text: connected(name),
        };
        let process = Launch::new(name, command, run)
            .ready(connected, READY)
            .start()?;
        Ok(Self { process })
    }

    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    pub fn process_mut(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// The line that `cargo lambda watch` logs at the first connection of a function.
fn connected(name: &str) -> String {
    format!("initialized in first lambda connection function_name=\"{name}\"")
}

fn watch(tools: &Tools, run: &RunDir, port: &Port) -> Command {
    let mut command = Command::new(tools.python_program("cargo-lambda"));
    cargo::clean(&mut command);
    command
        .args(["lambda", "watch", "--disable-cors"])
        .args(["--invoke-address", "127.0.0.1"])
        .args(["--invoke-port", &port.number().to_string()])
        .current_dir(run.workspace().root());
    command
}

#[cfg(test)]
mod tests;
