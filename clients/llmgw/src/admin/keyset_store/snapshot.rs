//! A keyset as it was read.

use std::{io, path::PathBuf};

use jiff::Timestamp;
use shared::vault::{
    keyset::{Keyset, KeysetFault},
    secrets_manager::FetchError,
};
use zeroize::Zeroizing;

use super::{super::keyset_edit::KeysetEdit, secrets_manager::StoredKeyset};

/// A keyset as it was read. Its replacement requires that it is still current.
pub(in super::super) struct Snapshot {
    text: Zeroizing<String>,
    /// The time of the last change. A Tink keyset has no place for times, but a secret's version and a
    /// file have one, and neither can disagree with its content. Every change restarts every waiting
    /// time, which errs on the safe side.
    pub(in super::super) changed_at: Timestamp,
    /// `None` for a file, which is compared by its content.
    secret: Option<StoredKeyset>,
}

impl Snapshot {
    pub(super) fn of_secret(mut stored: StoredKeyset) -> Self {
        Self {
            text: std::mem::take(&mut stored.text),
            changed_at: stored.changed_at,
            secret: Some(stored),
        }
    }

    pub(super) fn of_file(text: Zeroizing<String>, changed_at: Timestamp) -> Self {
        Self {
            text,
            changed_at,
            secret: None,
        }
    }

    /// The keyset, for sealing and opening.
    pub(in super::super) fn keyset(&self) -> Result<Keyset, KeysetFault> {
        Keyset::parse(&self.text)
    }

    /// The keyset, for changing.
    pub(in super::super) fn edit(&self) -> Result<KeysetEdit, KeysetFault> {
        KeysetEdit::parse(&self.text)
    }

    /// The version of the secret that it was read from.
    pub(super) fn secret(&self) -> Option<&StoredKeyset> {
        self.secret.as_ref()
    }

    pub(super) fn has_text(&self, text: &str) -> bool {
        self.text.as_str() == text
    }
}

/// The reason why the keyset could not be read or changed. It contains nothing of the keyset.
#[derive(Debug, thiserror::Error)]
pub(in super::super) enum StoreError {
    #[error("there is no keyset in {0}; create one with `llmgw admin keyset new`")]
    Missing(String),
    #[error("{0} exists already and was not changed; to rotate it, `llmgw admin keyset add`")]
    Exists(String),
    #[error(
        "{0} was changed by somebody else at the same time and was not changed here; see \
         `llmgw admin keyset status`, then try again. (A secret whose former version was made \
         current by hand can be changed after its value was stored once more, as a new version.)"
    )]
    Conflict(String),
    #[error("the keyset could not be read")]
    Fetch(#[from] FetchError),
    #[error("the keyset could not be written; check with `llmgw admin keyset status`")]
    Put(#[source] FetchError),
    #[error(
        "others may read {} (mode {mode:04o}); run `chmod 600` on it, and rotate the keyset if \
         anybody has",
        path.display()
    )]
    ReadableByOthers { path: PathBuf, mode: u32 },
    #[error("cannot read or write {}", path.display())]
    File { path: PathBuf, source: io::Error },
}
