//! The browsers that pages are tested in.

use std::path::PathBuf;
use std::process::Command;

use stack::process;

/// Names of Chromium's program, Debian's first.
pub(super) const CHROMIUM: &[&str] = &["chromium", "chromium-browser", "google-chrome"];
/// Names of Firefox's program, Debian's first.
pub(super) const FIREFOX: &[&str] = &["firefox-esr", "firefox"];

/// A browser's program, if there is one that starts.
pub(super) fn find(names: &[&str]) -> Option<PathBuf> {
    let found = process::find(names)?;
    process::run(Command::new(&found).arg("--version"))
        .is_ok()
        .then_some(found)
}
