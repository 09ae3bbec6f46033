//! What `cargo xtask dev` shows once everything runs.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use stack::progress::step;

use crate::dev::Running;

/// Shows the gateway at work.
pub(crate) fn run(stack: &Running<'_>) -> Result<()> {
    step("first request", || health(&stack.gateway))?;
    eprintln!("The gateway answers on {}", stack.gateway);
    Ok(())
}

/// `GET /api/v1/health`. The first request also builds and starts the function.
fn health(gateway: &str) -> Result<()> {
    let url = format!("{gateway}/api/v1/health");
    let client = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .timeout_global(Some(Duration::from_mins(2)))
        .build()
        .new_agent();
    let status = client
        .get(&url)
        .call()
        .with_context(|| format!("GET {url}"))?
        .status();
    ensure!(status == 200, "GET {url} answers {status}");
    Ok(())
}
