//! Sealing and opening users' API keys with AES-256-SIV ([RFC 5297]).
//!
//! The master keys are a Google Tink JSON keyset ([`Keyset::parse`]), and what
//! [`Keyset::seal`] makes any Tink library can open:
//!
//! ```text
//! sealed          = 01 ‖ key id (u32, big endian) ‖ SIV (16) ‖ ciphertext      (see `SealedKey`)
//! SIV, ciphertext = AES-256-SIV(master key, [associated data], API key)
//! associated data = "llm-gateway:v1:user_api_keys.encrypted_api_key:" owner's DID
//! ```
//!
//! The associated data is exactly one component. It binds a ciphertext to its column and row: one
//! that was moved to another does not open. AES-SIV is deterministic, so that two equal sealed
//! keys in one row say "the same key was stored again", and nothing else.
//!
//! [RFC 5297]: https://www.rfc-editor.org/rfc/rfc5297

pub mod tink;

use std::fmt;

use aes_siv::{KeyInit as _, siv::Aes256Siv};
use zeroize::Zeroizing;

use crate::vault::secret::{ApiKey, ApiKeyFault, KeyId, SealedKey};

pub use self::tink::{KeyMaterial, KeysetFault};

const COLUMN: &str = "llm-gateway:v1:user_api_keys.encrypted_api_key:";

/// The master keys. The primary one seals, every enabled one opens.
///
/// The primary key exists and is enabled by construction.
pub struct Keyset {
    primary: MasterKey,
    others: Vec<OtherKey>,
}

struct MasterKey {
    id: KeyId,
    /// Boxed, so that moving the keyset leaves no copies behind.
    material: Box<KeyMaterial>,
}

enum OtherKey {
    Enabled(MasterKey),
    /// DISABLED or DESTROYED. The material of a disabled key is not kept.
    Disabled(KeyId),
}

impl Keyset {
    /// Reads a Tink JSON keyset of `AesSivKey`s with output prefix TINK.
    ///
    /// Anything else in it is refused, also in keys that are not primary: what the gateway skips
    /// today would be rows that it cannot open tomorrow. No error holds key material.
    pub fn parse(json: &str) -> Result<Self, KeysetFault> {
        tink::parse(json)
    }

    /// A new keyset of one key, as the JSON that [`parse`](Self::parse) and every Tink library
    /// read. `material` is 64 bytes from the system's randomness, `id` any random number.
    #[must_use]
    pub fn generate(material: &KeyMaterial, id: KeyId) -> Zeroizing<String> {
        tink::generate(material, id)
    }

    /// The key that [`seal`](Self::seal) uses. Rows with another id are due for sealing again
    /// during a rotation.
    #[must_use]
    pub fn primary_id(&self) -> KeyId {
        self.primary.id
    }

    /// Seals `key` for `owner`'s row, with the primary key. `owner` is the DID without fragment.
    #[must_use]
    #[expect(
        clippy::expect_used,
        clippy::missing_panics_doc,
        reason = "AES-SIV refuses nothing but more than 126 components of associated data"
    )]
    pub fn seal(&self, owner: &str, key: &ApiKey) -> SealedKey {
        let siv_and_ciphertext = self
            .primary
            .cipher()
            .encrypt([associated_data(owner)], key.expose_secret().as_bytes())
            .expect("one component of associated data");
        SealedKey::new(self.primary.id, siv_and_ciphertext)
    }

    /// Opens a key that was sealed for `owner`.
    pub fn open(&self, owner: &str, sealed: &SealedKey) -> Result<ApiKey, OpenError> {
        let mut bytes = Zeroizing::new(sealed.siv_and_ciphertext().to_vec());
        self.enabled(sealed.key_id())?
            .cipher()
            .decrypt_in_place([associated_data(owner)], &mut *bytes)
            .map_err(|_| OpenError::NotAuthentic)?;
        Ok(ApiKey::from_bytes(bytes)?)
    }

    fn enabled(&self, id: KeyId) -> Result<&MasterKey, OpenError> {
        if id == self.primary.id {
            return Ok(&self.primary);
        }
        match self.others.iter().find(|key| key.id() == id) {
            Some(OtherKey::Enabled(key)) => Ok(key),
            Some(OtherKey::Disabled(id)) => Err(OpenError::DisabledKey(*id)),
            None => Err(OpenError::UnknownKeyId(id)),
        }
    }
}

impl MasterKey {
    /// The cipher wipes its own copy of the key when it is dropped.
    fn cipher(&self) -> Aes256Siv {
        Aes256Siv::new((&**self.material).into())
    }
}

impl OtherKey {
    fn id(&self) -> KeyId {
        match self {
            Self::Enabled(key) => key.id,
            Self::Disabled(id) => *id,
        }
    }
}

fn associated_data(owner: &str) -> String {
    [COLUMN, owner].concat()
}

impl fmt::Debug for Keyset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyset")
            .field("primary", &self.primary.id.0)
            .field("others", &self.others)
            .finish()
    }
}

impl fmt::Debug for OtherKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enabled(key) => write!(f, "Enabled({})", key.id),
            Self::Disabled(id) => write!(f, "Disabled({id})"),
        }
    }
}

/// Why a well-formed [`SealedKey`] does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The keyset has no such key: it is older than the ciphertext, or the key was removed.
    #[error("sealed with master key {0}, which the keyset does not have")]
    UnknownKeyId(KeyId),
    /// The operator disabled or destroyed the key.
    #[error("sealed with master key {0}, which is disabled")]
    DisabledKey(KeyId),
    /// Changed, truncated, or moved here from another row or column.
    #[error("the sealed key is not authentic for this owner")]
    NotAuthentic,
    /// Authentic, but sealed by something that does not know what an API key is.
    #[error("what was sealed is not an API key")]
    NotAnApiKey(#[from] ApiKeyFault),
}

#[cfg(test)]
mod tests;
