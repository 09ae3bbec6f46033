//! What the commands work on, found through the environment as the functions find it.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, anyhow};
use jiff::SignedDuration;
use shared::{
    clock::Clock,
    config::{Env, KeysetConfig, StorageConfig},
    http_client,
    storage::{Storage, administration::SealCount},
    vault::{
        secret::KeyId,
        secrets_manager::{KEYSET_LIFETIME, KeysetSource},
    },
};
use tokio::time::Instant;

use super::keyset_store::{KeysetFile, KeysetStore};
use crate::client::CONNECT_TIMEOUT;

/// One attempt: a batch of rows takes longer than a request.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(20);
/// All attempts: a command should outlast a restart of the database.
const PATIENCE: Duration = Duration::from_mins(1);

const CREDENTIALS_HINT: &str = "Secrets Manager is found through the environment; from a profile \
    of AWS's command line: eval \"$(aws configure export-credentials --profile NAME --format \
    env)\". A keyset that is kept elsewhere is named with --file.";

/// The clients, none of which has connected to anything yet.
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

    /// Where the keyset is kept.
    pub(super) fn keyset(&self) -> Result<KeysetStore> {
        if let Some(path) = &self.keyset_file {
            return Ok(KeysetStore::File(KeysetFile::new(path)));
        }
        let config = KeysetConfig::read(Env::process()).map_err(|faults| {
            tracing::debug!(%faults, "no Secrets Manager");
            anyhow!("{faults}\n{CREDENTIALS_HINT}")
        })?;
        let name = config.location.secret_id.clone();
        let source = KeysetSource::new(self.http.clone(), config.location, &config.credentials);
        Ok(KeysetStore::Secret { name, source })
    }

    /// The database.
    pub(super) fn storage(&self) -> Result<Storage> {
        let config = StorageConfig::read(Env::process())?;
        Ok(Storage::new(self.http.clone(), &config.url, config.key)
            .with_attempt_timeout(ATTEMPT_TIMEOUT))
    }

    /// How long functions use a keyset that they have read.
    pub(super) fn keyset_lifetime() -> SignedDuration {
        // Whatever else is missing: a shorter life than the longest must be asked for in full.
        KeysetConfig::read(Env::process())
            .map_or(KEYSET_LIFETIME, |config| config.location.lifetime)
    }
}

/// Until when a command tries to reach the database.
pub(super) fn patience() -> Instant {
    Instant::now() + PATIENCE
}

/// How many rows a master key seals.
pub(super) fn rows_of(counts: &[SealCount], id: KeyId) -> u64 {
    counts
        .iter()
        .filter(|count| count.seal_key_id == Some(id))
        .map(|count| count.rows)
        .sum()
}

/// How many rows each master key seals.
pub(super) async fn rows_by_key(storage: &Storage) -> Result<Vec<SealCount>> {
    storage.keys_by_seal(patience()).await.context(
        "the database does not tell which rows each key seals; `llmgw admin doctor` says what is \
         wrong with it",
    )
}
