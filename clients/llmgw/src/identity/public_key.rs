//! Public keys in PEM, as OpenSSL and the tools of hardware write them.

use base64::{Engine, prelude::BASE64_STANDARD};
use p256::pkcs8::DecodePublicKey;
use shared::identity::did::{KeyType, PublicKey};

/// A `SubjectPublicKeyInfo` of RFC 8410 §4, up to the key.
const ED25519_SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];

/// Reads an Ed25519 or P-256 key from PEM (`-----BEGIN PUBLIC KEY-----`) or DER.
pub(crate) fn from_pem(file: &[u8]) -> Option<PublicKey> {
    let text = str::from_utf8(file).ok();
    let body = text.and_then(|text| {
        let (_, rest) = text.split_once("-----BEGIN PUBLIC KEY-----")?;
        let (body, _) = rest.split_once("-----END PUBLIC KEY-----")?;
        BASE64_STANDARD
            .decode(body.split_whitespace().collect::<String>())
            .ok()
    });
    let der = body.unwrap_or_else(|| file.to_vec());
    match der.strip_prefix(&ED25519_SPKI) {
        Some(key) => KeyType::Ed25519.read(key).ok(),
        None => p256::PublicKey::from_public_key_der(&der)
            .ok()
            .map(|key| p256::ecdsa::VerifyingKey::from(key).into()),
    }
}
