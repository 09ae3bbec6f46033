//! The start of an answer.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, header};

/// The start of an answer: OpenRouter's status and headers, and a body whose first chunk is here.
#[derive(Debug)]
pub struct Answer {
    /// Status and headers as received.
    pub head: reqwest::Response,
    /// The body's first chunk; `None` where the body is empty.
    pub first_chunk: Option<Bytes>,
}

impl Answer {
    /// The generation that the head names. Of a binary answer, as of speech, nothing else does.
    #[must_use]
    pub fn generation_id(&self) -> Option<&str> {
        generation_id(self.head.headers())
    }

    /// Whether it comes out of OpenRouter's cache.
    #[must_use]
    pub fn is_cache_hit(&self) -> bool {
        let status = self.head.headers().get("x-openrouter-cache-status");
        status.is_some_and(|status| status.as_bytes().trim_ascii().eq_ignore_ascii_case(b"HIT"))
    }

    /// Whether the bytes are in another form than the content type says, though `identity` was asked for.
    #[must_use]
    pub fn is_encoded(&self) -> bool {
        codings(self.head.headers(), &header::CONTENT_ENCODING)
            .any(|coding| !coding.eq_ignore_ascii_case(b"identity"))
    }
}

/// The codings that a header names, in all its lines.
fn codings<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    headers
        .get_all(name)
        .into_iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|coding| !coding.is_empty())
}

/// The reason why an answer cannot be passed on, if there is one. The HTTP client hands on bytes of
/// a transfer coding that it has not undone, and a provisional status as if it were final.
pub(super) fn unusable(head: &reqwest::Response) -> Option<&'static str> {
    if head.status().is_informational() {
        Some("a status that is not final")
    } else if codings(head.headers(), &header::TRANSFER_ENCODING)
        .any(|coding| !coding.eq_ignore_ascii_case(b"chunked"))
    {
        Some("a transfer encoding that was not asked for")
    } else {
        None
    }
}

/// `x-generation-id`, unless it is empty.
pub(super) fn generation_id(headers: &HeaderMap) -> Option<&str> {
    headers
        .get("x-generation-id")
        .and_then(|value| value.to_str().ok())
        .filter(|id| !id.is_empty())
}
