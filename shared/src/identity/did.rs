//! Decentralised identifiers, and the Ed25519 keys that two DID methods carry in themselves.
//!
//! A [`Did`] is what is stored and looked up; a [`DidUrl`] is what a request sends: the same with an
//! optional `#fragment` that names one of its keys (DID Core §3.1 and §3.2,
//! <https://www.w3.org/TR/did-1.0/>). Both are grammatical only: whether a key can be had from them
//! is told by `verifying_key`, which needs no network, because only methods that contain their key
//! are supported:
//!
//! - `did:key` (<https://w3c-ccg.github.io/did-key-spec/>): multibase base58btc of the multicodec
//!   `ed25519-pub` and 32 bytes;
//! - `did:jwk` (<https://github.com/quartzjer/did-jwk/blob/main/spec.md>): base64url of a JWK, here
//!   `{"kty":"OKP","crv":"Ed25519","x":…}` (RFC 8037 §2).

use std::fmt;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ed25519_dalek::{PUBLIC_KEY_LENGTH, VerifyingKey};
use serde::{Deserialize, de::IgnoredAny};

use crate::strict_json;

/// The longest DID or DID URL that is read, in bytes. Base58 decoding is quadratic.
pub const MAX_LEN: usize = 512;

/// The multicodec of an Ed25519 public key and its encoding as an unsigned varint.
const ED25519_PUB: u64 = 0xed;
const ED25519_PUB_VARINT: [u8; 2] = [0xed, 0x01];

/// A DID: `did:{method}:{identifier}`, without fragment, at most [`MAX_LEN`] bytes of ASCII.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Did(String);

impl Did {
    /// Reads a DID. A fragment is refused: with one it is a [`DidUrl`].
    pub fn parse(text: &str) -> Result<Self, DidError> {
        let DidUrl { did, fragment } = DidUrl::parse(text)?;
        match fragment {
            None => Ok(did),
            Some(_) => Err(DidError::Grammar),
        }
    }

    /// The `did:key` of a key.
    #[must_use]
    pub fn from_verifying_key(key: &VerifyingKey) -> Self {
        let bytes = [ED25519_PUB_VARINT.as_slice(), key.as_bytes()].concat();
        Self(format!("did:key:z{}", bs58::encode(bytes).into_string()))
    }

    /// The DID as it is stored and looked up.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The Ed25519 key that the DID contains.
    ///
    /// Only the canonical spelling of a key is accepted, so that one key is one `did:key`, and only
    /// keys that bind a signature to one message: no point of small order.
    pub fn verifying_key(&self) -> Result<VerifyingKey, DidError> {
        let (method, identifier) = split(&self.0).ok_or(DidError::Grammar)?;
        match method {
            "key" => key_from_multibase(identifier),
            "jwk" => key_from_jwk(identifier),
            other => Err(DidError::UnsupportedMethod {
                method: other.to_owned(),
            }),
        }
    }
}

impl fmt::Display for Did {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for Did {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for Did {
    type Error = DidError;

    fn try_from(text: &str) -> Result<Self, DidError> {
        Self::parse(text)
    }
}

impl std::str::FromStr for Did {
    type Err = DidError;

    fn from_str(text: &str) -> Result<Self, DidError> {
        Self::parse(text)
    }
}

/// A DID as a request sends it: optionally with the fragment that names the key.
///
/// `Display` gives back exactly what was parsed, which is what gets signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DidUrl {
    did: Did,
    fragment: Option<String>,
}

impl DidUrl {
    /// Reads a DID with an optional fragment, at most [`MAX_LEN`] bytes in all.
    ///
    /// The fragment's alphabet is the identifier's. It has no comma, which is how API Gateway joins
    /// repeated headers.
    pub fn parse(text: &str) -> Result<Self, DidError> {
        if text.len() > MAX_LEN {
            return Err(DidError::TooLong);
        }
        let (did, fragment) = match text.split_once('#') {
            Some((did, fragment)) => (did, Some(fragment)),
            None => (text, None),
        };
        let (method, identifier) = split(did).ok_or(DidError::Grammar)?;
        let well_formed = is_method_name(method)
            && is_identifier(identifier)
            && fragment.is_none_or(is_identifier);
        if !well_formed {
            return Err(DidError::Grammar);
        }
        Ok(Self {
            did: Did(did.to_owned()),
            fragment: fragment.map(str::to_owned),
        })
    }

    /// The DID without the fragment.
    #[must_use]
    pub fn did(&self) -> &Did {
        &self.did
    }

    /// The DID without the fragment.
    #[must_use]
    pub fn into_did(self) -> Did {
        self.did
    }

    /// The Ed25519 key that the DID contains; a fragment has to name exactly this key (`did:key`
    /// repeats the identifier, `did:jwk` says `#0`), not another one derived from it.
    pub fn verifying_key(&self) -> Result<VerifyingKey, DidError> {
        let key = self.did.verifying_key()?;
        let named = match split(self.did.as_str()) {
            Some(("key", identifier)) => identifier,
            _ => "0",
        };
        match self.fragment.as_deref() {
            Some(fragment) if fragment != named => Err(DidError::FragmentNamesAnotherKey),
            _ => Ok(key),
        }
    }
}

impl fmt::Display for DidUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.fragment {
            Some(fragment) => write!(f, "{}#{fragment}", self.did),
            None => self.did.fmt(f),
        }
    }
}

impl From<Did> for DidUrl {
    fn from(did: Did) -> Self {
        Self {
            did,
            fragment: None,
        }
    }
}

/// Why a DID cannot identify a caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DidError {
    /// Longer than [`MAX_LEN`].
    #[error("the DID is longer than {MAX_LEN} bytes")]
    TooLong,
    /// Not `did:[a-z0-9]+:[A-Za-z0-9._:%-]+` with, where it is allowed, a `#fragment`.
    #[error("the DID is not of the form did:method:identifier")]
    Grammar,
    /// A method whose key the gateway cannot find.
    #[error("the DID method {method:?} is not supported; use did:key or did:jwk with Ed25519")]
    UnsupportedMethod {
        /// The method's name, of the alphabet `[a-z0-9]`.
        method: String,
    },
    /// A key of another type than Ed25519.
    #[error("{0} keys are not supported; use an Ed25519 key")]
    UnsupportedKeyType(KeyType),
    /// `did:key` without base58btc, or without a multicodec in it.
    #[error("the did:key is not base58btc of a multicodec key")]
    Multibase,
    /// `did:jwk` without canonical base64url of a JWK.
    #[error("the did:jwk is not canonical base64url of a JSON Web Key")]
    Jwk,
    /// The JWK says that it encrypts.
    #[error("the did:jwk is not for signatures: its `use` is not `sig`")]
    JwkNotForSignatures,
    /// The JWK holds its private part, which everyone can now read.
    #[error("the did:jwk contains the private key; it is compromised, make a new one")]
    PrivateKey,
    /// Not 32 bytes.
    #[error("the DID's Ed25519 key does not have {PUBLIC_KEY_LENGTH} bytes")]
    KeyLength,
    /// Not the canonical encoding of a point on the curve (RFC 8032 §5.1.3).
    #[error("the DID's Ed25519 key is not a canonically encoded point")]
    NotAPoint,
    /// A point of small order: its signatures hold for many messages.
    #[error("the DID's Ed25519 key is weak")]
    WeakKey,
    /// A fragment that names something else than the DID's key.
    #[error("the DID's fragment does not name its Ed25519 key")]
    FragmentNamesAnotherKey,
}

impl DidError {
    /// The stable name that clients see.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::UnsupportedMethod { .. } => "unsupported_did_method",
            Self::UnsupportedKeyType(_) => "unsupported_key_type",
            Self::TooLong
            | Self::Grammar
            | Self::Multibase
            | Self::Jwk
            | Self::JwkNotForSignatures
            | Self::PrivateKey
            | Self::KeyLength
            | Self::NotAPoint
            | Self::WeakKey
            | Self::FragmentNamesAnotherKey => "malformed_did",
        }
    }
}

/// A type of key that is recognised only to be named in a refusal.
///
/// Codes: <https://github.com/multiformats/multicodec/blob/master/table.csv>; names of curves in a
/// JWK: RFC 7518 §6.2.1.1, RFC 8037 §2, RFC 8812 §3.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants are the names of the key types")]
pub enum KeyType {
    Secp256k1,
    P256,
    P384,
    P521,
    X25519,
    Ed448,
    X448,
    Rsa,
    Bls12381,
    Sr25519,
    /// Any other multicodec.
    Multicodec(u64),
    /// Any other `kty` or `crv`.
    OtherJwk,
}

impl KeyType {
    fn from_multicodec(code: u64) -> Self {
        match code {
            0xe7 => Self::Secp256k1,
            0xea | 0xeb | 0xee => Self::Bls12381,
            0xec => Self::X25519,
            0xef => Self::Sr25519,
            0x1200 => Self::P256,
            0x1201 => Self::P384,
            0x1202 => Self::P521,
            0x1203 => Self::Ed448,
            0x1204 => Self::X448,
            0x1205 => Self::Rsa,
            other => Self::Multicodec(other),
        }
    }

    fn from_jwk(kty: &str, crv: Option<&str>) -> Self {
        match (kty, crv) {
            ("RSA", _) => Self::Rsa,
            ("EC", Some("secp256k1")) => Self::Secp256k1,
            ("EC", Some("P-256")) => Self::P256,
            ("EC", Some("P-384")) => Self::P384,
            ("EC", Some("P-521")) => Self::P521,
            ("OKP", Some("X25519")) => Self::X25519,
            ("OKP", Some("Ed448")) => Self::Ed448,
            ("OKP", Some("X448")) => Self::X448,
            _ => Self::OtherJwk,
        }
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secp256k1 => "secp256k1",
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::P521 => "P-521",
            Self::X25519 => "X25519",
            Self::Ed448 => "Ed448",
            Self::X448 => "X448",
            Self::Rsa => "RSA",
            Self::Bls12381 => "BLS12-381",
            Self::Sr25519 => "sr25519",
            Self::Multicodec(code) => return write!(f, "multicodec {code:#x}"),
            Self::OtherJwk => "such JWK",
        })
    }
}

/// `did:{method}:{identifier}` into method and identifier.
fn split(did: &str) -> Option<(&str, &str)> {
    did.strip_prefix("did:")?.split_once(':')
}

fn is_method_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

fn is_identifier(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._:%-".contains(&b))
}

fn key_from_multibase(identifier: &str) -> Result<VerifyingKey, DidError> {
    let base58 = identifier.strip_prefix('z').ok_or(DidError::Multibase)?;
    // Every text of the alphabet is the canonical one of some bytes: leading ones stand for zeros.
    let bytes = bs58::decode(base58)
        .into_vec()
        .map_err(|_| DidError::Multibase)?;
    match read_varint(&bytes).ok_or(DidError::Multibase)? {
        (ED25519_PUB, key) => ed25519_key(key),
        (other, _) => Err(DidError::UnsupportedKeyType(KeyType::from_multicodec(
            other,
        ))),
    }
}

/// The members of a JWK that decide. Duplicates are refused; members that are not here (`alg`,
/// `kid`, …) change nothing.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    crv: Option<String>,
    x: Option<String>,
    d: Option<IgnoredAny>,
    #[serde(rename = "use")]
    usage: Option<String>,
}

fn key_from_jwk(identifier: &str) -> Result<VerifyingKey, DidError> {
    let json = BASE64_URL_SAFE_NO_PAD
        .decode(identifier)
        .map_err(|_| DidError::Jwk)?;
    let jwk: Jwk = strict_json::from_slice(&json).map_err(|_| DidError::Jwk)?;
    if jwk.d.is_some() {
        return Err(DidError::PrivateKey);
    }
    let crv = jwk.crv.as_deref();
    if (jwk.kty.as_str(), crv) != ("OKP", Some("Ed25519")) {
        let key_type = KeyType::from_jwk(&jwk.kty, crv);
        return Err(DidError::UnsupportedKeyType(key_type));
    }
    // The method's specification gives a key with `use: enc` to key agreement only.
    if jwk.usage.is_some_and(|usage| usage != "sig") {
        return Err(DidError::JwkNotForSignatures);
    }
    let x = jwk.x.ok_or(DidError::Jwk)?;
    let key = BASE64_URL_SAFE_NO_PAD
        .decode(x)
        .map_err(|_| DidError::Jwk)?;
    ed25519_key(&key)
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

#[cfg(test)]
mod tests;
