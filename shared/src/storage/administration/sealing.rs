//! Which master key sealed which row, and sealing anew.

use std::fmt;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{
    super::{ATTEMPTS_IN_FRONT, Argument, Storage, StorageError, records},
    key_id,
};
use crate::{metering::money::Usd, vault::secret::KeyId};

/// How many keys one call seals anew at most.
pub const MOST_RESEALED: usize = 500;

/// Rows of one master key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealCount {
    /// The master key; `None` where the row holds no sealed key.
    #[serde(deserialize_with = "key_id")]
    pub seal_key_id: Option<KeyId>,
    /// How many rows it seals.
    #[serde(deserialize_with = "records::count")]
    pub rows: u64,
}

/// A stored key as it stands in its row.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct StoredKey {
    /// Whose it is.
    pub did: String,
    /// The column, whatever it holds.
    pub sealed_key: String,
    /// Whether its owner has replaced or revoked it, and it is kept for reconciliation only.
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

/// Which stored keys to list.
#[derive(Debug, Clone, Copy)]
pub struct SealedPage<'a> {
    /// Only those that another master key sealed, or none.
    pub other_than: Option<KeyId>,
    /// Those after this DID.
    pub after: Option<&'a str>,
    /// Those of at most so many DIDs, from 1 to 1000.
    pub limit: u16,
}

/// Why keys are sealed anew; what the record of events calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ResealAction {
    /// With another master key.
    Rewrapped,
    /// They come from the original system.
    Imported,
}

/// A key that was sealed anew.
#[derive(Clone, Serialize)]
pub struct Reseal {
    /// Whose it is.
    pub did: String,
    /// The column as it was read: what stands in a place of the DID's by then is replaced only if it is
    /// this.
    pub old: String,
    /// The column as it shall be.
    pub new: String,
    /// For a DID without a row.
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

/// The rest of a row that is made by an import.
#[derive(Debug, Clone, Serialize)]
pub struct Insert {
    /// The key's name.
    pub key_name: String,
    /// `openrouter_key_hash`.
    pub key_hash: String,
    /// US dollars.
    pub credit_limit: Option<Usd>,
}

/// What became of a [`Reseal`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Resealed {
    /// Whose key.
    pub did: String,
    /// What was done with it.
    pub outcome: ResealOutcome,
}

/// What was done with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResealOutcome {
    /// The new one is in its place.
    Resealed,
    /// A row was made for it.
    Inserted,
    /// The new one was there already.
    Already,
    /// Another one is there by now, and stays.
    Replaced,
    /// There is no row, and for an import: its owner or an operator has given this key up.
    Gone,
}

impl Storage {
    /// How many rows each master key seals.
    pub async fn keys_by_seal(&self, deadline: Instant) -> Result<Vec<SealCount>, StorageError> {
        self.call(
            "keys_by_seal",
            &Argument::Request(()),
            ATTEMPTS_IN_FRONT,
            deadline,
        )
        .await
    }

    /// A page of stored keys, in the order of their DIDs, retired ones after the present one.
    pub async fn sealed_keys(
        &self,
        page: &SealedPage<'_>,
        deadline: Instant,
    ) -> Result<Vec<StoredKey>, StorageError> {
        let argument = Argument::Request(SealedPageJson {
            other_than: page.other_than.map(|id| id.to_string()),
            after: page.after,
            limit: page.limit,
        });
        self.call("sealed_keys", &argument, ATTEMPTS_IN_FRONT, deadline)
            .await
    }

    /// Puts keys that were sealed anew in their places: all of them in one transaction, each only
    /// where its DID still has what it was made of, be it retired. At most [`MOST_RESEALED`]. Retries
    /// until `deadline`.
    pub async fn reseal(
        &self,
        action: ResealAction,
        keys: &[Reseal],
        deadline: Instant,
    ) -> Result<Vec<Resealed>, StorageError> {
        let argument = Argument::Request(ResealJson { action, keys });
        self.call("reseal_keys", &argument, u32::MAX, deadline)
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
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn arguments_are_what_the_migration_says() {
        let page = Argument::Request(SealedPageJson {
            other_than: Some(KeyId(u32::MAX).to_string()),
            after: None,
            limit: 100,
        });
        assert_eq!(
            serde_json::to_value(page).unwrap(),
            json!({"request": {"other_than": "4294967295", "after": null, "limit": 100}})
        );
        let reseal = ResealJson {
            action: ResealAction::Rewrapped,
            keys: &[Reseal {
                did: "did:a".to_owned(),
                old: "v1.old".to_owned(),
                new: "v1.new".to_owned(),
                insert: None,
            }],
        };
        assert_eq!(
            serde_json::to_value(reseal).unwrap(),
            json!({"action": "rewrapped", "keys": [{"did": "did:a", "old": "v1.old", "new": "v1.new"}]})
        );
    }

    #[test]
    fn ids_are_read_from_text_and_nothing_sealed_prints() {
        let counts: Vec<SealCount> = serde_json::from_str(
            r#"[{"seal_key_id":"4294967295","rows":"9"},{"seal_key_id":null,"rows":"1"}]"#,
        )
        .unwrap();
        assert_eq!(counts[0].seal_key_id, Some(KeyId(u32::MAX)));
        assert_eq!((counts[1].seal_key_id, counts[1].rows), (None, 1));

        let key: StoredKey =
            serde_json::from_str(r#"{"did":"did:a","sealed_key":"v1.planted","retired":true}"#)
                .unwrap();
        assert!(key.retired);
        let reseal = Reseal {
            did: "did:a".to_owned(),
            old: "v1.planted".to_owned(),
            new: "v1.planted".to_owned(),
            insert: None,
        };
        assert!(!format!("{key:?} {reseal:?}").contains("planted"));
    }
}
