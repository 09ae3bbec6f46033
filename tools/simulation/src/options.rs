//! The options of a run.

use clap::Args;

/// The options of a run.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Number of requests
    #[arg(long, default_value_t = Self::default().requests)]
    pub requests: usize,
    /// The seed, which decides everything but the timing
    #[arg(long, default_value_t = Self::default().seed)]
    pub seed: u64,
    /// Number of concurrent requests, each in an environment of its own
    #[arg(long, default_value_t = Self::default().environments)]
    pub environments: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            requests: 200,
            seed: 1,
            environments: 24,
        }
    }
}
