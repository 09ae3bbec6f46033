//! Public keys that signatures are checked with.

use ed25519_dalek::{PUBLIC_KEY_LENGTH, SIGNATURE_LENGTH, VerifyingKey};
use p256::ecdsa::signature::Verifier as _;

use super::DidError;

/// The length of a compressed point on P-256, in bytes.
const P256_KEY_LENGTH: usize = 33;

/// A type of key that callers sign with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyType {
    /// `EdDSA` on Curve25519 (RFC 8032).
    Ed25519,
    /// ECDSA with SHA-256 on P-256 (FIPS 186-5, section 6).
    P256,
}

impl KeyType {
    /// Every type.
    pub const ALL: [Self; 2] = [Self::Ed25519, Self::P256];

    /// The name of its curve.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "Ed25519",
            Self::P256 => "P-256",
        }
    }

    /// The code of its public keys in the table of multicodecs.
    #[must_use]
    pub fn multicodec(self) -> u64 {
        match self {
            Self::Ed25519 => 0xed,
            Self::P256 => 0x1200,
        }
    }

    /// Its `kty` and `crv` in a JWK.
    #[must_use]
    pub fn jwk_names(self) -> (&'static str, &'static str) {
        match self {
            // RFC 8037 §2.
            Self::Ed25519 => ("OKP", "Ed25519"),
            // RFC 7518 §6.2.1.1.
            Self::P256 => ("EC", "P-256"),
        }
    }

    /// Reads a public key of this type in its raw encoding: of Ed25519 the 32 bytes of RFC 8032, of P-256
    /// the 33 bytes of a compressed point (SEC 1 §2.3.3).
    ///
    /// Only the canonical spelling of a key is accepted, so that one key is one `did:key`, and only
    /// keys that bind a signature to one message: no point of small order.
    pub fn read(self, bytes: &[u8]) -> Result<PublicKey, DidError> {
        match self {
            Self::Ed25519 => ed25519_key(bytes).map(PublicKey::Ed25519),
            Self::P256 => P256Key::from_compressed(bytes).map(PublicKey::P256),
        }
    }
}

/// A public key that signatures are checked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublicKey {
    /// 32 bytes.
    Ed25519(VerifyingKey),
    /// 33 bytes: a compressed point.
    P256(P256Key),
}

impl PublicKey {
    /// The key's type.
    #[must_use]
    pub fn key_type(&self) -> KeyType {
        match self {
            Self::Ed25519(_) => KeyType::Ed25519,
            Self::P256(_) => KeyType::P256,
        }
    }

    /// The raw encoding.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Ed25519(key) => key.as_bytes(),
            Self::P256(key) => &key.compressed,
        }
    }

    /// Whether `signature` is this key's over `text`.
    ///
    /// Ed25519 strictly: no weak keys, no small-order R, no second spelling of either, so that a
    /// signature holds for one key and one message
    /// (<https://hdevalence.ca/blog/2020-10-04-its-25519am>). With P-256 it is r and s (IEEE P1363), both from 1
    /// to n − 1; s may be high, so that a second signature of the same text can be computed from one.
    #[must_use]
    pub fn verifies(&self, text: &[u8], signature: &Signature) -> bool {
        match self {
            Self::Ed25519(key) => {
                let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
                key.verify_strict(text, &signature).is_ok()
            }
            Self::P256(key) => key.verifies(text, signature),
        }
    }
}

impl From<VerifyingKey> for PublicKey {
    fn from(key: VerifyingKey) -> Self {
        Self::Ed25519(key)
    }
}

impl From<p256::ecdsa::VerifyingKey> for PublicKey {
    fn from(key: p256::ecdsa::VerifyingKey) -> Self {
        Self::P256(key.into())
    }
}

/// A public key on P-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct P256Key {
    key: p256::ecdsa::VerifyingKey,
    compressed: [u8; P256_KEY_LENGTH],
}

impl P256Key {
    /// The length of a coordinate, in bytes.
    const COORDINATE: usize = 32;

    fn from_compressed(bytes: &[u8]) -> Result<Self, DidError> {
        let compressed: [u8; P256_KEY_LENGTH] =
            bytes.try_into().map_err(|_| DidError::KeyLength)?;
        // Of the other encodings, one has the same length: the compact one, whose tag is 5.
        if !matches!(compressed, [2 | 3, ..]) {
            return Err(DidError::NotAPoint);
        }
        let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(&compressed)
            .map_err(|_| DidError::NotAPoint)?;
        Ok(Self { key, compressed })
    }

    /// Reads the two coordinates of a point, as in a JWK.
    pub(super) fn from_coordinates(x: &[u8], y: &[u8]) -> Result<Self, DidError> {
        if x.len() != Self::COORDINATE || y.len() != Self::COORDINATE {
            return Err(DidError::KeyLength);
        }
        p256::ecdsa::VerifyingKey::from_sec1_bytes(&[&[4], x, y].concat())
            .map(Self::from)
            .map_err(|_| DidError::NotAPoint)
    }

    fn verifies(&self, text: &[u8], signature: &Signature) -> bool {
        p256::ecdsa::Signature::from_slice(&signature.0)
            .is_ok_and(|signature| self.key.verify(text, &signature).is_ok())
    }
}

impl From<p256::ecdsa::VerifyingKey> for P256Key {
    fn from(key: p256::ecdsa::VerifyingKey) -> Self {
        let mut compressed = [0; P256_KEY_LENGTH];
        let point = key.to_sec1_point(true);
        compressed
            .iter_mut()
            .zip(point.as_bytes())
            .for_each(|(byte, of_point)| *byte = *of_point);
        Self { key, compressed }
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

#[cfg(test)]
mod tests;
