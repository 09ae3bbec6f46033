//! Authentication: verification of a request's signature, by the [`Scheme`] that it is signed with.
//!
//! [`authenticate`] is the only way to a [`Caller`], and whatever needs one to be called cannot be
//! called for a stranger. It reads nothing but the request, so that nobody learns whether a DID is
//! known before having proved to own it. What it cannot tell is whether a request was seen before:
//! the [`Fingerprint`] has to be inserted, once, in the transaction that begins the request.

mod audiences;
mod caller;
mod error;
mod scheme;

use std::iter;

use http::{HeaderMap, header::CONTENT_ENCODING};
use jiff::{SignedDuration, Timestamp};

use self::scheme::Request;
pub use self::{
    audiences::{AudienceCount, Audiences},
    caller::{Caller, Fingerprint, ReplayGuard},
    error::{AuthError, Credential},
    scheme::Scheme,
};
pub use crate::identity::signing::Audience;
use crate::{
    identity::{
        canonical::{CanonicalPath, CanonicalQuery},
        signing::BodyDigest,
    },
    observe,
    request::Incoming,
};

/// The largest difference between a request's timestamp and the server's time, either way, the
/// bounds included.
pub const TIMESTAMP_WINDOW: SignedDuration = SignedDuration::from_secs(300);

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
    let credentials = Scheme::of(&request.headers).credentials(&request.headers)?;
    check_window(credentials.signed_at, now)?;
    check_content_encoding(&request.headers)?;
    check_body_size(request.body.len(), max_body)?;
    let path = CanonicalPath::from_raw(&request.raw_path)?;
    let query = CanonicalQuery::from_raw(&request.query)?;
    let signed = Request {
        method: &request.method,
        query: &query,
        body: BodyDigest::of(&request.body),
    };
    let key = credentials.did.public_key()?;

    let stage = request.stage.as_deref();
    for audience in audiences.iter() {
        let (likely, whole) = paths_below(audience, stage, &path);
        for path in iter::once(likely).chain(whole) {
            let text = credentials.signed_text(audience, &path, &signed);
            if key.verifies(text.as_bytes(), &credentials.signature) {
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
    let (path, _) = paths_below(audiences.first(), stage, &path);
    Err(AuthError::InvalidSignature {
        signing_string: credentials.signed_text(audiences.first(), &path, &signed),
        audiences_tried: audiences.len(),
    })
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

#[cfg(test)]
mod tests;
