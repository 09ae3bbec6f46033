//! The one spelling of a path and of a query that is signed, checked and forwarded.
//!
//! What was verified is what is sent upstream: the values here are the only form in which a request
//! target leaves the gateway. A canonical path holds no `%`, so that decoding it again changes
//! nothing, and no byte that a URL parser would escape, split at or resolve.

use std::{borrow::Cow, fmt};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::request::RawQuery;

/// What RFC 3986 §2.3 does not call unreserved.
const NOT_UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// An absolute path of `A-Za-z0-9-._~!$&'()*+,;=:@/` without `.`, `..` and empty inner segments.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CanonicalPath(String);

impl CanonicalPath {
    /// Percent-decodes `raw` once and refuses what could be read in two ways.
    ///
    /// HTTP APIs deliver a decoded path, REST APIs and Function URLs an encoded one: decoding once
    /// makes them equal, because a canonical path has nothing left to decode.
    pub fn from_raw(raw: &str) -> Result<Self, PathError> {
        if raw.split('%').skip(1).any(escapes_a_separator) {
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

/// Why a path has no canonical form. Its stable name for clients is [`PathError::REASON`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// `%2F` or `%5C`: servers disagree on whether it separates segments.
    #[error("the path contains an encoded slash or backslash")]
    EncodedSeparator,
    /// Something outside the alphabet is left after decoding once.
    #[error("the path contains a character other than A-Za-z0-9-._~!$&'()*+,;=:@/")]
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
    pub const REASON: &'static str = "malformed_path";
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

/// Why a query has no canonical form. Its stable name for clients is [`QueryError::REASON`].
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
    pub const REASON: &'static str = "malformed_query";
}

/// Whether the text after a `%` makes it `%2F` or `%5C`.
fn escapes_a_separator(after_percent: &str) -> bool {
    after_percent
        .get(..2)
        .is_some_and(|hex| hex.eq_ignore_ascii_case("2f") || hex.eq_ignore_ascii_case("5c"))
}

/// RFC 3986 §3.3: `pchar` without escapes, and the slash.
fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&byte)
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
mod tests {
    use std::fmt::Write;

    use proptest::{collection::vec, prelude::*, sample::select};
    use url::Url;

    use super::*;

    fn path(raw: &str) -> Result<String, PathError> {
        CanonicalPath::from_raw(raw).map(|path| path.0)
    }

    fn encoded(query: &str) -> Result<CanonicalQuery, QueryError> {
        CanonicalQuery::from_raw(&RawQuery::Encoded(query.to_owned()))
    }

    fn decoded(pairs: &[(String, String)]) -> CanonicalQuery {
        CanonicalQuery::from_raw(&RawQuery::Decoded(pairs.to_vec())).unwrap()
    }

    #[test]
    fn paths() {
        for (raw, canonical) in [
            ("/", "/"),
            ("/api/v1/usage", "/api/v1/usage"),
            ("/api/v1/usage/", "/api/v1/usage/"),
            ("/models/deepseek/r1%3Afree", "/models/deepseek/r1:free"),
            ("/models/deepseek/r1%3afree", "/models/deepseek/r1:free"),
            ("/%41%2d%7E", "/A-~"),
            ("/a+b", "/a+b"),
            ("/...", "/..."),
            ("/.well-known/a..b", "/.well-known/a..b"),
            ("/-._~!$&'()*+,;=:@", "/-._~!$&'()*+,;=:@"),
        ] {
            assert_eq!(path(raw).as_deref(), Ok(canonical), "{raw}");
        }
        for (raw, error) in [
            ("", PathError::NotAbsolute),
            ("api", PathError::NotAbsolute),
            ("*", PathError::NotAbsolute),
            ("https://h/a", PathError::NotAbsolute),
            ("/a%2Fb", PathError::EncodedSeparator),
            ("/a%2fb", PathError::EncodedSeparator),
            ("/a%5Cb", PathError::EncodedSeparator),
            ("%2f", PathError::EncodedSeparator),
            ("/a\\b", PathError::ForbiddenCharacter),
            ("/a%252Fb", PathError::ForbiddenCharacter),
            ("/%252e%252e/", PathError::ForbiddenCharacter),
            ("/a%", PathError::ForbiddenCharacter),
            ("/a%4", PathError::ForbiddenCharacter),
            ("/a%zz", PathError::ForbiddenCharacter),
            ("/a%25", PathError::ForbiddenCharacter),
            ("/a?b", PathError::ForbiddenCharacter),
            ("/a%3Fb", PathError::ForbiddenCharacter),
            ("/a#b", PathError::ForbiddenCharacter),
            ("/a%23b", PathError::ForbiddenCharacter),
            ("/a b", PathError::ForbiddenCharacter),
            ("/a%20b", PathError::ForbiddenCharacter),
            ("/a%0Ab", PathError::ForbiddenCharacter),
            ("/a%00", PathError::ForbiddenCharacter),
            ("/\u{7f}", PathError::ForbiddenCharacter),
            ("/é", PathError::ForbiddenCharacter),
            ("/%C3%A9", PathError::ForbiddenCharacter),
            ("/%FF", PathError::ForbiddenCharacter),
            ("/%é", PathError::ForbiddenCharacter),
            ("/.", PathError::DotSegment),
            ("/..", PathError::DotSegment),
            ("/../", PathError::DotSegment),
            ("/a/../b", PathError::DotSegment),
            ("/a/%2e%2E/b", PathError::DotSegment),
            ("/a/./b", PathError::DotSegment),
            ("/a/.%2e", PathError::DotSegment),
            ("//", PathError::EmptySegment),
            ("//a", PathError::EmptySegment),
            ("/a//b", PathError::EmptySegment),
            ("/a//", PathError::EmptySegment),
        ] {
            assert_eq!(path(raw), Err(error), "{raw}");
        }
    }

    #[test]
    fn prefixes_are_whole_segments() {
        let below = |raw: &str, prefix: &str| {
            let path = CanonicalPath::from_raw(raw).unwrap();
            path.below(prefix).map(|path| path.0)
        };
        assert_eq!(below("/Prod/api", "/Prod").as_deref(), Some("/api"));
        assert_eq!(below("/Prod/", "/Prod").as_deref(), Some("/"));
        assert_eq!(below("/Prod", "/Prod").as_deref(), Some("/"));
        assert_eq!(below("/a/b/c", "/a/b").as_deref(), Some("/c"));
        assert_eq!(below("/Prod/Prod/x", "/Prod").as_deref(), Some("/Prod/x"));
        assert_eq!(below("/api", "").as_deref(), Some("/api"));
        assert_eq!(below("/Prodigy/api", "/Prod"), None);
        assert_eq!(below("/api/Prod/x", "/Prod"), None);
        assert_eq!(below("/prod/api", "/Prod"), None);
        // An empty stage name.
        assert_eq!(below("/api", "/"), None);
    }

    #[test]
    fn queries() {
        for (raw, canonical) in [
            ("", ""),
            ("&", ""),
            ("=", "="),
            ("a", "a="),
            ("a=", "a="),
            ("=a", "=a"),
            ("a=b=c", "a=b%3Dc"),
            ("&&b=2&&a=1&", "a=1&b=2"),
            ("a=2&a=1&a=10", "a=1&a=10&a=2"),
            // By name and then by value, not by the whole piece ('-' sorts before '=').
            ("a-b=1&a=2", "a=2&a-b=1"),
            // By the encoded text: '%' sorts before '~'.
            ("~=1&%C3%A9=2", "%C3%A9=2&~=1"),
            ("q=a+b%2F%E4%BD%A0", "q=a%20b%2F%E4%BD%A0"),
            ("q=a%2bb", "q=a%2Bb"),
            ("q=a b", "q=a%20b"),
            ("q=你", "q=%E4%BD%A0"),
            ("q=%7e-._*!'()", "q=~-._%2A%21%27%28%29"),
            ("q=%2526", "q=%2526"),
            ("a=%26b%3D1", "a=%26b%3D1"),
            ("a=1#b?c", "a=1%23b%3Fc"),
            ("a=%00", "a=%00"),
        ] {
            assert_eq!(encoded(raw).unwrap().as_str(), canonical, "{raw}");
        }
        for raw in [
            "%", "a=%", "a=%4", "a=%zz", "a=%%41", "a=%4=1", "a=%4&1", "a=%é",
        ] {
            assert_eq!(encoded(raw), Err(QueryError::BrokenEscape), "{raw}");
        }
        assert_eq!(encoded("a=%FF"), Err(QueryError::NotUtf8));
        assert_eq!(encoded("%C3=%A9"), Err(QueryError::NotUtf8));
    }

    #[test]
    fn decoded_values_are_not_decoded_again() {
        let pairs = [("q".to_owned(), "1+1%20".to_owned())];
        let query = decoded(&pairs);
        assert_eq!(query.as_str(), "q=1%2B1%2520");
        let back: Vec<_> = query.pairs().collect();
        assert_eq!(back, [("q".into(), "1+1%20".into())]);
    }

    /// The path of an upstream URL, as the HTTP client will send it.
    fn sent_path(path: &str) -> String {
        Url::parse(&format!("https://openrouter.ai/base{path}?a=1"))
            .unwrap()
            .path()
            .to_owned()
    }

    /// A text and one of its percent-encodings.
    fn escaped(text: &str, choices: &[u8], keep: impl Fn(char) -> bool) -> String {
        let mut choices = choices.iter().cycle();
        let mut out = String::new();
        for c in text.chars() {
            let choice = choices.next().copied().unwrap_or_default();
            if keep(c) && choice % 3 == 0 {
                out.push(c);
                continue;
            }
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                match choice % 2 {
                    0 => write!(out, "%{byte:02x}").unwrap(),
                    _ => write!(out, "%{byte:02X}").unwrap(),
                }
            }
        }
        out
    }

    fn segment() -> impl Strategy<Value = String> {
        "[A-Za-z0-9._~!$&'()*+,;=:@-]{1,8}".prop_filter("dots", |s| s != "." && s != "..")
    }

    fn pairs() -> impl Strategy<Value = Vec<(String, String)>> {
        let text = prop_oneof![any::<String>(), "[a-c%+&=#? ~é]{0,4}"];
        vec((text.clone(), text), 0..6)
    }

    proptest! {
        #[test]
        fn what_is_checked_is_what_is_sent(
            raw in prop_oneof![
                "/[ -~]{0,30}",
                "(/|%2e|%2E|\\.|%252e|%|a|%61|\\\\|;|:|@){1,12}".prop_map(|s| format!("/{s}")),
                any::<String>(),
            ],
        ) {
            if let Ok(path) = CanonicalPath::from_raw(&raw) {
                prop_assert_eq!(&CanonicalPath::from_raw(path.as_str()), &Ok(path.clone()));
                prop_assert_eq!(sent_path(path.as_str()), format!("/base{path}"));
            }
        }

        #[test]
        fn every_spelling_of_a_path_is_one_path(
            segments in vec(segment(), 1..5),
            choices in vec(any::<u8>(), 1..40),
        ) {
            let canonical = format!("/{}", segments.join("/"));
            let raw: Vec<_> = segments
                .iter()
                .map(|segment| escaped(segment, &choices, |_| true))
                .collect();
            prop_assert_eq!(path(&format!("/{}", raw.join("/"))), Ok(canonical.clone()));
            prop_assert_eq!(sent_path(&canonical), format!("/base{canonical}"));
        }

        #[test]
        fn canonical_queries_are_fixed_points(raw in prop_oneof![any::<String>(), "[a-c%+&=2F]{0,20}"]) {
            if let Ok(query) = encoded(&raw) {
                prop_assert_eq!(&encoded(query.as_str()), &Ok(query.clone()));
                let url = Url::parse(&format!("https://openrouter.ai/?{query}")).unwrap();
                prop_assert_eq!(url.query(), Some(query.as_str()));
            }
        }

        #[test]
        fn both_events_give_one_query(
            (pairs, shuffled) in pairs().prop_flat_map(|p| (Just(p.clone()), Just(p).prop_shuffle())),
            choices in vec(any::<u8>(), 1..40),
            bare in any::<bool>(),
            space in select(vec!["+", "%20"]),
        ) {
            let special = |c: char| !"%+&=# ".contains(c);
            let text = |text: &str| {
                let parts: Vec<_> = text.split(' ').map(|t| escaped(t, &choices, special)).collect();
                parts.join(space)
            };
            let pieces: Vec<_> = shuffled
                .iter()
                .map(|(name, value)| match (text(name), text(value)) {
                    (name, value) if bare && value.is_empty() && !name.is_empty() => name,
                    (name, value) => format!("{name}={value}"),
                })
                .collect();
            let query = decoded(&pairs);
            prop_assert_eq!(&encoded(&pieces.join("&")).unwrap(), &query);

            let mut sorted: Vec<(String, String)> =
                query.pairs().map(|(n, v)| (n.into_owned(), v.into_owned())).collect();
            let mut expected = pairs;
            sorted.sort();
            expected.sort();
            prop_assert_eq!(sorted, expected);
        }
    }
}
