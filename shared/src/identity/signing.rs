//! The signature scheme `x-did-v1`: what is signed, and how it is written into headers. [`rfc9421`] has the
//! standard's.
//!
//! One function builds the signed text for both sides, [`SigningString::new`]; every part of it is a
//! type whose constructor refuses line feeds, so that no part can pose as another. Clients call
//! [`sign`], or sign a [`SigningString`] with a key of their own kind; `auth` verifies. Plain Ed25519 (RFC 8032
//! §5.1), not prehashed, or ECDSA with SHA-256 on P-256.
//!
//! ```text
//! x-did-v1
//! {audience}
//! {x-did exactly as sent}
//! {x-did-timestamp exactly as sent}
//! {x-did-nonce, or the empty string}
//! {METHOD}
//! {canonical path, relative to the audience}
//! {canonical query}
//! {lowercase hex SHA-256 of the body}
//! ```

pub mod rfc9421;

use std::{fmt, str::FromStr};

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE, BASE64_URL_SAFE_NO_PAD},
};
use ed25519_dalek::{SIGNATURE_LENGTH, Signer, SigningKey};
use http::{HeaderMap, HeaderName, Method, header::InvalidHeaderValue};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use url::Url;

use crate::identity::{
    canonical::{CanonicalPath, CanonicalQuery},
    did::{DidUrl, Signature},
};

/// The header that names the caller.
pub const DID: &str = "x-did";
/// The header with the time of signing.
pub const TIMESTAMP: &str = "x-did-timestamp";
/// The header with the signature.
pub const SIGNATURE: &str = "x-did-signature";
/// The optional header that makes two equal requests differ.
pub const NONCE: &str = "x-did-nonce";

/// The first line of what is signed.
const SCHEME: &str = "x-did-v1";

/// The public base URL of a deployment: `scheme://host[:port][/path]` in lower case (but the path),
/// without default port and trailing slash.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Audience {
    base: String,
    path_start: usize,
}

impl Audience {
    /// Reads and normalises a base URL. Everything that a base URL has no use for is refused: user,
    /// query, fragment, a path that is not canonical.
    pub fn parse(text: &str) -> Result<Self, AudienceError> {
        let url = Url::parse(text).map_err(AudienceError::NotAUrl)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(AudienceError::Scheme);
        }
        let bare = url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        if !bare {
            return Err(AudienceError::MoreThanABase);
        }
        let origin = url.origin().ascii_serialization();
        let path = CanonicalPath::from_raw(url.path()).map_err(|_| AudienceError::Path)?;
        let path = path.as_str().trim_end_matches('/');
        Ok(Self {
            base: format!("{origin}{path}"),
            path_start: origin.len(),
        })
    }

    /// The audience as it is signed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.base
    }

    /// The scheme: `https` or `http`.
    #[must_use]
    pub fn scheme(&self) -> &str {
        self.base.split(':').next().unwrap_or_default()
    }

    /// The host, with the port unless it is the scheme's default.
    #[must_use]
    pub fn authority(&self) -> &str {
        let origin = self.base.get(..self.path_start).unwrap_or_default();
        origin.split_once("://").map_or(origin, |(_, it)| it)
    }

    /// The audience's own path, without trailing slash: empty, or `/Prod`.
    #[must_use]
    pub fn path(&self) -> &str {
        self.base.get(self.path_start..).unwrap_or_default()
    }
}

impl fmt::Display for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base)
    }
}

impl FromStr for Audience {
    type Err = AudienceError;

    fn from_str(text: &str) -> Result<Self, AudienceError> {
        Self::parse(text)
    }
}

/// Why a text is no audience.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AudienceError {
    /// Not an absolute URL.
    #[error("an audience is a URL like https://gw.example.com")]
    NotAUrl(#[source] url::ParseError),
    /// Neither http nor https.
    #[error("an audience's scheme is https or http")]
    Scheme,
    /// With user, password, query or fragment.
    #[error("an audience has no user, password, query or fragment")]
    MoreThanABase,
    /// With a path that requests could not be below.
    #[error("an audience's path has no escapes and no empty segments")]
    Path,
}

/// The time of signing, exactly as sent: ten digits are Unix seconds, thirteen Unix milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedAt {
    text: String,
    at: Timestamp,
}

impl SignedAt {
    /// Reads the header's value.
    pub fn parse(text: &str) -> Result<Self, MalformedTimestamp> {
        if !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(MalformedTimestamp);
        }
        let digits: i64 = text.parse().map_err(|_| MalformedTimestamp)?;
        let at = match text.len() {
            10 => Timestamp::from_second(digits),
            13 => Timestamp::from_millisecond(digits),
            _ => return Err(MalformedTimestamp),
        };
        Ok(Self {
            text: text.to_owned(),
            at: at.map_err(|_| MalformedTimestamp)?,
        })
    }

    /// The whole second of a time, in ten digits. Fails before 1970 and after 2286.
    pub fn seconds(at: Timestamp) -> Result<Self, MalformedTimestamp> {
        Self::parse(&format!("{:010}", at.as_second()))
    }

    /// The whole millisecond of a time, in thirteen digits. Fails before 1970 and after 2286.
    pub fn millis(at: Timestamp) -> Result<Self, MalformedTimestamp> {
        Self::parse(&format!("{:013}", at.as_millisecond()))
    }

    /// The text as sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The instant that it names: of a second, its beginning.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.at
    }
}

/// Neither ten nor thirteen digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a timestamp is Unix time in 10 digits (seconds) or 13 digits (milliseconds)")]
pub struct MalformedTimestamp;

/// A text that makes a request differ from an equal one in the same second:
/// `[A-Za-z0-9_-]{16,128}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nonce(String);

impl Nonce {
    /// Reads the header's value.
    pub fn parse(text: &str) -> Result<Self, MalformedNonce> {
        let alphabet = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if (16..=128).contains(&text.len()) && text.bytes().all(alphabet) {
            Ok(Self(text.to_owned()))
        } else {
            Err(MalformedNonce)
        }
    }

    /// A nonce of sixteen random bytes, in base64url.
    #[must_use]
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(BASE64_URL_SAFE_NO_PAD.encode(bytes))
    }

    /// The text as sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Not of a nonce's alphabet or length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a nonce is 16 to 128 characters of A-Za-z0-9_-")]
pub struct MalformedNonce;

/// SHA-256 of a body, as it enters the signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyDigest([u8; 32]);

impl BodyDigest {
    /// Hashes a whole body.
    #[must_use]
    pub fn of(body: &[u8]) -> Self {
        Self(Sha256::digest(body).into())
    }
}

/// Everything that a signature covers.
#[derive(Debug, Clone, Copy)]
pub struct SignedParts<'a> {
    /// The gateway that the request is meant for.
    pub audience: &'a Audience,
    /// The caller.
    pub did: &'a DidUrl,
    /// When it was signed.
    pub signed_at: &'a SignedAt,
    /// The text that makes it unique.
    pub nonce: Option<&'a Nonce>,
    /// The method, exactly as sent: HTTP's methods are case-sensitive (RFC 9110 §9.1).
    pub method: &'a Method,
    /// The path below the audience.
    pub path: &'a CanonicalPath,
    /// The query.
    pub query: &'a CanonicalQuery,
    /// The body.
    pub body: BodyDigest,
}

/// The text that is signed: lines of request data, none of them secret. With `x-did-v1` there are nine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningString(String);

impl SigningString {
    /// Writes the parts of `x-did-v1` in the order that is given at the top of this module.
    #[must_use]
    pub fn new(parts: &SignedParts<'_>) -> Self {
        let lines = [
            SCHEME,
            parts.audience.as_str(),
            &parts.did.to_string(),
            parts.signed_at.as_str(),
            parts.nonce.map_or("", Nonce::as_str),
            parts.method.as_str(),
            parts.path.as_str(),
            parts.query.as_str(),
            &hex::encode(parts.body.0),
        ];
        Self(lines.join("\n"))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The signed bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Display for SigningString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Signs a request with an Ed25519 key. `parts.did` has to contain the public half of `key`.
#[must_use]
pub fn sign(key: &SigningKey, parts: &SignedParts<'_>) -> SignedHeaders {
    let signature = key.sign(SigningString::new(parts).as_bytes());
    SignedHeaders::new(parts, &Signature::from_bytes(signature.to_bytes()))
}

/// The values of a signed request's headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedHeaders {
    /// For [`DID`].
    pub did: String,
    /// For [`TIMESTAMP`].
    pub timestamp: String,
    /// For [`NONCE`]; without it the header is not sent.
    pub nonce: Option<String>,
    /// For [`SIGNATURE`], in base64url without padding.
    pub signature: String,
}

impl SignedHeaders {
    /// The headers of a request whose [`SigningString`] has this signature.
    #[must_use]
    pub fn new(parts: &SignedParts<'_>, signature: &Signature) -> Self {
        Self {
            did: parts.did.to_string(),
            timestamp: parts.signed_at.as_str().to_owned(),
            nonce: parts.nonce.map(|nonce| nonce.as_str().to_owned()),
            signature: BASE64_URL_SAFE_NO_PAD.encode(signature.to_bytes()),
        }
    }

    /// The headers to send, as name and value.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let nonce = self.nonce.as_deref().map(|nonce| (NONCE, nonce));
        [
            (DID, self.did.as_str()),
            (TIMESTAMP, self.timestamp.as_str()),
            (SIGNATURE, self.signature.as_str()),
        ]
        .into_iter()
        .chain(nonce)
    }

    /// Sets the headers of a request, in place of any that it has.
    pub fn apply(&self, headers: &mut HeaderMap) -> Result<(), InvalidHeaderValue> {
        for (name, value) in self.iter() {
            headers.insert(HeaderName::from_static(name), value.parse()?);
        }
        Ok(())
    }
}

/// Reads the signature header: base64url or base64, 86 characters or 88 with `==`, or 128 hex digits;
/// each after an optional `v1=`.
///
/// Bits beyond the 64 bytes have to be zero. Multibase is refused: its prefixes are letters of the
/// other alphabets.
pub fn parse_signature(text: &str) -> Result<Signature, MalformedSignature> {
    let text = text.strip_prefix("v1=").unwrap_or(text);
    let bytes = match text.len() {
        86 => BASE64_URL_SAFE_NO_PAD
            .decode(text)
            .or_else(|_| BASE64_STANDARD_NO_PAD.decode(text))
            .ok(),
        88 => BASE64_URL_SAFE
            .decode(text)
            .or_else(|_| BASE64_STANDARD.decode(text))
            .ok(),
        128 => hex::decode(text).ok(),
        _ => None,
    };
    let bytes: Option<[u8; SIGNATURE_LENGTH]> = bytes.and_then(|bytes| bytes.try_into().ok());
    match bytes {
        Some(bytes) => Ok(Signature::from_bytes(bytes)),
        None if decoded(text).is_some_and(|it| is_der(&it)) => Err(MalformedSignature::Der),
        None => Err(MalformedSignature::Encoding),
    }
}

/// The bytes of a text in any of the encodings.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let base64 = text
        .trim_end_matches('=')
        .replace('-', "+")
        .replace('_', "/");
    let hex = hex::decode(text).ok();
    hex.or_else(|| BASE64_STANDARD_NO_PAD.decode(base64).ok())
}

/// Whether bytes look like the DER of an ECDSA signature: a SEQUENCE of two INTEGERs (RFC 3279 §2.2.3).
fn is_der(bytes: &[u8]) -> bool {
    match bytes {
        [0x30, length, 0x02, rest @ ..] => usize::from(*length) == rest.len() + 1,
        _ => false,
    }
}

/// The reason why a signature cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedSignature {
    /// Not 64 bytes in one of the encodings.
    #[error("a signature is 64 bytes in base64url, base64 or hex, optionally after v1=")]
    Encoding,
    /// An ECDSA signature as X.509 and OpenSSL write it.
    #[error("the signature is DER-encoded; send r and s instead, 32 bytes each (IEEE P1363)")]
    Der,
    /// A message signature without bytes under the label of its input.
    #[error(
        "the header signature has no 64 bytes under the label of signature-input, such as sig=:…: (RFC 9421 §4.2)"
    )]
    NotADictionary,
}

#[cfg(test)]
mod tests;
