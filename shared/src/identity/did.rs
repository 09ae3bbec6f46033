//! Decentralised identifiers, and the keys that they stand for.
//!
//! A [`Did`] is what is stored and looked up; a [`DidUrl`] is what a request sends: the same with an
//! optional `#fragment` that names one of its keys (DID Core §3.1 and §3.2,
//! <https://www.w3.org/TR/did-1.0/>). Both are grammatical only: [`DidUrl::key_source`] tells where the key is. Most
//! [`Method`]s put it into the identifier; that of `did:web` is in a [`Document`], which
//! [`documents`](super::documents) fetches.

mod document;
mod error;
mod jwk;
mod key;
mod method;
mod unsupported;
mod web;

use std::fmt;

pub use self::{
    document::{Document, KeyError, MalformedDocument},
    error::DidError,
    key::{KeyType, P256Key, PublicKey, Signature},
    method::Method,
    unsupported::UnsupportedKey,
    web::{DocumentUrl, WebHost},
};

/// The longest DID or DID URL that is read, in bytes. Base58 decoding is quadratic.
pub const MAX_LEN: usize = 512;

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
    pub fn from_public_key(key: &PublicKey) -> Self {
        Self(method::did_key(key))
    }

    /// The DID as it is stored and looked up.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key that the DID contains.
    pub fn public_key(&self) -> Result<PublicKey, DidError> {
        let (method, identifier) = self.parts()?;
        match method.key(identifier)? {
            Some((key, _)) => Ok(key),
            None => Err(method.unsupported()),
        }
    }

    fn parts(&self) -> Result<(Method, &str), DidError> {
        let (method, identifier) = split(&self.0).ok_or(DidError::Grammar)?;
        Ok((Method::named(method)?, identifier))
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

    /// The source of the key that is named. Where that is the identifier, a fragment has to name exactly the key
    /// in it by the method's rule, not another one derived from it.
    pub fn key_source(&self) -> Result<KeySource<'_>, DidError> {
        let (method, identifier) = self.did.parts()?;
        match (method.key(identifier)?, self.fragment.as_deref()) {
            (Some((_, fragment)), Some(named)) if named != fragment => {
                Err(DidError::FragmentNamesAnotherKey)
            }
            (Some((key, _)), Some(_) | None) => Ok(KeySource::Identifier(key)),
            (None, fragment) => Ok(KeySource::Document(KeyReference {
                did: &self.did,
                identifier,
                fragment,
            })),
        }
    }

    /// The key that the DID contains, without a look-up.
    pub fn public_key(&self) -> Result<PublicKey, DidError> {
        match self.key_source()? {
            KeySource::Identifier(key) => Ok(key),
            KeySource::Document(reference) => Err(reference.unsupported()),
        }
    }
}

/// The source of a DID's key.
#[derive(Debug, Clone)]
pub enum KeySource<'a> {
    /// The DID itself.
    Identifier(PublicKey),
    /// A document, which has to be fetched.
    Document(KeyReference<'a>),
}

/// A key in a DID document.
#[derive(Debug, Clone, Copy)]
pub struct KeyReference<'a> {
    did: &'a Did,
    identifier: &'a str,
    fragment: Option<&'a str>,
}

impl<'a> KeyReference<'a> {
    /// The DID.
    #[must_use]
    pub fn did(&self) -> &'a Did {
        self.did
    }

    /// The fragment that names the key in the document, which can have several.
    pub fn fragment(&self) -> Result<&'a str, DidError> {
        self.fragment.ok_or(DidError::FragmentRequired)
    }

    /// The place of the document.
    pub fn document_url(&self) -> Result<DocumentUrl, DidError> {
        DocumentUrl::of(self.identifier)
    }

    /// The refusal where documents are not fetched.
    #[must_use]
    pub fn unsupported(&self) -> DidError {
        Method::Web.unsupported()
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

#[cfg(test)]
mod tests;
