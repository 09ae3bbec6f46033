//! What the storage knows of users' keys, and of the keys that the gateway provisions for them.

use std::{borrow::Cow, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    ATTEMPTS_IN_FRONT, Argument, Protocol, ReplayGuard, Storage, StorageError,
    reconciliation::{Claim, ClaimJson, seconds, uuid},
    records::storable,
};
use crate::{
    metering::money::Usd,
    vault::secret::{KeyId, SealedKey},
};

/// Who asks, and the request by which they do. The storage insists on a fingerprint wherever
/// something changes.
#[derive(Debug, Clone, Copy)]
pub struct CallerRequest<'a> {
    /// The gateway's id of the request.
    pub id: Uuid,
    /// The verified caller, without a fragment.
    pub did: &'a str,
    /// When the gateway received it.
    pub request_time: Timestamp,
    /// What makes a second use of the same signature a replay.
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

/// What its owner may know of a key. Money is US dollars, decimal text.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct KeyDescription {
    /// Chosen by its owner.
    pub key_name: String,
    /// OpenRouter's hash of it.
    pub hash: String,
    /// Whose account with OpenRouter it belongs to.
    pub source: KeySource,
    /// Whether the operator has blocked the DID.
    pub disabled: bool,
    /// What the DID may spend in all; `None`: no limit of the gateway's.
    pub limit: Option<String>,
    /// What the DID's finished requests cost.
    pub spent: String,
    /// What is held for requests in flight and for costs that are not known yet.
    pub held: String,
    /// What is left of the limit.
    pub remaining: Option<String>,
    /// OpenRouter's own limit of a provisioned key.
    pub openrouter_limit: Option<String>,
    /// When that begins anew: `daily`, `weekly`, `monthly` or `never`.
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

/// Where a key comes from.
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

/// What storing a key left.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct StoredKey {
    /// The key, as it stands.
    pub key: KeyDescription,
    /// The provisioned key whose place it took; `None` also while a cost of its requests is open, which
    /// only that key can be asked for: reconciliation deletes it afterwards.
    pub condemned: Option<PendingDeletion>,
}

/// What revoking a key left.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RevokedKey {
    /// OpenRouter's hash of the key that is gone.
    pub hash: String,
    /// The same, if it was provisioned; see [`StoredKey::condemned`].
    pub condemned: Option<PendingDeletion>,
}

/// When the limit of a provisioned key begins anew, in UTC.
/// <https://openrouter.ai/docs/api-reference/api-keys/create-api-key>
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LimitReset {
    /// At midnight.
    Daily,
    /// On Mondays.
    Weekly,
    /// On the first of the month.
    Monthly,
}

/// What a provisioned key may spend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// US dollars, more than zero.
    pub limit: Usd,
    /// `None`: never.
    pub reset: Option<LimitReset>,
}

/// What became of a reservation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reserved {
    /// The key is to be made now.
    Go,
    /// The DID has had a provisioned key all the time.
    Already(Box<KeyDescription>),
}

impl Storage {
    /// What the caller may know of their key.
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

    /// Reserves the provisioning of a key for the caller, for as long as `lease` (whole seconds). The
    /// provisioning's id is that of the request.
    pub async fn reserve_provisioning(
        &self,
        caller_request: &CallerRequest<'_>,
        grant: Grant,
        lease: Duration,
        deadline: Instant,
    ) -> Result<Reserved, StorageError> {
        let function = "reserve_provisioning";
        let argument = Argument::Request(ReserveJson {
            caller_request: caller_request.into(),
            lease: lease.as_secs(),
            limit: grant.limit,
            limit_reset: grant.reset,
        });
        let answer: ReserveAnswer = self
            .call(function, &argument, ATTEMPTS_IN_FRONT, deadline)
            .await?;
        Ok(answer.read().ok_or(Protocol::UnexpectedBody { function })?)
    }

    /// Stores a provisioned key. `None`: its reservation was given up, or the DID has brought a key
    /// meanwhile; then the new one is to be deleted. Retries until `deadline`: the key exists.
    pub async fn activate_provisioning(
        &self,
        id: Uuid,
        did: &str,
        key: &NewKey<'_>,
        deadline: Instant,
    ) -> Result<Option<KeyDescription>, StorageError> {
        let argument = Argument::Request(ActivateJson {
            id: id.to_string(),
            did,
            upstream_hash: key.hash,
            key: key.into(),
        });
        let answer: ActivateAnswer = self
            .call("activate_provisioning", &argument, u32::MAX, deadline)
            .await?;
        Ok(answer.key)
    }

    /// Gives a reservation up. `made`: a key may exist, so it is to be deleted.
    pub async fn abandon_provisioning(
        &self,
        id: Uuid,
        made: bool,
        deadline: Instant,
    ) -> Result<(), StorageError> {
        let argument = Argument::Request(AbandonJson {
            id: id.to_string(),
            made,
        });
        let Done {} = self
            .call(
                "abandon_provisioning",
                &argument,
                ATTEMPTS_IN_FRONT,
                deadline,
            )
            .await?;
        Ok(())
    }

    /// Takes provisioned keys that are to be deleted, and reservations that nobody works on any more;
    /// as [`claim_unsettled`](Self::claim_unsettled).
    pub async fn claim_provisionings(
        &self,
        claim: &Claim<'_>,
        deadline: Instant,
    ) -> Result<Vec<PendingDeletion>, StorageError> {
        let argument = Argument::Request(ClaimJson::from(claim));
        self.call(
            "claim_provisionings",
            &argument,
            ATTEMPTS_IN_FRONT,
            deadline,
        )
        .await
    }

    /// Notes that OpenRouter has a provisioning's key no more.
    pub async fn finish_provisioning(
        &self,
        id: Uuid,
        deadline: Instant,
    ) -> Result<(), StorageError> {
        let argument = Argument::Request(FinishJson { id: id.to_string() });
        let Done {} = self
            .call(
                "finish_provisioning",
                &argument,
                ATTEMPTS_IN_FRONT,
                deadline,
            )
            .await?;
        Ok(())
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
struct NewKeyJson<'a> {
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

#[derive(Serialize)]
struct ReserveJson<'a> {
    #[serde(flatten)]
    caller_request: CallerRequestJson<'a>,
    lease: u64,
    limit: Usd,
    limit_reset: Option<LimitReset>,
}

#[derive(Serialize)]
struct ActivateJson<'a> {
    id: String,
    did: &'a str,
    upstream_hash: &'a str,
    #[serde(flatten)]
    key: NewKeyJson<'a>,
}

#[derive(Serialize)]
struct AbandonJson {
    id: String,
    made: bool,
}

#[derive(Serialize)]
struct FinishJson {
    id: String,
}

#[derive(Deserialize)]
struct ReserveAnswer {
    reserved: bool,
    key: Option<KeyDescription>,
}

impl ReserveAnswer {
    fn read(self) -> Option<Reserved> {
        match (self.reserved, self.key) {
            (true, _) => Some(Reserved::Go),
            (false, Some(key)) => Some(Reserved::Already(Box::new(key))),
            (false, None) => None,
        }
    }
}

#[derive(Deserialize)]
struct ActivateAnswer {
    key: Option<KeyDescription>,
}

/// An answer of which nothing is needed.
#[derive(Deserialize)]
struct Done {}

impl LimitReset {
    /// As OpenRouter and the database name it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
        }
    }
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
mod tests {
    use super::*;

    const KEY: &str = r#"{"key_name":"mine","hash":"ab","source":"provisioned","disabled":false,"limit":"1.5",
        "spent":"0.25","held":"0","remaining":"1.25","openrouter_limit":"1","openrouter_limit_reset":"never",
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
    fn a_reservation_goes_on_or_finds_a_key() {
        let read = |text: &str| serde_json::from_str::<ReserveAnswer>(text).unwrap().read();
        assert_eq!(read(r#"{"reserved":true}"#), Some(Reserved::Go));
        assert_eq!(read(r#"{"reserved":false}"#), None);
        assert!(matches!(
            read(&format!(r#"{{"reserved":false,"key":{KEY}}}"#)),
            Some(Reserved::Already(_))
        ));
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
