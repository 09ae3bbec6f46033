//! `Content-Digest` (RFC 9530 §2).

use http::HeaderValue;
use sfv::{Dictionary, ListEntry, Parser};
use sha2::{Digest, Sha256, Sha512};

use super::super::super::error::MessageError;

/// Checks the digests of a body. At least one has to be of an algorithm that is known; all of these have to
/// match; others are ignored, as RFC 9530 §2 allows.
pub(super) fn check(value: &HeaderValue, body: &[u8]) -> Result<(), MessageError> {
    let digests: Dictionary = Parser::new(value.as_bytes())
        .parse()
        .map_err(|_| MessageError::MalformedDigest)?;
    let mut is_known = false;
    for (algorithm, entry) in &digests {
        let ListEntry::Item(item) = entry else {
            return Err(MessageError::MalformedDigest);
        };
        let given = item.bare_item.as_byte_sequence();
        let given = given.ok_or(MessageError::MalformedDigest)?;
        let (name, matches) = match algorithm.as_str() {
            "sha-256" => ("sha-256", Sha256::digest(body)[..] == *given),
            "sha-512" => ("sha-512", Sha512::digest(body)[..] == *given),
            _ => continue,
        };
        is_known = true;
        if !matches {
            return Err(MessageError::AnotherDigest(name));
        }
    }
    if is_known {
        Ok(())
    } else {
        Err(MessageError::UnknownDigest)
    }
}
