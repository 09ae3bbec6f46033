//! Which gateway and which identity a command is for: arguments and variables first, the profile
//! for what they leave open.

use std::path::{Path, PathBuf};

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

    /// The gateway. A profile's audience is that of its own gateway.
    pub fn gateway(&self, args: GatewayArgs) -> Result<Gateway, SettingsError> {
        let (base, audience) = if let Some(base) = args.gateway {
            (base, args.audience)
        } else {
            let profile = self.profile()?;
            let BaseUrl(base) = profile.gateway.ok_or(SettingsError::NoGateway)?;
            let audience = args.audience.or(profile.audience.map(|BaseUrl(url)| url));
            (base, audience)
        };
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
    /// Nothing says where the configuration is.
    #[error("there is no home directory; name a file with --identity")]
    NoHome,
    /// The configuration file.
    #[error(transparent)]
    Config(#[from] ConfigError),
}
