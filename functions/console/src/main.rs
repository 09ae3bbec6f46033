//! The console function's process.

use std::process::ExitCode;

fn main() -> ExitCode {
    adapter::run_streaming(console::Console::load, console::handle)
}
