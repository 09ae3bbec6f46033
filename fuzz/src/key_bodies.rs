//! Bodies with keys, and texts that may quote one.

use bytes::Bytes;
use shared::{
    credentials::keys::{ProvisionKeyBody, StoreKeyBody},
    vault::secret::{clipped_without_keys, without_keys},
};

use crate::{input::text, planted};

const SHORTEST_KEY: usize = 16;

fn is_part(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}

/// Whether a key stands in a text: `sk-` at a word's beginning, or `sk-or-` anywhere, in either case.
fn has_key(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    lower.match_indices("sk-").any(|(at, _)| {
        let (before, from_key) = lower.split_at(at);
        let length = from_key.find(|c| !is_part(c)).unwrap_or(from_key.len());
        let is_within = before
            .chars()
            .next_back()
            .is_some_and(char::is_alphanumeric);
        length >= SHORTEST_KEY && (!is_within || from_key.starts_with("sk-or-"))
    })
}

/// No key is left in a text, and a text without one is left as it is, and so is its beginning.
pub(crate) fn masked(data: &[u8]) {
    let text = text(data);
    let mut safe = without_keys(&text);
    if planted() {
        safe.clone_from(&text);
    }
    assert!(!has_key(&safe), "{safe:?} of {text:?}");
    assert_eq!(without_keys(&safe), safe, "not a fixed point: {text:?}");
    if !has_key(&text) {
        assert_eq!(safe, text);
    }
    let longest = data.first().copied().unwrap_or_default().into();
    let clipped = clipped_without_keys(&text, longest);
    assert!(clipped.chars().count() <= longest.max(text.chars().count().min(longest) + 4));
    assert!(!has_key(&clipped), "{clipped:?} of {text:?}");
}

/// Neither a fault nor a name tells a key, and a key that is taken is `OpenRouter`'s and not in any `Debug`.
pub(crate) fn faults_quote_no_key(data: &[u8]) {
    match StoreKeyBody::from_body(Bytes::copy_from_slice(data), true) {
        Ok(body) => {
            let key = body.api_key.expose_secret();
            let mut shown = format!("{body:?}");
            if planted() && body.verify {
                shown.push_str(key);
            }
            let name = body.name.as_ref().map_or("", |name| name.as_str());
            assert!(key.starts_with("sk-or-"));
            assert!(key.len() < SHORTEST_KEY || !shown.contains(key), "{shown}");
            assert!(name.chars().count() <= 100 && !has_key(name), "{name}");
        }
        Err(error) => assert!(!has_key(&error.to_string()), "{error}"),
    }
    if let Err(error) = ProvisionKeyBody::from_body(data) {
        assert!(!has_key(&error.to_string()), "{error}");
    }
}
