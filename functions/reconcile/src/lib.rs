//! The scheduled run that finds out costs which were not known when their requests ended.

use std::{sync::Arc, time::Duration};

use serde::Serialize;
use serde_json::Value;
use shared::{
    clock::Clock,
    config::{Env, ReconcileConfig, StartError},
    http_client,
    openrouter::{OpenRouter, Timeouts},
    provisioning::{Swept, UpstreamKeys},
    reconcile::{Reconciler, Summary},
    request::Invocation,
    secrets_manager::{KeysetCache, KeysetSource, ManagementKeyCache},
    storage::{Storage, StorageError},
};
use tokio::time::Instant;

/// How long a connection to anything may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Not used by the one question that is asked here, which has a limit of its own.
const TIMEOUTS: Timeouts = Timeouts {
    first_byte: Duration::from_secs(10),
    idle: Duration::from_secs(10),
};

/// What the function keeps between runs.
#[derive(Debug)]
pub struct Reconcile {
    reconciler: Reconciler,
    storage: Storage,
    /// Where the operator has configured a management key.
    upstream_keys: Option<UpstreamKeys>,
}

impl Reconcile {
    /// Builds it from the environment. Nothing is asked over the network yet.
    pub fn load(env: Env<'_>) -> Result<Self, StartError> {
        let config = ReconcileConfig::read(env)?;
        let client = http_client::build(http_client::web_roots(), CONNECT_TIMEOUT)?;
        let openrouter = OpenRouter::new(client.clone(), config.openrouter, TIMEOUTS);
        let upstream_keys = config.management.map(|secret| {
            let source = KeysetSource::new(client.clone(), secret.location, &secret.credentials);
            let management_key = ManagementKeyCache::new(source);
            UpstreamKeys::new(Clock::system(), openrouter.clone(), management_key)
        });
        let storage = || {
            Storage::new(
                client.clone(),
                &config.storage.url,
                config.storage.key.clone(),
            )
        };
        Ok(Self {
            storage: storage(),
            upstream_keys,
            reconciler: Reconciler::new(
                Clock::system(),
                storage(),
                KeysetCache::new(KeysetSource::new(
                    client.clone(),
                    config.keyset.location,
                    &config.keyset.credentials,
                )),
                openrouter,
            ),
        })
    }
}

/// What one run did.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Report {
    #[serde(flatten)]
    rows: Summary,
    /// Provisioned keys that were due for deletion; absent where none can be.
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<Swept>,
}

/// Why a run counts as failed, so that the function's error metric shows it.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The event's `did` is no text.
    #[error("the event's member did must be a string")]
    MalformedEvent,
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
}

/// One run. Any event starts it; one with a member `did` restricts it to that user's rows, for runs
/// by hand.
pub async fn handle(
    reconcile: Arc<Reconcile>,
    event: Value,
    invocation: Invocation,
) -> Result<Report, RunError> {
    let did = only(&event)?;
    let until = invocation.closing_time();
    let rows = reconcile.reconciler.run(did, until);
    let (rows, keys) = tokio::join!(rows, reconcile.clean_up(did, until));
    let (rows, keys) = (rows?, keys?);
    if rows.failed > 0 {
        return Err(RunError::Incomplete(rows));
    }
    match keys {
        Some(keys) if keys.failed > 0 => Err(RunError::KeysLeft(keys)),
        keys => Ok(Report { rows, keys }),
    }
}

impl Reconcile {
    /// Deletes provisioned keys that nobody uses any more.
    async fn clean_up(
        &self,
        did: Option<&str>,
        until: Instant,
    ) -> Result<Option<Swept>, StorageError> {
        match &self.upstream_keys {
            Some(keys) => keys.clean_up(&self.storage, did, until).await.map(Some),
            None => Ok(None),
        }
    }
}

fn only(event: &Value) -> Result<Option<&str>, RunError> {
    match event.get("did") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(did)) => Ok(Some(did)),
        Some(_) => Err(RunError::MalformedEvent),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn any_event_runs_for_everyone_and_one_with_a_did_for_that_one() {
        for event in [
            json!(null),
            json!({}),
            json!([]),
            json!("x"),
            json!({"did": null}),
        ] {
            assert_eq!(only(&event).unwrap(), None, "{event}");
        }
        assert_eq!(
            only(&json!({"did": "did:key:z"})).unwrap(),
            Some("did:key:z")
        );
        // Not taken for everyone.
        assert!(only(&json!({"did": ["did:key:z"]})).is_err());
    }

    #[test]
    fn the_scheduled_sample_runs_for_everyone() {
        let sample = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../events/reconcile-scheduled.json"
        );
        let event: Value = serde_json::from_slice(&std::fs::read(sample).unwrap()).unwrap();
        assert_eq!(event["source"], "aws.scheduler");
        assert_eq!(only(&event).unwrap(), None);
    }
}
