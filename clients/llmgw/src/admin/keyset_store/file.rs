//! A keyset in a file.

use std::{
    fmt, fs,
    fs::File,
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use zeroize::Zeroizing;

use super::snapshot::{Snapshot, StoreError};

/// The most that is read. Secrets Manager's limit is 64 KiB.
const MAX_FILE: u64 = 1 << 20;
/// The permission bits of everyone but the owner.
const GROUP_AND_OTHERS: u32 = 0o077;

/// A keyset in a file of mode 0600.
pub(in super::super) struct KeysetFile {
    path: PathBuf,
}

impl KeysetFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(super) fn read(&self) -> Result<Snapshot, StoreError> {
        let mut file = self.open()?;
        let metadata = file.metadata().map_err(|error| self.error(error))?;
        let mode = metadata.permissions().mode() & 0o7777;
        if mode & GROUP_AND_OTHERS != 0 {
            return Err(StoreError::ReadableByOthers {
                path: self.path.clone(),
                mode,
            });
        }
        let changed_at = metadata
            .modified()
            .and_then(|time| Timestamp::try_from(time).map_err(io::Error::other))
            .map_err(|error| self.error(error))?;
        Ok(Snapshot::of_file(self.content(&mut file)?, changed_at))
    }

    pub(super) fn replace(&self, old: &Snapshot, text: &str) -> Result<(), StoreError> {
        // Every writer holds this lock until the file is replaced.
        let mut file = self.open()?;
        file.lock().map_err(|error| self.error(error))?;
        let conflict = || StoreError::Conflict(self.to_string());
        let locked = file.metadata().map_err(|error| self.error(error))?;
        let current = fs::metadata(&self.path).map_err(|error| self.error(error))?;
        if (locked.dev(), locked.ino()) != (current.dev(), current.ino())
            || !old.has_text(&self.content(&mut file)?)
        {
            return Err(conflict());
        }
        // A link is kept, and its target replaced.
        let path = fs::canonicalize(&self.path).map_err(|error| self.error(error))?;
        self.write_beside(text, &path)?
            .persist(&path)
            .map_err(|error| self.error(error.error))?;
        Ok(())
    }

    pub(super) fn create(&self, text: &str) -> Result<(), StoreError> {
        match self
            .write_beside(text, &self.path)?
            .persist_noclobber(&self.path)
        {
            Ok(_) => Ok(()),
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
                Err(StoreError::Exists(self.to_string()))
            }
            Err(error) => Err(self.error(error.error)),
        }
    }

    /// Writes `text` to a temporary file beside `path`.
    fn write_beside(&self, text: &str, path: &Path) -> Result<tempfile::NamedTempFile, StoreError> {
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let write = || {
            let mut file = tempfile::Builder::new()
                .prefix(".keyset-")
                .permissions(fs::Permissions::from_mode(0o600))
                .tempfile_in(directory)?;
            file.write_all(text.as_bytes())?;
            file.as_file().sync_all()?;
            Ok(file)
        };
        write().map_err(|error| self.error(error))
    }

    fn open(&self) -> Result<File, StoreError> {
        File::open(&self.path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => StoreError::Missing(self.to_string()),
            _ => self.error(error),
        })
    }

    fn content(&self, file: &mut File) -> Result<Zeroizing<String>, StoreError> {
        // The full capacity at once: a reallocation would leave a copy behind.
        let length = file.metadata().map_or(0, |it| it.len()).min(MAX_FILE) + 1;
        let mut text = Zeroizing::new(String::with_capacity(usize::try_from(length).unwrap_or(0)));
        file.take(MAX_FILE)
            .read_to_string(&mut text)
            .map_err(|error| self.error(error))?;
        Ok(text)
    }

    fn error(&self, source: io::Error) -> StoreError {
        StoreError::File {
            path: self.path.clone(),
            source,
        }
    }
}

impl fmt::Display for KeysetFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the file {}", self.path.display())
    }
}

#[cfg(test)]
mod tests;
