//! The headers that an access token is sent in.

use std::str;

use http::HeaderMap;

use super::{
    error::{AuthError, TokenHeader},
    scheme::Scheme,
};
use crate::identity::access_token::{AccessToken, MalformedToken};

impl TokenHeader {
    /// The credentials in a value of the header; of `Authorization`, only those of the scheme `Bearer`.
    fn credentials(self, value: &[u8]) -> Option<&[u8]> {
        match self {
            Self::ApiKey => Some(value),
            Self::Authorization => {
                let (scheme, rest) = value.split_at_checked(BEARER.len())?;
                let is_bearer = scheme.eq_ignore_ascii_case(BEARER);
                (is_bearer && rest.starts_with(b" ")).then(|| rest.trim_ascii_start())
            }
        }
    }
}

const BEARER: &[u8] = b"Bearer";

/// The content of the headers that an access token is sent in.
pub(super) enum Presented<'a> {
    /// None, or blank: some clients send an empty key.
    Nothing,
    /// A key of another service, another scheme, or a placeholder; not ours to read.
    Other(TokenHeader),
    /// A text that is meant to be a token, once, and no signature.
    Token(&'a str),
}

/// Reads the headers. A token may stand in both, as Claude Code sends it, but only one and only once in
/// each: of several, another reader would take another one. Beside other keys and a signature a
/// placeholder is harmless, and SDKs do send one.
pub(super) fn presented(headers: &HeaderMap) -> Result<Presented<'_>, AuthError> {
    let mut token = None;
    let mut other = None;
    let mut is_ambiguous = false;
    for header in TokenHeader::ALL {
        let values = headers.get_all(header.as_str()).into_iter();
        let values = values.map(|value| value.as_bytes().trim_ascii());
        for (index, value) in values.filter(|value| !value.is_empty()).enumerate() {
            is_ambiguous |= index > 0;
            match header.credentials(value) {
                Some(text) if AccessToken::is_meant_by(text) => {
                    is_ambiguous |= token.is_some_and(|before| before != text);
                    // HTTP API's events join the values of a repeated header.
                    is_ambiguous |= text.contains(&b',');
                    token = Some(text);
                }
                Some(_) | None => other = other.or(Some(header)),
            }
        }
    }
    match (token, other) {
        (None, None) => Ok(Presented::Nothing),
        (None, Some(header)) => Ok(Presented::Other(header)),
        (Some(_), Some(_)) => Err(AuthError::AmbiguousCredentials),
        (Some(_), None) if is_ambiguous || Scheme::used(headers).is_some() => {
            Err(AuthError::AmbiguousCredentials)
        }
        (Some(token), None) => match str::from_utf8(token) {
            Ok(token) => Ok(Presented::Token(token)),
            Err(_) => Err(MalformedToken::Alphabet.into()),
        },
    }
}

#[cfg(test)]
mod tests;
