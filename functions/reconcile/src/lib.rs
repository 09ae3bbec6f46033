//! The scheduled run that finds out costs which were not known when their requests ended, and deletes
//! requests that are older than the operator keeps them.

use std::{sync::Arc, time::Duration};

use serde::Serialize;
use serde_json::Value;
use shared::{
    accounting::reconcile::{Reconciler, Scope, Summary},
    clock::Clock,
    config::{Env, ReconcileConfig, StartError},
    credentials::provisioning::{Swept, UpstreamKeys},
    http_client,
    request::Invocation,
    storage::{Retention, Storage, StorageError},
};
use tokio::time::Instant;

/// The timeout for making a connection to anything.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The state that the function keeps between runs.
#[derive(Debug)]
pub struct Reconcile {
    reconciler: Reconciler,
    abandoned_after: Duration,
    storage: Storage,
    /// Present if the operator has configured a management key.
    upstream_keys: Option<UpstreamKeys>,
    /// Absent if the operator keeps requests for ever.
    retention: Option<Retention>,
}

impl Reconcile {
    /// Builds it from the environment. Nothing is asked over the network yet.
    pub fn load(env: Env<'_>) -> Result<Self, StartError> {
        let config = ReconcileConfig::read(env)?;
        let client = http_client::build(http_client::web_roots(), CONNECT_TIMEOUT)?;
        Ok(Self {
            abandoned_after: config.abandoned_after,
            retention: config.retention,
            storage: config.storage(client.clone()),
            upstream_keys: config.upstream_keys(client.clone()),
            reconciler: config.reconciler(client),
        })
    }
}

/// The result of one run.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Report {
    #[serde(flatten)]
    rows: Summary,
    /// Provisioned keys that were due for deletion; absent where none can be.
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<Swept>,
    /// Requests that were deleted, their sums kept; absent where they are kept for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    expired: Option<u32>,
}

/// Why a run counts as failed, so that the function's error metric shows it.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The event's `did` is no text.
    #[error("the event's member did must be a string")]
    MalformedDid,
    /// The event's `abandoned_after_seconds` would give up requests that may still be in flight, or is
    /// no number.
    #[error(
        "the event's member abandoned_after_seconds must be a number from {} to {}",
        .least.as_secs(), LONGEST_ABANDONED_AFTER.as_secs()
    )]
    MalformedAge {
        /// The configured value.
        least: Duration,
    },
    /// No rows could be claimed.
    #[error("no rows could be claimed")]
    NotClaimed(#[from] StorageError),
    /// Some rows could not be worked on, because the database or the keyset failed; a later run
    /// takes them again.
    #[error("{} of {} rows could not be worked on", .0.failed, .0.claimed)]
    Incomplete(Summary),
    /// Some provisioned keys could not be deleted; a later run tries again.
    #[error("{} of {} provisioned keys could not be deleted", .0.failed, .0.claimed)]
    KeysLeft(Swept),
    /// Requests that are old enough could not be deleted; a later run tries again.
    #[error("old requests could not be expired")]
    NotExpired(#[source] StorageError),
}

/// The most that an event may ask for.
const LONGEST_ABANDONED_AFTER: Duration = Duration::from_hours(24);

/// Requests that one call deletes: some tenths of a second of work.
const EXPIRED_AT_ONCE: u16 = 10_000;
/// Calls of one run, for 200,000 requests. With the default schedule, 57 million requests a day.
const EXPIRIES: u8 = 20;

/// One run. Any event starts it. For runs by hand it may have the members `did`, which restricts it to
/// that user's rows, and `abandoned_after_seconds`, which makes it wait longer than configured for
/// requests that never ended.
pub async fn handle(
    reconcile: Arc<Reconcile>,
    event: Value,
    invocation: Invocation,
) -> Result<Report, RunError> {
    let scope = scope(&event, reconcile.abandoned_after)?;
    let deadline = invocation.closing_time();
    let rows = reconcile.reconciler.run(scope, deadline);
    let (rows, keys, expired) = tokio::join!(
        rows,
        reconcile.clean_up(scope.did, deadline),
        reconcile.expire(scope.did, deadline)
    );
    let (rows, keys) = (rows?, keys?);
    if rows.failed > 0 {
        return Err(RunError::Incomplete(rows));
    }
    match keys {
        Some(keys) if keys.failed > 0 => Err(RunError::KeysLeft(keys)),
        keys => Ok(Report {
            rows,
            keys,
            expired: expired.map_err(RunError::NotExpired)?,
        }),
    }
}

impl Reconcile {
    /// Deletes provisioned keys that nobody uses any more.
    async fn clean_up(
        &self,
        did: Option<&str>,
        deadline: Instant,
    ) -> Result<Option<Swept>, StorageError> {
        match &self.upstream_keys {
            Some(keys) => keys.clean_up(&self.storage, did, deadline).await.map(Some),
            None => Ok(None),
        }
    }

    /// Deletes a bounded number of old requests, whose sums stay. A run for one user leaves that to the others.
    async fn expire(
        &self,
        did: Option<&str>,
        deadline: Instant,
    ) -> Result<Option<u32>, StorageError> {
        let Some(retention) = self.retention.filter(|_| did.is_none()) else {
            return Ok(None);
        };
        let before = retention.before(Clock::system().now());
        let mut all = 0;
        for _ in 0..EXPIRIES {
            let expired = self
                .storage
                .expire(before, EXPIRED_AT_ONCE, deadline)
                .await?;
            all += expired.expired;
            if !expired.more || Instant::now() >= deadline {
                break;
            }
        }
        Ok(Some(all))
    }
}

fn scope(event: &Value, least: Duration) -> Result<Scope<'_>, RunError> {
    let did = match event.get("did") {
        None | Some(Value::Null) => None,
        Some(Value::String(did)) => Some(did.as_str()),
        Some(_) => return Err(RunError::MalformedDid),
    };
    let abandoned_after = match event.get("abandoned_after_seconds") {
        None | Some(Value::Null) => least,
        Some(age) => age
            .as_u64()
            .map(Duration::from_secs)
            .filter(|age| (least..=LONGEST_ABANDONED_AFTER).contains(age))
            .ok_or(RunError::MalformedAge { least })?,
    };
    Ok(Scope {
        did,
        abandoned_after,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(event: &Value) -> Result<(Option<&str>, u64), RunError> {
        let scope = scope(event, Duration::from_mins(20))?;
        Ok((scope.did, scope.abandoned_after.as_secs()))
    }

    #[test]
    fn any_event_runs_for_everyone_and_one_with_a_did_for_that_one() {
        for event in [
            json!(null),
            json!({}),
            json!([]),
            json!("x"),
            json!({"did": null}),
        ] {
            assert_eq!(read(&event).unwrap(), (None, 1200), "{event}");
        }
        assert_eq!(
            read(&json!({"did": "did:key:z"})).unwrap(),
            (Some("did:key:z"), 1200)
        );
        // Not taken for everyone.
        assert!(read(&json!({"did": ["did:key:z"]})).is_err());
    }

    #[test]
    fn an_event_may_ask_for_more_patience_but_not_for_less() {
        let age = |seconds: Value| json!({"abandoned_after_seconds": seconds});
        for seconds in [1200, 86_400] {
            assert_eq!(read(&age(json!(seconds))).unwrap().1, seconds);
        }
        for seconds in [
            json!(1199),
            json!(0),
            json!(-1),
            json!(86_401),
            json!("1300"),
            json!(1300.5),
        ] {
            let error = read(&age(seconds.clone())).unwrap_err();
            assert_eq!(
                error.to_string(),
                "the event's member abandoned_after_seconds must be a number from 1200 to 86400",
                "{seconds}"
            );
        }
    }

    #[test]
    fn the_scheduled_sample_runs_for_everyone() {
        let sample = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../events/reconcile-scheduled.json"
        );
        let event: Value = serde_json::from_slice(&std::fs::read(sample).unwrap()).unwrap();
        assert_eq!(event["source"], "aws.scheduler");
        assert_eq!(read(&event).unwrap(), (None, 1200));
    }
}
