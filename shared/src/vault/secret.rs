//! Users' `OpenRouter` keys: open, sealed, hashed. Three types, so that none can be mistaken for
//! another.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::HeaderValue;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// A user's `OpenRouter` key in the clear.
///
/// It holds 1 to [`ApiKey::MAX_LEN`] visible ASCII characters, so it always fits a header. Its
/// memory is wiped when it is dropped, `Debug` hides it, it cannot be displayed, and
/// [`expose_secret`](Self::expose_secret) is the only way to read it.
pub struct ApiKey(Zeroizing<String>);

impl ApiKey {
    /// The longest key that is accepted, in bytes. `OpenRouter`'s have 73.
    pub const MAX_LEN: usize = 512;

    /// Takes ownership of a key, without copying it.
    pub fn new(key: impl Into<Zeroizing<String>>) -> Result<Self, ApiKeyFault> {
        let key = key.into();
        if key.is_empty() {
            return Err(ApiKeyFault::Empty);
        }
        if key.len() > Self::MAX_LEN {
            return Err(ApiKeyFault::TooLong);
        }
        // No space either: a key that was pasted with a blank or a newline is a mistake that is
        // best found before it is sealed.
        if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ApiKeyFault::NotVisibleAscii);
        }
        Ok(Self(key))
    }

    /// Takes ownership of a key's bytes, without copying them.
    pub(crate) fn from_bytes(mut bytes: Zeroizing<Vec<u8>>) -> Result<Self, ApiKeyFault> {
        match String::from_utf8(std::mem::take(&mut *bytes)) {
            Ok(key) => Self::new(key),
            Err(error) => {
                drop(Zeroizing::new(error.into_bytes()));
                Err(ApiKeyFault::NotVisibleAscii)
            }
        }
    }

    /// The key itself. Whoever calls this answers for where it goes.
    #[must_use]
    pub fn expose_secret(&self) -> &str {
        &self.0
    }

    /// Lower-case hex SHA-256 of the whole key: the `hash` by which `OpenRouter`'s management
    /// API and the column `openrouter_key_hash` name it.
    #[must_use]
    pub fn hash(&self) -> String {
        hex::encode(Sha256::digest(self.expose_secret()))
    }

    /// `Bearer …` for the upstream request, marked sensitive, so that neither `Debug` of the
    /// headers nor HPACK tables show it. The header's own copy is not wiped: `http` offers no way.
    #[must_use]
    #[expect(
        clippy::expect_used,
        clippy::missing_panics_doc,
        reason = "visible ASCII, which `new` made sure of, always makes a header value"
    )]
    pub fn authorization_header(&self) -> HeaderValue {
        const SCHEME: &str = "Bearer ";
        let mut value = Zeroizing::new(String::with_capacity(SCHEME.len() + self.0.len()));
        value.push_str(SCHEME);
        value.push_str(self.expose_secret());
        let mut header = HeaderValue::from_str(&value).expect("visible ASCII");
        header.set_sensitive(true);
        header
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(redacted)")
    }
}

/// Why a text is no API key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ApiKeyFault {
    /// No characters.
    #[error("the API key is empty")]
    Empty,
    /// More than [`ApiKey::MAX_LEN`] bytes.
    #[error("the API key is longer than {} bytes", ApiKey::MAX_LEN)]
    TooLong,
    /// Blanks, control characters or anything outside ASCII.
    #[error("the API key holds characters other than visible ASCII")]
    NotVisibleAscii,
}

/// Shorter than any key, and longer than most names that merely begin like one.
const SHORTEST_KEY: usize = 16;
/// Of OpenAI's, Anthropic's and OpenRouter's keys.
const KEY_PREFIX: &str = "sk-";
const OPENROUTER_KEY_PREFIX: &str = "sk-or-";

/// `text` with everything that looks like an API key made unreadable: other people's error messages
/// sometimes quote the key that they refuse. A key is what follows `sk-` at the beginning of a word, or
/// `sk-or-` anywhere, in either case. A model's name is left as it is: `task-…` is no key.
///
/// Each character is looked at a bounded number of times, because strangers choose the text.
#[must_use]
pub fn without_keys(text: &str) -> String {
    masked(text, false)
}

/// The first `longest` characters of `text` without keys, also without the beginning of one that does
/// not end there. No more of `text` is read.
#[must_use]
pub fn clipped_without_keys(text: &str, longest: usize) -> String {
    match text.char_indices().nth(longest) {
        Some((end, _)) => masked(text.split_at(end).0, true),
        None => masked(text, false),
    }
}

/// [`without_keys`]; a text that `is_cut` may end within a key, which is then a short one.
fn masked(text: &str, is_cut: bool) -> String {
    // Most texts have none.
    let has_prefix = |part: &[u8]| part.eq_ignore_ascii_case(KEY_PREFIX.as_bytes());
    if !text.as_bytes().windows(KEY_PREFIX.len()).any(has_prefix) {
        return text.to_owned();
    }
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let mut safe = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(is_part) {
        let (before, from_word) = rest.split_at(start);
        safe.push_str(before);
        let end = from_word.find(|c| !is_part(c)).unwrap_or(from_word.len());
        let (word, after) = from_word.split_at(end);
        let shortest = if is_cut && after.is_empty() {
            KEY_PREFIX.len()
        } else {
            SHORTEST_KEY
        };
        let is_inside_a_word = safe.chars().next_back().is_some_and(char::is_alphanumeric);
        match key_in(word, is_inside_a_word).filter(|at| word.len() - at >= shortest) {
            Some(at) => {
                safe.push_str(word.split_at(at).0);
                safe.push_str("sk-…");
            }
            None => safe.push_str(word),
        }
        rest = after;
    }
    safe.push_str(rest);
    safe
}

/// Where a key may begin in `word`, which is ASCII without blanks.
fn key_in(word: &str, is_inside_a_word: bool) -> Option<usize> {
    let bytes = word.as_bytes();
    let begins = |at: usize, prefix: &str| {
        bytes
            .get(at..at + prefix.len())
            .is_some_and(|found| found.eq_ignore_ascii_case(prefix.as_bytes()))
    };
    (0..bytes.len()).find(|&at| {
        let is_within = match at.checked_sub(1) {
            Some(previous) => bytes.get(previous).is_some_and(u8::is_ascii_alphanumeric),
            None => is_inside_a_word,
        };
        begins(at, KEY_PREFIX) && (!is_within || begins(at, OPENROUTER_KEY_PREFIX))
    })
}

/// The number by which a ciphertext names the master key that sealed it; Tink's key id.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Deserialize, serde::Serialize,
)]
#[serde(transparent)]
pub struct KeyId(pub u32);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An [`ApiKey`] sealed by a [`Keyset`](crate::vault::keyset::Keyset): the column `encrypted_api_key`.
///
/// Text: `v1.` and base64url without padding of
///
/// ```text
/// ┌────┬─────────────┬──────────┬────────────┐
/// │ 01 │ key id (BE) │   SIV    │ ciphertext │
/// │ 1  │      4      │    16    │  1 … 512   │ bytes
/// └────┴─────────────┴──────────┴────────────┘
/// ```
///
/// which is Tink's output for `AesSivKey` with the prefix TINK. The text of given bytes is unique
/// (padding and non-zero trailing bits are refused), so rows can be compared by it.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedKey {
    id: KeyId,
    siv_and_ciphertext: Vec<u8>,
}

/// The `v` is the column's, not Tink's: it would change with the cipher or the associated data.
const COLUMN_PREFIX: &str = "v1.";
/// Tink's output prefix TINK: this byte, then the key id.
const TINK_PREFIX: u8 = 0x01;
const SIV_LEN: usize = 16;

impl SealedKey {
    /// `siv_and_ciphertext` is what AES-SIV makes of an [`ApiKey`], so it need not be checked.
    pub(crate) fn new(id: KeyId, siv_and_ciphertext: Vec<u8>) -> Self {
        Self {
            id,
            siv_and_ciphertext,
        }
    }

    /// The master key that sealed it, or that it claims.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.id
    }

    /// The column's text. Not a `Display`, so that no log line holds it by accident.
    #[must_use]
    pub fn to_column(&self) -> String {
        let mut bytes = Vec::with_capacity(5 + self.siv_and_ciphertext.len());
        bytes.push(TINK_PREFIX);
        bytes.extend_from_slice(&self.id.0.to_be_bytes());
        bytes.extend_from_slice(&self.siv_and_ciphertext);
        let mut text = COLUMN_PREFIX.to_owned();
        URL_SAFE_NO_PAD.encode_string(bytes, &mut text);
        text
    }

    pub(crate) fn siv_and_ciphertext(&self) -> &[u8] {
        &self.siv_and_ciphertext
    }
}

impl FromStr for SealedKey {
    type Err = MalformedSealedKey;

    /// Reads the column's text.
    fn from_str(text: &str) -> Result<Self, MalformedSealedKey> {
        let base64 = text.strip_prefix(COLUMN_PREFIX).ok_or(MalformedSealedKey)?;
        let bytes = URL_SAFE_NO_PAD
            .decode(base64)
            .map_err(|_| MalformedSealedKey)?;
        let Some((&[TINK_PREFIX, a, b, c, d], siv_and_ciphertext)) = bytes.split_first_chunk()
        else {
            return Err(MalformedSealedKey);
        };
        if !(SIV_LEN + 1..=SIV_LEN + ApiKey::MAX_LEN).contains(&siv_and_ciphertext.len()) {
            return Err(MalformedSealedKey);
        }
        Ok(Self {
            id: KeyId(u32::from_be_bytes([a, b, c, d])),
            siv_and_ciphertext: siv_and_ciphertext.to_vec(),
        })
    }
}

impl fmt::Debug for SealedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedKey")
            .field("key_id", &self.id.0)
            .field("len", &self.siv_and_ciphertext.len())
            .finish()
    }
}

/// A text that cannot be a [`SealedKey`], whatever the keyset: not `v1.` and base64url, another
/// output prefix, or a length that no API key gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a sealed API key (`v1.` and base64url of a Tink AES-SIV ciphertext)")]
pub struct MalformedSealedKey;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_taken_out_of_texts_and_names_are_not() {
        for (text, safe) in [
            ("bad key sk-or-v1-0123456789abcdef.", "bad key sk-…."),
            (
                "\"sk-0123456789abcdef\", sk-proj_0123456789",
                "\"sk-…\", sk-…",
            ),
            ("/x/sk-or-v1-0123456789/y", "/x/sk-…/y"),
            ("task-sk-or-v1-0123456789", "task-sk-…"),
            (
                "vendor/task-summarizer-large-2026",
                "vendor/task-summarizer-large-2026",
            ),
            ("sk-learn", "sk-learn"),
            ("ask-", "ask-"),
            ("xsk-or-v1-0123456789abcdef", "xsk-…"),
            ("ésk-or-v1-0123456789abcdef", "ésk-…"),
            ("SK-OR-V1-0123456789ABCDEF", "sk-…"),
            ("Sk-Proj-0123456789abcdef", "sk-…"),
            ("a=1&sk-or-v1-0123456789=2", "a=1&sk-…=2"),
            ("_sk-or-v1-0123456789", "_sk-…"),
            ("sk-learn-sk-or-v1-0123456789", "sk-…"),
            ("ésk-proj-0123456789abc", "ésk-proj-0123456789abc"),
            ("", ""),
        ] {
            assert_eq!(without_keys(text), safe, "{text}");
        }
    }

    #[test]
    fn a_text_is_clipped_before_it_is_cleaned() {
        assert_eq!(clipped_without_keys("a sk-or-v1-0123456789", 9), "a sk-…");
        assert_eq!(clipped_without_keys("a sk-or-v1-0123456789", 400), "a sk-…");
        assert_eq!(clipped_without_keys("a sk-or-v1-0123456789", 3), "a s");
        assert_eq!(clipped_without_keys("ask-x", 4), "ask-");
        assert_eq!(clipped_without_keys("你好吗", 2), "你好");
    }

    /// A quadratic one takes a minute for this.
    #[test]
    fn the_work_grows_with_the_text() {
        for unit in [
            "ask-",
            "sk-",
            "sk-or",
            "xsk-or-",
            "_",
            "é",
            "sk-or-v1-0123456789 ",
        ] {
            let text = unit.repeat(1_000_000 / unit.len());
            assert!(without_keys(&text).len() <= text.len(), "{unit}");
            assert!(
                clipped_without_keys(&text, 64).chars().count() <= 64 + 3,
                "{unit}"
            );
        }
    }

    #[test]
    fn an_api_key_is_one_to_512_visible_ascii_characters() {
        assert_eq!(ApiKey::new("k".to_owned()).unwrap().expose_secret(), "k");
        let longest = "~".repeat(ApiKey::MAX_LEN);
        assert_eq!(
            ApiKey::new(longest.clone()).unwrap().expose_secret(),
            longest
        );

        let fault = |key: &str| ApiKey::new(key.to_owned()).unwrap_err();
        assert_eq!(fault(""), ApiKeyFault::Empty);
        assert_eq!(fault(&(longest + "~")), ApiKeyFault::TooLong);
        for bad in [
            "a b",
            " a",
            "a\n",
            "a\r\nx: y",
            "a\0",
            "a\t",
            "a\u{7f}",
            "é",
            "a\u{a0}",
        ] {
            assert_eq!(fault(bad), ApiKeyFault::NotVisibleAscii, "{bad:?}");
        }
    }

    #[test]
    fn every_character_that_is_accepted_fits_a_header() {
        let all: String = (0..=127u8)
            .map(char::from)
            .filter(|char| ApiKey::new(char.to_string()).is_ok())
            .collect();
        assert_eq!(all.len(), 94);
        let header = ApiKey::new(all.clone()).unwrap().authorization_header();
        assert_eq!(header.to_str().unwrap(), format!("Bearer {all}"));
        assert!(header.is_sensitive());
    }

    #[test]
    fn bytes_that_are_not_utf8_are_refused_without_being_shown() {
        let bytes = Zeroizing::new(b"sk-\xff".to_vec());
        let fault = ApiKey::from_bytes(bytes).unwrap_err();
        assert_eq!(fault, ApiKeyFault::NotVisibleAscii);
    }

    /// FIPS 180-2's example, "abc".
    #[test]
    fn the_hash_is_lower_case_hex_sha256() {
        assert_eq!(
            ApiKey::new("abc".to_owned()).unwrap().hash(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        );
    }

    #[test]
    fn debug_shows_neither_key_nor_ciphertext() {
        let key = ApiKey::new("sk-or-v1-secret".to_owned()).unwrap();
        assert_eq!(format!("{key:?}"), "ApiKey(redacted)");
        assert_eq!(
            format!("{:#?}", Some(&key)),
            "Some(\n    ApiKey(redacted),\n)"
        );
        assert_eq!(format!("{:?}", key.authorization_header()), "Sensitive");

        let sealed = SealedKey::new(KeyId(7), vec![0xab; 20]);
        assert_eq!(format!("{sealed:?}"), "SealedKey { key_id: 7, len: 20 }");
    }

    #[test]
    fn a_sealed_key_reads_back_from_its_column() {
        let sealed = SealedKey::new(KeyId(0x0203_0405), (0..17).collect());
        let column = sealed.to_column();
        assert_eq!(column, "v1.AQIDBAUAAQIDBAUGBwgJCgsMDQ4PEA");
        assert_eq!(column.parse::<SealedKey>().unwrap(), sealed);
        assert_eq!(sealed.key_id(), KeyId(0x0203_0405));
    }

    #[test]
    fn columns_of_another_shape_are_refused() {
        let column = |bytes: &[u8]| format!("v1.{}", URL_SAFE_NO_PAD.encode(bytes));
        let with_len = |len: usize| {
            let mut bytes = vec![0xff; len];
            bytes[0] = 1;
            column(&bytes)
        };
        assert!(with_len(22).parse::<SealedKey>().is_ok());
        assert!(with_len(21 + ApiKey::MAX_LEN).parse::<SealedKey>().is_ok());

        let good = with_len(22);
        for bad in [
            String::new(),
            "v1.".to_owned(),
            good.replacen("v1.", "v2.", 1),
            good.replacen("v1.", "V1.", 1),
            good.replacen("v1.", "", 1),
            format!("{good}="),
            format!("{good}\n"),
            format!(" {good}"),
            good.replace('_', "/"),
            with_len(1),
            with_len(4),
            with_len(5),
            with_len(21),
            with_len(22 + ApiKey::MAX_LEN),
            column(&[0; 40]),
            // Non-zero trailing bits: the same bytes in another spelling.
            format!("{}x", &good[..good.len() - 1]),
            // The original system's `hex(iv):hex(ciphertext)`.
            "00112233445566778899aabbccddeeff:00112233445566778899aabbccddeeff".to_owned(),
        ] {
            assert_eq!(bad.parse::<SealedKey>(), Err(MalformedSealedKey), "{bad}");
        }
    }
}
