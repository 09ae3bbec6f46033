//! Opening the keys that the database stores.

use shared::vault::{
    keyset::{Keyset, OpenError},
    secret::{ApiKey, MalformedSealedKey, SealedKey},
};

use super::storage::StoredKey;

/// The reason why a row cannot be opened.
#[derive(Debug, Clone, Copy, thiserror::Error)]
pub(super) enum RowFault {
    #[error(transparent)]
    Malformed(#[from] MalformedSealedKey),
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl RowFault {
    /// The remedy, for a key in use or a `retired` one.
    pub(super) fn advice(self, retired: bool) -> &'static str {
        match self {
            Self::Open(OpenError::UnknownKeyId(_) | OpenError::DisabledKey(_)) if retired => {
                "enable the keyset's key, or put it back from a copy; else the costs that this \
                 retired key was kept for become unknown, and the key is deleted"
            }
            _ if retired => {
                "the costs that this retired key is kept for become unknown, and it is deleted"
            }
            Self::Malformed(_) => {
                "if it is from the original system, `llmgw admin import-legacy`; else it was cut \
                 or damaged, and its owner must store the key again"
            }
            Self::Open(OpenError::UnknownKeyId(_)) => {
                "restore the key from a copy of the keyset, or its owner must store the key again"
            }
            Self::Open(OpenError::DisabledKey(_)) => {
                "`llmgw admin keyset enable`, then `llmgw admin rewrap`; after `destroy` its owner \
                 must store the key again"
            }
            Self::Open(OpenError::NotAuthentic) => {
                "cut, changed, or moved here from another row: its owner must store the key again"
            }
            Self::Open(OpenError::NotAnApiKey(_)) => "its owner must store the key again",
        }
    }
}

/// Opens a stored key.
pub(super) fn open(keyset: &Keyset, row: &StoredKey) -> Result<ApiKey, RowFault> {
    let sealed: SealedKey = row.sealed_key.parse()?;
    Ok(keyset.open(&row.did, &sealed)?)
}

/// Opens a stored key and seals it with the primary key.
pub(super) fn reseal(keyset: &Keyset, row: &StoredKey) -> Result<SealedKey, RowFault> {
    Ok(keyset.seal(&row.did, &open(keyset, row)?))
}

#[cfg(test)]
mod tests;
