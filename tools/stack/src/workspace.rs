//! The folders: the workspace, the tools that are installed for it, and the files of a run.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, test_kill_process};

/// The root of this Cargo workspace.
#[derive(Debug, Clone)]
pub struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// The workspace that this crate was compiled in.
    #[must_use]
    pub fn locate() -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = here.ancestors().nth(2).unwrap_or(here);
        Self {
            root: root.to_owned(),
        }
    }

    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `.tools/`: everything installed or written at run time; ignored by git, safe to delete.
    #[must_use]
    pub fn tools(&self) -> PathBuf {
        self.root.join(".tools")
    }

    /// This crate's own files: lock files, fixtures, SQL.
    pub(crate) fn assets(&self) -> PathBuf {
        self.root.join("tools/stack")
    }

    /// The script that applies the migrations, as operators do.
    pub(crate) fn migrate(&self) -> PathBuf {
        self.root.join("migrations/apply.sh")
    }
}

/// The folder of one run, `.tools/run/<name>/`: logs and generated configuration, for its owner alone. It
/// stays after the run, so that a failure can be looked into.
#[derive(Debug, Clone)]
pub struct RunDir {
    workspace: Workspace,
    path: PathBuf,
}

impl RunDir {
    /// A folder with a fixed name, emptied. Take the ports first: they keep two runs apart.
    pub fn named(workspace: &Workspace, name: &str) -> io::Result<Self> {
        let path = workspace.tools().join("run").join(name);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&path)?,
        }
        Ok(Self {
            workspace: workspace.clone(),
            path,
        })
    }

    /// A folder that no other run uses. Folders of the same name left by processes that have
    /// ended are removed.
    pub fn unique(workspace: &Workspace, name: &str) -> io::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        remove_abandoned(&workspace.tools().join("run"), name);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self::named(workspace, &format!("{name}-{}-{count}", std::process::id()))
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    #[must_use]
    pub fn workspace(&self) -> &Workspace {
        &self.workspace
    }

    /// The log file of the service `name`.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}.log"))
    }
}

/// Removes the folders `<name>-<pid>-…` in `parent` whose process is gone. Best effort: what
/// can't be removed today is tried again by the next run.
pub(crate) fn remove_abandoned(parent: &Path, name: &str) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        let file_name = entry.file_name();
        let owner = file_name
            .to_str()
            .and_then(|it| it.strip_prefix(name)?.strip_prefix('-'))
            .and_then(|it| it.split_once('-')?.0.parse().ok())
            .and_then(Pid::from_raw);
        if owner.is_some_and(|pid| test_kill_process(pid) == Err(rustix::io::Errno::SRCH)) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn only_its_owner_sees_into_the_folder_of_a_run() {
        let root = tempfile::tempdir().unwrap();
        let workspace = Workspace {
            root: root.path().to_owned(),
        };
        let run = RunDir::named(&workspace, "dev").unwrap();
        let mode = fs::metadata(run.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn only_folders_of_ended_processes_are_removed() {
        let parent = tempfile::tempdir().unwrap();
        // The highest process id that Linux allows is 2^22.
        let abandoned = parent.path().join("run-99999999-0");
        let live = parent.path().join(format!("run-{}-0", std::process::id()));
        let other = parent.path().join("other-99999999-0");
        for folder in [&abandoned, &live, &other] {
            fs::create_dir(folder).unwrap();
        }

        remove_abandoned(parent.path(), "run");

        assert!(!abandoned.exists());
        assert!(live.exists());
        assert!(other.exists());
    }
}
