//! The headers that an access token is sent in.

use std::str;

use http::HeaderMap;

use super::{
    error::{AuthError, FOREIGN},
    scheme::Scheme,
};
use crate::identity::access_token::{AccessToken, MalformedToken};

const AUTHORIZATION: &str = "authorization";
const BEARER: &[u8] = b"Bearer";

/// Reads the text that is meant to be a request's access token, if there is one. It stands in
/// `Authorization: Bearer …`, in `x-api-key`, or in both, as Claude Code sends it; but only one, only once
/// in each, and beside nothing else: of several credentials, another reader would take another one. Where
/// none is meant to be a token, they are not ours to read: SDKs send a placeholder beside a signature.
pub(super) fn presented(headers: &HeaderMap) -> Result<Option<&str>, AuthError> {
    let mut token = None;
    let mut is_ambiguous = Scheme::used(headers).is_some();
    for name in FOREIGN {
        let values = headers.get_all(name).into_iter();
        // Some clients send an empty key.
        let values = values
            .map(|value| value.as_bytes().trim_ascii())
            .filter(|value| !value.is_empty());
        for (index, value) in values.enumerate() {
            is_ambiguous |= index > 0;
            match credentials(name, value) {
                Some(text) if AccessToken::is_meant_by(text) => {
                    is_ambiguous |= token.is_some_and(|before| before != text);
                    // HTTP API's events join the values of a repeated header.
                    is_ambiguous |= text.contains(&b',');
                    token = Some(text);
                }
                Some(_) | None => is_ambiguous = true,
            }
        }
    }
    match token {
        None => Ok(None),
        Some(_) if is_ambiguous => Err(AuthError::AmbiguousCredentials),
        Some(token) => match str::from_utf8(token) {
            Ok(token) => Ok(Some(token)),
            Err(_) => Err(MalformedToken::Alphabet.into()),
        },
    }
}

/// The credentials in the value of a header; of `Authorization`, only those of the scheme `Bearer`.
fn credentials<'a>(name: &str, value: &'a [u8]) -> Option<&'a [u8]> {
    if name != AUTHORIZATION {
        return Some(value);
    }
    let (scheme, rest) = value.split_at_checked(BEARER.len())?;
    let is_bearer = scheme.eq_ignore_ascii_case(BEARER) && rest.starts_with(b" ");
    is_bearer.then(|| rest.trim_ascii_start())
}

#[cfg(test)]
mod tests;
