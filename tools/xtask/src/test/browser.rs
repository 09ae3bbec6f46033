//! The browser that pages are tested in.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use stack::process::run as run_quietly;

/// Names of the browser's program, Debian's first.
pub(super) const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// The browser's program, if there is one.
#[expect(
    clippy::disallowed_methods,
    reason = "a program's path is no configuration of ours"
)]
pub(super) fn find() -> Option<PathBuf> {
    let path: OsString = std::env::var_os("PATH")?;
    let found = NAMES.iter().find_map(|name| {
        std::env::split_paths(&path)
            .map(|folder| folder.join(name))
            .find(|it| it.is_file())
    })?;
    run_quietly(Command::new(&found).arg("--version"))
        .is_ok()
        .then_some(found)
}
