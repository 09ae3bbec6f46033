//! The DID methods.
//!
//! - `did:key` (<https://w3c-ccg.github.io/did-key-spec/>): multibase base58btc of a key's multicodec
//!   and its bytes;
//! - `did:jwk` (<https://github.com/quartzjer/did-jwk/blob/main/spec.md>): base64url of a JWK;
//! - `did:web` (<https://w3c-ccg.github.io/did-method-web/>): a host and a path, at which a document with the
//!   keys lies.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

use super::{DidError, KeyType, PublicKey, UnsupportedKey, jwk::Jwk};

/// A DID method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// `did:key`
    Key,
    /// `did:jwk`
    Jwk,
    /// `did:web`
    Web,
}

impl Method {
    /// Every method.
    pub const ALL: [Self; 3] = [Self::Key, Self::Jwk, Self::Web];

    /// The method of a name.
    pub(super) fn named(name: &str) -> Result<Self, DidError> {
        let mut all = Self::ALL.into_iter();
        all.find(|it| it.name() == name)
            .ok_or_else(|| unsupported(name))
    }

    /// The name between `did:` and the identifier.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Jwk => "jwk",
            Self::Web => "web",
        }
    }

    /// The key in an identifier and the fragment that names it, or none where a document has the keys.
    pub(super) fn key(self, identifier: &str) -> Result<Option<(PublicKey, &str)>, DidError> {
        match self {
            Self::Key => Ok(Some((key_from_multibase(identifier)?, identifier))),
            Self::Jwk => Ok(Some((key_from_jwk(identifier)?, "0"))),
            Self::Web => Ok(None),
        }
    }

    /// The refusal where the method is not accepted.
    pub(super) fn unsupported(self) -> DidError {
        unsupported(self.name())
    }
}

fn unsupported(method: &str) -> DidError {
    DidError::UnsupportedMethod {
        method: method.to_owned(),
    }
}

/// The `did:key` of a key.
pub(super) fn did_key(key: &PublicKey) -> String {
    let mut bytes = varint(key.key_type().multicodec());
    bytes.extend_from_slice(key.as_bytes());
    format!("did:key:z{}", bs58::encode(bytes).into_string())
}

/// The key of a multicodec in base58btc, as a did:key and a Multikey have it.
pub(super) fn key_from_multibase(identifier: &str) -> Result<PublicKey, DidError> {
    let base58 = identifier.strip_prefix('z').ok_or(DidError::Multibase)?;
    // Every text of the alphabet is the canonical one of some bytes: leading ones stand for zeros.
    let bytes = bs58::decode(base58)
        .into_vec()
        .map_err(|_| DidError::Multibase)?;
    let (code, key) = read_varint(&bytes).ok_or(DidError::Multibase)?;
    match KeyType::ALL.into_iter().find(|it| it.multicodec() == code) {
        Some(key_type) => key_type.read(key),
        None => Err(DidError::UnsupportedKeyType(
            UnsupportedKey::from_multicodec(code),
        )),
    }
}

fn key_from_jwk(identifier: &str) -> Result<PublicKey, DidError> {
    let json = BASE64_URL_SAFE_NO_PAD
        .decode(identifier)
        .map_err(|_| DidError::Jwk)?;
    let json = String::from_utf8(json).map_err(|_| DidError::Jwk)?;
    Jwk::read(&json)?.public_key()
}

/// Reads an unsigned varint of at most nine bytes in its shortest form
/// (<https://github.com/multiformats/unsigned-varint>) and gives what follows it.
fn read_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let last = bytes.iter().take(9).position(|byte| byte & 0x80 == 0)?;
    let (varint, rest) = bytes.split_at_checked(last + 1)?;
    if last > 0 && varint.ends_with(&[0]) {
        return None;
    }
    let value = varint
        .iter()
        .rev()
        .fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f));
    Some((value, rest))
}

/// Writes an unsigned varint in its shortest form.
fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            bytes.push(low & 0x7f);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}
