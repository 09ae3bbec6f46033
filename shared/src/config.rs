//! Configuration: read once, at start, through a function that tests replace; every fault is
//! reported, not only the first; each function reads only what it needs.

use std::{fmt, num::NonZeroU32, time::Duration};

use jiff::SignedDuration;
use reqwest::Client;
use tracing::level_filters::LevelFilter;
use url::Url;

use crate::{
    auth::{Audience, Audiences},
    clock::Clock,
    endpoint::AllowedFamilies,
    http_client::HttpClientError,
    ledger,
    money::Usd,
    openrouter::{OpenRouter, Timeouts},
    provisioning::{Policy, UpstreamKeys},
    reconcile::{ABANDONED_AFTER, Reconciler},
    secrets_manager::{
        AwsCredentials, KEYSET_LIFETIME, KeysetCache, KeysetLocation, KeysetSource,
        ManagementKeyCache,
    },
    storage::{Grant, LimitReset, Retention, Storage, StorageKey},
};

/// What is wrong with one variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The environment variable.
    pub variable: &'static str,
    /// What is wrong and what to do, without the variable's value.
    pub problem: String,
}

/// All that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration is not usable:")?;
        self.0
            .iter()
            .try_for_each(|fault| write!(f, "\n  {}: {}", fault.variable, fault.problem))
    }
}

impl std::error::Error for Faults {}

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

type Lookup<'a> = Box<dyn Fn(&str) -> Option<String> + 'a>;

/// Reads environment variables and collects what is wrong with them.
pub struct Env<'a> {
    lookup: Lookup<'a>,
    faults: Vec<Fault>,
}

impl fmt::Debug for Env<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Env")
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}

impl<'a> Env<'a> {
    /// Variables as `lookup` finds them.
    pub fn new(lookup: impl Fn(&str) -> Option<String> + 'a) -> Self {
        Self {
            lookup: Box::new(lookup),
            faults: Vec::new(),
        }
    }

    /// The process's own environment; the only place that reads it.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "this is where the environment enters"
    )]
    pub fn process() -> Self {
        Self::new(|name| std::env::var(name).ok())
    }

    /// Whether a variable has a value.
    #[must_use]
    pub fn is_set(&self, variable: &'static str) -> bool {
        self.optional(variable).is_some()
    }

    /// The log level that `RUST_LOG` names, if it names one.
    #[must_use]
    pub fn log_level(&self) -> Option<LevelFilter> {
        self.optional("RUST_LOG")?.parse().ok()
    }

    /// A variable whose absence or emptiness means `None`.
    #[must_use]
    pub fn optional(&self, variable: &'static str) -> Option<String> {
        (self.lookup)(variable)
            .map(|value| value.trim().to_owned())
            .filter(|value| !value.is_empty())
    }

    fn required(&mut self, variable: &'static str, what: &str) -> Option<String> {
        let value = self.optional(variable);
        if value.is_none() {
            self.fault(variable, format!("is not set; it must be {what}"));
        }
        value
    }

    fn parsed<T, E: fmt::Display>(
        &mut self,
        variable: &'static str,
        value: Option<String>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        match parse(&value?) {
            Ok(parsed) => Some(parsed),
            Err(error) => {
                self.fault(variable, error.to_string());
                None
            }
        }
    }

    fn fault(&mut self, variable: &'static str, problem: String) {
        self.faults.push(Fault { variable, problem });
    }

    fn abandoned_after(&mut self) -> Duration {
        let variable = "ABANDONED_AFTER_SECONDS";
        let value = self.optional(variable);
        self.parsed(variable, value, |value| {
            value
                .parse::<u64>()
                .ok()
                .filter(|seconds| (1..=86_400).contains(seconds))
                .map(Duration::from_secs)
                .ok_or("must be a number of seconds from 1 to 86400")
        })
        .unwrap_or(ABANDONED_AFTER)
    }

    fn retention(&mut self) -> Option<Retention> {
        let variable = "RETENTION_DAYS";
        let value = self.optional(variable);
        self.parsed(variable, value, str::parse)
    }

    fn milliseconds(&mut self, variable: &'static str, default: Duration) -> Duration {
        let value = self.optional(variable);
        self.parsed(variable, value, |value| {
            value
                .parse::<u64>()
                .ok()
                .filter(|ms| (1..=900_000).contains(ms))
                .map(Duration::from_millis)
                .ok_or("must be a number of milliseconds from 1 to 900000")
        })
        .unwrap_or(default)
    }

    /// The configuration, or every fault found so far.
    fn finish<T>(self, config: Option<T>) -> Result<T, Faults> {
        match config {
            Some(config) if self.faults.is_empty() => Ok(config),
            _ => Err(Faults(self.faults)),
        }
    }

    fn audiences(&mut self) -> Option<Audiences> {
        let variable = "GATEWAY_AUDIENCES";
        let list = self.required(
            variable,
            "the gateway's public base URLs, at most 4, separated by commas, e.g. https://gw.example.com",
        );
        let audiences = self.parsed(variable, list, |list| {
            list.split(',')
                .map(|url| Audience::parse(url.trim()))
                .collect::<Result<Vec<_>, _>>()
        })?;
        match Audiences::new(audiences) {
            Ok(audiences) => Some(audiences),
            Err(error) => {
                self.fault(variable, error.to_string());
                None
            }
        }
    }

    fn storage_url(&mut self) -> Option<Url> {
        if let Some(url) = self.optional("SUPABASE_REST_URL") {
            return self.parsed("SUPABASE_REST_URL", Some(url), http_url);
        }
        let url = self.required(
            "SUPABASE_URL",
            "the Supabase project's URL, e.g. https://abc.supabase.co (or set SUPABASE_REST_URL for a bare PostgREST)",
        );
        self.parsed("SUPABASE_URL", url, |url| {
            http_url(&format!("{}/rest/v1", url.trim_end_matches('/')))
        })
    }

    fn storage(&mut self) -> Option<StorageConfig> {
        let url = self.storage_url();
        let key = self.required(
            "SUPABASE_SECRET_KEY",
            "Supabase's secret key (sb_secret_…) or a service_role JWT",
        );
        let key = self.parsed("SUPABASE_SECRET_KEY", key, StorageKey::parse);
        Some(StorageConfig {
            url: url?,
            key: key?,
        })
    }

    fn openrouter_url(&mut self) -> Option<Url> {
        let url = self
            .optional("OPENROUTER_BASE_URL")
            .unwrap_or_else(|| "https://openrouter.ai/api/v1".to_owned());
        self.parsed("OPENROUTER_BASE_URL", Some(url), http_url)
    }

    fn keyset(&mut self) -> Option<KeysetConfig> {
        let secret_name = self.required(
            "KEYSET_SECRET_NAME",
            "the name or ARN of the keyset's secret in Secrets Manager",
        );
        let region = self.required("AWS_REGION", "the region of the keyset's secret");
        let endpoint = self.optional("AWS_ENDPOINT_URL_SECRETS_MANAGER");
        let endpoint = endpoint
            .map(|url| self.parsed("AWS_ENDPOINT_URL_SECRETS_MANAGER", Some(url), http_url));
        let lifetime = self.keyset_lifetime();
        let access_key_id = self.required("AWS_ACCESS_KEY_ID", "set by Lambda");
        let secret_access_key = self.required("AWS_SECRET_ACCESS_KEY", "set by Lambda");
        let session_token = self.optional("AWS_SESSION_TOKEN");
        Some(KeysetConfig {
            location: KeysetLocation {
                secret_id: secret_name?,
                region: region?,
                endpoint_url: endpoint
                    .map_or(Some(None), |url| url.map(|url| Some(url.to_string())))?,
                lifetime,
            },
            credentials: AwsCredentials {
                access_key_id: access_key_id?,
                secret_access_key: secret_access_key?.into(),
                session_token: session_token.map(Into::into),
            },
        })
    }

    /// Never more than an operator who rotates the keyset waits for.
    fn keyset_lifetime(&mut self) -> SignedDuration {
        let value = self.optional("KEYSET_CACHE_SECONDS");
        self.parsed("KEYSET_CACHE_SECONDS", value, |value| {
            value
                .parse()
                .ok()
                .map(SignedDuration::from_secs)
                .filter(|it| it.is_positive() && *it <= KEYSET_LIFETIME)
                .ok_or("must be a number of seconds from 1 to 300")
        })
        .unwrap_or(KEYSET_LIFETIME)
    }

    /// The management key's secret, which is in the same place as the keyset's.
    fn management(&self, keyset: Option<&KeysetConfig>) -> Option<KeysetConfig> {
        let secret_id = self.optional("MANAGEMENT_KEY_SECRET_NAME")?;
        let mut secret = keyset?.clone();
        secret.location.secret_id = secret_id;
        Some(secret)
    }

    fn policy(&mut self) -> Option<Policy> {
        let variable = "PROVISION_KEYS_FOR";
        let value = self.optional(variable).unwrap_or_else(|| "off".to_owned());
        let policy = self.parsed(variable, Some(value), Policy::parse)?;
        if policy != Policy::Off && !self.is_set("MANAGEMENT_KEY_SECRET_NAME") {
            self.fault(
                "MANAGEMENT_KEY_SECRET_NAME",
                "is not set; PROVISION_KEYS_FOR needs the secret of OpenRouter's management key"
                    .to_owned(),
            );
        }
        Some(policy)
    }

    fn on_first_request(&mut self, keyset: Option<&KeysetConfig>) -> Option<ProvisioningConfig> {
        let variable = "PROVISION_ON_FIRST_REQUEST";
        let value = self
            .optional(variable)
            .unwrap_or_else(|| "false".to_owned());
        let is_on = self.parsed(variable, Some(value), |value| {
            value.parse().map_err(|_| "must be true or false")
        });
        // What it would use is not read without it.
        if !is_on? {
            return None;
        }
        let (policy, grant) = (self.policy(), self.grant());
        Some(ProvisioningConfig {
            management: self.management(keyset)?,
            policy: policy?,
            grant: grant?,
        })
    }

    fn grant(&mut self) -> Option<Grant> {
        let limit = self
            .optional("PROVISIONED_KEY_LIMIT_USD")
            .unwrap_or_else(|| "1".to_owned());
        let limit = self.parsed("PROVISIONED_KEY_LIMIT_USD", Some(limit), |value| {
            value
                .parse()
                .ok()
                .filter(|limit: &Usd| *limit > Usd::ZERO)
                .ok_or("must be an amount of US dollars above zero, such as 1")
        });
        let reset = self
            .optional("PROVISIONED_KEY_LIMIT_RESET")
            .unwrap_or_else(|| "monthly".to_owned());
        let reset = self.parsed(
            "PROVISIONED_KEY_LIMIT_RESET",
            Some(reset),
            |value| match value {
                "daily" => Ok(Some(LimitReset::Daily)),
                "weekly" => Ok(Some(LimitReset::Weekly)),
                "monthly" => Ok(Some(LimitReset::Monthly)),
                "never" => Ok(None),
                _ => Err("must be daily, weekly, monthly or never"),
            },
        );
        Some(Grant {
            limit: limit?,
            reset: reset?,
        })
    }

    fn hold(&mut self) -> Option<Usd> {
        let value = self
            .optional("HOLD_USD")
            .unwrap_or_else(|| "0.01".to_owned());
        self.parsed("HOLD_USD", Some(value), |value| {
            value.parse::<Usd>().map_err(|error| {
                format!("must be an amount of US dollars such as 0.01, but is {error}")
            })
        })
    }

    fn requests_per_minute(&mut self) -> Option<NonZeroU32> {
        let value = self.optional("REQUESTS_PER_MINUTE");
        self.parsed("REQUESTS_PER_MINUTE", value, |value| {
            value
                .parse::<NonZeroU32>()
                .ok()
                .filter(|rate| rate.get() <= 1_000_000)
                .ok_or("must be a number from 1 to 1000000, or empty for no limit")
        })
    }

    fn allowed_families(&mut self) -> Option<AllowedFamilies> {
        let list = self.optional("ALLOWED_PATH_FAMILIES").unwrap_or_default();
        self.parsed("ALLOWED_PATH_FAMILIES", Some(list), |list| {
            AllowedFamilies::parse(list).map_err(|name| format!("`{name}` is not a refused family"))
        })
    }
}

/// Where the database is, and the right to use it.
#[derive(Debug, Clone)]
pub struct StorageConfig {
    /// PostgREST's root.
    pub url: Url,
    /// Supabase's secret key.
    pub key: StorageKey,
}

impl StorageConfig {
    /// Reads it, for tools that need nothing else.
    pub fn read(mut env: Env<'_>) -> Result<Self, Faults> {
        let storage = env.storage();
        env.finish(storage)
    }
}

/// Where the master keyset, or another secret, is, and the right to read it.
#[derive(Debug, Clone)]
pub struct KeysetConfig {
    /// The secret.
    pub location: KeysetLocation,
    /// The function's own credentials.
    pub credentials: AwsCredentials,
}

impl KeysetConfig {
    /// Reads it, for whoever needs nothing else.
    pub fn read(mut env: Env<'_>) -> Result<Self, Faults> {
        let keyset = env.keyset();
        env.finish(keyset)
    }
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

/// How keys are made for users.
#[derive(Debug, Clone)]
pub struct ProvisioningConfig {
    /// The management key's secret.
    pub management: KeysetConfig,
    /// For whom.
    pub policy: Policy,
    /// What they may spend.
    pub grant: Grant,
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
            // Streams carry a comment every few seconds while the model is silent.
            idle: env.milliseconds("UPSTREAM_IDLE_TIMEOUT_MS", Duration::from_mins(2)),
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

fn http_url(text: &str) -> Result<Url, &'static str> {
    let url = Url::parse(text).map_err(|_| "is not a URL")?;
    if !url.has_host() || url.query().is_some() || url.fragment().is_some() {
        Err("must be a URL with a host, without query or fragment")
    } else if !url.username().is_empty() || url.password().is_some() {
        Err("must not hold credentials")
    } else if !keeps_secrets(&url) {
        Err("must begin with https:// (http:// only for this machine)")
    } else {
        Ok(url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(config.timeouts.idle, Duration::from_mins(2));
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
