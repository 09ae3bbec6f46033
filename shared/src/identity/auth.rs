//! Who sent a request: verification of the scheme `x-did-v1` (see [`signing`]).
//!
//! [`authenticate`] is the only way to a [`Caller`], and whatever needs one to be called cannot be
//! called for a stranger. It reads nothing but the request, so that nobody learns whether a DID is
//! known before having proved to own it. What it cannot tell is whether a request was seen before:
//! the [`Fingerprint`] has to be inserted, once, in the transaction that begins the request.

use std::{fmt, iter};

use ed25519_dalek::{Signature, VerifyingKey};
use http::{HeaderMap, Method, header::CONTENT_ENCODING};
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

pub use crate::identity::signing::Audience;
use crate::{
    identity::{
        canonical::{CanonicalPath, CanonicalQuery, PathError, QueryError},
        did::{Did, DidError, DidUrl},
        signing::{
            self, BodyDigest, MalformedNonce, MalformedSignature, MalformedTimestamp, Nonce,
            SignedAt, SignedParts, SigningString,
        },
    },
    observe,
    request::Incoming,
};

/// How far a request's timestamp may be from the server's time, either way, the bounds included.
pub const TIMESTAMP_WINDOW: SignedDuration = SignedDuration::from_secs(300);

/// How long a fingerprint is kept after its request can no longer pass: more than the clocks of two
/// instances, or of an instance and the database, can be apart.
const FINGERPRINT_MARGIN: SignedDuration = SignedDuration::from_secs(60);

/// Checks a request's signature and gives its caller, path and query.
///
/// `max_body` is in bytes. The audiences are tried in order. For each, the path is the event's with
/// the audience's own path taken off its front, or else the stage's name; if that does not verify,
/// the whole path is tried, because the prefix may belong to it: a REST API's event leaves the stage
/// out, and a stage may be called `api`. Whichever verified is the path that the caller meant, and
/// the only one to route by.
pub fn authenticate(
    request: &Incoming,
    audiences: &Audiences,
    max_body: usize,
    now: Timestamp,
) -> Result<Authenticated, AuthError> {
    let credentials = Credentials::read(&request.headers)?;
    check_window(&credentials.signed_at, now)?;
    check_content_encoding(&request.headers)?;
    check_body_size(request.body.len(), max_body)?;
    let path = CanonicalPath::from_raw(&request.raw_path)?;
    let query = CanonicalQuery::from_raw(&request.query)?;
    let body = BodyDigest::of(&request.body);
    let key = credentials.did.verifying_key()?;

    let signed_text = |audience: &Audience, path: &CanonicalPath| {
        SigningString::new(&SignedParts {
            audience,
            did: &credentials.did,
            signed_at: &credentials.signed_at,
            nonce: credentials.nonce.as_ref(),
            method: &request.method,
            path,
            query: &query,
            body,
        })
    };
    let stage = request.stage.as_deref();
    for audience in audiences.iter() {
        let (likely, whole) = paths_below(audience, stage, &path);
        for path in iter::once(likely).chain(whole) {
            let text = signed_text(audience, &path);
            if is_signed(&key, text.as_bytes(), &credentials.signature) {
                let caller = Caller::new(credentials, &text);
                observe::caller(caller.did().as_str());
                return Ok(Authenticated {
                    caller,
                    path,
                    query,
                });
            }
        }
    }
    let (path, _) = paths_below(&audiences.first, stage, &path);
    Err(AuthError::InvalidSignature {
        signing_string: signed_text(&audiences.first, &path),
        audiences_tried: audiences.len(),
    })
}

/// A request whose caller is known.
#[derive(Debug, Clone)]
pub struct Authenticated {
    /// Who sent it.
    pub caller: Caller,
    /// Its path below the audience, to route by and to forward.
    pub path: CanonicalPath,
    /// Its query, to read and to forward.
    pub query: CanonicalQuery,
}

/// Someone who has proved to own a DID, and the request that proved it.
#[derive(Debug, Clone)]
pub struct Caller {
    did: Did,
    fingerprint: Fingerprint,
    fingerprint_expires_at: Timestamp,
    nonce_present: bool,
}

impl Caller {
    fn new(credentials: Credentials, signed: &SigningString) -> Self {
        let kept = TIMESTAMP_WINDOW.saturating_add(FINGERPRINT_MARGIN);
        let signed_at = credentials.signed_at.at();
        Self {
            did: credentials.did.into_did(),
            fingerprint: Fingerprint(Sha256::digest(signed.as_bytes()).into()),
            fingerprint_expires_at: signed_at.checked_add(kept).unwrap_or(Timestamp::MAX),
            nonce_present: credentials.nonce.is_some(),
        }
    }

    /// The DID, without fragment.
    #[must_use]
    pub fn did(&self) -> &Did {
        &self.did
    }

    /// What identifies the signed request.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// From when on the fingerprint need not be kept: the request is then too old to pass.
    #[must_use]
    pub fn fingerprint_expires_at(&self) -> Timestamp {
        self.fingerprint_expires_at
    }

    /// What the database must not have seen before: for every request that bills or changes
    /// something, and for a safe one whose sender asked for it with a nonce.
    #[must_use]
    pub fn replay_guard(&self, method: &Method) -> Option<ReplayGuard> {
        (!method.is_safe() || self.nonce_present).then_some(ReplayGuard {
            digest: self.fingerprint.0,
            expires_at: self.fingerprint_expires_at,
        })
    }
}

/// The digest of what the caller signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayGuard {
    /// SHA-256 of the signed bytes (not of the signature, whose encoding can vary).
    pub digest: [u8; 32],
    /// From then on the timestamp check refuses the request by itself.
    pub expires_at: Timestamp,
}

/// SHA-256 of the signed bytes, in lower-case hex. Not of the signature, which has several
/// encodings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The digest.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// The base URLs under which this deployment is reached, one to [`Audiences::MAX`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audiences {
    first: Audience,
    others: Vec<Audience>,
}

impl Audiences {
    /// Each costs a wrong signature one more verification.
    pub const MAX: usize = 4;

    /// Takes the audiences in the order in which they are tried.
    pub fn new(audiences: Vec<Audience>) -> Result<Self, AudienceCount> {
        let given = audiences.len();
        let mut audiences = audiences.into_iter();
        match audiences.next() {
            Some(first) if given <= Self::MAX => Ok(Self {
                first,
                others: audiences.collect(),
            }),
            _ => Err(AudienceCount { given }),
        }
    }

    /// The audiences in order.
    pub fn iter(&self) -> impl Iterator<Item = &Audience> {
        iter::once(&self.first).chain(&self.others)
    }

    /// How many there are.
    #[expect(clippy::len_without_is_empty, reason = "there is always one")]
    #[must_use]
    pub fn len(&self) -> usize {
        self.others.len() + 1
    }
}

/// None, or more than [`Audiences::MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("1 to {max} audiences are needed, {given} were given", max = Audiences::MAX)]
pub struct AudienceCount {
    /// How many were given.
    pub given: usize,
}

/// One of the headers that carry the credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants are the headers of `signing`")]
pub enum Credential {
    Did,
    Timestamp,
    Signature,
    Nonce,
}

impl Credential {
    /// The header's name.
    #[must_use]
    pub fn header(self) -> &'static str {
        match self {
            Self::Did => signing::DID,
            Self::Timestamp => signing::TIMESTAMP,
            Self::Signature => signing::SIGNATURE,
            Self::Nonce => signing::NONCE,
        }
    }

    fn malformed(self) -> &'static str {
        match self {
            Self::Did => "malformed_did",
            Self::Timestamp => "malformed_timestamp",
            Self::Signature => "malformed_signature",
            Self::Nonce => "malformed_nonce",
        }
    }
}

impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.header())
    }
}

/// Why a request has no caller. The text is for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Required headers that were not sent.
    #[error("sign the request: missing {}", list(missing))]
    MissingCredentials {
        /// Those missing, at least one.
        missing: Vec<Credential>,
    },
    /// A header that was sent more than once.
    #[error("send the header {0} exactly once")]
    Repeated(Credential),
    /// A header with bytes outside visible ASCII.
    #[error("the header {0} contains something other than visible ASCII")]
    NotAscii(Credential),
    /// A DID that is malformed or not supported.
    #[error(transparent)]
    Did(#[from] DidError),
    /// A timestamp outside the grammar.
    #[error(transparent)]
    Timestamp(#[from] MalformedTimestamp),
    /// A signature outside the grammar.
    #[error(transparent)]
    Signature(#[from] MalformedSignature),
    /// A nonce outside the grammar.
    #[error(transparent)]
    Nonce(#[from] MalformedNonce),
    /// Signed too long ago, or too far in the future.
    #[error(
        "the request was signed at {signed_at}, more than {} seconds from the server's time {server_time}",
        TIMESTAMP_WINDOW.as_secs()
    )]
    TimestampOutOfWindow {
        /// What the request says.
        signed_at: Timestamp,
        /// What the server's clock says.
        server_time: Timestamp,
    },
    /// A compressed body: what is signed, metered and forwarded would be three different things.
    #[error("send the body without Content-Encoding")]
    ContentEncoding,
    /// A body over the cap.
    #[error("the body has {size} bytes; at most {max} are accepted")]
    BodyTooLarge {
        /// The body's size, in bytes.
        size: usize,
        /// The cap, in bytes.
        max: usize,
    },
    /// A path without canonical form.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A query without canonical form.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The signature is not the DID's over this request.
    #[error("the signature does not match the request; compare your signing string with this one")]
    InvalidSignature {
        /// What the server expected to be signed for its first audience. It holds nothing but
        /// request data.
        signing_string: SigningString,
        /// How many audiences were tried.
        audiences_tried: usize,
    },
}

impl AuthError {
    /// The stable name that clients see.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::MissingCredentials { .. } => "missing_credentials",
            Self::Repeated(header) | Self::NotAscii(header) => header.malformed(),
            Self::Did(error) => error.reason(),
            Self::Timestamp(MalformedTimestamp) => Credential::Timestamp.malformed(),
            Self::Signature(MalformedSignature) => Credential::Signature.malformed(),
            Self::Nonce(MalformedNonce) => Credential::Nonce.malformed(),
            Self::TimestampOutOfWindow { .. } => "timestamp_out_of_window",
            Self::ContentEncoding => "content_encoding_not_supported",
            Self::BodyTooLarge { .. } => "body_too_large",
            Self::Path(_) => PathError::REASON,
            Self::Query(_) => QueryError::REASON,
            Self::InvalidSignature { .. } => "invalid_signature",
        }
    }
}

/// The headers' contents, grammatically right and nothing more.
struct Credentials {
    did: DidUrl,
    signed_at: SignedAt,
    signature: Signature,
    nonce: Option<Nonce>,
}

impl Credentials {
    fn read(headers: &HeaderMap) -> Result<Self, AuthError> {
        let did = single(headers, Credential::Did)?;
        let signed_at = single(headers, Credential::Timestamp)?;
        let signature = single(headers, Credential::Signature)?;
        let (Some(did), Some(signed_at), Some(signature)) = (did, signed_at, signature) else {
            let missing = [
                did.is_none().then_some(Credential::Did),
                signed_at.is_none().then_some(Credential::Timestamp),
                signature.is_none().then_some(Credential::Signature),
            ];
            return Err(AuthError::MissingCredentials {
                missing: missing.into_iter().flatten().collect(),
            });
        };
        let nonce = single(headers, Credential::Nonce)?;
        Ok(Self {
            did: DidUrl::parse(did)?,
            signed_at: SignedAt::parse(signed_at)?,
            signature: signing::parse_signature(signature)?,
            nonce: nonce.map(Nonce::parse).transpose()?,
        })
    }
}

/// The value of a header that may be sent once.
fn single(headers: &HeaderMap, header: Credential) -> Result<Option<&str>, AuthError> {
    let mut values = headers.get_all(header.header()).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(AuthError::Repeated(header));
    }
    match value.to_str() {
        Ok(text) => Ok(Some(text)),
        Err(_) => Err(AuthError::NotAscii(header)),
    }
}

/// Compares to the nanosecond; a timestamp in seconds stands for the second's beginning.
fn check_window(signed_at: &SignedAt, now: Timestamp) -> Result<(), AuthError> {
    let signed_at = signed_at.at();
    if signed_at.duration_until(now).abs() <= TIMESTAMP_WINDOW {
        Ok(())
    } else {
        Err(AuthError::TimestampOutOfWindow {
            signed_at,
            server_time: now,
        })
    }
}

/// `Content-Encoding` is a list; `identity` in it means nothing (RFC 9110 §8.4.1).
fn check_content_encoding(headers: &HeaderMap) -> Result<(), AuthError> {
    let is_plain = headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .all(|coding| coding.is_empty() || coding.eq_ignore_ascii_case(b"identity"));
    if is_plain {
        Ok(())
    } else {
        Err(AuthError::ContentEncoding)
    }
}

fn check_body_size(size: usize, max: usize) -> Result<(), AuthError> {
    if size <= max {
        Ok(())
    } else {
        Err(AuthError::BodyTooLarge { size, max })
    }
}

/// The path that the event's path most likely means below an audience, and the whole path where that
/// is another one: REST API events include a custom domain's base path, others the stage.
#[must_use]
pub fn paths_below(
    audience: &Audience,
    stage: Option<&str>,
    path: &CanonicalPath,
) -> (CanonicalPath, Option<CanonicalPath>) {
    let own = Some(audience.path()).filter(|own| !own.is_empty());
    let stripped = own
        .and_then(|own| path.below(own))
        .or_else(|| path.below(&format!("/{}", stage?)));
    match stripped {
        Some(stripped) => (stripped, Some(path.clone())),
        None => (path.clone(), None),
    }
}

/// Strictly: no weak keys, no small-order R, no second spelling of either, so that a signature holds
/// for one key and one message (<https://hdevalence.ca/blog/2020-10-04-its-25519am>).
fn is_signed(key: &VerifyingKey, text: &[u8], signature: &Signature) -> bool {
    key.verify_strict(text, signature).is_ok()
}

fn list(credentials: &[Credential]) -> String {
    let names: Vec<_> = credentials.iter().map(|c| c.header()).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests;
