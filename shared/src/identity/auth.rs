//! Authentication: verification of a request's signature, by the [`Scheme`] that it is signed with, and
//! the reading of its access token.
//!
//! An [`Authenticator`] is the only way to a [`Caller`], and whatever needs one to be called
//! cannot be called for a stranger. It reads nothing but the request and, for a DID that does not contain its key,
//! the DID's [document](Documents), so that nobody learns whether a DID is known before having proved to own it. What they cannot tell is whether a request was seen before:
//! the [`Fingerprint`] has to be inserted, once, in the transaction that begins the request; and whether
//! there is a token of a [`TokenDigest`]: the same transaction looks it up.

mod audiences;
mod caller;
mod error;
mod scheme;
mod token;

use std::iter;

use http::{HeaderMap, Method, header::CONTENT_ENCODING};
use jiff::{SignedDuration, Timestamp};

use self::scheme::{Credentials, Request};
pub use self::{
    audiences::{AudienceCount, Audiences},
    caller::{Caller, Fingerprint, ReplayGuard},
    error::{AuthError, Credential, MessageError},
    scheme::Scheme,
};
pub use crate::identity::signing::Audience;
use crate::{
    identity::{
        access_token::{AccessToken, TokenDigest},
        canonical::{CanonicalPath, CanonicalQuery},
        did::{KeySource, PublicKey},
        documents::Documents,
        signing::SigningString,
    },
    observe,
    request::{Incoming, MAX_BODY},
    routes::Route,
};

/// The largest difference between a request's timestamp and the server's time, either way, the
/// bounds included.
pub const TIMESTAMP_WINDOW: SignedDuration = SignedDuration::from_secs(300);

/// Authenticates requests to a gateway.
#[derive(Debug)]
pub struct Authenticator {
    audiences: Audiences,
    documents: Documents,
}

impl Authenticator {
    /// Accepts signatures for `audiences`, of DIDs that contain their key or whose document is among `documents`.
    #[must_use]
    pub fn new(audiences: Audiences, documents: Documents) -> Self {
        Self {
            audiences,
            documents,
        }
    }

    /// The gateway's base URLs.
    #[must_use]
    pub fn audiences(&self) -> &Audiences {
        &self.audiences
    }

    /// As [`identify`], for all DIDs that are accepted.
    pub async fn identify(
        &self,
        request: &Incoming,
        now: Timestamp,
    ) -> Result<Identified, AuthError> {
        match with_token(request, &self.audiences, MAX_BODY)? {
            Some(identified) => Ok(identified),
            None => signed_or_anonymous(&request.headers, self.verify(request, now).await),
        }
    }

    /// As [`authenticate`], for all DIDs that are accepted.
    pub async fn authenticate(
        &self,
        request: &Incoming,
        now: Timestamp,
    ) -> Result<Authenticated, AuthError> {
        refuse_token(&request.headers)?;
        self.verify(request, now).await
    }

    /// Waits for nothing, unless the DID has a document and that is not at hand.
    async fn verify(&self, request: &Incoming, now: Timestamp) -> Result<Authenticated, AuthError> {
        let unverified = Unverified::read(request, &self.audiences, MAX_BODY, now)?;
        let key = match unverified.credentials.did.key_source()? {
            KeySource::Identifier(key) => key,
            KeySource::Document(reference) => {
                if let Some(known) = self.documents.known(&reference, now) {
                    known?
                } else {
                    // A request that no key would make valid causes no look-up.
                    unverified.credentials.of(&unverified.parts())?;
                    // Boxed: it rarely happens, and every request would carry its size.
                    Box::pin(self.documents.look_up(&reference, now)).await?
                }
            }
        };
        unverified.verify(&key)
    }
}

/// Finds out who a request is from, by its signature or by its access token.
///
/// A token is read in `Authorization: Bearer …` and in `x-api-key`, nowhere else: not in the query, the
/// path or a cookie, which logs and histories keep. Its form and checksum are judged here. A token says
/// nothing of the audience that it was meant for, so its path is the one of those that
/// [`authenticate`] would try that leads to a [`Route`].
///
/// DIDs that do not contain their key are refused; an [`Authenticator`] looks them up.
pub fn identify(
    request: &Incoming,
    audiences: &Audiences,
    max_body: usize,
    now: Timestamp,
) -> Result<Identified, AuthError> {
    match with_token(request, audiences, max_body)? {
        Some(identified) => Ok(identified),
        None => signed_or_anonymous(
            &request.headers,
            verify_signature(request, audiences, max_body, now),
        ),
    }
}

/// The sender of a request with an access token.
fn with_token(
    request: &Incoming,
    audiences: &Audiences,
    max_body: usize,
) -> Result<Option<Identified>, AuthError> {
    let Some(text) = token::presented(&request.headers)? else {
        return Ok(None);
    };
    let digest = AccessToken::parse(text)?.digest();
    check_content_encoding(&request.headers)?;
    check_body_size(request.body.len(), max_body)?;
    let path = CanonicalPath::from_raw(&request.raw_path)?;
    Ok(Some(Identified {
        identity: Identity::Token(digest),
        path: routed_path(audiences, request.stage.as_deref(), &path),
        query: CanonicalQuery::from_raw(&request.query)?,
    }))
}

/// The sender of a request without an access token.
fn signed_or_anonymous(
    headers: &HeaderMap,
    verdict: Result<Authenticated, AuthError>,
) -> Result<Identified, AuthError> {
    match verdict {
        Ok(Authenticated {
            caller,
            path,
            query,
        }) => Ok(Identified {
            identity: Identity::Signed(caller),
            path,
            query,
        }),
        Err(AuthError::MissingCredentials { missing, unread })
            if Scheme::used(headers).is_none() =>
        {
            Err(AuthError::Anonymous { missing, unread })
        }
        Err(error) => Err(error),
    }
}

/// A request whose sender is known by a signature, or will be by a token.
#[derive(Debug, Clone)]
pub struct Identified {
    /// The sender.
    pub identity: Identity,
    /// Its path below the audience, to route by and to forward.
    pub path: CanonicalPath,
    /// Its query, to read and to forward.
    pub query: CanonicalQuery,
}

/// The sender of a request.
#[derive(Debug, Clone)]
pub enum Identity {
    /// A DID that signed the request.
    Signed(Caller),
    /// The holder of a token with this digest, if there is one: only the database can tell.
    Token(TokenDigest),
}

impl Identity {
    /// The fingerprint that the database must not have seen before. A token's request has none: a bearer
    /// replays by nature.
    #[must_use]
    pub fn replay_guard(&self, method: &Method) -> Option<ReplayGuard> {
        match self {
            Self::Signed(caller) => caller.replay_guard(method),
            Self::Token(_) => None,
        }
    }
}

/// Checks a request's signature and gives its caller, path and query. An access token is refused.
///
/// `max_body` is in bytes. The audiences are tried in order. For each, the path is the event's with
/// the audience's own path taken off its front, or else the stage's name; if none of these verifies,
/// the whole path is tried, because the prefix may belong to it: a REST API's event leaves the stage
/// out, and a stage may be called `api`. The whole paths come last, because a message signature does not tell
/// where an audience's own path ends. Whichever verified is the path that the caller meant, and
/// the only one to route by.
///
/// DIDs that do not contain their key are refused; an [`Authenticator`] looks them up.
pub fn authenticate(
    request: &Incoming,
    audiences: &Audiences,
    max_body: usize,
    now: Timestamp,
) -> Result<Authenticated, AuthError> {
    refuse_token(&request.headers)?;
    verify_signature(request, audiences, max_body, now)
}

fn refuse_token(headers: &HeaderMap) -> Result<(), AuthError> {
    match token::presented(headers)? {
        Some(_) => Err(AuthError::SignatureRequired),
        None => Ok(()),
    }
}

/// Checks the signature of a request that comes without an access token.
fn verify_signature(
    request: &Incoming,
    audiences: &Audiences,
    max_body: usize,
    now: Timestamp,
) -> Result<Authenticated, AuthError> {
    let unverified = Unverified::read(request, audiences, max_body, now)?;
    let key = unverified.credentials.did.public_key()?;
    unverified.verify(&key)
}

/// A request whose credentials are well-formed and of this time, and whose signature is not checked.
struct Unverified<'a> {
    request: &'a Incoming,
    audiences: &'a Audiences,
    credentials: Credentials,
    path: CanonicalPath,
    query: CanonicalQuery,
}

impl<'a> Unverified<'a> {
    fn read(
        request: &'a Incoming,
        audiences: &'a Audiences,
        max_body: usize,
        now: Timestamp,
    ) -> Result<Self, AuthError> {
        let credentials = Scheme::of(&request.headers)?.credentials(&request.headers)?;
        check_window(credentials.signed_at, now)?;
        check_expiry(credentials.expires_at, now)?;
        check_content_encoding(&request.headers)?;
        check_body_size(request.body.len(), max_body)?;
        let path = CanonicalPath::from_raw(&request.raw_path)?;
        let query = CanonicalQuery::from_raw(&request.query)?;
        Ok(Self {
            request,
            audiences,
            credentials,
            path,
            query,
        })
    }

    fn parts(&self) -> Request<'_> {
        Request {
            method: &self.request.method,
            raw_path: &self.request.raw_path,
            path: &self.path,
            raw_query: &self.request.query,
            query: &self.query,
            headers: &self.request.headers,
            body: &self.request.body,
        }
    }

    fn verify(self, key: &PublicKey) -> Result<Authenticated, AuthError> {
        let (credentials, path) = (&self.credentials, &self.path);
        credentials.check_algorithm(key)?;
        let signed = credentials.of(&self.parts())?;

        let stage = self.request.stage.as_deref();
        let verifies = |text: &SigningString| key.verifies(text.as_bytes(), &credentials.signature);
        let likely = |audience| (audience, Some(paths_below(audience, stage, path).0));
        let whole = |audience| (audience, paths_below(audience, stage, path).1);
        let candidates = self.audiences.iter().map(likely);
        for (audience, below) in candidates.chain(self.audiences.iter().map(whole)) {
            let Some(below) = below else { continue };
            if let Some(text) = signed.verified(audience, &below, verifies) {
                let caller = Caller::new(credentials, &text);
                observe::caller(caller.did().as_str());
                return Ok(Authenticated {
                    caller,
                    path: below,
                    query: self.query,
                });
            }
        }
        let first = self.audiences.first();
        let (below, _) = paths_below(first, stage, path);
        Err(signed.refusal(first, &below, self.audiences.len()))
    }
}

/// A request whose caller is known.
#[derive(Debug, Clone)]
pub struct Authenticated {
    /// The verified sender.
    pub caller: Caller,
    /// Its path below the audience, to route by and to forward.
    pub path: CanonicalPath,
    /// Its query, to read and to forward.
    pub query: CanonicalQuery,
}

/// Compares to the nanosecond; a timestamp in seconds stands for the second's beginning.
fn check_window(signed_at: Timestamp, now: Timestamp) -> Result<(), AuthError> {
    if signed_at.duration_until(now).abs() <= TIMESTAMP_WINDOW {
        Ok(())
    } else {
        Err(AuthError::TimestampOutOfWindow {
            signed_at,
            server_time: now,
        })
    }
}

/// To the second, as the parameter is written.
fn check_expiry(expires_at: Option<Timestamp>, now: Timestamp) -> Result<(), AuthError> {
    match expires_at {
        Some(expires_at) if expires_at <= now => Err(MessageError::Expired {
            expires_at,
            server_time: now,
        }
        .into()),
        Some(_) | None => Ok(()),
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

/// The path below an audience that leads to a route, or else the likeliest one below the first audience.
fn routed_path(audiences: &Audiences, stage: Option<&str>, path: &CanonicalPath) -> CanonicalPath {
    let below = |audience| paths_below(audience, stage, path);
    let mut candidates = audiences.iter().flat_map(|audience| {
        let (likely, whole) = below(audience);
        iter::once(likely).chain(whole)
    });
    candidates
        .find(|it| Route::at(it.as_str()).is_some())
        .unwrap_or_else(|| below(audiences.first()).0)
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

#[cfg(test)]
mod tests;
