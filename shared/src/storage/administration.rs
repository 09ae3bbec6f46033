//! The calls of the operator's command line: the master keys that sealed rows, sealing again,
//! accounts. No function calls any of it.

mod accounts;
mod features;
mod sealing;

use serde::{Deserialize, Deserializer, de};

pub use accounts::{Account, AccountChange, AccountHistory, Changed, KeyEvent, Settings};
pub use features::{Access, Feature, Schema, probe};
pub use sealing::{
    Insert, MOST_RESEALED, Reseal, ResealAction, ResealOutcome, Resealed, SealCount, SealedPage,
    StoredKey,
};

use crate::vault::secret::KeyId;

/// As text, or null.
fn key_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<KeyId>, D::Error> {
    Option::<String>::deserialize(deserializer)?
        .map(|text| text.parse().map(KeyId).map_err(de::Error::custom))
        .transpose()
}
