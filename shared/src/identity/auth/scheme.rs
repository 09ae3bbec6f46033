//! The ways to sign a request.
//!
//! A scheme decides three things: in which headers its credentials stand, what text is signed, and so
//! what the fingerprint is of. All else, such as the window of time and the check of the signature, is the
//! same for each.

mod rfc9421;
mod x_did_v1;

use http::{HeaderMap, Method};
use jiff::Timestamp;

use super::error::{AuthError, Credential, unread};
use crate::{
    identity::{
        canonical::{CanonicalPath, CanonicalQuery},
        did::{DidUrl, PublicKey, Signature},
        signing::{Audience, SigningString},
    },
    request::RawQuery,
};

/// A way to sign a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Scheme {
    /// `x-did-v1`; see [`signing`](crate::identity::signing).
    #[default]
    XDidV1,
    /// HTTP message signatures, RFC 9421; see [`signing::rfc9421`](crate::identity::signing::rfc9421).
    Rfc9421,
}

impl Scheme {
    /// Every scheme. The first is the one that unsigned requests are told about.
    pub const ALL: [Self; 2] = [Self::XDidV1, Self::Rfc9421];

    /// The name by which clients choose it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::XDidV1 => "x-did-v1",
            Self::Rfc9421 => "rfc9421",
        }
    }

    /// The headers with its credentials. Web pages may send them, and none of them is passed on.
    #[must_use]
    pub fn headers(self) -> &'static [&'static str] {
        match self {
            Self::XDidV1 => &x_did_v1::HEADERS,
            Self::Rfc9421 => &rfc9421::HEADERS,
        }
    }

    /// Those of its headers that show its use.
    fn marks(self) -> &'static [&'static str] {
        match self {
            Self::XDidV1 => &x_did_v1::HEADERS,
            Self::Rfc9421 => &rfc9421::MARKS,
        }
    }

    /// The scheme that a request is signed with, or else the first. A request is signed with one.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, AuthError> {
        let [default, ..] = Self::ALL;
        let mut used = Self::ALL.into_iter().filter(|it| it.is_used(headers));
        match (used.next(), used.next()) {
            (Some(_), Some(_)) => Err(AuthError::SeveralSchemes),
            (used, _) => Ok(used.unwrap_or(default)),
        }
    }

    /// The first scheme of which a request has a header.
    pub(super) fn used(headers: &HeaderMap) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.is_used(headers))
    }

    fn is_used(self, headers: &HeaderMap) -> bool {
        self.marks().iter().any(|name| headers.contains_key(*name))
    }

    /// Reads the credentials of a request.
    pub(super) fn credentials(self, headers: &HeaderMap) -> Result<Credentials, AuthError> {
        match self {
            Self::XDidV1 => x_did_v1::credentials(headers),
            Self::Rfc9421 => rfc9421::credentials(headers),
        }
    }
}

/// A request's account of who sent it: grammatically right and nothing more.
pub(super) struct Credentials {
    pub(super) did: DidUrl,
    pub(super) signed_at: Timestamp,
    /// The end of its validity, where the sender wants an earlier one than the window's.
    pub(super) expires_at: Option<Timestamp>,
    pub(super) has_nonce: bool,
    pub(super) signature: Signature,
    cover: Cover,
}

/// The parts of the credentials that a scheme signs as they were sent.
enum Cover {
    XDidV1(x_did_v1::Cover),
    Rfc9421(rfc9421::Cover),
}

/// The parts of a request that schemes can sign, besides its path below an audience.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) method: &'a Method,
    /// The path of the event, as it is and canonical.
    pub(super) raw_path: &'a str,
    pub(super) path: &'a CanonicalPath,
    pub(super) raw_query: &'a RawQuery,
    pub(super) query: &'a CanonicalQuery,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a [u8],
}

impl Credentials {
    /// Checks an algorithm that is named. The key's type is what decides.
    pub(super) fn check_algorithm(&self, key: &PublicKey) -> Result<(), AuthError> {
        match &self.cover {
            Cover::XDidV1(_) => Ok(()),
            Cover::Rfc9421(cover) => cover.check_algorithm(key),
        }
    }

    /// Brings the credentials together with the request that they are of.
    pub(super) fn of<'a>(&'a self, request: &Request<'a>) -> Result<Signed<'a>, AuthError> {
        Ok(match &self.cover {
            Cover::XDidV1(cover) => Signed::XDidV1(cover.of(&self.did, request)),
            Cover::Rfc9421(cover) => Signed::Rfc9421(cover.of(request)?),
        })
    }
}

/// A request with its credentials, from which the signed text follows for each audience and path below it.
pub(super) enum Signed<'a> {
    XDidV1(x_did_v1::Signed<'a>),
    Rfc9421(rfc9421::Signed<'a>),
}

impl Signed<'_> {
    /// The text that `verifies`, if the request was meant for `audience` and `path` below it.
    pub(super) fn verified(
        &self,
        audience: &Audience,
        path: &CanonicalPath,
        verifies: impl Fn(&SigningString) -> bool,
    ) -> Option<SigningString> {
        match self {
            Self::XDidV1(signed) => Some(signed.text(audience, path)).filter(verifies),
            Self::Rfc9421(signed) => signed.verified(audience, path, verifies),
        }
    }

    /// The refusal of a signature that is of no text, with the one that would be right for `audience` and `path`.
    pub(super) fn refusal(
        &self,
        audience: &Audience,
        path: &CanonicalPath,
        audiences_tried: usize,
    ) -> AuthError {
        match self {
            Self::XDidV1(signed) => AuthError::InvalidSignature {
                signing_string: signed.text(audience, path),
                audiences_tried,
            },
            Self::Rfc9421(signed) => signed.refusal(audience, path, audiences_tried),
        }
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
