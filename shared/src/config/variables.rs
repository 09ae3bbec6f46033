//! The variables that several functions read, and what is made of them.

use std::{num::NonZeroU32, time::Duration};

use jiff::SignedDuration;
use url::Url;

use super::{Env, Faults, Holds, keeps_secrets};
use crate::{
    accounting::reconcile::ABANDONED_AFTER,
    credentials::provisioning::Policy,
    identity::{
        access::AllowedDids,
        auth::{Audience, Audiences},
        documents::DocumentHosts,
    },
    metering::money::Usd,
    storage::{Grant, LimitReset, Retention, StorageKey},
    upstream::endpoint::AllowedFamilies,
    vault::secrets_manager::{AwsCredentials, KEYSET_LIFETIME, SecretLocation},
};

/// The database's address, and the credentials to use it.
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

/// The place of the master keyset, or of another secret, and the credentials to read it.
#[derive(Debug, Clone)]
pub struct SecretConfig {
    /// The secret.
    pub location: SecretLocation,
    /// The function's own credentials.
    pub credentials: AwsCredentials,
}

impl SecretConfig {
    /// Reads it, for tools that need nothing else.
    pub fn read(mut env: Env<'_>) -> Result<Self, Faults> {
        let keyset = env.keyset();
        env.finish(keyset)
    }
}

/// The rules by which keys are made for users.
#[derive(Debug, Clone)]
pub struct ProvisioningConfig {
    /// The management key's secret.
    pub management: SecretConfig,
    /// For whom.
    pub policy: Policy,
    /// The keys' spending limit.
    pub grant: Grant,
}

impl Env<'_> {
    pub(super) fn audiences(&mut self) -> Option<Audiences> {
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

    pub(super) fn allowed_dids(&mut self) -> Option<AllowedDids> {
        let variable = "ALLOWED_DIDS";
        let list = self
            .optional(variable)
            .unwrap_or_else(|| "anyone".to_owned());
        self.parsed(variable, Some(list), AllowedDids::parse)
    }

    pub(super) fn document_hosts(&mut self) -> Option<DocumentHosts> {
        let variable = "DID_WEB_HOSTS";
        let hosts = self.optional(variable).unwrap_or_default();
        self.parsed(variable, Some(hosts), DocumentHosts::parse)
    }

    pub(super) fn storage_url(&mut self) -> Option<Url> {
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

    pub(super) fn storage(&mut self) -> Option<StorageConfig> {
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

    pub(super) fn openrouter_url(&mut self) -> Option<Url> {
        let url = self
            .optional("GATEWAY_OPENROUTER_URL")
            .unwrap_or_else(|| "https://openrouter.ai/api/v1".to_owned());
        self.parsed("GATEWAY_OPENROUTER_URL", Some(url), http_url)
    }

    pub(super) fn keyset(&mut self) -> Option<SecretConfig> {
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
        Some(SecretConfig {
            location: SecretLocation {
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
    pub(super) fn management(&self, keyset: Option<&SecretConfig>) -> Option<SecretConfig> {
        let secret_id = self.optional("MANAGEMENT_KEY_SECRET_NAME")?;
        let mut secret = keyset?.clone();
        secret.location.secret_id = secret_id;
        Some(secret)
    }

    pub(super) fn policy(&mut self) -> Option<Policy> {
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

    pub(super) fn on_first_request(
        &mut self,
        keyset: Option<&SecretConfig>,
    ) -> Option<ProvisioningConfig> {
        // Without it, the variables that it would use are not read.
        if !self.flag("PROVISION_ON_FIRST_REQUEST")? {
            return None;
        }
        let (policy, grant) = (self.policy(), self.grant());
        Some(ProvisioningConfig {
            management: self.management(keyset)?,
            policy: policy?,
            grant: grant?,
        })
    }

    pub(super) fn grant(&mut self) -> Option<Grant> {
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

    pub(super) fn holds(&mut self) -> Option<Holds> {
        let request = self.amount("HOLD_USD", "0.01");
        // What a video of some seconds costs.
        let video = self.amount("VIDEO_HOLD_USD", "1");
        Some(Holds {
            request: request?,
            video: video?,
        })
    }

    fn amount(&mut self, variable: &'static str, default: &str) -> Option<Usd> {
        let value = self
            .optional(variable)
            .unwrap_or_else(|| default.to_owned());
        self.parsed(variable, Some(value), |value| {
            value.parse::<Usd>().map_err(|error| {
                format!("must be an amount of US dollars such as 0.01, but is {error}")
            })
        })
    }

    pub(super) fn max_open_requests(&mut self) -> Option<NonZeroU32> {
        let most = 100_000;
        self.number(
            "MAX_OPEN_REQUESTS",
            "100",
            most,
            "must be a number from 1 to 100000",
        )
    }

    pub(super) fn max_open_jobs(&mut self) -> Option<NonZeroU32> {
        let most = 100_000;
        self.number(
            "MAX_OPEN_JOBS",
            "20",
            most,
            "must be a number from 1 to 100000",
        )
    }

    pub(super) fn account_requests_per_minute(&mut self) -> Option<NonZeroU32> {
        let most = 1_000_000;
        self.number(
            "ACCOUNT_REQUESTS_PER_MINUTE",
            "120",
            most,
            "must be a number from 1 to 1000000",
        )
    }

    pub(super) fn requests_per_minute(&mut self) -> Option<NonZeroU32> {
        let variable = "REQUESTS_PER_MINUTE";
        let problem = "must be a number from 1 to 1000000, or empty for no limit";
        let value = self.optional(variable)?;
        self.number(variable, &value, 1_000_000, problem)
    }

    fn number(
        &mut self,
        variable: &'static str,
        default: &str,
        most: u32,
        problem: &'static str,
    ) -> Option<NonZeroU32> {
        let value = self
            .optional(variable)
            .unwrap_or_else(|| default.to_owned());
        self.parsed(variable, Some(value), |value| {
            value
                .parse::<NonZeroU32>()
                .ok()
                .filter(|number| number.get() <= most)
                .ok_or(problem)
        })
    }

    pub(super) fn allowed_families(&mut self) -> Option<AllowedFamilies> {
        let list = self.optional("ALLOWED_PATH_FAMILIES").unwrap_or_default();
        self.parsed("ALLOWED_PATH_FAMILIES", Some(list), AllowedFamilies::parse)
    }

    pub(super) fn abandoned_after(&mut self) -> Duration {
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

    pub(super) fn retention(&mut self) -> Option<Retention> {
        let variable = "RETENTION_DAYS";
        let value = self.optional(variable);
        self.parsed(variable, value, str::parse)
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
