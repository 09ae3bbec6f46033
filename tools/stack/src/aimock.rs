//! OpenRouter's stand-in: npm `@copilotkit/aimock`.
//!
//! It answers from the fixtures in `tools/stack/fixtures/`. What it lacks (`/messages`,
//! `/generation`, `/rerank`, errors in mid-stream) needs a stub of the test's own.

use std::time::Duration;

use crate::install::Tools;
use crate::port::Port;
use crate::probe::Probe;
use crate::process::{Launch, Process, ProcessError};
use crate::workspace::RunDir;

/// The prompt (a part of it is enough) whose answer is streamed slowly enough to watch, and costs
/// exactly 0.0001234 credits.
pub const DEMO_PROMPT: &str = "Say hello";

/// A running aimock.
#[derive(Debug)]
pub struct Aimock {
    process: Process,
    port: Port,
}

impl Aimock {
    /// Starts it with this crate's fixtures. A request that none of them matches is answered with 503.
    pub fn start(tools: &Tools, run: &RunDir, port: Port) -> Result<Self, ProcessError> {
        let mut command = tools.node("@copilotkit/aimock/dist/cli.js");
        command
            .args(["--host", "127.0.0.1", "--port", &port.number().to_string()])
            .args(["--strict", "--validate-on-load", "--log-level", "warn"])
            .arg("--fixtures")
            .arg(run.workspace().assets().join("fixtures"));
        let process = Launch::new("aimock", command, run)
            .port(&port)
            .ready(
                Probe::http(format!("{}/health", port.url())),
                Duration::from_secs(30),
            )
            .start()?;
        Ok(Self { process, port })
    }

    /// The base URL of its OpenRouter API, for `OPENROUTER_BASE_URL`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}/api/v1", self.port.url())
    }

    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }
}
