//! The tree of what is wanted, and the strings that its keys are compared with.

use std::borrow::Cow;

/// A description of the wanted parts of a value. Keys are compared after decoding; of members that
/// share a key, each is reported, in order.
#[derive(Debug)]
pub enum Want<M: 'static> {
    /// The value, whatever it is.
    Value(M),
    /// The value if it is a string, number, literal or array; of an object, these members.
    ValueOrMembers(M, &'static [(&'static str, Want<M>)]),
    /// Of an object, these members; nothing of any other value.
    Members(&'static [(&'static str, Want<M>)]),
    /// Of an array, this of every element; nothing of any other value.
    Elements(&'static Want<M>),
}

/// The string that a JSON text stands for, or nothing if the text is no string.
///
/// Decodes a string. Invalid UTF-8 and half a surrogate pair are shown as well as they can be,
/// because a message cut by careless software is still a message.
#[must_use]
pub fn decode_string(text: &[u8]) -> Option<Cow<'_, str>> {
    let inner = text.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if inner.contains(&b'\\')
        && let Ok(decoded) = serde_json::from_slice(text)
    {
        return Some(Cow::Owned(decoded));
    }
    Some(String::from_utf8_lossy(inner))
}

/// The wants for the member whose key has the JSON text `key`, quotes included.
pub(super) fn find_member<M>(
    members: &'static [(&'static str, Want<M>)],
    key: &[u8],
) -> Option<&'static Want<M>> {
    let find = |key: &[u8]| {
        let (_, want) = members.iter().find(|(name, _)| name.as_bytes() == key)?;
        Some(want)
    };
    if key.contains(&b'\\') {
        return find(decode_string(key)?.as_bytes());
    }
    find(key.strip_prefix(b"\"")?.strip_suffix(b"\"")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_decoded_as_well_as_they_can_be() {
        let decoded = |text: &[u8]| decode_string(text).map(Cow::into_owned);
        assert_eq!(decoded(br#""plain""#).unwrap(), "plain");
        assert_eq!(decoded(br#""\u00e9\n\ud83d\ude00""#).unwrap(), "é\n😀");
        assert_eq!(decoded(br#""cut \ud83d""#).unwrap(), r"cut \ud83d");
        assert_eq!(decoded(b"\"cut \xf0\x9f\"").unwrap(), "cut \u{fffd}");
        for text in ["", "\"", "null", "1", "[\"a\"]"] {
            assert_eq!(decoded(text.as_bytes()), None, "{text}");
        }
    }
}
