//! The clients that a configuration describes. Building one asks nothing over the network.

use std::{sync::Arc, time::Duration};

use reqwest::Client;
use url::Url;

use super::{AccountConfig, KeysConfig, ProxyConfig, ReconcileConfig, SecretConfig, StorageConfig};
use crate::{
    accounting::{ledger::Ledger, reconcile::Reconciler},
    clock::Clock,
    credentials::provisioning::{Provisioner, UpstreamKeys},
    http_client::HttpClientError,
    identity::{
        auth::{Audiences, Authenticator},
        documents::{DocumentHosts, Documents},
    },
    storage::Storage,
    upstream::openrouter::{OpenRouter, Timeouts},
    vault::secrets_manager::{KeysetCache, ManagementKeyCache, SecretSource},
};

impl StorageConfig {
    /// The database's client.
    #[must_use]
    pub fn storage(&self, client: Client) -> Storage {
        Storage::new(client, &self.url, self.key.clone())
    }
}

impl SecretConfig {
    /// The keyset, where the secret is one.
    #[must_use]
    pub fn keyset(&self, client: Client) -> KeysetCache {
        KeysetCache::new(self.source(client))
    }

    /// The provisioned keys, where the secret is a management key.
    #[must_use]
    pub fn upstream_keys(&self, client: Client, openrouter: OpenRouter) -> UpstreamKeys {
        let management_key = ManagementKeyCache::new(self.source(client));
        UpstreamKeys::new(Clock::system(), openrouter, management_key)
    }

    fn source(&self, client: Client) -> SecretSource {
        SecretSource::new(client, self.location.clone(), &self.credentials)
    }
}

fn authenticator(
    audiences: &Audiences,
    hosts: &DocumentHosts,
) -> Result<Authenticator, HttpClientError> {
    let documents = Documents::new(hosts.clone())?;
    Ok(Authenticator::new(audiences.clone(), documents))
}

/// A client of OpenRouter for questions that all have limits of their own.
fn questioner(client: Client, url: &Url) -> OpenRouter {
    const UNUSED: Timeouts = Timeouts {
        first_byte: Duration::from_secs(10),
        idle: Duration::from_secs(10),
    };
    OpenRouter::new(client, url.clone(), UNUSED)
}

impl ProxyConfig {
    /// The check of signatures.
    pub fn authenticator(&self) -> Result<Authenticator, HttpClientError> {
        authenticator(&self.audiences, &self.document_hosts)
    }

    /// The client that requests are passed on with.
    #[must_use]
    pub fn openrouter(&self, client: Client) -> OpenRouter {
        OpenRouter::new(client, self.openrouter.clone(), self.timeouts)
    }

    /// The books.
    #[must_use]
    pub fn ledger(&self, client: Client) -> Ledger {
        Ledger {
            storage: Arc::new(self.storage.storage(client)),
            clock: Clock::system(),
            close_timeout: self.ledger_timeout,
        }
    }

    /// Makes keys, where a DID's first request may have one made.
    #[must_use]
    pub fn provisioner(&self, client: Client) -> Option<Provisioner> {
        let provisioning = self.provisioning.clone()?;
        let openrouter = self.openrouter(client.clone());
        let upstream = provisioning.management.upstream_keys(client, openrouter);
        Some(Provisioner::new(
            upstream,
            provisioning.policy,
            provisioning.grant,
        ))
    }
}

impl AccountConfig {
    /// The check of signatures.
    pub fn authenticator(&self) -> Result<Authenticator, HttpClientError> {
        authenticator(&self.audiences, &self.document_hosts)
    }

    /// The database's client, with a limit for one attempt.
    #[must_use]
    pub fn storage(&self, client: Client, attempt_timeout: Duration) -> Storage {
        let storage = self.storage.storage(client);
        storage.with_attempt_timeout(attempt_timeout)
    }
}

impl KeysConfig {
    /// The check of signatures.
    pub fn authenticator(&self) -> Result<Authenticator, HttpClientError> {
        authenticator(&self.audiences, &self.document_hosts)
    }

    /// The client that keys are checked with.
    #[must_use]
    pub fn openrouter(&self, client: Client) -> OpenRouter {
        questioner(client, &self.openrouter)
    }

    /// Makes keys, where there is a management key to do it with.
    #[must_use]
    pub fn provisioner(&self, client: Client) -> Option<Provisioner> {
        let secret = self.management.as_ref()?;
        let upstream = secret.upstream_keys(client.clone(), self.openrouter(client));
        Some(Provisioner::new(upstream, self.policy.clone(), self.grant))
    }
}

impl ReconcileConfig {
    /// The database's client.
    #[must_use]
    pub fn storage(&self, client: Client) -> Storage {
        self.storage.storage(client)
    }

    /// Settles open costs.
    #[must_use]
    pub fn reconciler(&self, client: Client) -> Reconciler {
        Reconciler::new(
            Clock::system(),
            self.storage(client.clone()),
            self.keyset.keyset(client.clone()),
            questioner(client, &self.openrouter),
        )
    }

    /// Deletes provisioned keys, where there is a management key to do it with.
    #[must_use]
    pub fn upstream_keys(&self, client: Client) -> Option<UpstreamKeys> {
        let secret = self.management.as_ref()?;
        Some(secret.upstream_keys(client.clone(), questioner(client, &self.openrouter)))
    }
}
