//! Access tokens: bearer secrets that spend from a DID's account.
//!
//! ```text
//! sk-lgw-ZpEsSr2kX8kbCKaId4U9UcfAsUk1JaedH9FU6oWflpW2eQVHr
//! └──┬──┘└──────────────────┬──────────────────────┘└─┬──┘
//! prefix   32 random bytes, big-endian, in base62   CRC-32/ISO-HDLC of everything before, in base62
//!    7                     43                         6
//! ```
//!
//! Base62's digits are `0-9A-Za-z` in this order; numbers are padded with `0` on the left. The checksum
//! tells a mistyped token, or a secret scanner's false positive, from a real one without asking anyone.

use std::{fmt, str::FromStr};

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

const PREFIX: &str = "sk-lgw-";
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const RANDOM_DIGITS: usize = 43;
const CHECKSUM_DIGITS: usize = 6;
/// The number of digits that a label shows of either end of the random part.
const SHOWN_DIGITS: usize = 3;

/// An access token in the clear.
///
/// It is made by the gateway, shown once and kept by its owner alone: the database has its
/// [`TokenDigest`] and its [`label`](Self::label). Its memory is wiped when it is dropped, `Debug` hides
/// it, it can be neither displayed nor serialized, and [`expose`](Self::expose) is the only way to read it.
pub struct AccessToken(Zeroizing<String>);

impl AccessToken {
    /// The number of characters of a token.
    pub const LEN: usize = PREFIX.len() + RANDOM_DIGITS + CHECKSUM_DIGITS;

    /// Makes a token of 32 bytes of the system's randomness.
    #[must_use]
    pub fn from_randomness(random: [u8; 32]) -> Self {
        // Never grows, which would leave a copy behind.
        let mut text = Zeroizing::new(String::with_capacity(Self::LEN));
        text.push_str(PREFIX);
        push_base62::<RANDOM_DIGITS>(&mut text, &mut *Zeroizing::new(random));
        let checksum = checksum_of(&text);
        text.push_str(&checksum);
        Self(text)
    }

    /// Reads a token, whose form and checksum must be right.
    pub fn parse(text: &str) -> Result<Self, MalformedToken> {
        let digits = text.strip_prefix(PREFIX).ok_or(MalformedToken::Prefix)?;
        if !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(MalformedToken::Alphabet);
        }
        if text.len() != Self::LEN {
            return Err(MalformedToken::Length);
        }
        let (body, given) = text.split_at(Self::LEN - CHECKSUM_DIGITS);
        if given != checksum_of(body) {
            return Err(MalformedToken::Checksum);
        }
        Ok(Self(Zeroizing::new(text.to_owned())))
    }

    /// Whether a text begins like a token, in whatever case, so that it is meant to be one.
    #[must_use]
    pub fn is_meant_by(text: &[u8]) -> bool {
        text.get(..PREFIX.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(PREFIX.as_bytes()))
    }

    /// The digest that the database knows the token by.
    #[must_use]
    pub fn digest(&self) -> TokenDigest {
        TokenDigest(Sha256::digest(self.0.as_bytes()).into())
    }

    /// The name by which people tell tokens apart: the first and the last three of the 43 random digits,
    /// as in `sk-lgw-abc…xyz`.
    #[must_use]
    pub fn label(&self) -> String {
        let random = self.0.get(PREFIX.len()..PREFIX.len() + RANDOM_DIGITS);
        let random = random.unwrap_or_default();
        let (first, rest) = random.split_at_checked(SHOWN_DIGITS).unwrap_or_default();
        let hidden = rest.len().saturating_sub(SHOWN_DIGITS);
        let (_, last) = rest.split_at_checked(hidden).unwrap_or_default();
        format!("{PREFIX}{first}…{last}")
    }

    /// The token itself, once: for its owner, who is the only one to keep it.
    #[must_use]
    pub fn expose(self) -> Zeroizing<String> {
        self.0
    }
}

impl FromStr for AccessToken {
    type Err = MalformedToken;

    fn from_str(text: &str) -> Result<Self, MalformedToken> {
        Self::parse(text)
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken(redacted)")
    }
}

/// The part of a text that keeps it from being a token. It never shows the text, which may be some other
/// secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedToken {
    /// Another beginning.
    #[error("an access token begins with sk-lgw-, in lower case")]
    Prefix,
    /// A character that is no digit of base62.
    #[error(
        "an access token has only letters and digits behind sk-lgw-; look for a blank or a quote at its ends"
    )]
    Alphabet,
    /// Not [`AccessToken::LEN`] characters.
    #[error(
        "an access token has {} characters; was all of it copied?",
        AccessToken::LEN
    )]
    Length,
    /// A checksum of another text.
    #[error("the access token's checksum does not fit; a character is wrong")]
    Checksum,
}

impl MalformedToken {
    /// The stable name that clients see.
    #[must_use]
    pub fn reason(self) -> &'static str {
        "malformed_token"
    }
}

/// SHA-256 of a token's text, by which the database finds it. `Display` is lower-case hex.
///
/// Guessing a digest does not help to guess a token, so comparing digests need not take constant time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// The digest.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// The last digits of the token that begins with `body`.
fn checksum_of(body: &str) -> String {
    let mut digits = String::with_capacity(CHECKSUM_DIGITS);
    let mut checksum = crc32fast::hash(body.as_bytes()).to_be_bytes();
    push_base62::<CHECKSUM_DIGITS>(&mut digits, &mut checksum);
    digits
}

/// Appends a big-endian number in `DIGITS` digits of base62, which must be enough for it. Dividing uses
/// the number up.
fn push_base62<const DIGITS: usize>(text: &mut String, number: &mut [u8]) {
    let mut digits = Zeroizing::new([0_u8; DIGITS]);
    for digit in digits.iter_mut().rev() {
        let mut remainder = 0_u16;
        for byte in &mut *number {
            let dividend = remainder << 8 | u16::from(*byte);
            // Always fits: the remainder is below 62, so the dividend is below 62 · 256.
            *byte = u8::try_from(dividend / 62).unwrap_or_default();
            remainder = dividend % 62;
        }
        let value = BASE62.get(usize::from(remainder));
        *digit = value.copied().unwrap_or_default();
    }
    text.extend(digits.iter().map(|digit| char::from(*digit)));
}

#[cfg(test)]
mod tests;
