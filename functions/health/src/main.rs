//! The health function's process.

use std::process::ExitCode;

fn main() -> ExitCode {
    adapter::run_buffered(health::Health::load, health::handle)
}
