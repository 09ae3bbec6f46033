//! AWS's own Lambda runtime interface emulator, which PyPI's `aws-sam-cli` brings: the real lifecycle
//! of one environment, started by its first invocation, one invocation at a time. It buffers answers.
//! <https://github.com/aws/aws-lambda-runtime-interface-emulator>

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::install::Tools;
use crate::port::Port;
use crate::probe::Probe;
use crate::process::{Launch, Process, ProcessError};
use crate::workspace::RunDir;

const READY: Duration = Duration::from_secs(30);

/// A running emulator.
#[derive(Debug)]
pub struct Emulator {
    process: Process,
    port: Port,
    /// The port of the function's Runtime API.
    _runtime_api: Port,
}

impl Emulator {
    /// Serves `bootstrap`, the artifact of a function, as `name`, with `env` and nothing else in its
    /// environment. Each invocation may take `timeout`, in whole seconds. The log of both is
    /// `<run>/<name>.log`.
    pub fn start(
        tools: &Tools,
        run: &RunDir,
        name: &str,
        bootstrap: &Path,
        timeout: Duration,
        env: &[(&str, String)],
    ) -> Result<Self, PortOrProcess> {
        let (port, runtime_api) = (Port::free()?, Port::free()?);
        let address = |port: &Port| format!("127.0.0.1:{}", port.number());
        let mut command = Command::new(tools.runtime_interface_emulator());
        command
            .args(["--runtime-interface-emulator-address", &address(&port)])
            .args(["--runtime-api-address", &address(&runtime_api)])
            .arg(bootstrap)
            .env_clear()
            .env("AWS_LAMBDA_FUNCTION_NAME", name)
            .env("AWS_LAMBDA_FUNCTION_TIMEOUT", timeout.as_secs().to_string())
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")
            .envs(env.iter().map(|(name, value)| (name, value)))
            .current_dir(run.path());
        let process = Launch::new(name, command, run)
            .port(&port)
            .ready(Probe::Tcp(port.number()), READY)
            .start()?;
        Ok(Self {
            process,
            port,
            _runtime_api: runtime_api,
        })
    }

    /// The URL to which events are posted.
    #[must_use]
    pub fn invocations(&self) -> String {
        format!(
            "{}/2015-03-31/functions/function/invocations",
            self.port.url()
        )
    }

    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    pub fn process_mut(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// The reason why an emulator did not start.
#[derive(Debug, thiserror::Error)]
pub enum PortOrProcess {
    #[error(transparent)]
    Port(#[from] crate::port::PortError),
    #[error(transparent)]
    Process(#[from] ProcessError),
}
