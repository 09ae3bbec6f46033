//! Which gateway and which identity a command is for: arguments and variables first, the profile
//! for what they leave open.

use std::path::{Path, PathBuf};

use shared::config::keeps_secrets;
use url::Url;

use crate::{
    cli::GatewayArgs,
    config::{BaseUrl, Config, ConfigError, Profile, ProfileName},
    gateway::Gateway,
};

/// What was chosen for all commands. Nothing is read before it is needed.
#[derive(Debug)]
pub struct Settings {
    /// Where the configuration is, if anywhere.
    pub directory: Option<PathBuf>,
    /// The profile that was named.
    pub profile: Option<ProfileName>,
    /// The identity file that was named.
    pub identity: Option<PathBuf>,
}

impl Settings {
    /// The configuration's directory.
    pub fn directory(&self) -> Result<&Path, SettingsError> {
        self.directory.as_deref().ok_or(SettingsError::NoHome)
    }

    /// The profile; an empty one where there is none.
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
            (None, Some(directory)) => Ok(directory.join("identity.json")),
            (None, None) => Err(SettingsError::NoHome),
        }
    }

    /// The gateway. A profile's audience is that of its own gateway. One that would be reached over plain
    /// http is none, unless it is on this machine: keys and requests are sent there.
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
        let gateway = Gateway::new(base);
        Ok(match audience {
            Some(audience) => gateway.with_audience(audience),
            None => gateway,
        })
    }
}

/// What is missing.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Nothing says where the gateway is.
    #[error(
        "which gateway? Name it with --gateway or LLMGW_GATEWAY, or keep it: `llmgw profile add \
         NAME URL`"
    )]
    NoGateway,
    /// Whoever is on the way could read what is sent.
    #[error(
        "{0} is not encrypted, and your key and requests would travel over it: a gateway's address \
         begins with https:// (http:// only for this machine)"
    )]
    PlainHttp(String),
    /// Nothing says where the configuration is.
    #[error("there is no home directory; name a file with --identity")]
    NoHome,
    /// The configuration file.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_travel_by_plain_http_only_within_this_machine() {
        let directory = tempfile::tempdir().unwrap();
        let settings = Settings {
            directory: Some(directory.path().to_owned()),
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
            };
            assert_eq!(settings.gateway(args).is_ok(), passes, "{address}");

            let profile = format!("use = \"a\"\n[profiles.a]\ngateway = {address:?}\n");
            std::fs::write(directory.path().join("config.toml"), profile).unwrap();
            let args = GatewayArgs {
                gateway: None,
                audience: None,
            };
            let gateway = settings.gateway(args);
            assert_eq!(gateway.is_ok(), passes, "{address}: {gateway:?}");
        }
    }
}
