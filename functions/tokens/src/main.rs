//! The tokens function's process.

use std::process::ExitCode;

fn main() -> ExitCode {
    adapter::run_buffered(tokens::Tokens::load, tokens::handle)
}
