//! The needs of the ignored tests.
//!
//! A test names a need that is not met everywhere: `#[ignore = "needs OPENROUTER_RECORDINGS"]`.
//! libtest does not report reasons, so they are read from the sources.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Test functions by what they need.
#[derive(Debug, Default)]
pub(crate) struct Needs {
    tests: BTreeMap<String, Vec<String>>,
}

impl Needs {
    /// Reads all sources of the workspace.
    pub(crate) fn of_workspace(root: &Path) -> io::Result<Self> {
        let mut needs = Self::default();
        let mut folders: Vec<PathBuf> = ["clients", "functions", "shared", "tools"]
            .map(|it| root.join(it))
            .into();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|it| it == "rs") {
                    needs.read(&fs::read_to_string(path)?);
                }
            }
        }
        Ok(needs)
    }

    /// The names of the test functions that need `what`, without their modules.
    pub(crate) fn tests(&self, what: &str) -> &[String] {
        self.tests.get(what).map_or(&[], Vec::as_slice)
    }

    /// Everything that some test needs.
    pub(crate) fn all(&self) -> impl Iterator<Item = &str> {
        self.tests.keys().map(String::as_str)
    }

    fn read(&mut self, source: &str) {
        let mut need = None;
        for line in source.lines().map(str::trim) {
            let reason = line
                .strip_prefix("#[ignore = \"needs ")
                .and_then(|it| it.strip_suffix("\"]"));
            if let Some(what) = reason {
                need = Some(what.to_owned());
            } else if let Some(name) = function_name(line)
                && let Some(what) = need.take()
            {
                self.tests.entry(what).or_default().push(name.to_owned());
            }
        }
    }
}

/// `name` in `fn name(`, `pub async fn name(` and the like.
fn function_name(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("fn ")?;
    let modifiers = ["", "async", "pub", "pub async", "pub(crate)"];
    if !modifiers.contains(&before.trim()) {
        return None;
    }
    after.split_once('(').map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_tests_are_found_with_their_needs() {
        let mut needs = Needs::default();
        needs.read(
            r#"
            #[test]
            fn plain() {}
            #[tokio::test]
            #[IGNORE = "needs DATA"]
            #[expect(clippy::disallowed_methods, reason = "tests read their environment")]
            async fn of_data() { let f = |it| it; }
            #[test]
            #[IGNORE = "slow"]
            fn slow() {}
            #[IGNORE = "needs PYTHON"]
            #[test]
            fn oracle() {}
            "#
            // Or else this very sample would be found.
            .replace("IGNORE", "ignore")
            .as_str(),
        );
        assert_eq!(needs.tests("DATA"), ["of_data"]);
        assert_eq!(needs.tests("PYTHON"), ["oracle"]);
        assert_eq!(needs.all().collect::<Vec<_>>(), ["DATA", "PYTHON"]);
    }
}
