//! The keys that the gateway provisions for users, as the storage keeps them.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    ATTEMPTS_IN_FRONT, Argument, Protocol, Storage, StorageError,
    keys::{CallerRequest, CallerRequestJson, KeyDescription, NewKey, NewKeyJson, PendingDeletion},
    reconciliation::{Claim, ClaimJson},
};
use crate::metering::money::Usd;

/// The interval after which the limit of a provisioned key starts again, in UTC.
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

/// The spending limit of a provisioned key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// US dollars, more than zero.
    pub limit: Usd,
    /// `None`: never.
    pub reset: Option<LimitReset>,
}

/// The result of a reservation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reserved {
    /// The key is to be made now.
    Go,
    /// The DID has had a provisioned key all the time.
    Already(Box<KeyDescription>),
}

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

impl Storage {
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

#[cfg(test)]
mod tests {
    use super::{super::keys::tests::KEY, *};

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
}
