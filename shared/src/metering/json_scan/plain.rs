//! The bytes of a string that stand for themselves.

use memchr::memchr2;

/// Finds the first quote or backslash.
///
/// Most strings are shorter than what a call of `memchr2` costs, so the first words are looked at
/// here.
#[inline]
pub(super) fn find_end_of_plain(text: &[u8]) -> Option<usize> {
    /// In words.
    const SHORT: usize = 4;
    const WORD: usize = size_of::<u64>();
    const QUOTES: u64 = u64::from_le_bytes([b'"'; WORD]);
    const BACKSLASHES: u64 = u64::from_le_bytes([b'\\'; WORD]);

    let (words, _) = text.as_chunks::<WORD>();
    for (index, word) in words.iter().take(SHORT).enumerate() {
        let word = u64::from_le_bytes(*word);
        let found = zero_bytes(word ^ QUOTES) | zero_bytes(word ^ BACKSLASHES);
        if found != 0 {
            return Some(index * WORD + found.trailing_zeros() as usize / 8);
        }
    }
    let looked_at = words.len().min(SHORT) * WORD;
    let rest = text.get(looked_at..).unwrap_or_default();
    memchr2(b'"', b'\\', rest).map(|at| looked_at + at)
}

/// Sets the highest bit of the lowest byte that is zero, and of none below it. (Above it some may be
/// set that are not: from them one was borrowed.)
/// <https://graphics.stanford.edu/~seander/bithacks.html#ZeroInWord>
#[inline]
fn zero_bytes(word: u64) -> u64 {
    const LOWEST: u64 = u64::from_le_bytes([1; 8]);
    const HIGHEST: u64 = LOWEST << 7;
    word.wrapping_sub(LOWEST) & !word & HIGHEST
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        #[test]
        fn the_end_of_plain_text_is_the_first_quote_or_backslash(
            // Beside them what differs from them in one bit, and what borrows from the next byte.
            text in vec(prop_oneof![Just(b'"'), Just(b'\\'), any::<u8>(), Just(b'#'), Just(b']'), 0..2_u8], 0..80),
            plain in 0_usize..80,
        ) {
            let text = [&vec![b'x'; plain][..], &text].concat();
            let expected = text.iter().position(|byte| matches!(byte, b'"' | b'\\'));
            prop_assert_eq!(find_end_of_plain(&text), expected);
        }
    }
}
