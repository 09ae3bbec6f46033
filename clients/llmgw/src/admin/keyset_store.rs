//! Where the keyset is kept: in Secrets Manager, or in a file for those who manage secrets
//! otherwise. Either way a change is made only to what was read, so that two operators at once
//! never lose a key.

use std::{
    fmt, fs,
    fs::File,
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use shared::vault::{
    keyset::{Keyset, KeysetEdit, KeysetFault},
    secrets_manager::{FetchError, KeysetSource},
};
use zeroize::Zeroizing;

use super::secret::{self, ReplaceError, StoredKeyset};

/// Far more than any keyset; Secrets Manager takes 64 KiB.
const MAX_FILE: u64 = 1 << 20;
const GROUP_AND_OTHERS: u32 = 0o077;

/// Where the keyset is.
pub(super) enum KeysetStore {
    Secret { name: String, source: KeysetSource },
    File(KeysetFile),
}

/// A keyset as it was read, and what tells whether it is still the one that is kept.
pub(super) struct Snapshot {
    text: Zeroizing<String>,
    /// When the keyset was last changed. A Tink keyset has no place for times, but a secret's
    /// version and a file know when they were written, and neither can disagree with its content.
    /// So every change restarts every waiting time, which errs on the safe side.
    pub(super) changed_at: Timestamp,
    /// `None` for a file, which is compared by its content.
    secret: Option<StoredKeyset>,
}

impl Snapshot {
    /// For sealing and opening.
    pub(super) fn keyset(&self) -> Result<Keyset, KeysetFault> {
        Keyset::parse(&self.text)
    }

    /// For changing.
    pub(super) fn edit(&self) -> Result<KeysetEdit, KeysetFault> {
        KeysetEdit::parse(&self.text)
    }
}

/// Why the keyset could not be read or changed. Nothing of its content is in it.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    #[error("there is no keyset in {0}; make one with `llmgw admin keyset new`")]
    Missing(String),
    #[error("{0} exists already, and was left as it is; to rotate it, `llmgw admin keyset add`")]
    Exists(String),
    #[error(
        "{0} was changed by somebody else at the same time, and was left as it is; see \
         `llmgw admin keyset status`, then try again. (A secret whose earlier version was made \
         current by hand takes changes after its value was put once more, under a new version.)"
    )]
    Conflict(String),
    #[error("the keyset could not be read")]
    Fetch(#[from] FetchError),
    #[error("the keyset could not be written; see with `llmgw admin keyset status` whether it was")]
    Put(#[source] FetchError),
    #[error("others may read {} (mode {mode:04o}); run `chmod 600` on it, and if anybody did, rotate the keyset", path.display())]
    ReadableByOthers { path: PathBuf, mode: u32 },
    #[error("cannot read or write {}", path.display())]
    File { path: PathBuf, source: io::Error },
}

impl KeysetStore {
    pub(super) async fn read(&self) -> Result<Snapshot, StoreError> {
        tracing::debug!(place = %self, "reading the keyset");
        match self {
            Self::Secret { source, .. } => match secret::read(source).await {
                Ok(mut stored) => Ok(Snapshot {
                    text: std::mem::take(&mut stored.text),
                    changed_at: stored.changed_at,
                    secret: Some(stored),
                }),
                Err(error) if secret::is_missing(&error) => {
                    Err(StoreError::Missing(self.to_string()))
                }
                Err(error) => Err(error.into()),
            },
            Self::File(file) => file.read(),
        }
    }

    /// Puts `new` in the place of `old`, if that is still there.
    pub(super) async fn replace(&self, old: &Snapshot, new: &KeysetEdit) -> Result<(), StoreError> {
        tracing::debug!(place = %self, keys = ?new, "writing the keyset");
        let text = new.to_json();
        match (self, &old.secret) {
            (Self::Secret { source, .. }, Some(stored)) => secret::replace(source, stored, &text)
                .await
                .map_err(|error| self.refused(error)),
            (Self::File(file), _) => file.replace(old, &text),
            (Self::Secret { .. }, None) => Err(StoreError::Conflict(self.to_string())),
        }
    }

    /// Keeps a keyset where there is none.
    pub(super) async fn create(&self, text: &str) -> Result<(), StoreError> {
        match self {
            Self::Secret { source, .. } => secret::create(source, text)
                .await
                .map_err(|error| self.refused(error)),
            Self::File(file) => file.create(text),
        }
    }

    fn refused(&self, error: ReplaceError) -> StoreError {
        match error {
            ReplaceError::Conflict => StoreError::Conflict(self.to_string()),
            ReplaceError::Exists => StoreError::Exists(self.to_string()),
            ReplaceError::Failed(error) => StoreError::Put(error),
        }
    }
}

impl fmt::Display for KeysetStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret { name, .. } => write!(f, "the secret {name}"),
            Self::File(file) => write!(f, "the file {}", file.path.display()),
        }
    }
}

/// A keyset in a file of mode 0600.
pub(super) struct KeysetFile {
    path: PathBuf,
}

impl KeysetFile {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    fn read(&self) -> Result<Snapshot, StoreError> {
        let mut file = self.open()?;
        let metadata = file.metadata().map_err(|error| self.failed(error))?;
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
            .map_err(|error| self.failed(error))?;
        Ok(Snapshot {
            text: self.content(&mut file)?,
            changed_at,
            secret: None,
        })
    }

    fn replace(&self, old: &Snapshot, text: &str) -> Result<(), StoreError> {
        // Whoever writes holds this, until the file has been replaced.
        let mut file = self.open()?;
        file.lock().map_err(|error| self.failed(error))?;
        let conflict = || StoreError::Conflict(format!("the file {}", self.path.display()));
        let locked = file.metadata().map_err(|error| self.failed(error))?;
        let current = fs::metadata(&self.path).map_err(|error| self.failed(error))?;
        if (locked.dev(), locked.ino()) != (current.dev(), current.ino())
            || self.content(&mut file)? != old.text
        {
            return Err(conflict());
        }
        // Where a link leads to, so that it stays a link, and what it leads to is what changes.
        let path = fs::canonicalize(&self.path).map_err(|error| self.failed(error))?;
        self.written(text, &path)?
            .persist(&path)
            .map_err(|error| self.failed(error.error))?;
        Ok(())
    }

    fn create(&self, text: &str) -> Result<(), StoreError> {
        match self
            .written(text, &self.path)?
            .persist_noclobber(&self.path)
        {
            Ok(_) => Ok(()),
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Err(
                StoreError::Exists(format!("the file {}", self.path.display())),
            ),
            Err(error) => Err(self.failed(error.error)),
        }
    }

    /// A file beside `path` that holds `text`, on the disk.
    fn written(&self, text: &str, path: &Path) -> Result<tempfile::NamedTempFile, StoreError> {
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
        write().map_err(|error| self.failed(error))
    }

    fn open(&self) -> Result<File, StoreError> {
        File::open(&self.path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                StoreError::Missing(format!("the file {}", self.path.display()))
            }
            _ => self.failed(error),
        })
    }

    fn content(&self, file: &mut File) -> Result<Zeroizing<String>, StoreError> {
        // Enough for no reallocation to leave a copy behind.
        let length = file.metadata().map_or(0, |it| it.len()).min(MAX_FILE) + 1;
        let mut text = Zeroizing::new(String::with_capacity(usize::try_from(length).unwrap_or(0)));
        file.take(MAX_FILE)
            .read_to_string(&mut text)
            .map_err(|error| self.failed(error))?;
        Ok(text)
    }

    fn failed(&self, source: io::Error) -> StoreError {
        StoreError::File {
            path: self.path.clone(),
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use shared::vault::secret::KeyId;

    use super::*;

    fn text(id: u32) -> Zeroizing<String> {
        Keyset::generate(&Zeroizing::new([7; 64]), KeyId(id))
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_file_is_private_and_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keyset.json");
        let file = KeysetFile::new(&path);
        assert!(matches!(file.read(), Err(StoreError::Missing(_))));
        file.create(&text(1)).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert!(matches!(file.create(&text(2)), Err(StoreError::Exists(_))));

        let first = file.read().unwrap();
        assert_eq!(first.keyset().unwrap().primary_id(), KeyId(1));
        let mut edit = first.edit().unwrap();
        edit.add(&Zeroizing::new([8; 64]), KeyId(2)).unwrap();
        file.replace(&first, &edit.to_json()).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(file.read().unwrap().edit().unwrap().keys().count(), 2);

        let lost = file.replace(&first, &text(3));
        assert!(matches!(lost, Err(StoreError::Conflict(_))), "{lost:?}");
        assert_eq!(file.read().unwrap().edit().unwrap().keys().count(), 2);
        let entries = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(entries, 1, "no temporary file is left");
    }

    #[test]
    fn a_link_stays_and_what_it_leads_to_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let there = folder.path().join("volume");
        fs::create_dir(&there).unwrap();
        let (path, link) = (there.join("keyset.json"), folder.path().join("link.json"));
        KeysetFile::new(&path).create(&text(1)).unwrap();
        std::os::unix::fs::symlink("volume/keyset.json", &link).unwrap();
        let file = KeysetFile::new(&link);
        assert!(matches!(file.create(&text(2)), Err(StoreError::Exists(_))));

        let read = file.read().unwrap();
        let mut edit = read.edit().unwrap();
        edit.add(&Zeroizing::new([8; 64]), KeyId(2)).unwrap();
        file.replace(&read, &edit.to_json()).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        let keyset = KeysetFile::new(&path).read().unwrap().edit().unwrap();
        assert_eq!(keyset.keys().count(), 2);
        assert_eq!(mode(&path), 0o600);
    }

    /// Each of them adds a key to what it read, and tries again when it was too slow.
    #[test]
    fn of_many_writers_none_loses_a_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keyset.json");
        KeysetFile::new(&path).create(&text(1)).unwrap();
        std::thread::scope(|scope| {
            for id in 2..10 {
                let file = KeysetFile::new(&path);
                scope.spawn(move || {
                    loop {
                        let read = file.read().unwrap();
                        let mut edit = read.edit().unwrap();
                        edit.add(&Zeroizing::new([8; 64]), KeyId(id)).unwrap();
                        match file.replace(&read, &edit.to_json()) {
                            Ok(()) => break,
                            Err(StoreError::Conflict(_)) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                });
            }
        });
        let keyset = KeysetFile::new(&path).read().unwrap().edit().unwrap();
        assert_eq!(keyset.keys().count(), 9);
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keyset.json");
        KeysetFile::new(&path).create(&text(1)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let refused = KeysetFile::new(&path).read().map(drop);
        assert!(
            matches!(
                refused,
                Err(StoreError::ReadableByOthers { mode: 0o640, .. })
            ),
            "{refused:?}"
        );
    }
}
