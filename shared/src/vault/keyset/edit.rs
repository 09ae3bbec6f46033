//! A keyset as its operator changes it, one step of a rotation at a time.

use std::fmt;

use zeroize::Zeroizing;

use super::tink::{self, Entry, KeyMaterial, KeysetFault, State};
use crate::vault::secret::KeyId;

/// A keyset that can be changed and written. Unlike [`Keyset`](super::Keyset) it cannot seal or
/// open, and keeps the material of disabled keys, so that they can be enabled again.
///
/// The primary key exists and is enabled, before and after every change.
pub struct KeysetEdit {
    primary: KeyId,
    entries: Vec<Entry>,
}

/// A key's part in the keyset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyStatus {
    /// It seals, and opens.
    Primary,
    /// It opens.
    Enabled,
    /// It does neither, but can be enabled again.
    Disabled,
    /// Its material is gone.
    Destroyed,
}

/// Whether an operation changed anything: doing it again is no fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It did.
    Made,
    /// It was so already.
    None,
}

/// Why a change is refused: it would lose a key, or is impossible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EditFault {
    /// The keyset has no key of this id.
    #[error("the keyset has no key {0}")]
    NoSuchKey(KeyId),
    /// A key of this id is or was there.
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
    /// Nothing brings it back.
    #[error("key {0} is destroyed; nothing brings it back")]
    IsDestroyed(KeyId),
}

impl KeysetEdit {
    /// Reads a keyset, by the same rules as [`Keyset::parse`](super::Keyset::parse). Members that
    /// this project does not know are not kept.
    pub fn parse(json: &str) -> Result<Self, KeysetFault> {
        let (primary, entries) = tink::entries(json)?;
        Ok(Self { primary, entries })
    }

    /// The text, as [`parse`](Self::parse) and every Tink library read it.
    #[must_use]
    pub fn to_json(&self) -> Zeroizing<String> {
        tink::write(self.primary, &self.entries)
    }

    /// The key that seals.
    #[must_use]
    pub fn primary_id(&self) -> KeyId {
        self.primary
    }

    /// All keys, in the order in which they were added.
    pub fn keys(&self) -> impl Iterator<Item = (KeyId, KeyStatus)> {
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

    /// Adds a key that opens and does not seal yet. `material` is 64 bytes from the system's
    /// randomness, `id` any random number.
    pub fn add(&mut self, material: &KeyMaterial, id: KeyId) -> Result<(), EditFault> {
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
    pub fn promote(&mut self, id: KeyId) -> Result<Change, EditFault> {
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

    /// Lets a key open nothing any more. It can be enabled again.
    pub fn disable(&mut self, id: KeyId) -> Result<Change, EditFault> {
        if id == self.primary {
            return Err(EditFault::IsPrimary(id));
        }
        self.entry(id)?.change(|state| match state {
            State::Enabled(material) => (State::Disabled(material), Ok(Change::Made)),
            State::Disabled(_) => (state, Ok(Change::None)),
            State::Destroyed => (state, Err(EditFault::IsDestroyed(id))),
        })
    }

    /// Lets a disabled key open again.
    pub fn enable(&mut self, id: KeyId) -> Result<Change, EditFault> {
        self.entry(id)?.change(|state| match state {
            State::Enabled(_) => (state, Ok(Change::None)),
            State::Disabled(material) => (State::Enabled(material), Ok(Change::Made)),
            State::Destroyed => (state, Err(EditFault::IsDestroyed(id))),
        })
    }

    /// Removes a disabled key's material for good. Its id stays, so that what it sealed is still
    /// told from what an unknown key did.
    pub fn destroy(&mut self, id: KeyId) -> Result<Change, EditFault> {
        if id == self.primary {
            return Err(EditFault::IsPrimary(id));
        }
        self.entry(id)?.change(|state| match state {
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

impl Entry {
    fn change<T>(&mut self, change: impl FnOnce(State) -> (State, T)) -> T {
        let (state, outcome) = change(std::mem::replace(&mut self.state, State::Destroyed));
        self.state = state;
        outcome
    }
}

impl fmt::Debug for KeysetEdit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.keys().map(|(id, status)| (id.0, status)))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Keyset, *};
    use crate::vault::secret::ApiKey;

    const DID: &str = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK";
    const OLD: KeyId = KeyId(1);
    const NEW: KeyId = KeyId(0xffff_fffe);

    fn material(byte: u8) -> KeyMaterial {
        Zeroizing::new([byte; 64])
    }

    fn one() -> KeysetEdit {
        KeysetEdit::parse(&Keyset::generate(&material(1), OLD)).unwrap()
    }

    fn two() -> KeysetEdit {
        let mut keyset = one();
        keyset.add(&material(2), NEW).unwrap();
        keyset
    }

    /// Written and read again, as a function does.
    fn read(keyset: &KeysetEdit) -> Keyset {
        Keyset::parse(&keyset.to_json()).unwrap()
    }

    #[test]
    fn a_keyset_is_written_as_it_was_made() {
        assert_eq!(one().to_json(), Keyset::generate(&material(1), OLD));
        let twice = KeysetEdit::parse(&two().to_json()).unwrap().to_json();
        assert_eq!(twice, two().to_json());
    }

    #[test]
    fn a_whole_rotation_never_leaves_a_row_closed() {
        let key = ApiKey::new("sk-or-v1-0123".to_owned()).unwrap();
        let mut keyset = one();
        let old = read(&keyset).seal(DID, &key);

        keyset.add(&material(2), NEW).unwrap();
        let added = read(&keyset);
        assert_eq!(added.primary_id(), OLD, "added, and not in use yet");

        assert_eq!(keyset.promote(NEW), Ok(Change::Made));
        let new = read(&keyset).seal(DID, &key);
        assert_eq!(new.key_id(), NEW);
        assert!(added.open(DID, &new).is_ok(), "who has not seen step 3 yet");
        assert!(read(&keyset).open(DID, &old).is_ok());

        assert_eq!(keyset.disable(OLD), Ok(Change::Made));
        assert!(read(&keyset).open(DID, &old).is_err());
        assert_eq!(keyset.enable(OLD), Ok(Change::Made));
        assert!(read(&keyset).open(DID, &old).is_ok(), "nothing was lost");

        keyset.disable(OLD).unwrap();
        assert_eq!(keyset.destroy(OLD), Ok(Change::Made));
        let text = keyset.to_json();
        assert!(!text.contains("AQEBAQEB"), "the material is gone");
        assert!(read(&keyset).open(DID, &new).is_ok());
        assert_eq!(
            format!("{:?}", KeysetEdit::parse(&text).unwrap()),
            "{1: Destroyed, 4294967294: Primary}"
        );
    }

    #[test]
    fn what_would_lose_a_key_is_refused_and_changes_nothing() {
        let mut keyset = two();
        let before = keyset.to_json();
        assert_eq!(keyset.disable(OLD), Err(EditFault::IsPrimary(OLD)));
        assert_eq!(keyset.destroy(OLD), Err(EditFault::IsPrimary(OLD)));
        assert_eq!(keyset.destroy(NEW), Err(EditFault::IsEnabled(NEW)));
        assert_eq!(
            keyset.add(&material(3), NEW),
            Err(EditFault::DuplicateId(NEW))
        );
        let nobody = KeyId(7);
        for outcome in [
            keyset.promote(nobody),
            keyset.disable(nobody),
            keyset.enable(nobody),
            keyset.destroy(nobody),
        ] {
            assert_eq!(outcome, Err(EditFault::NoSuchKey(nobody)));
        }
        assert_eq!(keyset.to_json(), before);

        keyset.disable(NEW).unwrap();
        assert_eq!(keyset.promote(NEW), Err(EditFault::IsDisabled(NEW)));
        keyset.destroy(NEW).unwrap();
        for outcome in [keyset.promote(NEW), keyset.disable(NEW), keyset.enable(NEW)] {
            assert_eq!(outcome, Err(EditFault::IsDestroyed(NEW)));
        }
        assert_eq!(
            keyset.add(&material(3), NEW),
            Err(EditFault::DuplicateId(NEW))
        );
    }

    #[test]
    fn doing_it_again_changes_nothing() {
        let mut keyset = two();
        assert_eq!(keyset.enable(NEW), Ok(Change::None));
        assert_eq!(keyset.promote(NEW), Ok(Change::Made));
        assert_eq!(keyset.promote(NEW), Ok(Change::None));
        assert_eq!(keyset.disable(OLD), Ok(Change::Made));
        assert_eq!(keyset.disable(OLD), Ok(Change::None));
        assert_eq!(keyset.destroy(OLD), Ok(Change::Made));
        assert_eq!(keyset.destroy(OLD), Ok(Change::None));
    }

    #[test]
    fn debug_shows_no_material() {
        assert_eq!(format!("{:?}", two()), "{1: Primary, 4294967294: Enabled}");
    }
}
