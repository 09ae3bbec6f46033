//! The usage function's process.

use std::process::ExitCode;

fn main() -> ExitCode {
    adapter::run_buffered(usage::Usage::load, usage::handle)
}
