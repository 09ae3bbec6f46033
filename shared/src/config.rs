//! Configuration: read once, at start, through a function that tests replace; every fault is
//! reported, not only the first; each function reads only what it needs.

mod env;
mod variables;

use std::{num::NonZeroU32, time::Duration};

use reqwest::Client;
use url::Url;

pub use self::{
    env::{Env, Fault, Faults},
    variables::{KeysetConfig, ProvisioningConfig, StorageConfig},
};
use crate::{
    accounting::{ledger, reconcile::Reconciler},
    clock::Clock,
    credentials::provisioning::{Policy, UpstreamKeys},
    http_client::HttpClientError,
    identity::auth::Audiences,
    metering::money::Usd,
    storage::{Grant, Retention, Storage},
    upstream::{
        endpoint::AllowedFamilies,
        openrouter::{OpenRouter, Timeouts},
    },
    vault::secrets_manager::{KeysetCache, KeysetSource, ManagementKeyCache},
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
    /// Who this gateway is, to its users.
    pub audiences: Audiences,
    /// The database.
    pub storage: StorageConfig,
    /// The master keyset.
    pub keyset: KeysetConfig,
    /// OpenRouter's API root.
    pub openrouter: Url,
    /// Limit for making a connection to anything.
    pub connect_timeout: Duration,
    /// Limits for OpenRouter's answers.
    pub timeouts: Timeouts,
    /// The least that is reserved against a credit limit for a request.
    pub hold: Usd,
    /// The rate of DIDs whose key names none of its own.
    pub requests_per_minute: Option<NonZeroU32>,
    /// How long closing a request's books is tried.
    pub ledger_patience: Duration,
    /// Refused path families that are allowed here.
    pub allowed_families: AllowedFamilies,
    /// Where a DID's first request has a key made.
    pub provisioning: Option<ProvisioningConfig>,
}

impl ProxyConfig {
    /// Reads it.
    pub fn read(mut env: Env<'_>) -> Result<Self, Faults> {
        let audiences = env.audiences();
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
        let ledger_patience = env.milliseconds("LEDGER_PATIENCE_MS", ledger::PATIENCE);
        let (hold, requests_per_minute) = (env.hold(), env.requests_per_minute());
        let provisioning = env.on_first_request(keyset.as_ref());
        let config = (|| {
            Some(Self {
                audiences: audiences?,
                storage: storage?,
                keyset: keyset?,
                openrouter: openrouter?,
                connect_timeout,
                timeouts,
                hold: hold?,
                requests_per_minute,
                ledger_patience,
                allowed_families: allowed_families?,
                provisioning,
            })
        })();
        env.finish(config)
    }
}

/// The usage function's configuration. It cannot open keys.
#[derive(Debug, Clone)]
pub struct UsageConfig {
    /// Who this gateway is, to its users.
    pub audiences: Audiences,
    /// The database.
    pub storage: StorageConfig,
}

impl UsageConfig {
    /// Reads it.
    pub fn read(mut env: Env<'_>) -> Result<Self, Faults> {
        let (audiences, storage) = (env.audiences(), env.storage());
        let config = audiences
            .zip(storage)
            .map(|(audiences, storage)| Self { audiences, storage });
        env.finish(config)
    }
}

/// The keys function's configuration.
#[derive(Debug, Clone)]
pub struct KeysConfig {
    /// Who this gateway is, to its users.
    pub audiences: Audiences,
    /// The database.
    pub storage: StorageConfig,
    /// The master keyset.
    pub keyset: KeysetConfig,
    /// OpenRouter's API root.
    pub openrouter: Url,
    /// The management key's secret, if there is one. Without it provisioned keys are not deleted
    /// either.
    pub management: Option<KeysetConfig>,
    /// For whom keys are made.
    pub policy: Policy,
    /// What those may spend.
    pub grant: Grant,
}

impl KeysConfig {
    /// Reads it.
    pub fn read(mut env: Env<'_>) -> Result<Self, Faults> {
        let (audiences, storage, keyset) = (env.audiences(), env.storage(), env.keyset());
        let openrouter = env.openrouter_url();
        let management = env.management(keyset.as_ref());
        let (policy, grant) = (env.policy(), env.grant());
        let config = (|| {
            Some(Self {
                audiences: audiences?,
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
    pub keyset: KeysetConfig,
    /// OpenRouter's API root.
    pub openrouter: Url,
    /// The age from which on a pending row counts as abandoned, and the least that a run may be asked
    /// for. Below the 15 minutes that a function may live, a request in flight would be given up; only
    /// tests, whose functions end sooner, set it.
    pub abandoned_after: Duration,
    /// The management key's secret, for deleting provisioned keys.
    pub management: Option<KeysetConfig>,
    /// How long settled requests are kept one by one; `None`: for ever.
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

    /// The storage that it configures.
    #[must_use]
    pub fn storage(&self, client: Client) -> Storage {
        Storage::new(client, &self.storage.url, self.storage.key.clone())
    }

    /// What settles open costs. Nothing is asked over the network yet.
    #[must_use]
    pub fn reconciler(&self, client: Client) -> Reconciler {
        Reconciler::new(
            Clock::system(),
            self.storage(client.clone()),
            KeysetCache::new(KeysetSource::new(
                client.clone(),
                self.keyset.location.clone(),
                &self.keyset.credentials,
            )),
            self.openrouter(client),
        )
    }

    /// What deletes provisioned keys, where there is a management key to do it with.
    #[must_use]
    pub fn upstream_keys(&self, client: Client) -> Option<UpstreamKeys> {
        let secret = self.management.as_ref()?;
        let source =
            KeysetSource::new(client.clone(), secret.location.clone(), &secret.credentials);
        Some(UpstreamKeys::new(
            Clock::system(),
            self.openrouter(client),
            ManagementKeyCache::new(source),
        ))
    }

    fn openrouter(&self, client: Client) -> OpenRouter {
        // Not used by the questions that are asked, which have limits of their own.
        const TIMEOUTS: Timeouts = Timeouts {
            first_byte: Duration::from_secs(10),
            idle: Duration::from_secs(10),
        };
        OpenRouter::new(client, self.openrouter.clone(), TIMEOUTS)
    }
}

/// The health function's configuration. It holds no secret.
#[derive(Debug, Clone)]
pub struct HealthConfig {
    /// Where this gateway is, for the base path of its own routes.
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
mod tests {
    use super::*;
    use crate::storage::LimitReset;

    fn complete(name: &str) -> Option<String> {
        Some(
            match name {
                "GATEWAY_AUDIENCES" => {
                    "https://gw.example.com, https://abc.execute-api.us-east-1.amazonaws.com/Prod"
                }
                "SUPABASE_URL" => "https://abc.supabase.co/",
                "SUPABASE_SECRET_KEY" => "sb_secret_planted",
                "KEYSET_SECRET_NAME" => "llm-gateway/keyset",
                "AWS_REGION" => "us-east-1",
                "AWS_ACCESS_KEY_ID" => "AKIAPLANTED",
                "AWS_SECRET_ACCESS_KEY" => "planted-secret-access-key",
                "AWS_SESSION_TOKEN" => "planted-session-token",
                _ => return None,
            }
            .to_owned(),
        )
    }

    #[test]
    fn reads_a_complete_environment_with_defaults() {
        let config = ProxyConfig::read(Env::new(complete)).unwrap();
        assert_eq!(config.openrouter.as_str(), "https://openrouter.ai/api/v1");
        assert_eq!(
            config.storage.url.as_str(),
            "https://abc.supabase.co/rest/v1"
        );
        assert_eq!(config.timeouts.idle, Duration::from_secs(290));
        assert_eq!(config.hold.to_string(), "0.01");
        assert_eq!(config.requests_per_minute, None);
        assert_eq!(config.ledger_patience, Duration::from_mins(1));
        assert!(
            !format!("{config:?}").to_lowercase().contains("planted"),
            "{config:?}"
        );
    }

    #[test]
    fn reports_every_fault_at_once_and_no_value() {
        let env = Env::new(|name| match name {
            "OPENROUTER_BASE_URL" => Some("http://openrouter.ai/api/v1".to_owned()),
            "UPSTREAM_IDLE_TIMEOUT_MS" => Some("soon".to_owned()),
            "SUPABASE_SECRET_KEY" => Some("pl\nanted".to_owned()),
            "ALLOWED_PATH_FAMILIES" => Some("models".to_owned()),
            "HOLD_USD" => Some("-0.01".to_owned()),
            "REQUESTS_PER_MINUTE" => Some("0".to_owned()),
            _ => None,
        });
        let faults = ProxyConfig::read(env).unwrap_err();
        let variables: Vec<_> = faults.0.iter().map(|fault| fault.variable).collect();
        assert_eq!(
            variables,
            [
                "GATEWAY_AUDIENCES",
                "SUPABASE_URL",
                "SUPABASE_SECRET_KEY",
                "KEYSET_SECRET_NAME",
                "AWS_REGION",
                "AWS_ACCESS_KEY_ID",
                "AWS_SECRET_ACCESS_KEY",
                "OPENROUTER_BASE_URL",
                "ALLOWED_PATH_FAMILIES",
                "UPSTREAM_IDLE_TIMEOUT_MS",
                "HOLD_USD",
                "REQUESTS_PER_MINUTE",
            ]
        );
        assert!(!faults.to_string().contains("anted"), "{faults}");
    }

    #[test]
    fn a_request_in_flight_is_not_abandoned_by_default() {
        let with = |value: Option<&'static str>| {
            ReconcileConfig::read(Env::new(move |name| match name {
                "ABANDONED_AFTER_SECONDS" => value.map(str::to_owned),
                name => complete(name),
            }))
        };
        let config = with(None).unwrap();
        // A function lives 15 minutes, and clocks differ.
        assert_eq!(config.abandoned_after, Duration::from_mins(20));
        assert_eq!(with(Some("1")).unwrap().abandoned_after.as_secs(), 1);
        for value in ["0", "-1", "86401", "soon", "1.5"] {
            let faults = with(Some(value)).unwrap_err();
            assert_eq!(faults.0[0].variable, "ABANDONED_AFTER_SECONDS", "{value}");
        }
    }

    #[test]
    fn requests_are_kept_for_ever_unless_told_otherwise() {
        let with = |value: Option<&'static str>| {
            ReconcileConfig::read(Env::new(move |name| match name {
                "RETENTION_DAYS" => value.map(str::to_owned),
                name => complete(name),
            }))
        };
        assert_eq!(with(None).unwrap().retention, None);
        assert_eq!(with(Some("")).unwrap().retention, None);
        assert_eq!(
            with(Some("90")).unwrap().retention,
            Some("90".parse().unwrap())
        );
        let faults = with(Some("34")).unwrap_err();
        assert_eq!(faults.0[0].variable, "RETENTION_DAYS");
    }

    #[test]
    fn keys_are_provisioned_only_as_configured() {
        let with = |name: &'static str, value: &'static str| {
            KeysConfig::read(Env::new(move |asked| match asked {
                _ if asked == name => Some(value.to_owned()),
                "MANAGEMENT_KEY_SECRET_NAME" if name != "PROVISION_KEYS_FOR" => {
                    Some("llm-gateway/management".to_owned())
                }
                _ => complete(asked),
            }))
        };
        let config = with("PROVISIONED_KEY_LIMIT_USD", "2.50").unwrap();
        assert_eq!(config.policy, Policy::Off);
        assert_eq!(config.grant.limit.to_string(), "2.5");
        assert_eq!(config.grant.reset, Some(LimitReset::Monthly));
        let management = config.management.unwrap();
        assert_eq!(management.location.secret_id, "llm-gateway/management");
        assert_eq!(management.location.region, "us-east-1");

        let config = with("PROVISIONED_KEY_LIMIT_RESET", "never").unwrap();
        assert_eq!(config.grant.reset, None);
        for (name, value, faulty) in [
            ("PROVISION_KEYS_FOR", "anyone", "MANAGEMENT_KEY_SECRET_NAME"),
            ("PROVISION_KEYS_FOR", "everyone", "PROVISION_KEYS_FOR"),
            (
                "PROVISIONED_KEY_LIMIT_USD",
                "0",
                "PROVISIONED_KEY_LIMIT_USD",
            ),
            (
                "PROVISIONED_KEY_LIMIT_RESET",
                "yearly",
                "PROVISIONED_KEY_LIMIT_RESET",
            ),
        ] {
            let faults = with(name, value).unwrap_err();
            assert_eq!(faults.0[0].variable, faulty, "{name}={value}");
        }
    }

    #[test]
    fn no_function_needs_more_than_it_uses() {
        let without = |hidden: &'static [&'static str]| {
            Env::new(move |name| {
                if hidden.contains(&name) {
                    None
                } else {
                    complete(name)
                }
            })
        };
        UsageConfig::read(without(&["KEYSET_SECRET_NAME", "AWS_REGION"])).unwrap();
        KeysConfig::read(without(&["MANAGEMENT_KEY_SECRET_NAME"])).unwrap();
        HealthConfig::read(without(&["SUPABASE_SECRET_KEY", "KEYSET_SECRET_NAME"])).unwrap();
        ReconcileConfig::read(without(&["GATEWAY_AUDIENCES"])).unwrap();
    }
}
