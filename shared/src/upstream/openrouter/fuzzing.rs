//! The private parsers, for fuzz targets.

use super::{Generation, MadeKey};

/// A generation in the body of an answer.
#[must_use]
pub fn generation(body: &[u8]) -> Option<Generation> {
    Generation::from_json(body)
}

/// A made key in the body of an answer.
#[must_use]
pub fn made_key(body: &[u8]) -> Option<MadeKey> {
    MadeKey::from_json(body)
}
