//! `--debug`: the log on stderr.

use std::{fs::File, io, os::fd::AsFd, sync::Mutex};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

/// Starts logging to stderr. As in the functions, libraries log warnings only: at their finest level
/// some of them write headers and bodies.
pub fn init() -> io::Result<()> {
    // Not `io::stderr()`: `main` holds its lock, and a library's thread would wait forever.
    let stderr = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_writer(Mutex::new(stderr));
    let targets = Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target("llmgw", LevelFilter::DEBUG)
        .with_target("shared", LevelFilter::DEBUG);
    tracing_subscriber::registry()
        .with(lines)
        .with(targets)
        .try_init()
        .map_err(io::Error::other)
}
