//! Users' keys, as the storage keeps them.

use std::{borrow::Cow, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    ATTEMPTS_IN_FRONT, Argument, ReplayGuard, Storage, StorageError,
    budgets::BudgetState,
    columns::storable,
    reconciliation::{seconds, uuid},
};
use crate::vault::secret::{KeyId, SealedKey};

/// The caller, and the request by which they ask. The storage insists on a fingerprint wherever
/// something changes.
#[derive(Debug, Clone, Copy)]
pub struct CallerRequest<'a> {
    /// The gateway's id of the request.
    pub id: Uuid,
    /// The verified caller, without a fragment.
    pub did: &'a str,
    /// When the gateway received it.
    pub request_time: Timestamp,
    /// The fingerprint that makes a second use of the same signature a replay.
    pub fingerprint: Option<ReplayGuard>,
}

/// A key, ready to be stored.
#[derive(Debug)]
pub struct NewKey<'a> {
    /// OpenRouter's hash of it.
    pub hash: &'a str,
    /// The key, sealed for its owner.
    pub sealed: &'a SealedKey,
    /// Its owner's name for it; `None`: as it was, or `default`.
    pub name: Option<&'a str>,
}

/// A key, as its owner may see it. Money is US dollars, decimal text.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct KeyDescription {
    /// Chosen by its owner.
    pub key_name: String,
    /// OpenRouter's hash of it.
    pub hash: String,
    /// The owner of the account with OpenRouter that it belongs to.
    pub source: KeySource,
    /// Whether the operator has blocked the DID.
    pub disabled: bool,
    /// The DID's credit limit; `None`: no limit of the gateway's.
    pub limit: Option<String>,
    /// The cost of the DID's finished requests.
    pub spent: String,
    /// The sum held for requests in flight and for costs that are not known yet.
    pub held: String,
    /// The rest of the limit.
    pub remaining: Option<String>,
    /// The DID's budgets, the shortest period first.
    pub budgets: Vec<BudgetState>,
    /// OpenRouter's own limit of a provisioned key.
    pub openrouter_limit: Option<String>,
    /// The interval after which the limit starts again: `daily`, `weekly`, `monthly` or `never`.
    pub openrouter_limit_reset: Option<String>,
    /// When the DID stored its first key since the last revocation.
    #[serde(deserialize_with = "time", serialize_with = "rfc3339")]
    pub created_at: Timestamp,
    /// When it stored this one.
    #[serde(deserialize_with = "time", serialize_with = "rfc3339")]
    pub updated_at: Timestamp,
    /// The keyset's key that seals it; `None` where that was not recorded.
    pub seal_key_id: Option<String>,
}

/// The origin of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KeySource {
    /// Its user brought it.
    Own,
    /// The gateway made it, in the operator's account.
    Provisioned,
}

/// A provisioned key that is to be deleted with OpenRouter.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PendingDeletion {
    /// The provisioning.
    #[serde(deserialize_with = "uuid")]
    pub id: Uuid,
    /// OpenRouter's name of the key; `None` where nobody learned it.
    pub upstream_hash: Option<String>,
    /// Since the reservation; `None` for a key that is known to exist.
    #[serde(default, rename = "age_seconds", deserialize_with = "age")]
    pub age: Option<Duration>,
}

/// The result of storing a key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct StoredKey {
    /// The key, as it stands.
    pub key: KeyDescription,
    /// The provisioned key whose place it took; `None` also while a cost of its requests is open, which
    /// only that key can be asked for: reconciliation deletes it afterwards.
    pub condemned: Option<PendingDeletion>,
}

/// The result of revoking a key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RevokedKey {
    /// OpenRouter's hash of the key that is gone.
    pub hash: String,
    /// The revoked key, if it was provisioned; see [`StoredKey::condemned`].
    pub condemned: Option<PendingDeletion>,
}

impl Storage {
    /// Describes the caller's key.
    pub async fn describe_key(
        &self,
        caller_request: &CallerRequest<'_>,
        deadline: Instant,
    ) -> Result<KeyDescription, StorageError> {
        let argument = Argument::Request(CallerRequestJson::from(caller_request));
        self.call("describe_key", &argument, ATTEMPTS_IN_FRONT, deadline)
            .await
    }

    /// Stores the caller's key, or puts it in the place of their last one; their account stays.
    pub async fn store_key(
        &self,
        caller_request: &CallerRequest<'_>,
        key: &NewKey<'_>,
        deadline: Instant,
    ) -> Result<StoredKey, StorageError> {
        let argument = Argument::Request(StoreJson {
            caller_request: caller_request.into(),
            key: key.into(),
        });
        self.call("store_key", &argument, ATTEMPTS_IN_FRONT, deadline)
            .await
    }

    /// Deletes the caller's key; their account stays.
    pub async fn revoke_key(
        &self,
        caller_request: &CallerRequest<'_>,
        deadline: Instant,
    ) -> Result<RevokedKey, StorageError> {
        let argument = Argument::Request(CallerRequestJson::from(caller_request));
        self.call("revoke_key", &argument, ATTEMPTS_IN_FRONT, deadline)
            .await
    }
}

#[derive(Serialize)]
pub(super) struct CallerRequestJson<'a> {
    id: String,
    did: &'a str,
    request_time: i64,
    fingerprint: Option<String>,
    fingerprint_expires_at: Option<i64>,
}

impl<'a> From<&CallerRequest<'a>> for CallerRequestJson<'a> {
    fn from(caller_request: &CallerRequest<'a>) -> Self {
        Self {
            id: caller_request.id.to_string(),
            did: caller_request.did,
            request_time: caller_request.request_time.as_millisecond(),
            fingerprint: caller_request.fingerprint.map(|f| hex::encode(f.digest)),
            fingerprint_expires_at: caller_request
                .fingerprint
                .map(|f| f.expires_at.as_millisecond()),
        }
    }
}

#[derive(Serialize)]
pub(super) struct NewKeyJson<'a> {
    key_hash: &'a str,
    sealed_key: String,
    seal_key_id: KeyId,
    key_name: Option<Cow<'a, str>>,
}

impl<'a> From<&NewKey<'a>> for NewKeyJson<'a> {
    fn from(key: &NewKey<'a>) -> Self {
        Self {
            key_hash: key.hash,
            sealed_key: key.sealed.to_column(),
            seal_key_id: key.sealed.key_id(),
            key_name: key.name.map(storable),
        }
    }
}

#[derive(Serialize)]
struct StoreJson<'a> {
    #[serde(flatten)]
    caller_request: CallerRequestJson<'a>,
    #[serde(flatten)]
    key: NewKeyJson<'a>,
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    Cow::<'de, str>::deserialize(deserializer)?
        .parse()
        .map_err(de::Error::custom)
}

fn rfc3339<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

fn age<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    seconds(deserializer).map(Some)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::storage) const KEY: &str = r#"{"key_name":"mine","hash":"ab","source":"provisioned","disabled":false,"limit":"1.5",
        "spent":"0.25","held":"0","remaining":"1.25","budgets":[],"openrouter_limit":"1","openrouter_limit_reset":"never",
        "created_at":"2026-01-01T00:00:00.123456+00:00","updated_at":"2026-01-01T02:00:00+01:00","seal_key_id":null}"#;

    #[test]
    fn a_description_is_read_and_told_in_utc() {
        let key: KeyDescription = serde_json::from_str(KEY).unwrap();
        assert_eq!(key.source, KeySource::Provisioned);
        let told = serde_json::to_value(&key).unwrap();
        assert_eq!(told["created_at"], "2026-01-01T00:00:00.123456Z");
        assert_eq!(told["updated_at"], "2026-01-01T01:00:00Z");
        assert_eq!(told["spent"], "0.25");
    }

    #[test]
    fn a_key_pending_deletion_may_have_no_hash_and_no_age() {
        let read = |text: &str| serde_json::from_str::<PendingDeletion>(text).unwrap();
        let id = "fd8b67e2-5797-4521-81a0-426af37311db";
        let known = read(&format!(r#"{{"id":"{id}","upstream_hash":"ab"}}"#));
        assert_eq!(known.age, None);
        let lost = read(&format!(
            r#"{{"id":"{id}","upstream_hash":null,"age_seconds":"90","attempts":1}}"#
        ));
        assert_eq!(
            (lost.upstream_hash, lost.age),
            (None, Some(Duration::from_secs(90)))
        );
    }
}
