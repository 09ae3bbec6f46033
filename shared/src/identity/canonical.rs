//! The one spelling of a path and of a query that is signed, checked and forwarded.
//!
//! What was verified is what is sent upstream: the values here are the only form in which a request
//! target leaves the gateway. A canonical path holds no `%`, so that decoding it again changes
//! nothing, and no byte that a URL parser would escape, split at or resolve.

use std::{borrow::Cow, fmt};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::request::RawQuery;

/// Every byte but the unreserved ones of RFC 3986 §2.3.
const NOT_UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The segment behind which an encoded slash is a slash. A model's id contains one, and SDKs of OpenAI and
/// Anthropic send the id as one segment (`models.retrieve`).
const MODELS: &str = "/models/";

/// An absolute path of `A-Za-z0-9-._~!$&'()*+,=:@/` without `.`, `..` and empty inner segments.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CanonicalPath(String);

impl CanonicalPath {
    /// Percent-decodes `raw` once and refuses what could be read in two ways.
    ///
    /// HTTP APIs deliver a decoded path, REST APIs and Function URLs an encoded one: decoding once
    /// makes them equal, because a canonical path has nothing left to decode. Below `/models/` an encoded
    /// slash is decoded, too; the segments before it, which choose the route, are the same either way.
    pub fn from_raw(raw: &str) -> Result<Self, PathError> {
        let id = raw.find(MODELS).map_or(raw.len(), |at| at + MODELS.len());
        let mut escapes = raw.match_indices('%');
        if escapes.any(|(at, _)| is_escape(raw, at, "5c") || (at < id && is_escape(raw, at, "2f")))
        {
            return Err(PathError::EncodedSeparator);
        }
        // A broken escape stays as it is, and its `%` is refused below.
        let path = percent_decode_str(raw)
            .decode_utf8()
            .map_err(|_| PathError::ForbiddenCharacter)?;
        if !path.bytes().all(is_path_byte) {
            return Err(PathError::ForbiddenCharacter);
        }
        let segments = path.strip_prefix('/').ok_or(PathError::NotAbsolute)?;
        let inner = segments.strip_suffix('/').unwrap_or(segments);
        for segment in inner.split('/') {
            match segment {
                // "/" alone has one segment, and it is empty.
                "" if !segments.is_empty() => return Err(PathError::EmptySegment),
                "." | ".." => return Err(PathError::DotSegment),
                _ => {}
            }
        }
        Ok(Self(path.into_owned()))
    }

    /// The path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path below `prefix`, which is itself a path without trailing slash (or empty). Only whole
    /// segments count: `/Prod` is no prefix of `/Prodigy`.
    #[must_use]
    pub fn below(&self, prefix: &str) -> Option<Self> {
        match self.0.strip_prefix(prefix)? {
            "" => Some(Self("/".to_owned())),
            rest if rest.starts_with('/') => Some(Self(rest.to_owned())),
            _ => None,
        }
    }
}

impl fmt::Display for CanonicalPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a path has no canonical form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// `%2F` or `%5C`: servers disagree on whether it separates segments. `%2F` is accepted below `/models/`.
    #[error("the path contains an encoded slash or backslash")]
    EncodedSeparator,
    /// Something outside the alphabet is left after decoding once.
    #[error("the path contains a character other than A-Za-z0-9-._~!$&'()*+,=:@/")]
    ForbiddenCharacter,
    /// `.` or `..`, encoded or not.
    #[error("the path contains a dot segment")]
    DotSegment,
    /// `//`.
    #[error("the path contains an empty segment")]
    EmptySegment,
    /// It does not begin with `/`.
    #[error("the path does not begin with a slash")]
    NotAbsolute,
}

impl PathError {
    /// The stable name that clients see.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        "malformed_path"
    }
}

/// Query parameters as `name=value`, both percent-encoded by RFC 3986 with upper-case hex, sorted by
/// (encoded name, encoded value) and joined by `&`; empty where there is none.
///
/// The order is that of the encoded text because there every language agrees on it: it is ASCII.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct CanonicalQuery(String);

impl CanonicalQuery {
    /// Canonicalises a query; both forms of one request give the same result.
    ///
    /// Empty pieces (`a=1&&b=2`) are no parameters, as in the URL standard
    /// (<https://url.spec.whatwg.org/#urlencoded-parsing>). Broken escapes and escapes that are not
    /// UTF-8 are refused: REST APIs have already replaced them by something else.
    pub fn from_raw(raw: &RawQuery) -> Result<Self, QueryError> {
        let mut parameters = match raw {
            RawQuery::Encoded(query) => query
                .split('&')
                .filter(|piece| !piece.is_empty())
                .map(|piece| {
                    let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
                    Ok((encode(&decode(name)?), encode(&decode(value)?)))
                })
                .collect::<Result<Vec<_>, _>>()?,
            RawQuery::Decoded(pairs) => pairs
                .iter()
                .map(|(name, value)| (encode(name), encode(value)))
                .collect(),
        };
        parameters.sort_unstable();
        let parameters: Vec<_> = parameters
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        Ok(Self(parameters.join("&")))
    }

    /// The query, without `?`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether there is no parameter.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The decoded parameters, in canonical order.
    pub fn pairs(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        form_urlencoded::parse(self.0.as_bytes())
    }
}

impl fmt::Display for CanonicalQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a query has no canonical form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// `%` without two hex digits.
    #[error("the query contains a % that is not followed by two hex digits")]
    BrokenEscape,
    /// The decoded bytes are no text.
    #[error("the query is not UTF-8")]
    NotUtf8,
}

impl QueryError {
    /// The stable name that clients see.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        "malformed_query"
    }
}

/// Whether the `%` at `at` is followed by `digits`, which are in lower case.
fn is_escape(text: &str, at: usize, digits: &str) -> bool {
    text.get(at + 1..at + 3)
        .is_some_and(|hex| hex.eq_ignore_ascii_case(digits))
}

/// RFC 3986 §3.3: `pchar` without escapes, and the slash.
fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@/".contains(&byte)
}

fn decode(text: &str) -> Result<String, QueryError> {
    let escaped = |after: &str| {
        let hex = after.as_bytes().first_chunk::<2>();
        hex.is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
    };
    if !text.split('%').skip(1).all(escaped) {
        return Err(QueryError::BrokenEscape);
    }
    let text = text.replace('+', " ");
    percent_decode_str(&text)
        .decode_utf8()
        .map(Cow::into_owned)
        .map_err(|_| QueryError::NotUtf8)
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, NOT_UNRESERVED).to_string()
}

#[cfg(test)]
mod tests;
