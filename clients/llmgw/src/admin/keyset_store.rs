//! The place of the keyset: a secret in Secrets Manager, or a file for other ways of managing secrets.
//! In both a change replaces only what was read, so that concurrent operators never lose a key.

mod file;
mod secrets_manager;
mod snapshot;

use std::{fmt, path::PathBuf};

use shared::vault::{keyset::KeysetEdit, secrets_manager::SecretSource};

pub(super) use self::snapshot::Snapshot;
use self::{file::KeysetFile, secrets_manager::ReplaceError, snapshot::StoreError};

/// The place of the keyset.
pub(super) enum KeysetStore {
    Secret { name: String, source: SecretSource },
    File(KeysetFile),
}

impl KeysetStore {
    pub(super) fn file(path: PathBuf) -> Self {
        Self::File(KeysetFile::new(path))
    }

    pub(super) async fn read(&self) -> Result<Snapshot, StoreError> {
        tracing::debug!(place = %self, "reading the keyset");
        match self {
            Self::Secret { source, .. } => match secrets_manager::read(source).await {
                Ok(stored) => Ok(Snapshot::of_secret(stored)),
                Err(error) if secrets_manager::is_missing(&error) => {
                    Err(StoreError::Missing(self.to_string()))
                }
                Err(error) => Err(error.into()),
            },
            Self::File(file) => file.read(),
        }
    }

    /// Replaces `old` by `new`. Fails if `old` is no longer current.
    pub(super) async fn replace(&self, old: &Snapshot, new: &KeysetEdit) -> Result<(), StoreError> {
        tracing::debug!(place = %self, keys = ?new, "writing the keyset");
        let text = new.to_json();
        match (self, old.secret()) {
            (Self::Secret { source, .. }, Some(stored)) => {
                secrets_manager::replace(source, stored, &text)
                    .await
                    .map_err(|error| self.error(error))
            }
            (Self::File(file), _) => file.replace(old, &text),
            (Self::Secret { .. }, None) => Err(StoreError::Conflict(self.to_string())),
        }
    }

    /// Stores a keyset. Fails if there is one.
    pub(super) async fn create(&self, text: &str) -> Result<(), StoreError> {
        match self {
            Self::Secret { source, .. } => secrets_manager::create(source, text)
                .await
                .map_err(|error| self.error(error)),
            Self::File(file) => file.create(text),
        }
    }

    fn error(&self, error: ReplaceError) -> StoreError {
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
            Self::File(file) => file.fmt(f),
        }
    }
}
