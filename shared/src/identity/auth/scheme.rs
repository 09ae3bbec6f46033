//! The ways to sign a request.
//!
//! A scheme decides three things: in which headers its credentials stand, what text is signed, and so
//! what the fingerprint is of. All else, such as the window of time and the check of the signature, is the
//! same for each.

mod x_did_v1;

use http::{HeaderMap, Method};
use jiff::Timestamp;

use super::error::{AuthError, Credential, unread};
use crate::identity::{
    canonical::{CanonicalPath, CanonicalQuery},
    did::{DidUrl, Signature},
    signing::{Audience, BodyDigest, SigningString},
};

/// A way to sign a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `x-did-v1`; see [`signing`](crate::identity::signing).
    XDidV1,
}

impl Scheme {
    /// Every scheme. The first is the one that unsigned requests are told about.
    pub const ALL: [Self; 1] = [Self::XDidV1];

    /// The headers with its credentials, the one that shows its use first. Web pages may send them,
    /// and none of them is passed on.
    #[must_use]
    pub fn headers(self) -> &'static [&'static str] {
        match self {
            Self::XDidV1 => &x_did_v1::HEADERS,
        }
    }

    /// The scheme that a request is signed with, or else the first.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let [default, ..] = Self::ALL;
        Self::used(headers).unwrap_or(default)
    }

    /// The scheme of which a request has a header.
    pub(super) fn used(headers: &HeaderMap) -> Option<Self> {
        let is_used = |it: &Self| it.headers().iter().any(|name| headers.contains_key(*name));
        Self::ALL.into_iter().find(is_used)
    }

    /// Reads the credentials of a request.
    pub(super) fn credentials(self, headers: &HeaderMap) -> Result<Credentials, AuthError> {
        match self {
            Self::XDidV1 => x_did_v1::credentials(headers),
        }
    }
}

/// A request's account of who sent it: grammatically right and nothing more.
pub(super) struct Credentials {
    pub(super) did: DidUrl,
    pub(super) signed_at: Timestamp,
    pub(super) has_nonce: bool,
    pub(super) signature: Signature,
    cover: Cover,
}

/// The parts of the credentials that a scheme signs as they were sent.
enum Cover {
    XDidV1(x_did_v1::Cover),
}

/// The parts of a request, besides its path, that every scheme can sign.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) method: &'a Method,
    pub(super) query: &'a CanonicalQuery,
    pub(super) body: BodyDigest,
}

impl Credentials {
    /// The text that the signature has to be of, if the request was meant for `audience` and `path`
    /// below it.
    pub(super) fn signed_text(
        &self,
        audience: &Audience,
        path: &CanonicalPath,
        request: &Request<'_>,
    ) -> SigningString {
        match &self.cover {
            Cover::XDidV1(cover) => cover.signed_text(&self.did, audience, path, request),
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
