//! Public keys that signatures are checked with.

use ed25519_dalek::{PUBLIC_KEY_LENGTH, SIGNATURE_LENGTH, VerifyingKey};

use super::DidError;

/// A type of key that callers sign with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyType {
    /// `EdDSA` on Curve25519 (RFC 8032).
    Ed25519,
}

impl KeyType {
    /// Every type.
    pub const ALL: [Self; 1] = [Self::Ed25519];

    /// The code of its public keys in the table of multicodecs.
    #[must_use]
    pub fn multicodec(self) -> u64 {
        match self {
            Self::Ed25519 => 0xed,
        }
    }

    /// Its `kty` and `crv` in a JWK.
    #[must_use]
    pub fn jwk_names(self) -> (&'static str, &'static str) {
        match self {
            // RFC 8037 §2.
            Self::Ed25519 => ("OKP", "Ed25519"),
        }
    }

    /// Reads a public key of this type in its raw encoding.
    ///
    /// Only the canonical spelling of a key is accepted, so that one key is one `did:key`, and only
    /// keys that bind a signature to one message: no point of small order.
    pub fn read(self, bytes: &[u8]) -> Result<PublicKey, DidError> {
        match self {
            Self::Ed25519 => ed25519_key(bytes).map(PublicKey::Ed25519),
        }
    }
}

/// A public key that signatures are checked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublicKey {
    /// 32 bytes.
    Ed25519(VerifyingKey),
}

impl PublicKey {
    /// The key's type.
    #[must_use]
    pub fn key_type(&self) -> KeyType {
        match self {
            Self::Ed25519(_) => KeyType::Ed25519,
        }
    }

    /// The raw encoding.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Ed25519(key) => key.as_bytes(),
        }
    }

    /// Whether `signature` is this key's over `text`.
    ///
    /// Ed25519 strictly: no weak keys, no small-order R, no second spelling of either, so that a
    /// signature holds for one key and one message
    /// (<https://hdevalence.ca/blog/2020-10-04-its-25519am>).
    #[must_use]
    pub fn verifies(&self, text: &[u8], signature: &Signature) -> bool {
        match self {
            Self::Ed25519(key) => {
                let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
                key.verify_strict(text, &signature).is_ok()
            }
        }
    }
}

impl From<VerifyingKey> for PublicKey {
    fn from(key: VerifyingKey) -> Self {
        Self::Ed25519(key)
    }
}

/// The bytes of a signature: 64 with every [`KeyType`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; SIGNATURE_LENGTH]);

impl Signature {
    /// Takes the bytes as they are.
    #[must_use]
    pub fn from_bytes(bytes: [u8; SIGNATURE_LENGTH]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; SIGNATURE_LENGTH] {
        self.0
    }
}

fn ed25519_key(bytes: &[u8]) -> Result<VerifyingKey, DidError> {
    let bytes: &[u8; PUBLIC_KEY_LENGTH] = bytes.try_into().map_err(|_| DidError::KeyLength)?;
    let key = VerifyingKey::from_bytes(bytes).map_err(|_| DidError::NotAPoint)?;
    // The decoder reduces y modulo p, so that a few points have a second spelling.
    if !is_reduced(bytes) {
        return Err(DidError::NotAPoint);
    }
    if key.is_weak() {
        // Among them are those with x = 0, whose sign has a second spelling, too.
        let is_canonical = key.to_edwards().compress().as_bytes() == bytes;
        return Err(if is_canonical {
            DidError::WeakKey
        } else {
            DidError::NotAPoint
        });
    }
    Ok(key)
}

/// Whether the y-coordinate (255 bits, little-endian; the last bit is the sign of x) is less than
/// p = 2²⁵⁵ − 19, as RFC 8032, section 5.1.3, asks for.
fn is_reduced(point: &[u8; PUBLIC_KEY_LENGTH]) -> bool {
    let [lowest, middle @ .., highest] = point;
    *lowest < 0xed || highest & 0x7f != 0x7f || middle.iter().any(|byte| *byte != 0xff)
}
