//! The names that a client gives itself and its requests, for the books.

use http::{HeaderMap, HeaderName, header};
use url::Url;

/// The client's word for a request. Not forwarded.
pub const TAG_HEADER: HeaderName = HeaderName::from_static("x-gateway-tag");
/// The longest name of a client, in characters.
const LONGEST_APP: usize = 64;

/// The names that a client gives itself and a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    /// The client: `X-Title` or `X-OpenRouter-Title`, as OpenRouter reads them, or the origin in `HTTP-Referer`.
    pub app: Option<String>,
    /// The request: `x-gateway-tag`.
    pub tag: Option<String>,
}

/// An `x-gateway-tag` that cannot be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the header x-gateway-tag must be 1 to 64 of A-Z, a-z, 0-9, dot, underscore, colon and hyphen"
)]
pub struct MalformedTag;

impl MalformedTag {
    /// The stable name that clients see.
    #[must_use]
    pub fn reason(self) -> &'static str {
        "malformed_tag"
    }
}

impl Labels {
    /// Reads a request's headers.
    pub fn read(headers: &HeaderMap) -> Result<Self, MalformedTag> {
        let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let title = [
            HeaderName::from_static("x-title"),
            HeaderName::from_static("x-openrouter-title"),
        ];
        let title = title.iter().find_map(text).map(str::trim);
        let referer = [HeaderName::from_static("http-referer"), header::REFERER];
        let origin = || {
            let url = referer.iter().find_map(text)?.parse::<Url>().ok()?;
            let origin = url.origin();
            origin.is_tuple().then(|| origin.ascii_serialization())
        };
        let app = title
            .filter(|title| !title.is_empty())
            .map(|title| title.chars().take(LONGEST_APP).collect())
            .or_else(origin);
        let tag = match headers.get(TAG_HEADER).map(http::HeaderValue::to_str) {
            None => None,
            Some(Ok(tag)) if is_tag(tag) => Some(tag.to_owned()),
            Some(_) => return Err(MalformedTag),
        };
        Ok(Self { app, tag })
    }
}

/// Whether a text can be the tag of a request.
#[must_use]
pub fn is_tag(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(headers: &[(&'static str, &'static str)]) -> Result<Labels, MalformedTag> {
        let headers = headers.iter().map(|(name, value)| {
            let value = http::HeaderValue::from_bytes(value.as_bytes()).unwrap();
            (HeaderName::from_static(name), value)
        });
        Labels::read(&headers.collect())
    }

    #[test]
    fn a_title_names_the_client_before_its_origin() {
        let both = [
            ("x-title", " My App "),
            ("http-referer", "https://app.example/chat?x=1"),
        ];
        assert_eq!(read(&both).unwrap().app.as_deref(), Some("My App"));
        assert_eq!(
            read(&both[1..]).unwrap().app.as_deref(),
            Some("https://app.example")
        );
        assert_eq!(read(&[("http-referer", "about:blank")]).unwrap().app, None);
        assert_eq!(read(&[]), Ok(Labels::default()));
    }

    #[test]
    fn a_tag_is_one_word() {
        let tag = |value| read(&[("x-gateway-tag", value)]).map(|it| it.tag);
        assert_eq!(tag("ci:nightly-7"), Ok(Some("ci:nightly-7".to_owned())));
        for value in ["", "two words", "caf\u{e9}"] {
            assert_eq!(tag(value), Err(MalformedTag), "{value}");
        }
    }
}
