//! Configuration: read once, at start, through a function that tests replace; every fault is
//! reported, not only the first; each function reads only what it needs.

mod clients;
mod env;
mod variables;

use std::{num::NonZeroU32, time::Duration};

use url::Url;

pub use self::{
    env::{Env, Fault, Faults},
    variables::{ProvisioningConfig, SecretConfig, StorageConfig},
};
use crate::{
    accounting::ledger,
    credentials::provisioning::Policy,
    http_client::HttpClientError,
    identity::{access::AllowedDids, auth::Audiences, documents::DocumentHosts},
    metering::money::Usd,
    storage::{Grant, Retention},
    upstream::{
        endpoint::{AllowedFamilies, Endpoint, HoldUnit},
        openrouter::Timeouts,
    },
};

/// Why a function does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is not usable.
    #[error(transparent)]
    Configuration(#[from] Faults),
    /// The HTTP client cannot be built.
    #[error(transparent)]
    HttpClient(#[from] HttpClientError),
}

/// The proxy's configuration.
#[derive(Debug, Clone)]
pub struct ProxyConfig {
    /// Base URLs that signatures are valid for.
    pub audiences: Audiences,
    /// The hosts whose DID documents are fetched.
    pub document_hosts: DocumentHosts,
    /// The DIDs that may use the gateway.
    pub allowed_dids: AllowedDids,
    /// The database.
    pub storage: StorageConfig,
    /// The master keyset.
    pub keyset: SecretConfig,
    /// OpenRouter's API root.
    pub openrouter: Url,
    /// Limit for making a connection to anything.
    pub connect_timeout: Duration,
    /// Limits for OpenRouter's answers.
    pub timeouts: Timeouts,
    /// The least that is reserved against a credit limit for a request.
    pub holds: Holds,
    /// How many billable requests a DID may have that have not ended.
    pub max_open_requests: NonZeroU32,
    /// How many jobs a DID may have whose cost is not known.
    pub max_open_jobs: NonZeroU32,
    /// The rate of DIDs whose key names none of its own.
    pub requests_per_minute: Option<NonZeroU32>,
    /// The timeout of closing a request's books.
    pub ledger_timeout: Duration,
    /// Refused path families that are allowed here.
    pub allowed_families: AllowedFamilies,
    /// The way to make a key at a DID's first request, if that is on.
    pub provisioning: Option<ProvisioningConfig>,
}

/// What is at least reserved against a DID's credit limit, in US dollars.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holds {
    /// For a request, and for each request in a batch.
    pub request: Usd,
    /// For a video.
    pub video: Usd,
}

impl Holds {
    /// The hold of a request; of one that creates a batch, for as many as are in it.
    #[must_use]
    pub fn of(self, endpoint: Endpoint, inline_requests: u32) -> Usd {
        match endpoint.hold_unit() {
            HoldUnit::Request => self.request,
            HoldUnit::InlineRequest => self.request.times(inline_requests.max(1)),
            HoldUnit::Video => self.video,
        }
    }
}

impl ProxyConfig {
    /// Reads it.
    pub fn read(mut env: Env<'_>) -> Result<Self, Faults> {
        let (audiences, allowed_dids) = (env.audiences(), env.allowed_dids());
        let document_hosts = env.document_hosts();
        let storage = env.storage();
        let keyset = env.keyset();
        let openrouter = env.openrouter_url();
        let allowed_families = env.allowed_families();
        let connect_timeout =
            env.milliseconds("UPSTREAM_CONNECT_TIMEOUT_MS", Duration::from_secs(5));
        let timeouts = Timeouts {
            // API Gateway gives up after five minutes of silence; ours comes first, with a reason.
            first_byte: env
                .milliseconds("UPSTREAM_FIRST_BYTE_TIMEOUT_MS", Duration::from_secs(290)),
            // Some models reason for minutes without a comment in between, so this is no shorter.
            idle: env.milliseconds("UPSTREAM_IDLE_TIMEOUT_MS", Duration::from_secs(290)),
        };
        let ledger_timeout = env.milliseconds("LEDGER_TIMEOUT_MS", ledger::CLOSE_TIMEOUT);
        let (holds, requests_per_minute) = (env.holds(), env.requests_per_minute());
        let max_open_requests = env.max_open_requests();
        let max_open_jobs = env.max_open_jobs();
        let provisioning = env.on_first_request(keyset.as_ref());
        let config = (|| {
            Some(Self {
                audiences: audiences?,
                document_hosts: document_hosts?,
                allowed_dids: allowed_dids?,
                storage: storage?,
                keyset: keyset?,
                openrouter: openrouter?,
                connect_timeout,
                timeouts,
                holds: holds?,
                max_open_requests: max_open_requests?,
                max_open_jobs: max_open_jobs?,
                requests_per_minute,
                ledger_timeout,
                allowed_families: allowed_families?,
                provisioning,
            })
        })();
        env.finish(config)
    }
}

/// The configuration of the functions that need the database alone: usage and tokens. It cannot open keys.
#[derive(Debug, Clone)]
pub struct AccountConfig {
    /// Base URLs that signatures are valid for.
    pub audiences: Audiences,
    /// The hosts whose DID documents are fetched.
    pub document_hosts: DocumentHosts,
    /// The DIDs that may use the gateway.
    pub allowed_dids: AllowedDids,
    /// The rate of a DID's requests to the gateway's own routes.
    pub account_requests_per_minute: NonZeroU32,
    /// The database.
    pub storage: StorageConfig,
}

impl AccountConfig {
    /// Reads it.
    pub fn read(mut env: Env<'_>) -> Result<Self, Faults> {
        let (audiences, allowed_dids) = (env.audiences(), env.allowed_dids());
        let document_hosts = env.document_hosts();
        let account_requests_per_minute = env.account_requests_per_minute();
        let storage = env.storage();
        let config = (|| {
            Some(Self {
                audiences: audiences?,
                document_hosts: document_hosts?,
                allowed_dids: allowed_dids?,
                account_requests_per_minute: account_requests_per_minute?,
                storage: storage?,
            })
        })();
        env.finish(config)
    }
}

/// The keys function's configuration.
#[derive(Debug, Clone)]
pub struct KeysConfig {
    /// Base URLs that signatures are valid for.
    pub audiences: Audiences,
    /// The hosts whose DID documents are fetched.
    pub document_hosts: DocumentHosts,
    /// The DIDs that may use the gateway.
    pub allowed_dids: AllowedDids,
    /// The rate of a DID's requests to the gateway's own routes.
    pub account_requests_per_minute: NonZeroU32,
    /// Whether keys are stored unchecked, where their owners want that.
    pub allow_unverified_keys: bool,
    /// The database.
    pub storage: StorageConfig,
    /// The master keyset.
    pub keyset: SecretConfig,
    /// OpenRouter's API root.
    pub openrouter: Url,
    /// The management key's secret, if there is one. Without it provisioned keys are not deleted
    /// either.
    pub management: Option<SecretConfig>,
    /// For whom keys are made.
    pub policy: Policy,
    /// The spending limit of those keys.
    pub grant: Grant,
}

impl KeysConfig {
    /// Reads it.
    pub fn read(mut env: Env<'_>) -> Result<Self, Faults> {
        let (audiences, allowed_dids) = (env.audiences(), env.allowed_dids());
        let document_hosts = env.document_hosts();
        let account_requests_per_minute = env.account_requests_per_minute();
        let allow_unverified_keys = env.flag("ALLOW_UNVERIFIED_KEYS");
        let (storage, keyset) = (env.storage(), env.keyset());
        let openrouter = env.openrouter_url();
        let management = env.management(keyset.as_ref());
        let (policy, grant) = (env.policy(), env.grant());
        let config = (|| {
            Some(Self {
                audiences: audiences?,
                document_hosts: document_hosts?,
                allowed_dids: allowed_dids?,
                account_requests_per_minute: account_requests_per_minute?,
                allow_unverified_keys: allow_unverified_keys?,
                storage: storage?,
                keyset: keyset?,
                openrouter: openrouter?,
                management,
                policy: policy?,
                grant: grant?,
            })
        })();
        env.finish(config)
    }
}

/// The reconcile function's configuration. It has no clients, so it needs no audience.
#[derive(Debug, Clone)]
pub struct ReconcileConfig {
    /// The database.
    pub storage: StorageConfig,
    /// The master keyset.
    pub keyset: SecretConfig,
    /// OpenRouter's API root.
    pub openrouter: Url,
    /// The age from which on a pending row counts as abandoned, and the least that a run may be asked
    /// for. Below the 15 minutes that a function may live, a request in flight would be given up; only
    /// tests, whose functions end sooner, set it.
    pub abandoned_after: Duration,
    /// The management key's secret, for deleting provisioned keys.
    pub management: Option<SecretConfig>,
    /// The period for which settled requests are kept one by one; `None`: for ever.
    pub retention: Option<Retention>,
}

impl ReconcileConfig {
    /// Reads it.
    pub fn read(mut env: Env<'_>) -> Result<Self, Faults> {
        let (storage, keyset) = (env.storage(), env.keyset());
        let openrouter = env.openrouter_url();
        let (abandoned_after, retention) = (env.abandoned_after(), env.retention());
        let management = env.management(keyset.as_ref());
        let config = (|| {
            Some(Self {
                storage: storage?,
                keyset: keyset?,
                openrouter: openrouter?,
                abandoned_after,
                management,
                retention,
            })
        })();
        env.finish(config)
    }
}

/// The console function's configuration. It holds no secret and no address but the gateway's own.
#[derive(Debug, Clone)]
pub struct ConsoleConfig {
    /// The gateway's base URLs, which the page signs for.
    pub audiences: Audiences,
}

impl ConsoleConfig {
    /// Reads it.
    pub fn read(mut env: Env<'_>) -> Result<Self, Faults> {
        let audiences = env.audiences();
        env.finish((|| {
            Some(Self {
                audiences: audiences?,
            })
        })())
    }
}

/// The health function's configuration. It holds no secret.
#[derive(Debug, Clone)]
pub struct HealthConfig {
    /// The gateway's base URLs, for the base path of its own routes.
    pub audiences: Audiences,
    /// PostgREST's root.
    pub storage: Url,
    /// OpenRouter's API root.
    pub openrouter: Url,
}

impl HealthConfig {
    /// Reads it.
    pub fn read(mut env: Env<'_>) -> Result<Self, Faults> {
        let audiences = env.audiences();
        let (storage, openrouter) = (env.storage_url(), env.openrouter_url());
        let config = (|| {
            Some(Self {
                audiences: audiences?,
                storage: storage?,
                openrouter: openrouter?,
            })
        })();
        env.finish(config)
    }
}

/// Whether keys may travel to `url`: by https, or by http within this machine.
#[must_use]
pub fn keeps_secrets(url: &Url) -> bool {
    match url.scheme() {
        "https" => true,
        "http" => matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]")),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
