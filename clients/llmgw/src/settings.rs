//! The gateway and the identity that a command uses: from arguments and environment variables, else
//! from the profile.

use std::path::{Path, PathBuf};

use shared::config::keeps_secrets;
use url::Url;

use crate::{
    args::GatewayArgs,
    config::{BaseUrl, Config, ConfigError, Profile, ProfileName},
    gateway::Gateway,
};

/// The identity file in the configuration directory.
pub(crate) const DEFAULT_IDENTITY: &str = "identity.json";

/// The global options. Files are read when they are needed.
#[derive(Debug)]
pub struct Settings {
    /// The configuration directory; `None` without a home directory.
    pub directory: Option<PathBuf>,
    /// The directory of what can be fetched again; `None` without a home directory.
    pub cache: Option<PathBuf>,
    /// The profile named by `--profile`.
    pub profile: Option<ProfileName>,
    /// The identity file named by `--identity`.
    pub identity: Option<PathBuf>,
}

impl Settings {
    /// The configuration directory.
    pub fn directory(&self) -> Result<&Path, SettingsError> {
        self.directory.as_deref().ok_or(SettingsError::NoHome)
    }

    /// The profile, empty if none is in use.
    pub fn profile(&self) -> Result<Profile, SettingsError> {
        let config = match &self.directory {
            Some(directory) => Config::load(directory)?,
            None => Config::default(),
        };
        Ok(config.profile(self.profile.as_ref())?)
    }

    /// The identity file.
    pub fn identity(&self) -> Result<PathBuf, SettingsError> {
        if let Some(named) = &self.identity {
            return Ok(named.clone());
        }
        match (self.profile()?.identity, &self.directory) {
            (Some(identity), _) => Ok(identity),
            (None, Some(directory)) => Ok(directory.join(DEFAULT_IDENTITY)),
            (None, None) => Err(SettingsError::NoHome),
        }
    }

    /// The gateway. A profile's audience belongs to the profile's gateway only. Plain http is refused
    /// except to this machine, because keys and requests are sent there.
    pub fn gateway(&self, args: GatewayArgs) -> Result<Gateway, SettingsError> {
        let (base, audience) = if let Some(base) = args.gateway {
            (base, args.audience)
        } else {
            let profile = self.profile()?;
            let BaseUrl(base) = profile.gateway.ok_or(SettingsError::NoGateway)?;
            let audience = args.audience.or(profile.audience.map(|BaseUrl(url)| url));
            (base, audience)
        };
        let address = base.to_string();
        if !Url::parse(&address).is_ok_and(|url| keeps_secrets(&url)) {
            return Err(SettingsError::PlainHttp(address));
        }
        let gateway = Gateway::new(base).with_scheme(args.scheme);
        Ok(match audience {
            Some(audience) => gateway.with_audience(audience),
            None => gateway,
        })
    }
}

/// The reason why a setting cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// No gateway was named.
    #[error(
        "no gateway was named; use --gateway or LLMGW_GATEWAY, or store it with `llmgw profile add \
         NAME URL`"
    )]
    NoGateway,
    /// Everyone on the network path could read what is sent.
    #[error(
        "{0} is not encrypted, and your key and requests would be sent to it; a gateway's URL begins \
         with https:// (http:// only on this machine)"
    )]
    PlainHttp(String),
    /// There is no configuration directory.
    #[error("there is no home directory; name a file with --identity")]
    NoHome,
    /// The configuration file.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

#[cfg(test)]
mod tests {
    use shared::identity::auth::Scheme;

    use super::*;

    #[test]
    fn keys_travel_by_plain_http_only_within_this_machine() {
        let directory = tempfile::tempdir().unwrap();
        let settings = Settings {
            directory: Some(directory.path().to_owned()),
            cache: None,
            profile: None,
            identity: None,
        };
        for (address, passes) in [
            ("https://gw.example.com", true),
            ("http://127.0.0.1:9000", true),
            ("http://localhost:9000/Prod", true),
            ("http://[::1]:9000", true),
            ("http://gw.example.com", false),
            ("http://localhost.example.com", false),
            ("http://192.168.1.2:9000", false),
        ] {
            let audience = "https://gw.example.com".parse().ok();
            let args = GatewayArgs {
                gateway: Some(address.parse().unwrap()),
                audience,
                scheme: Scheme::XDidV1,
            };
            assert_eq!(settings.gateway(args).is_ok(), passes, "{address}");

            let profile = format!("use = \"a\"\n[profiles.a]\ngateway = {address:?}\n");
            std::fs::write(directory.path().join("config.toml"), profile).unwrap();
            let args = GatewayArgs {
                gateway: None,
                audience: None,
                scheme: Scheme::XDidV1,
            };
            let gateway = settings.gateway(args);
            assert_eq!(gateway.is_ok(), passes, "{address}: {gateway:?}");
        }
    }
}
