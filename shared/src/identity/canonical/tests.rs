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
        ("/-._~!$&'()*+,=:@", "/-._~!$&'()*+,=:@"),
        ("/models/deepseek%2Fr1", "/models/deepseek/r1"),
        (
            "/Prod/api/v1/openrouter/v1/models/a%2fb%3Afree",
            "/Prod/api/v1/openrouter/v1/models/a/b:free",
        ),
        ("/models/a%2Fb%2F", "/models/a/b/"),
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
        ("/models%2Fa", PathError::EncodedSeparator),
        ("/models%2F/a", PathError::EncodedSeparator),
        ("/my-models/a%2Fb", PathError::EncodedSeparator),
        ("/a%2Fb/models/c", PathError::EncodedSeparator),
        ("/%6Dodels/a%2Fb", PathError::EncodedSeparator),
        ("/models/a%5Cb", PathError::EncodedSeparator),
        ("/models/a%252Fb", PathError::ForbiddenCharacter),
        ("/models/..%2Fkeys", PathError::DotSegment),
        ("/models/a%2F..%2F..%2Fkeys", PathError::DotSegment),
        ("/models/a/%2e%2e%2Fkeys", PathError::DotSegment),
        ("/models/%2Fa", PathError::EmptySegment),
        ("/models/a%2F%2Fb", PathError::EmptySegment),
        ("/models/a/%2F", PathError::EmptySegment),
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
        ("/models/..;/keys", PathError::ForbiddenCharacter),
        ("/models/.;/keys", PathError::ForbiddenCharacter),
        ("/models/..;a=b/keys", PathError::ForbiddenCharacter),
        ("/models;/keys", PathError::ForbiddenCharacter),
        ("/models/..%3B/keys", PathError::ForbiddenCharacter),
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
    "[A-Za-z0-9._~!$&'()*+,=:@-]{1,8}".prop_filter("dots", |s| s != "." && s != "..")
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
