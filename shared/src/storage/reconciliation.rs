//! The rows of a reconciliation run, and their settlement.

use std::{borrow::Cow, fmt, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, de};
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    ATTEMPTS_IN_FRONT, Argument, Storage, StorageError,
    columns::{clamped, count, storable},
    finish::Tokens,
};
use crate::metering::money::Usd;

/// Asks for rows whose cost is pending, and for abandoned ones: pending for so long that no function
/// can be at work on them any more.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// The present time.
    pub now: Timestamp,
    /// At most so many rows, from 1 to 1000.
    pub limit: u16,
    /// The time for which a row belongs to its first, second, … claim; the last one repeats. Whole
    /// seconds. The row is due again afterwards, so this is the backoff, too.
    pub leases: &'a [Duration],
    /// The age from which on a request that is still pending counts as abandoned. Whole seconds, from
    /// one to a day; `None` where it makes no difference.
    pub abandoned_after: Option<Duration>,
    /// This DID's rows only.
    pub did: Option<&'a str>,
}

/// A claimed row.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct Unsettled {
    /// The request's id.
    #[serde(deserialize_with = "uuid")]
    pub id: Uuid,
    /// The row's DID.
    pub did: String,
    /// Whether its function ended without closing it.
    pub abandoned: bool,
    /// The kind of endpoint.
    pub endpoint: Option<String>,
    /// `OpenRouter`'s id of the generation.
    pub generation_id: Option<String>,
    /// The asynchronous job that it created.
    pub job_id: Option<String>,
    /// Since the request began.
    #[serde(rename = "age_seconds", deserialize_with = "seconds")]
    pub age: Duration,
    /// The number of claims, this one included.
    pub attempts: u32,
    /// Whether it may have made several generations, of which `generation_id` is but one.
    #[serde(default)]
    pub several_generations: bool,
    /// The key that made it, also if its owner has replaced or revoked that since; `None` where nobody
    /// kept it.
    pub sealed_key: Option<String>,
}

impl fmt::Debug for Unsettled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unsettled")
            .field("id", &self.id)
            .field("generation_id", &self.generation_id)
            .field("job_id", &self.job_id)
            .field("age", &self.age)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}

/// The closing of a claimed row.
#[derive(Debug, Clone, Copy)]
pub struct Settle<'a> {
    /// The request's id.
    pub id: Uuid,
    /// The present time.
    pub time: Timestamp,
    /// The finding.
    pub finding: Finding<'a>,
}

/// The closing of the row that created a job, by a caller that has learned the job's cost but does
/// not know the row.
#[derive(Debug, Clone, Copy)]
pub struct SettleJob<'a> {
    /// The DID that created it.
    pub did: &'a str,
    /// The kind of endpoint that it was created at.
    pub endpoint: &'a str,
    /// `OpenRouter`'s id of it.
    pub job_id: &'a str,
    /// The present time.
    pub time: Timestamp,
    /// The finding.
    pub finding: Finding<'a>,
}

/// The facts about a cost.
#[derive(Debug, Clone, Copy)]
pub enum Finding<'a> {
    /// The bill of `OpenRouter`. US dollars.
    Final {
        /// The charge of `OpenRouter` itself.
        openrouter: Usd,
        /// The provider's charge, added where [`is_byok`](Self::Final::is_byok).
        upstream_inference: Option<Usd>,
        /// Whether the user's own provider key paid for the inference.
        is_byok: Option<bool>,
        /// The part of `openrouter` that tools run by `OpenRouter` cost.
        server_tool: Option<Usd>,
        /// The counted tokens; a count that is `None` stays as it was.
        tokens: Tokens,
        /// The service tier that it ran on.
        service_tier: Option<&'a str>,
        /// The model that answered.
        model: Option<&'a str>,
    },
    /// It will not be known.
    Unknown {
        /// The stable name of the cause.
        reason: &'a str,
        /// The [claim](Unsettled::attempts) that found it out. A row that was finished or claimed again
        /// since may be known better, so it stays as it is. `None`: whichever it was.
        attempts: Option<u32>,
        /// The part of it that is known. US dollars.
        known: Option<Usd>,
    },
}

/// The result of a [`Settle`] or [`SettleJob`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Settled {
    /// Whether this call closed the row. False after an earlier one did, be it an attempt of the
    /// same call whose answer was lost, and where there is no such row.
    #[serde(rename = "settled")]
    pub by_this_call: bool,
}

impl Storage {
    /// Takes rows whose books are still open, for as long as their leases last. Runs at the same
    /// time get different rows.
    ///
    /// It is repeated after a lost answer; the rows of that answer then wait for the end of their
    /// leases.
    pub async fn claim_unsettled(
        &self,
        claim: &Claim<'_>,
        deadline: Instant,
    ) -> Result<Vec<Unsettled>, StorageError> {
        let argument = Argument::Request(ClaimJson::from(claim));
        self.call("claim_unsettled", &argument, ATTEMPTS_IN_FRONT, deadline)
            .await
    }

    /// Closes a claimed row, exactly once however often it is called. Retries until `deadline`.
    pub async fn settle(
        &self,
        settle: &Settle<'_>,
        deadline: Instant,
    ) -> Result<Settled, StorageError> {
        let argument = Argument::Outcome(SettleJson::from(settle));
        self.call("settle_request", &argument, u32::MAX, deadline)
            .await
    }

    /// Closes the row that created a job, exactly once however often it is called. Retries until
    /// `deadline`.
    pub async fn settle_job(
        &self,
        settle: &SettleJob<'_>,
        deadline: Instant,
    ) -> Result<Settled, StorageError> {
        let argument = Argument::Outcome(SettleJobJson::from(settle));
        self.call("settle_job", &argument, u32::MAX, deadline).await
    }
}

/// The argument of `claim_unsettled` and `claim_provisionings`.
#[derive(Serialize)]
pub(super) struct ClaimJson<'a> {
    now: i64,
    limit: u16,
    leases: Vec<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    abandoned_after: Option<u64>,
    did: Option<&'a str>,
}

impl<'a> From<&Claim<'a>> for ClaimJson<'a> {
    fn from(claim: &Claim<'a>) -> Self {
        Self {
            now: claim.now.as_millisecond(),
            limit: claim.limit,
            leases: claim.leases.iter().map(Duration::as_secs).collect(),
            abandoned_after: claim.abandoned_after.map(|age| age.as_secs()),
            did: claim.did,
        }
    }
}

/// The argument of `settle_request`.
#[derive(Serialize)]
struct SettleJson<'a> {
    id: String,
    #[serde(flatten)]
    finding: FindingJson<'a>,
}

/// The argument of `settle_job`.
#[derive(Serialize)]
struct SettleJobJson<'a> {
    did: &'a str,
    endpoint: &'a str,
    job_id: &'a str,
    #[serde(flatten)]
    finding: FindingJson<'a>,
}

/// The members that both have in common.
#[derive(Default, Serialize)]
struct FindingJson<'a> {
    settled_at: i64,
    cost_state: &'static str,
    unknown_cost_reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    known_cost: Option<Usd>,
    openrouter_cost: Option<Usd>,
    server_tool_cost: Option<Usd>,
    upstream_inference_cost: Option<Usd>,
    is_byok: Option<bool>,
    model: Option<Cow<'a, str>>,
    input_tokens: Option<i32>,
    output_tokens: Option<i32>,
    cached_tokens: Option<i32>,
    cache_write_tokens: Option<i32>,
    reasoning_tokens: Option<i32>,
    service_tier: Option<Cow<'a, str>>,
}

impl<'a> From<&Settle<'a>> for SettleJson<'a> {
    fn from(settle: &Settle<'a>) -> Self {
        Self {
            id: settle.id.to_string(),
            finding: FindingJson::of(settle.finding, settle.time),
        }
    }
}

impl<'a> From<&SettleJob<'a>> for SettleJobJson<'a> {
    fn from(settle: &SettleJob<'a>) -> Self {
        Self {
            did: settle.did,
            endpoint: settle.endpoint,
            job_id: settle.job_id,
            finding: FindingJson::of(settle.finding, settle.time),
        }
    }
}

impl<'a> FindingJson<'a> {
    fn of(finding: Finding<'a>, time: Timestamp) -> Self {
        let common = Self {
            settled_at: time.as_millisecond(),
            ..Self::default()
        };
        match finding {
            Finding::Unknown {
                reason,
                attempts,
                known,
            } => Self {
                attempts,
                known_cost: known,
                cost_state: "unknown",
                unknown_cost_reason: Some(reason),
                ..common
            },
            Finding::Final {
                openrouter,
                upstream_inference,
                is_byok,
                server_tool,
                tokens,
                service_tier,
                model,
            } => Self {
                cost_state: "final",
                openrouter_cost: Some(openrouter),
                server_tool_cost: server_tool,
                upstream_inference_cost: upstream_inference,
                is_byok,
                model: model.map(storable),
                input_tokens: tokens.input.map(clamped),
                output_tokens: tokens.output.map(clamped),
                cached_tokens: tokens.cached.map(clamped),
                cache_write_tokens: tokens.cache_write.map(clamped),
                reasoning_tokens: tokens.reasoning.map(clamped),
                service_tier: service_tier.map(storable),
                ..common
            },
        }
    }
}

pub(super) fn uuid<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Uuid, D::Error> {
    Uuid::parse_str(&Cow::<'de, str>::deserialize(deserializer)?).map_err(de::Error::custom)
}

pub(super) fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    count(deserializer).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claimed_row_is_read_and_hides_its_key() {
        let row: Unsettled = serde_json::from_str(
            r#"{"id":"fd8b67e2-5797-4521-81a0-426af37311db","did":"did:key:z","abandoned":false,
                "endpoint":null,"generation_id":"gen-1","job_id":null,"age_seconds":"90","attempts":2,
                "sealed_key":"v1.planted"}"#,
        )
        .unwrap();
        assert_eq!(row.age, Duration::from_secs(90));
        assert_eq!(row.sealed_key.as_deref(), Some("v1.planted"));
        assert!(!format!("{row:?}").contains("planted"));
    }

    #[test]
    fn an_unknown_cost_is_sent_without_any_amount() {
        let settle = Settle {
            id: Uuid::nil(),
            time: Timestamp::UNIX_EPOCH,
            finding: Finding::Unknown {
                reason: "no_generation_id",
                attempts: Some(2),
                known: None,
            },
        };
        let json = serde_json::to_value(SettleJson::from(&settle)).unwrap();
        assert_eq!(json["cost_state"], "unknown");
        assert_eq!(json["unknown_cost_reason"], "no_generation_id");
        assert_eq!(json["attempts"], 2);
        assert!(json["openrouter_cost"].is_null());
        assert!(json.get("known_cost").is_none());
    }
}
