//! Access tokens, beside a base62 of large numbers and a CRC-32 bit by bit.

use bigdecimal::num_bigint::BigUint;
use sha2::{Digest as _, Sha256};
use shared::identity::access_token::{AccessToken, MalformedToken};

use crate::{input::text, planted};

const DIGITS: &str = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A text is a token if and only if its checksum is that of the rest, whatever the rest is; and the token of 32 bytes
/// is the one text that says them.
pub(crate) fn agrees_with_large_numbers(data: &[u8]) {
    is_read(&text(data));
    // As a token that was made, and with the checksum of whatever stands before.
    if let Some(random) = data.first_chunk::<32>() {
        let made = AccessToken::from_randomness(*random);
        let label = made.label();
        let made = made.expose();
        assert_eq!(*made, token(&base62(&BigUint::from_bytes_be(random), 43)));
        assert_eq!(label, format!("sk-lgw-{}…{}", &made[7..10], &made[47..50]));
        is_read(&made);
    }
    is_read(&token(&text(data)));
}

fn is_read(text: &str) {
    let mut read = AccessToken::parse(text);
    if planted() && matches!(read, Err(MalformedToken::Checksum)) && text.ends_with('0') {
        read = Ok(AccessToken::from_randomness([0; 32]));
    }
    let expected = expected(text);
    assert_eq!(read.as_ref().err().copied(), expected, "{text:?}");
    if let Ok(token) = read {
        assert_eq!(token.digest().as_bytes()[..], Sha256::digest(text)[..]);
        assert_eq!(format!("{token:?}"), "AccessToken(redacted)");
        assert!(AccessToken::is_meant_by(text.as_bytes()));
        assert_eq!(*token.expose(), text);
    }
}

/// The reason for which a text is no token; `None`: it is one.
fn expected(text: &str) -> Option<MalformedToken> {
    let Some(digits) = text.strip_prefix("sk-lgw-") else {
        return Some(MalformedToken::Prefix);
    };
    if !digits.chars().all(|digit| DIGITS.contains(digit)) {
        Some(MalformedToken::Alphabet)
    } else if digits.len() != 49 {
        Some(MalformedToken::Length)
    } else {
        (token(&digits[..43]) != text).then_some(MalformedToken::Checksum)
    }
}

/// The token with these random digits.
fn token(random: &str) -> String {
    let body = format!("sk-lgw-{random}");
    let checksum = base62(&crc32(body.as_bytes()).into(), 6);
    body + &checksum
}

fn base62(number: &BigUint, digits: usize) -> String {
    let digit = |value: u8| char::from(DIGITS.as_bytes()[usize::from(value)]);
    let written: String = number.to_radix_be(62).into_iter().map(digit).collect();
    format!("{written:0>digits$}")
}

/// CRC-32/ISO-HDLC, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0xedb8_8320
            } else {
                crc >> 1
            };
        }
    }
    !crc
}
