//! The proxy function's process.

use std::process::ExitCode;

fn main() -> ExitCode {
    adapter::run_streaming(proxy::Proxy::load, proxy::handle)
}
