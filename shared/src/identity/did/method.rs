//! The DID methods whose DIDs contain their key.
//!
//! - `did:key` (<https://w3c-ccg.github.io/did-key-spec/>): multibase base58btc of a key's multicodec
//!   and its bytes;
//! - `did:jwk` (<https://github.com/quartzjer/did-jwk/blob/main/spec.md>): base64url of a JWK, such as
//!   `{"kty":"OKP","crv":"Ed25519","x":…}` (RFC 8037 §2) or `{"kty":"EC","crv":"P-256","x":…,"y":…}` (RFC 7518
//!   §6.2.1).

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, de::IgnoredAny};

use super::{DidError, KeyType, PublicKey, UnsupportedKey, key::P256Key};

/// A DID method. No network is needed to find a DID's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// `did:key`
    Key,
    /// `did:jwk`
    Jwk,
}

impl Method {
    /// Every method.
    pub const ALL: [Self; 2] = [Self::Key, Self::Jwk];

    /// The method of a name.
    pub(super) fn named(name: &str) -> Result<Self, DidError> {
        let unsupported = || DidError::UnsupportedMethod {
            method: name.to_owned(),
        };
        let mut all = Self::ALL.into_iter();
        all.find(|it| it.name() == name).ok_or_else(unsupported)
    }

    /// The name between `did:` and the identifier.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Jwk => "jwk",
        }
    }

    /// The key in an identifier.
    pub(super) fn key(self, identifier: &str) -> Result<PublicKey, DidError> {
        match self {
            Self::Key => key_from_multibase(identifier),
            Self::Jwk => key_from_jwk(identifier),
        }
    }

    /// The fragment that names the key of an identifier.
    pub(super) fn fragment(self, identifier: &str) -> &str {
        match self {
            Self::Key => identifier,
            Self::Jwk => "0",
        }
    }
}

/// The `did:key` of a key.
pub(super) fn did_key(key: &PublicKey) -> String {
    let mut bytes = varint(key.key_type().multicodec());
    bytes.extend_from_slice(key.as_bytes());
    format!("did:key:z{}", bs58::encode(bytes).into_string())
}

fn key_from_multibase(identifier: &str) -> Result<PublicKey, DidError> {
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

/// The members of a JWK that decide. Duplicates are refused; members that are not here (`alg`,
/// `kid`, …) change nothing.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    d: Option<IgnoredAny>,
    #[serde(rename = "use")]
    usage: Option<String>,
}

impl Jwk {
    fn key_type(&self) -> Result<KeyType, DidError> {
        let crv = self.crv.as_deref();
        let named =
            |it: &KeyType| (self.kty.as_str(), crv) == (it.jwk_names().0, Some(it.jwk_names().1));
        KeyType::ALL
            .into_iter()
            .find(named)
            .ok_or_else(|| DidError::UnsupportedKeyType(UnsupportedKey::from_jwk(&self.kty, crv)))
    }

    fn key(&self, key_type: KeyType) -> Result<PublicKey, DidError> {
        match key_type {
            KeyType::Ed25519 => key_type.read(&coordinate(self.x.as_deref())?),
            KeyType::P256 => {
                let (x, y) = (
                    coordinate(self.x.as_deref())?,
                    coordinate(self.y.as_deref())?,
                );
                P256Key::from_coordinates(&x, &y).map(PublicKey::P256)
            }
        }
    }
}

fn coordinate(text: Option<&str>) -> Result<Vec<u8>, DidError> {
    let text = text.ok_or(DidError::Jwk)?;
    BASE64_URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| DidError::Jwk)
}

fn key_from_jwk(identifier: &str) -> Result<PublicKey, DidError> {
    let json = BASE64_URL_SAFE_NO_PAD
        .decode(identifier)
        .map_err(|_| DidError::Jwk)?;
    let jwk: Jwk = crate::strict_json::from_slice(&json).map_err(|_| DidError::Jwk)?;
    if jwk.d.is_some() {
        return Err(DidError::PrivateKey);
    }
    let key_type = jwk.key_type()?;
    // The method's specification gives a key with `use: enc` to key agreement only.
    if jwk.usage.as_deref().is_some_and(|usage| usage != "sig") {
        return Err(DidError::JwkNotForSignatures);
    }
    jwk.key(key_type)
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
