//! Values on their way into a column, and out of one.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, de};

use crate::vault::secret::clipped_without_keys;

/// The most characters of a text that others chose.
const LONGEST: usize = 2000;

/// Text that others chose, fit for a `text` column: `PostgreSQL` has no NUL, and one in a model's
/// name would make the books unwritable. The storage cuts each column to its own length.
pub(super) fn storable(text: &str) -> Cow<'_, str> {
    let text = match text.char_indices().nth(LONGEST) {
        Some((end, _)) => text.get(..end).unwrap_or(text),
        None => text,
    };
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// As [`storable`]. Clients have put keys into paths and models; those are nowhere in the clear.
pub(super) fn chosen_by_the_client(text: &str) -> Cow<'static, str> {
    Cow::Owned(storable(&clipped_without_keys(text, LONGEST)).into_owned())
}

/// The columns are `integer`. An absurd count must not cost us the row that holds the cost.
pub(super) fn clamped(count: u64) -> i32 {
    count.try_into().unwrap_or(i32::MAX)
}

/// A count that travels as text.
pub(super) fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    Cow::<'de, str>::deserialize(deserializer)?
        .parse()
        .map_err(de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_is_made_storable() {
        assert_eq!(storable("gpt"), "gpt");
        assert_eq!(storable("a\0b"), "a\u{fffd}b");
        assert_eq!(storable(&"é".repeat(3000)).chars().count(), 2000);
    }

    #[test]
    fn no_key_is_stored_as_a_path_or_a_model() {
        let key = "sk-or-v1-0123456789abcdef";
        assert_eq!(
            chosen_by_the_client(&format!("/chat/{key}/x")),
            "/chat/sk-…/x"
        );
        assert_eq!(chosen_by_the_client(&format!("{key}\0")), "sk-…\u{fffd}");
        assert_eq!(chosen_by_the_client("openai/gpt-4o"), "openai/gpt-4o");
    }

    #[test]
    fn an_absurd_count_is_clamped() {
        assert_eq!(clamped(7), 7);
        assert_eq!(clamped(u64::MAX), i32::MAX);
    }
}
