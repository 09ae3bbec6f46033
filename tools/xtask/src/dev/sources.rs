//! The code of functions, watched for changes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Files and folders that functions are built from, below the workspace's root: those that `.cargolambdaignore`
/// leaves, for whoever runs `cargo lambda watch` by hand.
const SOURCES: [&str; 6] = [
    "Cargo.toml",
    "Cargo.lock",
    "rust-toolchain.toml",
    "functions",
    "shared/Cargo.toml",
    "shared/src",
];

/// The files with their times of change.
type Files = BTreeMap<PathBuf, SystemTime>;

/// The state of the code that runs, and the last that was seen.
pub(super) struct Sources {
    root: PathBuf,
    built: Files,
    seen: Files,
}

impl Sources {
    /// Takes the code below `root` for what runs.
    pub(super) fn new(root: &Path) -> Self {
        let built = read(root);
        Self {
            root: root.to_owned(),
            seen: built.clone(),
            built,
        }
    }

    /// Whether the code has changed, and stayed the same since the last look: an editor may write several files.
    pub(super) fn have_changed(&mut self) -> bool {
        let now = read(&self.root);
        let is_settled = now == self.seen;
        self.seen = now;
        is_settled && self.seen != self.built
    }

    /// Takes the code that was seen last for what runs, or for what cannot be built.
    pub(super) fn take(&mut self) {
        self.built.clone_from(&self.seen);
    }
}

fn read(root: &Path) -> Files {
    let mut files = Files::new();
    for source in SOURCES {
        collect(&root.join(source), &mut files);
    }
    files
}

/// Adds a file, or those below a folder. One that vanishes meanwhile is left out.
fn collect(path: &Path, files: &mut Files) {
    if path.is_dir() {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        for path in entries.map(|it| it.path()) {
            let is_test = path
                .file_name()
                .is_some_and(|it| it == "tests" || it == "tests.rs");
            let is_markdown = path.extension().is_some_and(|it| it == "md");
            if !is_test && !is_markdown {
                collect(&path, files);
            }
        }
    } else if let Ok(changed) = path.metadata().and_then(|it| it.modified()) {
        files.insert(path.to_owned(), changed);
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use stack::Workspace;

    use super::*;

    #[test]
    fn a_change_counts_when_it_has_settled() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("functions/proxy/src")).unwrap();
        fs::create_dir_all(root.join("shared/src")).unwrap();
        let write = |path: &str, text: &str| fs::write(root.join(path), text).unwrap();
        write("functions/proxy/src/lib.rs", "1");
        let mut sources = Sources::new(root);
        assert!(!sources.have_changed());

        for path in [
            "README.md",
            "functions/README.md",
            "functions/proxy/src/tests.rs",
            "notes.txt",
        ] {
            write(path, "2");
        }
        assert!(!sources.have_changed() && !sources.have_changed());

        write("shared/src/lib.rs", "2");
        assert!(!sources.have_changed(), "it may go on");
        assert!(sources.have_changed());
        sources.take();
        assert!(!sources.have_changed());
        fs::remove_file(root.join("shared/src/lib.rs")).unwrap();
        assert!(!sources.have_changed());
        assert!(sources.have_changed());
    }

    #[test]
    fn the_sources_are_what_cargo_lambda_watches() {
        let root = Workspace::locate().root().to_owned();
        let git = |args: &[&str]| {
            let output = Command::new("git").args(args).current_dir(&root).output();
            String::from_utf8(output.unwrap().stdout).unwrap()
        };
        let ignored = git(&[
            "ls-files",
            "--cached",
            "--ignored",
            "--exclude-from=.cargolambdaignore",
        ]);
        let ignored: Vec<_> = ignored.lines().collect();
        let listed = git(&["ls-files"]);
        let watched: Vec<_> = listed
            .lines()
            .filter(|it| !ignored.contains(it))
            .map(|it| root.join(it))
            .collect();
        assert!(watched.len() > 50);
        let files = read(&root);
        let read_of_git: Vec<_> = listed
            .lines()
            .map(|it| root.join(it))
            .filter(|it| files.contains_key(it))
            .collect();
        assert_eq!(read_of_git, watched);
    }
}
