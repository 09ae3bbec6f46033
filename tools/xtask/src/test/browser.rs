//! The browsers that pages are tested in.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use stack::process::run as run_quietly;

/// Names of Chromium's program, Debian's first.
pub(super) const CHROMIUM: &[&str] = &["chromium", "chromium-browser", "google-chrome"];
/// Names of Firefox's program, Debian's first.
pub(super) const FIREFOX: &[&str] = &["firefox-esr", "firefox"];

/// A browser's program, if there is one.
#[expect(
    clippy::disallowed_methods,
    reason = "a program's path is no configuration of ours"
)]
pub(super) fn find(names: &[&str]) -> Option<PathBuf> {
    let path: OsString = std::env::var_os("PATH")?;
    let found = names.iter().find_map(|name| {
        std::env::split_paths(&path)
            .map(|folder| folder.join(name))
            .find(|it| it.is_file())
    })?;
    run_quietly(Command::new(&found).arg("--version"))
        .is_ok()
        .then_some(found)
}
