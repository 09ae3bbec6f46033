//! The options of a run.

use std::path::PathBuf;

use clap::Parser;

/// Measures what the gateway adds to a request.
#[derive(Debug, Clone, Parser)]
pub struct Options {
    /// Rounds of each comparison; the median counts
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Requests to each subject in a round of latencies
    #[arg(long, default_value_t = 200)]
    pub requests: usize,
    /// Cold starts of each function
    #[arg(long, default_value_t = 15)]
    pub starts: usize,
    /// Requests over which memory must not grow
    #[arg(long, default_value_t = 10_000)]
    pub many: usize,
    /// Requests that are sent concurrently
    #[arg(long, default_value_t = 4_000)]
    pub crowd: usize,
    /// Take the executables that `cargo xtask package` has built instead of building
    #[arg(long)]
    pub packaged: bool,
    /// Measure this executable of the proxy, an older one for example
    #[arg(long, value_name = "FILE")]
    pub proxy: Option<PathBuf>,
    /// Count instructions, and measure nothing else
    #[arg(long)]
    pub only_instructions: bool,
    /// Run without Envoy
    #[arg(long)]
    pub no_peer: bool,
}
