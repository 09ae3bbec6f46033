//! The scheduled run that finds out costs which were not known when their requests ended.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use shared::{
    clock::Clock,
    config::{Env, ReconcileConfig, StartError},
    http_client,
    openrouter::{OpenRouter, Timeouts},
    reconcile::{Reconciler, Summary},
    request::Invocation,
    secrets_manager::{KeysetCache, KeysetSource},
    storage::{Storage, StorageError},
};

/// How long a connection to anything may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Not used by the one question that is asked here, which has a limit of its own.
const TIMEOUTS: Timeouts = Timeouts {
    first_byte: Duration::from_secs(10),
    idle: Duration::from_secs(10),
};

/// What the function keeps between runs.
#[derive(Debug)]
pub struct Reconcile(Reconciler);

impl Reconcile {
    /// Builds it from the environment. Nothing is asked over the network yet.
    pub fn load(env: Env<'_>) -> Result<Self, StartError> {
        let config = ReconcileConfig::read(env)?;
        let client = http_client::build(http_client::web_roots(), CONNECT_TIMEOUT)?;
        Ok(Self(Reconciler::new(
            Clock::system(),
            Storage::new(client.clone(), &config.storage.url, config.storage.key),
            KeysetCache::new(KeysetSource::new(
                client.clone(),
                config.keyset.location,
                &config.keyset.credentials,
            )),
            OpenRouter::new(client, config.openrouter, TIMEOUTS),
        )))
    }
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
}

/// One run. Any event starts it; one with a member `did` restricts it to that user's rows, for runs
/// by hand.
pub async fn handle(
    reconcile: Arc<Reconcile>,
    event: Value,
    invocation: Invocation,
) -> Result<Summary, RunError> {
    let did = only(&event)?;
    let summary = reconcile.0.run(did, invocation.closing_time()).await?;
    if summary.failed > 0 {
        return Err(RunError::Incomplete(summary));
    }
    Ok(summary)
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
