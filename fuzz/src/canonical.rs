//! Canonical paths and queries, beside the `url` crate and a second reader of their rules.

use shared::{
    identity::canonical::{CanonicalPath, CanonicalQuery, PathError},
    request::RawQuery,
};
use url::Url;

use crate::{input::text, planted};

/// A path has the form that its rules give, that form is a fixed point, and URL parsers leave it as it is.
pub(crate) fn path(data: &[u8]) {
    let raw = &text(data);
    let mut read = CanonicalPath::from_raw(raw);
    if planted() && raw.contains("%2") {
        read = Ok(CanonicalPath::from_raw("/").unwrap());
    }
    assert_eq!(
        read.as_ref().ok().map(CanonicalPath::as_str),
        expected_path(raw).as_deref(),
        "{raw:?}"
    );
    let path = match read {
        Ok(path) => path,
        Err(PathError::NotAbsolute) => return assert!(!raw.starts_with('/')),
        Err(_) => return,
    };
    assert_eq!(CanonicalPath::from_raw(path.as_str()).as_ref(), Ok(&path));
    for base in ["", "/base"] {
        let url = Url::parse(&format!("https://openrouter.ai{base}{path}?a=1")).unwrap();
        assert_eq!(url.path(), format!("{base}{path}"));
    }
    let uri: http::Uri = path.as_str().parse().unwrap();
    assert_eq!(uri.path(), path.as_str());
    for prefix in ["", "/Prod", "/api", "/a"] {
        if let Some(below) = path.below(prefix) {
            assert_eq!(CanonicalPath::from_raw(below.as_str()).as_ref(), Ok(&below));
            let is_prefix = below.as_str() == "/" && path.as_str() == prefix;
            assert!(is_prefix || path.as_str() == format!("{prefix}{below}"));
        }
    }
}

/// The canonical form by the rules, byte by byte. Below `/models/` an encoded slash is one.
pub(crate) fn expected_path(raw: &str) -> Option<String> {
    let (above, id) = match raw.split_once("/models/") {
        Some((above, id)) => (format!("{above}/models/"), id),
        None => (raw.to_owned(), ""),
    };
    let mut path = decoded(&above, "/\\")?;
    path.extend(decoded(id, "\\")?);
    let path = String::from_utf8(path).ok()?;
    let is_allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@/".contains(&byte);
    let has_dots = path.split('/').any(|it| it == "." || it == "..");
    let is_canonical =
        path.starts_with('/') && path.bytes().all(is_allowed) && !path.contains("//") && !has_dots;
    is_canonical.then_some(path)
}

/// The bytes of a text, unless an escape is broken or is one of the `refused`.
fn decoded(text: &str, refused: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || (bytes.next()? as char).to_digit(16);
        let escaped = u8::try_from(digit()? * 16 + digit()?).ok()?;
        if refused.as_bytes().contains(&escaped) {
            return None;
        }
        decoded.push(escaped);
    }
    Some(decoded)
}

/// A query keeps its parameters, in one order and one spelling, whichever event it came in.
pub(crate) fn query(data: &[u8]) {
    let raw = &text(data);
    let mut parameters: Vec<(String, String)> = form_urlencoded::parse(raw.as_bytes())
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect();
    let Ok(mut query) = CanonicalQuery::from_raw(&RawQuery::Encoded(raw.clone())) else {
        // A broken escape, or decoded bytes that are no text.
        let replaced = |text: &str| text.contains('\u{fffd}');
        let is_lossy = parameters
            .iter()
            .any(|(name, value)| replaced(name) || replaced(value));
        assert!(is_lossy || has_broken_escape(raw), "{raw:?}");
        return;
    };
    if planted() && parameters.len() > 1 {
        query = CanonicalQuery::default();
    }
    assert_eq!(
        CanonicalQuery::from_raw(&RawQuery::Decoded(parameters.clone())).as_ref(),
        Ok(&query),
        "the decoded event gives another: {raw:?}"
    );
    assert_eq!(
        CanonicalQuery::from_raw(&RawQuery::Encoded(query.as_str().to_owned())).as_ref(),
        Ok(&query)
    );
    let mut kept: Vec<(String, String)> = query
        .pairs()
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect();
    parameters.sort();
    kept.sort();
    assert_eq!(kept, parameters, "{raw:?}");

    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%=&".contains(&byte);
    assert!(query.as_str().bytes().all(is_plain));
    let pieces: Vec<_> = query
        .as_str()
        .split_terminator('&')
        .map(|piece| piece.split_once('=').unwrap())
        .collect();
    assert!(pieces.is_sorted(), "{query}");
    let url = Url::parse(&format!("https://openrouter.ai/?{query}")).unwrap();
    assert_eq!(url.query(), Some(query.as_str()));
}

fn has_broken_escape(raw: &str) -> bool {
    raw.split('%').skip(1).any(|after| {
        let digits = after.as_bytes().get(..2);
        !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}
