//! Holds a service for a minute. A test kills this process and expects the service to end.

use std::process::Command;
use std::thread;
use std::time::Duration;

use stack::process::{Launch, ProcessError};
use stack::{RunDir, Workspace};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let marker = std::env::args().nth(1).ok_or("needs a marker")?;
    let run = RunDir::unique(&Workspace::locate(), "hold")?;
    let _service = start(&marker, &run)?;
    thread::sleep(Duration::from_mins(1));
    Ok(())
}

/// A shell with a child of its own, whose command line contains the marker.
fn start(marker: &str, run: &RunDir) -> Result<stack::process::Process, ProcessError> {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("sleep 61 & sleep 61 # {marker}\nexit")]);
    Launch::new("held", command, run).start()
}
