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
    let jwk: Jwk = serde_json::from_slice(&json).map_err(|_| DidError::Jwk)?;
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
mod tests {
    use std::collections::BTreeMap;

    use ed25519_dalek::SigningKey;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// RFC 8032 §7.1, test 1.
    const RFC8032: &str = "did:key:z6MktwupdmLXVVqTzCw4i46r4uGyosGXRnR3XjN4Zq7oMMsw";

    fn did_key(multicodec: &[u8], key: &[u8]) -> String {
        let bytes = [multicodec, key].concat();
        format!("did:key:z{}", bs58::encode(bytes).into_string())
    }

    fn did_jwk(jwk: &Value) -> String {
        format!("did:jwk:{}", BASE64_URL_SAFE_NO_PAD.encode(jwk.to_string()))
    }

    fn resolve(text: &str) -> Result<VerifyingKey, DidError> {
        DidUrl::parse(text)?.verifying_key()
    }

    fn rfc8032_key() -> VerifyingKey {
        let seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
        let seed = hex::decode(seed).unwrap().try_into().unwrap();
        SigningKey::from_bytes(&seed).verifying_key()
    }

    #[test]
    fn grammar() {
        let long_enough = format!("did:example:{}", "a".repeat(MAX_LEN - 12));
        for good in [
            "did:example:123",
            "did:web:example.com%3A3000:user:alice",
            "did:3:a._:%-Z",
            "did:example::",
            &long_enough,
        ] {
            assert_eq!(Did::parse(good).unwrap().as_str(), good);
            assert_eq!(DidUrl::parse(good).unwrap().to_string(), good);
        }
        for bad in [
            "",
            "did",
            "did:",
            "did:key",
            "did:key:",
            "did::x",
            "DID:key:x",
            "did:KEY:x",
            "did:ke-y:x",
            " did:key:x",
            "did:key:x ",
            "did:key:x\n",
            "did:key:é",
            "did:key:x?service=a",
            "did:key:x/path",
            "did:key:a,did:key:b",
            "did:key:a, did:key:b",
            "did:key:x#",
            "did:key:x#a#b",
            "did:key:x#a,did:key:x#a",
            "#did:key:x",
        ] {
            assert_eq!(DidUrl::parse(bad), Err(DidError::Grammar), "{bad:?}");
            assert_eq!(Did::parse(bad), Err(DidError::Grammar), "{bad:?}");
        }
        let too_long = format!("{long_enough}a");
        assert_eq!(DidUrl::parse(&too_long), Err(DidError::TooLong));
        // The fragment counts.
        let too_long = format!("{RFC8032}#{}", "a".repeat(MAX_LEN - RFC8032.len()));
        assert_eq!(DidUrl::parse(&too_long), Err(DidError::TooLong));
    }

    #[test]
    fn fragment_is_sent_but_not_stored() {
        let text = format!("{RFC8032}#z6MktwupdmLXVVqTzCw4i46r4uGyosGXRnR3XjN4Zq7oMMsw");
        let url = DidUrl::parse(&text).unwrap();
        assert_eq!(url.to_string(), text);
        assert_eq!(url.did().as_str(), RFC8032);
        assert_eq!(url.verifying_key(), Ok(rfc8032_key()));
        assert_eq!(Did::parse(&text), Err(DidError::Grammar));

        // The key agreement key that did:key derives, a relative name, another key.
        for fragment in [
            "z6LShs9GGnqk85isEBzzshkuVWrVKsRp24GnDuHk8QWkARMW",
            "0",
            "z6MktwupdmLXVVqTzCw4i46r4uGyosGXRnR3XjN4Zq7oMMsW",
        ] {
            assert_eq!(
                resolve(&format!("{RFC8032}#{fragment}")),
                Err(DidError::FragmentNamesAnotherKey)
            );
        }
    }

    #[test]
    fn other_methods_are_named() {
        for (did, method) in [
            ("did:example:123", "example"),
            ("did:web:example.com", "web"),
            ("did:keys:z6Mk", "keys"),
            ("did:example:123#0", "example"),
        ] {
            let error = resolve(did).unwrap_err();
            assert_eq!(error.reason(), "unsupported_did_method");
            assert!(error.to_string().contains(&format!("{method:?}")));
        }
    }

    #[test]
    fn other_key_types_are_named() {
        for (varint, name) in [
            (&[0xe7, 0x01][..], "secp256k1"),
            (&[0xec, 0x01], "X25519"),
            (&[0xeb, 0x01], "BLS12-381"),
            (&[0xef, 0x01], "sr25519"),
            (&[0x80, 0x24], "P-256"),
            (&[0x81, 0x24], "P-384"),
            (&[0x82, 0x24], "P-521"),
            (&[0x83, 0x24], "Ed448"),
            (&[0x84, 0x24], "X448"),
            (&[0x85, 0x24], "RSA"),
            // ed25519-priv
            (&[0x80, 0x26], "multicodec 0x1300"),
        ] {
            let error = resolve(&did_key(varint, &[7; 32])).unwrap_err();
            assert_eq!(error.reason(), "unsupported_key_type");
            assert!(
                error.to_string().starts_with(&format!("{name} ")),
                "{error}"
            );
        }
    }

    #[test]
    fn only_canonical_did_keys() {
        let key = rfc8032_key();
        assert_eq!(resolve(RFC8032), Ok(key));
        assert_eq!(Did::from_verifying_key(&key).as_str(), RFC8032);

        let identifier = RFC8032.trim_start_matches("did:key:z");
        let hex = hex::encode([&ED25519_PUB_VARINT, &key.as_bytes()[..]].concat());
        for (text, error) in [
            // Bare, leading zero, other bases, an alphabet's missing letter, a version.
            (format!("did:key:{identifier}"), DidError::Multibase),
            (
                format!("did:key:z1{identifier}"),
                DidError::UnsupportedKeyType(KeyType::Multicodec(0)),
            ),
            (format!("did:key:f{hex}"), DidError::Multibase),
            (format!("did:key:z{identifier}0"), DidError::Multibase),
            (format!("did:key:1.1:z{identifier}"), DidError::Multibase),
            ("did:key:z".to_owned(), DidError::Multibase),
            // The multicodec in a longer spelling, cut off, without end.
            (
                did_key(&[0xed, 0x81, 0x00], key.as_bytes()),
                DidError::Multibase,
            ),
            (did_key(&[0xed], &[]), DidError::Multibase),
            (did_key(&[0xff; 12], &[]), DidError::Multibase),
            // A key too short or too long.
            (did_key(&ED25519_PUB_VARINT, &[7; 31]), DidError::KeyLength),
            (did_key(&ED25519_PUB_VARINT, &[7; 33]), DidError::KeyLength),
            (did_key(&ED25519_PUB_VARINT, &[]), DidError::KeyLength),
        ] {
            assert_eq!(resolve(&text), Err(error.clone()), "{text}");
        }
    }

    #[test]
    fn weak_and_non_canonical_points() {
        let p_plus = |n: u8| {
            let mut bytes = [0xff; 32];
            bytes[0] = 0xed + n;
            bytes[31] = 0x7f;
            bytes
        };
        let mut order_1 = [0; 32];
        order_1[0] = 1;
        let mut negative_zero_x = order_1;
        negative_zero_x[31] = 0x80;
        // Order 8, from ed25519-speccheck.
        let order_8 = "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa";
        let order_8: [u8; 32] = hex::decode(order_8).unwrap().try_into().unwrap();
        for (key, error) in [
            (order_1, DidError::WeakKey),
            ([0; 32], DidError::WeakKey),
            (order_8, DidError::WeakKey),
            // y = p + n: second spellings of y = n, some of large order.
            (p_plus(0), DidError::NotAPoint),
            (p_plus(1), DidError::NotAPoint),
            (p_plus(3), DidError::NotAPoint),
            // y = 1 with the sign of an x that is zero.
            (negative_zero_x, DidError::NotAPoint),
            // No point has y = 2.
            (
                [&[2][..], &[0; 31]].concat().try_into().unwrap(),
                DidError::NotAPoint,
            ),
        ] {
            let did = did_key(&ED25519_PUB_VARINT, &key);
            assert_eq!(resolve(&did), Err(error), "{}", hex::encode(key));
        }
    }

    #[test]
    fn did_jwk_with_ed25519() {
        let key = rfc8032_key();
        let x = BASE64_URL_SAFE_NO_PAD.encode(key.as_bytes());
        let did = did_jwk(&json!({"kty": "OKP", "crv": "Ed25519", "x": x}));
        assert_eq!(resolve(&did), Ok(key));
        assert_eq!(resolve(&format!("{did}#0")), Ok(key));
        assert_eq!(
            resolve(&format!("{did}#1")),
            Err(DidError::FragmentNamesAnotherKey)
        );
        let with_extras =
            json!({"kty": "OKP", "crv": "Ed25519", "x": x, "use": "sig", "alg": "EdDSA", "kid": 1});
        assert_eq!(resolve(&did_jwk(&with_extras)), Ok(key));
    }

    #[test]
    fn did_jwk_refusals() {
        let x = BASE64_URL_SAFE_NO_PAD.encode(rfc8032_key().as_bytes());
        let padded = format!("{x}=");
        // The last of 43 characters carries two bits that must be zero; "B" sets one.
        let trailing_bits = format!("{}B", "A".repeat(42));
        let unsupported = DidError::UnsupportedKeyType;
        for (jwk, error) in [
            (
                json!({"kty": "EC", "crv": "P-256", "x": x, "y": x}),
                unsupported(KeyType::P256),
            ),
            (
                json!({"kty": "EC", "crv": "secp256k1", "x": x}),
                unsupported(KeyType::Secp256k1),
            ),
            (
                json!({"kty": "OKP", "crv": "X25519", "x": x}),
                unsupported(KeyType::X25519),
            ),
            (
                json!({"kty": "RSA", "n": x, "e": "AQAB"}),
                unsupported(KeyType::Rsa),
            ),
            (
                json!({"kty": "oct", "k": x}),
                unsupported(KeyType::OtherJwk),
            ),
            (
                json!({"kty": "EC", "crv": "Ed25519", "x": x}),
                unsupported(KeyType::OtherJwk),
            ),
            (
                json!({"kty": "OKP", "crv": "Ed25519", "x": x, "use": "enc"}),
                DidError::JwkNotForSignatures,
            ),
            (
                json!({"kty": "OKP", "crv": "Ed25519", "x": x, "d": x}),
                DidError::PrivateKey,
            ),
            (json!({"kty": "OKP", "crv": "Ed25519"}), DidError::Jwk),
            (
                json!({"kty": "OKP", "crv": "Ed25519", "x": padded}),
                DidError::Jwk,
            ),
            (
                json!({"kty": "OKP", "crv": "Ed25519", "x": trailing_bits}),
                DidError::Jwk,
            ),
            (
                json!({"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}),
                DidError::KeyLength,
            ),
            (
                json!({"kty": "OKP", "crv": "Ed25519", "x": "A".repeat(43)}),
                DidError::WeakKey,
            ),
            (json!([]), DidError::Jwk),
        ] {
            assert_eq!(resolve(&did_jwk(&jwk)), Err(error), "{jwk}");
        }

        let twice = format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}","x":"{x}"}}"#);
        let twice = format!("did:jwk:{}", BASE64_URL_SAFE_NO_PAD.encode(twice));
        assert_eq!(resolve(&twice), Err(DidError::Jwk));
        assert_eq!(resolve("did:jwk:e30"), Err(DidError::Jwk));
        assert_eq!(resolve("did:jwk:not.base64url"), Err(DidError::Jwk));
    }

    proptest! {
        #[test]
        fn every_key_survives_the_trip(seed: [u8; 32]) {
            let key = SigningKey::from_bytes(&seed).verifying_key();
            let did = Did::from_verifying_key(&key);
            prop_assert!(did.as_str().starts_with("did:key:z6Mk"));
            prop_assert_eq!(Did::parse(did.as_str()).unwrap().verifying_key(), Ok(key));
        }

        #[test]
        fn a_key_is_accepted_only_in_the_spelling_that_the_encoder_writes(
            mut bytes: [u8; 32],
            near_p: bool,
        ) {
            if near_p {
                bytes[1..31].fill(0xff);
                bytes[31] |= 0x7f;
            }
            let encoded = VerifyingKey::from_bytes(&bytes)
                .map(|key| key.to_edwards().compress().to_bytes())
                .ok();
            match ed25519_key(&bytes) {
                Ok(_) | Err(DidError::WeakKey) => prop_assert_eq!(encoded, Some(bytes)),
                Err(error) => {
                    prop_assert_eq!(error, DidError::NotAPoint);
                    prop_assert_ne!(encoded, Some(bytes));
                }
            }
        }

        #[test]
        fn base58_is_always_canonical(text in "1{0,3}[1-9A-HJ-NP-Za-km-z]{0,60}") {
            let bytes = bs58::decode(&text).into_vec().unwrap();
            prop_assert_eq!(bs58::encode(bytes).into_string(), text);
        }

        #[test]
        fn no_text_panics(text: String, identifier in "[A-Za-z0-9._:%-]{0,60}") {
            let _ = resolve(&text);
            let _ = resolve(&format!("did:key:z{identifier}"));
            let _ = resolve(&format!("did:jwk:{identifier}"));
        }
    }

    /// A file of W3C's did:key vectors: DID → what it stands for.
    #[expect(clippy::disallowed_methods, reason = "tells where third-party data is")]
    fn w3c_vectors(file: &str) -> BTreeMap<String, Value> {
        let folder = std::env::var("TEST_VECTORS").expect("TEST_VECTORS names a folder");
        let text = std::fs::read_to_string(format!("{folder}/{file}")).unwrap();
        let vectors: BTreeMap<_, _> = serde_json::from_str(&text).unwrap();
        assert!(!vectors.is_empty());
        vectors
    }

    #[test]
    #[ignore = "needs TEST_VECTORS"]
    fn w3c_ed25519_is_accepted() {
        for (did, vector) in w3c_vectors("did_key_ed25519.json") {
            let public = &vector["verificationKeyPair"];
            let expected = if let Some(base58) = public["publicKeyBase58"].as_str() {
                bs58::decode(base58).into_vec().unwrap()
            } else {
                let x = public["publicKeyJwk"]["x"].as_str().unwrap();
                BASE64_URL_SAFE_NO_PAD.decode(x).unwrap()
            };
            let key = resolve(&did).unwrap();
            assert_eq!(key.as_bytes()[..], expected, "{did}");
            assert_eq!(Did::from_verifying_key(&key).as_str(), did);

            let seed = hex::decode(vector["seed"].as_str().unwrap()).unwrap();
            let from_seed = SigningKey::from_bytes(&seed.try_into().unwrap());
            assert_eq!(from_seed.verifying_key(), key);

            let method_id = vector["didDocument"]["verificationMethod"][0]["id"].as_str();
            assert_eq!(resolve(method_id.unwrap()), Ok(key));
        }
    }

    #[test]
    #[ignore = "needs TEST_VECTORS"]
    fn w3c_other_curves_are_named() {
        for (did, vector) in w3c_vectors("did_key_nist_curves.json") {
            // One vector is without JWK and names its curve in the method's type.
            let method = &vector["verificationMethod"];
            let curve = match method["publicKeyJwk"]["crv"].as_str() {
                Some(curve) => curve,
                None if method["type"] == "P256Key2021" => "P-256",
                None => panic!("{did} names no curve"),
            };
            let Err(DidError::UnsupportedKeyType(key_type)) = resolve(&did) else {
                panic!("{did} was not refused for its key type");
            };
            assert_eq!(key_type.to_string(), curve, "{did}");
        }
        for did in w3c_vectors("did_key_secp256k1.json").keys() {
            let refusal = Err(DidError::UnsupportedKeyType(KeyType::Secp256k1));
            assert_eq!(resolve(did), refusal);
        }
    }
}
