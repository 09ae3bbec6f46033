//! The reconcile function's process.

use std::process::ExitCode;

fn main() -> ExitCode {
    adapter::run_scheduled(reconcile::Reconcile::load, reconcile::handle)
}
