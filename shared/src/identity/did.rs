//! Decentralised identifiers, and the keys that they contain.
//!
//! A [`Did`] is what is stored and looked up; a [`DidUrl`] is what a request sends: the same with an
//! optional `#fragment` that names one of its keys (DID Core §3.1 and §3.2,
//! <https://www.w3.org/TR/did-1.0/>). Both are grammatical only: `public_key` tells whether a key can
//! be had from them. That needs no network, because every supported [`Method`] puts the key into the
//! identifier.

mod error;
mod key;
mod method;
mod unsupported;

use std::fmt;

pub use self::{
    error::DidError,
    key::{KeyType, P256Key, PublicKey, Signature},
    method::Method,
    unsupported::UnsupportedKey,
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
        method.key(identifier)
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

    /// The key that the DID contains. A fragment has to name exactly this key by the method's rule, not
    /// another one derived from it.
    pub fn public_key(&self) -> Result<PublicKey, DidError> {
        let (method, identifier) = self.did.parts()?;
        let key = method.key(identifier)?;
        match self.fragment.as_deref() {
            Some(fragment) if fragment != method.fragment(identifier) => {
                Err(DidError::FragmentNamesAnotherKey)
            }
            Some(_) | None => Ok(key),
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
