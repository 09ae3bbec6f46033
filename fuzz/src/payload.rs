//! The reading of payloads, beside `serde_json`.

use http::{HeaderMap, HeaderValue, header};
use shared::upstream::payload::Payload;

use crate::{
    input::text,
    json::{decoded, is_json, members, trimmed},
    planted,
};

/// The model and the stream are those of the last fields of their names, and nothing is read of what is no object.
pub(crate) fn agrees_with_serde_json(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == 0xff);
    let body = parts.next().unwrap_or_default();
    let mut headers = HeaderMap::new();
    let mut is_labelled = false;
    if let Some(Ok(value)) = parts.next().map(HeaderValue::from_bytes) {
        let value_text = text(value.as_bytes()).to_ascii_lowercase();
        let essence = value_text.split(';').next().unwrap_or_default().trim();
        is_labelled = essence != "application/x-www-form-urlencoded";
        headers.insert(header::CONTENT_TYPE, value);
    }
    let mut payload = Payload::read(&headers, body);
    if planted() && payload.streamed {
        payload.streamed = false;
    }
    let body_text = str::from_utf8(body).map(trimmed).unwrap_or_default();
    if !body_text.starts_with('{') {
        // Broken UTF-8 in strings passes.
        assert!(payload == Payload::default() || body_text.is_empty());
        return;
    }
    if !is_json(body) {
        let takes_liberties = body.iter().any(|byte| *byte < 0x20);
        assert!(payload == Payload::default() || takes_liberties);
        return;
    }
    let Some(fields) = members(body_text) else {
        return;
    };
    let last = |name: &str| {
        let mut matching = fields.iter().filter(|(it, _)| it == name);
        matching.next_back().map(|(_, value)| *value)
    };
    let model = last("model")
        .and_then(decoded)
        .filter(|model| model.len() <= 256 && !model.contains('\0'));
    assert_eq!(payload.model, model, "{body_text:?}");
    assert_eq!(payload.streamed, last("stream") == Some("true"));
    assert_eq!(payload.is_mislabelled_json, !is_labelled, "{body_text:?}");
    let is_free = model.is_some_and(|model| model.ends_with(":free"));
    assert!(is_free || !payload.is_free(), "{body_text:?}");
}
