//! Changing a keyset, one step of a rotation at a time.

use std::fmt;

use shared::vault::{
    keyset::{
        KeyMaterial, KeysetFault,
        tink::{self, Entry, State},
    },
    secret::KeyId,
};
use zeroize::Zeroizing;

/// A keyset that can be changed and written. Unlike [`Keyset`](shared::vault::keyset::Keyset) it cannot
/// seal or open, and keeps the material of disabled keys, so that they can be enabled again.
///
/// The primary key exists and is enabled, before and after every change.
pub(super) struct KeysetEdit {
    primary: KeyId,
    entries: Vec<Entry>,
}

/// The status of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum KeyStatus {
    /// It seals and opens.
    Primary,
    /// It opens.
    Enabled,
    /// It does neither, but can be enabled again.
    Disabled,
    /// Its material is deleted.
    Destroyed,
}

/// The effect of an operation. Repeating one is not an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// The keyset was changed.
    Made,
    /// The keyset was as requested.
    None,
}

/// The reason why a change is refused: it would lose a key, or is impossible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum EditFault {
    /// The keyset has no key of this id.
    #[error("the keyset has no key {0}")]
    NoSuchKey(KeyId),
    /// The keyset has or had a key of this id.
    #[error("the keyset already has a key {0}")]
    DuplicateId(KeyId),
    /// The primary key seals: it can be neither disabled nor destroyed.
    #[error("key {0} is the primary key, which seals; promote another one first")]
    IsPrimary(KeyId),
    /// A disabled key cannot become primary.
    #[error("key {0} is disabled; enable it first")]
    IsDisabled(KeyId),
    /// Only a disabled key can be destroyed.
    #[error("key {0} is enabled; disable it first")]
    IsEnabled(KeyId),
    /// A destroyed key cannot be recovered.
    #[error("key {0} is destroyed and cannot be recovered")]
    IsDestroyed(KeyId),
}

impl KeysetEdit {
    /// Parses a keyset by the rules of [`Keyset::parse`](shared::vault::keyset::Keyset::parse). Unknown
    /// fields are not kept.
    pub(super) fn parse(json: &str) -> Result<Self, KeysetFault> {
        let (primary, entries) = tink::entries(json)?;
        Ok(Self { primary, entries })
    }

    /// The JSON text that [`parse`](Self::parse) and every Tink library read.
    #[must_use]
    pub(super) fn to_json(&self) -> Zeroizing<String> {
        tink::write(self.primary, &self.entries)
    }

    /// The id of the key that seals.
    #[must_use]
    pub(super) fn primary_id(&self) -> KeyId {
        self.primary
    }

    /// All keys, in the order in which they were added.
    pub(super) fn keys(&self) -> impl Iterator<Item = (KeyId, KeyStatus)> {
        self.entries.iter().map(|entry| {
            let status = match entry.state {
                State::Enabled(_) if entry.id == self.primary => KeyStatus::Primary,
                State::Enabled(_) => KeyStatus::Enabled,
                State::Disabled(_) => KeyStatus::Disabled,
                State::Destroyed => KeyStatus::Destroyed,
            };
            (entry.id, status)
        })
    }

    /// Adds a key that opens and does not seal yet. `material` is 64 random bytes, `id` a random number.
    pub(super) fn add(&mut self, material: &KeyMaterial, id: KeyId) -> Result<(), EditFault> {
        if self.entries.iter().any(|entry| entry.id == id) {
            return Err(EditFault::DuplicateId(id));
        }
        let mut kept = Box::new(Zeroizing::new([0; 64]));
        kept.copy_from_slice(&**material);
        self.entries.push(Entry {
            id,
            state: State::Enabled(kept),
        });
        Ok(())
    }

    /// Makes an enabled key the one that seals.
    pub(super) fn promote(&mut self, id: KeyId) -> Result<Change, EditFault> {
        if id == self.primary {
            return Ok(Change::None);
        }
        match self.entry(id)?.state {
            State::Enabled(_) => {
                self.primary = id;
                Ok(Change::Made)
            }
            State::Disabled(_) => Err(EditFault::IsDisabled(id)),
            State::Destroyed => Err(EditFault::IsDestroyed(id)),
        }
    }

    /// Stops a key from opening. It can be enabled again.
    pub(super) fn disable(&mut self, id: KeyId) -> Result<Change, EditFault> {
        if id == self.primary {
            return Err(EditFault::IsPrimary(id));
        }
        change(self.entry(id)?, |state| match state {
            State::Enabled(material) => (State::Disabled(material), Ok(Change::Made)),
            State::Disabled(_) => (state, Ok(Change::None)),
            State::Destroyed => (state, Err(EditFault::IsDestroyed(id))),
        })
    }

    /// Lets a disabled key open again.
    pub(super) fn enable(&mut self, id: KeyId) -> Result<Change, EditFault> {
        change(self.entry(id)?, |state| match state {
            State::Enabled(_) => (state, Ok(Change::None)),
            State::Disabled(material) => (State::Enabled(material), Ok(Change::Made)),
            State::Destroyed => (state, Err(EditFault::IsDestroyed(id))),
        })
    }

    /// Deletes a disabled key's material. Its id stays, so that the rows that it sealed differ from those
    /// of unknown keys.
    pub(super) fn destroy(&mut self, id: KeyId) -> Result<Change, EditFault> {
        if id == self.primary {
            return Err(EditFault::IsPrimary(id));
        }
        change(self.entry(id)?, |state| match state {
            State::Enabled(_) => (state, Err(EditFault::IsEnabled(id))),
            State::Disabled(_) => (State::Destroyed, Ok(Change::Made)),
            State::Destroyed => (state, Ok(Change::None)),
        })
    }

    fn entry(&mut self, id: KeyId) -> Result<&mut Entry, EditFault> {
        self.entries
            .iter_mut()
            .find(|entry| entry.id == id)
            .ok_or(EditFault::NoSuchKey(id))
    }
}

fn change<T>(entry: &mut Entry, change: impl FnOnce(State) -> (State, T)) -> T {
    let (state, outcome) = change(std::mem::replace(&mut entry.state, State::Destroyed));
    entry.state = state;
    outcome
}

impl fmt::Debug for KeysetEdit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.keys().map(|(id, status)| (id.0, status)))
            .finish()
    }
}

#[cfg(test)]
mod tests;
