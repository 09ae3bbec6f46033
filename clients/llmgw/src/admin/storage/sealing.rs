//! The keys that seal rows, and resealing.

use std::fmt;

use serde::{Deserialize, Serialize};
use shared::{
    metering::money::Usd,
    storage::{Argument, StorageError},
    vault::secret::KeyId,
};
use tokio::time::Instant;

use super::client::{AdminStorage, count, key_id};

/// The most keys that one call reseals.
pub const MOST_RESEALED: usize = 500;

/// The rows that one key seals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealCount {
    /// The key; `None` for rows without a sealed key.
    #[serde(deserialize_with = "key_id")]
    pub seal_key_id: Option<KeyId>,
    /// The number of rows.
    #[serde(deserialize_with = "count")]
    pub rows: u64,
}

/// A row's sealed key.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct StoredKey {
    /// The owner.
    pub did: String,
    /// The column's content.
    pub sealed_key: String,
    /// Whether its owner has replaced or revoked it, so that it is kept for reconciliation only.
    #[serde(default)]
    pub retired: bool,
}

impl fmt::Debug for StoredKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredKey")
            .field("did", &self.did)
            .field("retired", &self.retired)
            .finish_non_exhaustive()
    }
}

/// A page of sealed keys.
#[derive(Debug, Clone, Copy)]
pub struct SealedPage<'a> {
    /// Excludes those that this key sealed.
    pub other_than: Option<KeyId>,
    /// Begins after this DID.
    pub after: Option<&'a str>,
    /// The number of DIDs, from 1 to 1000.
    pub limit: u16,
}

/// The reason for resealing, as key events name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ResealAction {
    /// The primary key changed.
    Rewrapped,
    /// The keys come from the original system.
    Imported,
}

/// A resealed key.
#[derive(Clone, Serialize)]
pub struct Reseal {
    /// The owner.
    pub did: String,
    /// The column's old content. Other content is not replaced.
    pub old: String,
    /// The column's new content.
    pub new: String,
    /// The row to insert for a DID without one.
    #[serde(flatten)]
    pub insert: Option<Insert>,
}

impl fmt::Debug for Reseal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reseal")
            .field("did", &self.did)
            .field("insert", &self.insert)
            .finish_non_exhaustive()
    }
}

/// The rest of an imported row.
#[derive(Debug, Clone, Serialize)]
pub struct Insert {
    /// The key's name.
    pub key_name: String,
    /// `openrouter_key_hash`.
    pub key_hash: String,
    /// US dollars.
    pub credit_limit: Option<Usd>,
}

/// The result of a [`Reseal`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Resealed {
    /// The owner.
    pub did: String,
    /// The outcome.
    pub outcome: ResealOutcome,
}

/// The outcome of resealing a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResealOutcome {
    /// The content was replaced.
    Resealed,
    /// A row was inserted.
    Inserted,
    /// The row had the new content already.
    Already,
    /// The row has other content, which was kept.
    Replaced,
    /// There is no row. For an import: the owner or an operator has removed the key.
    Gone,
}

impl AdminStorage {
    /// The number of rows that each key seals.
    pub async fn keys_by_seal(&self, deadline: Instant) -> Result<Vec<SealCount>, StorageError> {
        self.request("keys_by_seal", (), deadline).await
    }

    /// A page of sealed keys, by DID, retired ones last.
    pub async fn sealed_keys(
        &self,
        page: &SealedPage<'_>,
        deadline: Instant,
    ) -> Result<Vec<StoredKey>, StorageError> {
        let page = SealedPageJson {
            other_than: page.other_than.map(|id| id.to_string()),
            after: page.after,
            limit: page.limit,
        };
        self.request("sealed_keys", page, deadline).await
    }

    /// Replaces sealed keys in one transaction, each only if its DID still has the old content, also
    /// retired. At most [`MOST_RESEALED`]. Retries until the deadline.
    pub async fn reseal(
        &self,
        action: ResealAction,
        keys: &[Reseal],
        deadline: Instant,
    ) -> Result<Vec<Resealed>, StorageError> {
        let argument = Argument::Request(ResealJson { action, keys });
        self.0
            .call("reseal_keys", &argument, u32::MAX, deadline)
            .await
    }
}

#[derive(Serialize)]
struct SealedPageJson<'a> {
    other_than: Option<String>,
    after: Option<&'a str>,
    limit: u16,
}

#[derive(Serialize)]
struct ResealJson<'a> {
    action: ResealAction,
    keys: &'a [Reseal],
}

#[cfg(test)]
mod tests;
