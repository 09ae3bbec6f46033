//! DID documents (<https://www.w3.org/TR/did-1.0/#core-properties>), as far as they name keys that callers sign with.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Did, DidError, MAX_LEN, PublicKey, jwk::Jwk, method};
use crate::strict_json;

/// The most keys that a document may have for authentication.
const MAX_KEYS: usize = 64;

/// The keys of a DID document that its owner signs in with, each by its fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document(Vec<DocumentKey>);

/// A key of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
struct DocumentKey {
    fragment: String,
    key: Result<PublicKey, DidError>,
    /// The end of its validity, if its owner has set one.
    ends_at: Option<Timestamp>,
}

/// Why a text is not the document of a DID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedDocument {
    /// Not JSON, or members of other types.
    #[error("it is not a DID document in JSON")]
    Json,
    /// The document of something else.
    #[error("its `id` is not the DID")]
    AnotherId,
    /// More keys than are read.
    #[error("it has more than {MAX_KEYS} keys for authentication")]
    TooManyKeys,
    /// Two keys with one name.
    #[error("two of its keys have the same `id`")]
    AmbiguousKey,
}

/// Why a document has no key to check a signature with. The text is about the key's fragment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No such key under `authentication`.
    #[error("is not among the keys for `authentication` in the DID document")]
    Missing,
    /// It has expired or was revoked.
    #[error("has expired or was revoked, by the DID document")]
    Ended,
    /// It cannot be used.
    #[error("is not usable: {0}")]
    Unusable(DidError),
}

/// The members that decide; others change nothing.
#[derive(Deserialize)]
struct Members<'a> {
    id: String,
    #[serde(default, borrow, rename = "verificationMethod")]
    methods: Vec<&'a RawValue>,
    #[serde(default, borrow)]
    authentication: Vec<&'a RawValue>,
}

/// A verification method.
#[derive(Deserialize)]
struct Method<'a> {
    id: String,
    #[serde(rename = "publicKeyMultibase")]
    multibase: Option<String>,
    #[serde(borrow, rename = "publicKeyJwk")]
    jwk: Option<&'a RawValue>,
    expires: Option<String>,
    revoked: Option<String>,
}

impl Document {
    /// Reads the document of a DID.
    pub fn read(json: &[u8], did: &Did) -> Result<Self, MalformedDocument> {
        let members: Members<'_> =
            strict_json::from_slice(json).map_err(|_| MalformedDocument::Json)?;
        if members.id != did.as_str() {
            return Err(MalformedDocument::AnotherId);
        }
        if members.authentication.len() > MAX_KEYS {
            return Err(MalformedDocument::TooManyKeys);
        }
        let methods = members.methods.into_iter().map(Method::read);
        let methods = methods.collect::<Result<Vec<_>, _>>()?;
        let mut keys: Vec<DocumentKey> = Vec::new();
        for entry in members.authentication {
            let embedded;
            let method = if entry.get().starts_with('"') {
                let reference: String =
                    serde_json::from_str(entry.get()).map_err(|_| MalformedDocument::Json)?;
                // Keys in other documents are not looked for.
                let Some(named) = fragment(&reference, did) else {
                    continue;
                };
                let mut of_name = methods
                    .iter()
                    .filter(|method| fragment(&method.id, did) == Some(named));
                let found = of_name.next();
                if of_name.next().is_some() {
                    return Err(MalformedDocument::AmbiguousKey);
                }
                found
            } else {
                embedded = Method::read(entry)?;
                Some(&embedded)
            };
            let Some(key) = method.and_then(|method| method.key(did)) else {
                continue;
            };
            if keys.iter().any(|other| other.fragment == key.fragment) {
                return Err(MalformedDocument::AmbiguousKey);
            }
            keys.push(key);
        }
        Ok(Self(keys))
    }

    /// The key of a fragment.
    pub fn key(&self, fragment: &str, now: Timestamp) -> Result<PublicKey, KeyError> {
        let mut keys = self.0.iter();
        let found = keys
            .find(|it| it.fragment == fragment)
            .ok_or(KeyError::Missing)?;
        let key = found.key.clone().map_err(KeyError::Unusable)?;
        match found.ends_at {
            Some(ends_at) if ends_at <= now => Err(KeyError::Ended),
            Some(_) | None => Ok(key),
        }
    }
}

impl<'a> Method<'a> {
    fn read(raw: &'a RawValue) -> Result<Self, MalformedDocument> {
        strict_json::from_str(raw.get()).map_err(|_| MalformedDocument::Json)
    }

    /// Its key, if it is one of the document's own.
    fn key(&self, did: &Did) -> Option<DocumentKey> {
        let fragment = fragment(&self.id, did)?.to_owned();
        Some(DocumentKey {
            fragment,
            key: self.public_key(),
            ends_at: self.ends_at(),
        })
    }

    fn public_key(&self) -> Result<PublicKey, DidError> {
        match (&self.multibase, self.jwk) {
            // Decoding is quadratic.
            (Some(text), None) if text.len() <= MAX_LEN => method::key_from_multibase(text),
            (None, Some(jwk)) => Jwk::read(jwk.get())?.public_key(),
            (Some(_), _) | (None, None) => Err(DidError::KeyEncoding),
        }
    }

    /// The earlier of the two ends. One that cannot be read has come.
    fn ends_at(&self) -> Option<Timestamp> {
        let ends = [self.expires.as_deref(), self.revoked.as_deref()];
        ends.into_iter()
            .flatten()
            .map(|text| text.parse().unwrap_or(Timestamp::MIN))
            .min()
    }
}

/// The fragment of a DID URL, absolute or relative to the document.
fn fragment<'a>(url: &'a str, did: &Did) -> Option<&'a str> {
    let fragment = url.strip_prefix(did.as_str()).unwrap_or(url);
    fragment.strip_prefix('#').filter(|it| !it.is_empty())
}

#[cfg(test)]
mod tests;
