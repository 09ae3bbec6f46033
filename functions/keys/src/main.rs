//! The keys function's process.

use std::process::ExitCode;

fn main() -> ExitCode {
    adapter::run_buffered(keys::Keys::load, keys::handle)
}
