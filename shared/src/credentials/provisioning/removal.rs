//! Deleting provisioned keys: at once where a user gives one up, later where that failed or a call
//! did not get to its end.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use http::StatusCode;
use serde::Serialize;
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    causes::causes,
    clock::Clock,
    storage::{Claim, PendingDeletion, Storage, StorageError},
    upstream::openrouter::{KeyOrder, MadeKey, ManagementError, OpenRouter, UpstreamHash},
    vault::{
        secret::ApiKey,
        secrets_manager::{ManagementKeyCache, ManagementKeyError},
    },
};

/// The timeout of one exchange with the management API.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(10);
/// The age from which on a reservation whose key is not in OpenRouter's list counts as never made.
pub const SETTLING: Duration = Duration::from_mins(10);
/// When a key that could not be deleted is due again after the first, second, … attempt.
const LEASES: [Duration; 4] = [
    Duration::from_mins(2),
    Duration::from_mins(5),
    Duration::from_mins(15),
    Duration::from_hours(1),
];
/// Keys of one cleaning, and how many at the same time.
const BATCH: u16 = 100;
const CONCURRENCY: usize = 4;

/// Why a key could not be deleted. It is tried again.
#[derive(Debug, thiserror::Error)]
pub enum RemovalError {
    /// The management key cannot be read.
    #[error(transparent)]
    ManagementKey(#[from] ManagementKeyError),
    /// OpenRouter did not do it.
    #[error(transparent)]
    Management(#[from] ManagementError),
    /// The deletion could not be recorded.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// It is not in OpenRouter's list, but may still come.
    #[error("the key is not there, but may still be made")]
    NotThereYet,
}

/// The counts of one cleaning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Swept {
    /// Provisionings that it took.
    pub claimed: u32,
    /// Keys that OpenRouter no longer has.
    pub deleted: u32,
    /// Keys that a later run takes again, as intended.
    pub waiting: u32,
    /// Keys that a later run takes again because something failed.
    pub failed: u32,
}

/// Our keys with OpenRouter.
#[derive(Debug)]
pub struct UpstreamKeys {
    clock: Clock,
    openrouter: OpenRouter,
    management_key: ManagementKeyCache,
}

impl UpstreamKeys {
    /// Nothing is asked over the network yet.
    #[must_use]
    pub fn new(clock: Clock, openrouter: OpenRouter, management_key: ManagementKeyCache) -> Self {
        Self {
            clock,
            openrouter,
            management_key,
        }
    }

    pub(super) async fn management_key(&self) -> Result<Arc<ApiKey>, ManagementKeyError> {
        self.management_key.get(self.clock.now()).await
    }

    /// Makes the key `order` describes.
    pub(super) async fn make(
        &self,
        management: &ApiKey,
        order: KeyOrder<'_>,
        deadline: Instant,
    ) -> Result<MadeKey, ManagementError> {
        let answer = self
            .openrouter
            .make_key(management, order, left(deadline))
            .await;
        match self.newer_key(management, &answer).await {
            Some(newer) => {
                self.openrouter
                    .make_key(&newer, order, left(deadline))
                    .await
            }
            None => answer,
        }
    }

    async fn find(
        &self,
        management: &ApiKey,
        id: Uuid,
        deadline: Instant,
    ) -> Result<Option<UpstreamHash>, ManagementError> {
        let name = key_name(id);
        let answer = self
            .openrouter
            .find_key(management, &name, left(deadline))
            .await;
        match self.newer_key(management, &answer).await {
            Some(newer) => {
                self.openrouter
                    .find_key(&newer, &name, left(deadline))
                    .await
            }
            None => answer,
        }
    }

    async fn delete(
        &self,
        management: &ApiKey,
        hash: &UpstreamHash,
        deadline: Instant,
    ) -> Result<(), ManagementError> {
        let answer = self
            .openrouter
            .delete_key(management, hash, left(deadline))
            .await;
        match self.newer_key(management, &answer).await {
            Some(newer) => {
                self.openrouter
                    .delete_key(&newer, hash, left(deadline))
                    .await
            }
            None => answer,
        }
    }

    /// The management key to ask once more with, where this one is not accepted: nothing has happened
    /// yet then.
    async fn newer_key<T>(
        &self,
        refused: &ApiKey,
        answer: &Result<T, ManagementError>,
    ) -> Option<Arc<ApiKey>> {
        match answer {
            Err(ManagementError::Refused(StatusCode::UNAUTHORIZED)) => {
                self.management_key
                    .instead_of(refused, self.clock.now())
                    .await
            }
            Ok(_)
            | Err(
                ManagementError::Refused(_)
                | ManagementError::Failed(_)
                | ManagementError::Unreadable
                | ManagementError::NotAnswered(_),
            ) => None,
        }
    }

    /// Deletes a key with OpenRouter, and leaves it to reconciliation if that fails.
    pub async fn try_to_remove(
        &self,
        storage: &Storage,
        condemned: &PendingDeletion,
        deadline: Instant,
    ) {
        if let Err(error) = self.remove(storage, condemned, deadline).await {
            tracing::warn!(
                provisioning.id = %condemned.id,
                error = causes(&error),
                "a provisioned key is left to reconciliation"
            );
        }
    }

    /// Deletes a key with OpenRouter. Doing it twice does no harm.
    async fn remove(
        &self,
        storage: &Storage,
        condemned: &PendingDeletion,
        deadline: Instant,
    ) -> Result<(), RemovalError> {
        let management = self.management_key().await?;
        let known: Option<UpstreamHash> = condemned
            .upstream_hash
            .as_deref()
            .and_then(|hash| hash.parse().ok());
        let hash = if known.is_some() {
            known
        } else {
            self.find(&management, condemned.id, deadline).await?
        };
        match hash {
            Some(hash) => self.delete(&management, &hash, deadline).await?,
            None if condemned.age.is_none_or(|age| age < SETTLING) => {
                return Err(RemovalError::NotThereYet);
            }
            None => {}
        }
        tracing::info!(provisioning.id = %condemned.id, "a provisioned key is deleted");
        Ok(storage.finish_provisioning(condemned.id, deadline).await?)
    }

    async fn remove_due(
        &self,
        storage: &Storage,
        condemned: PendingDeletion,
        deadline: Instant,
    ) -> (Uuid, Result<(), RemovalError>) {
        let removed = self.remove(storage, &condemned, deadline).await;
        (condemned.id, removed)
    }

    /// Deletes the keys that are due, one DID's or everyone's. It begins nothing new after `deadline`.
    pub async fn clean_up(
        &self,
        storage: &Storage,
        did: Option<&str>,
        deadline: Instant,
    ) -> Result<Swept, StorageError> {
        let claim = Claim {
            now: self.clock.now(),
            limit: BATCH,
            leases: &LEASES,
            abandoned_after: None,
            did,
        };
        let due = storage.claim_provisionings(&claim, deadline).await?;
        let claimed = Swept {
            claimed: due.len().try_into().unwrap_or(u32::MAX),
            ..Swept::default()
        };
        // Deleting keys moves those that are being looked for, so it comes after looking.
        let (named, nameless): (Vec<_>, Vec<_>) = due
            .into_iter()
            .partition(|condemned| condemned.upstream_hash.is_some());
        let mut swept = claimed;
        for condemned in nameless {
            let (id, removed) = self.remove_due(storage, condemned, deadline).await;
            swept = swept.add(id, &removed);
        }
        Ok(stream::iter(named)
            .map(|condemned| self.remove_due(storage, condemned, deadline))
            .buffer_unordered(CONCURRENCY)
            .fold(swept, async |swept, (id, removed)| swept.add(id, &removed))
            .await)
    }
}

impl Swept {
    fn add(mut self, id: Uuid, removed: &Result<(), RemovalError>) -> Self {
        let count = match removed {
            Ok(()) => &mut self.deleted,
            Err(RemovalError::NotThereYet) => &mut self.waiting,
            Err(error) => {
                tracing::error!(
                    provisioning.id = %id,
                    error = causes(error),
                    "a provisioned key could not be deleted: a later run tries again"
                );
                &mut self.failed
            }
        };
        *count += 1;
        self
    }
}

/// The name of a provisioned key at OpenRouter.
#[must_use]
pub fn key_name(id: Uuid) -> String {
    format!("llm-gateway-{id}")
}

fn left(deadline: Instant) -> Duration {
    deadline
        .saturating_duration_since(Instant::now())
        .min(EXCHANGE_TIMEOUT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_removal_is_counted_once() {
        let swept = [
            Ok(()),
            Err(RemovalError::NotThereYet),
            Err(ManagementError::Unreadable.into()),
        ]
        .iter()
        .fold(Swept::default(), |swept, removed| {
            swept.add(Uuid::nil(), removed)
        });
        assert_eq!(
            serde_json::to_string(&swept).unwrap(),
            r#"{"claimed":0,"deleted":1,"waiting":1,"failed":1}"#
        );
    }

    #[test]
    fn the_backoff_is_longer_than_a_run_and_grows() {
        assert!(LEASES.is_sorted());
        assert!(LEASES.iter().all(|lease| *lease > Duration::from_secs(90)));
    }
}
