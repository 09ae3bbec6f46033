//! The services that the commands use, configured by the functions' environment variables.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, anyhow};
use jiff::SignedDuration;
use shared::{
    clock::Clock,
    config::{Env, SecretConfig, StorageConfig},
    http_client,
    storage::{Storage, administration::SealCount},
    vault::{
        secret::KeyId,
        secrets_manager::{KEYSET_LIFETIME, SecretSource},
    },
};
use tokio::time::Instant;

use super::keyset_store::KeysetStore;
use crate::client::CONNECT_TIMEOUT;

/// The timeout of one attempt: a batch of rows takes longer than a request.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(20);
/// The timeout of all attempts together, which outlasts a restart of the database.
const TIMEOUT: Duration = Duration::from_mins(1);

const CREDENTIALS_HINT: &str = "Secrets Manager is configured by environment variables; from a profile \
    of the AWS command line: eval \"$(aws configure export-credentials --profile NAME --format \
    env)\". A keyset in a file is named with --keyset-file.";

/// The services. None is connected to before it is used.
pub(super) struct Services {
    pub(super) http: reqwest::Client,
    pub(super) clock: Clock,
    pub(super) keyset_file: Option<PathBuf>,
}

impl Services {
    pub(super) fn new(keyset_file: Option<PathBuf>, clock: Clock) -> Result<Self> {
        Ok(Self {
            http: http_client::build(http_client::web_roots(), CONNECT_TIMEOUT)?,
            clock,
            keyset_file,
        })
    }

    /// The place of the keyset.
    pub(super) fn keyset(&self) -> Result<KeysetStore> {
        if let Some(path) = &self.keyset_file {
            return Ok(KeysetStore::file(path.clone()));
        }
        let config = SecretConfig::read(Env::process()).map_err(|faults| {
            tracing::debug!(%faults, "Secrets Manager is not configured");
            anyhow!("{faults}\n{CREDENTIALS_HINT}")
        })?;
        let name = config.location.secret_id.clone();
        let source = SecretSource::new(self.http.clone(), config.location, &config.credentials);
        Ok(KeysetStore::Secret { name, source })
    }

    /// The database.
    pub(super) fn storage(&self) -> Result<Storage> {
        let config = StorageConfig::read(Env::process())?;
        Ok(Storage::new(self.http.clone(), &config.url, config.key)
            .with_attempt_timeout(ATTEMPT_TIMEOUT))
    }

    /// The time for which functions use a keyset that they have read.
    pub(super) fn keyset_lifetime() -> SignedDuration {
        // With an incomplete configuration, the longest lifetime is the safe assumption.
        SecretConfig::read(Env::process())
            .map_or(KEYSET_LIFETIME, |config| config.location.lifetime)
    }
}

/// The deadline of a database call that begins now.
pub(super) fn deadline() -> Instant {
    Instant::now() + TIMEOUT
}

/// The number of rows that a key seals.
pub(super) fn rows_of(counts: &[SealCount], id: KeyId) -> u64 {
    counts
        .iter()
        .filter(|count| count.seal_key_id == Some(id))
        .map(|count| count.rows)
        .sum()
}

/// The number of rows that each key seals.
pub(super) async fn rows_by_key(storage: &Storage) -> Result<Vec<SealCount>> {
    storage.keys_by_seal(deadline()).await.context(
        "the database does not return the number of rows that each key seals; `llmgw admin doctor` \
         diagnoses it",
    )
}
