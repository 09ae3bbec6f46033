//! The configuration file: gateways and identities by name.
//!
//! ```toml
//! use = "home"
//!
//! [profiles.home]
//! gateway = "https://gw.example.com"
//!
//! [profiles.work]
//! gateway = "http://127.0.0.1:9000"
//! audience = "https://gw.work.example"       # if the gateway is configured with another base URL
//! identity = "/home/me/work-identity.json"   # default: identity.json beside this file
//! model = "openai/gpt-4o-mini"               # of `llmgw chat`
//! ```

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Serialize};
use shared::identity::signing::Audience;

use crate::{
    gateway::{BaseUrlError, base_url},
    private_file::{self, Existing},
};

const FILE: &str = "config.toml";

/// The file's content.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The profile in use.
    #[serde(rename = "use", skip_serializing_if = "Option::is_none")]
    pub current: Option<ProfileName>,
    /// All profiles.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub profiles: BTreeMap<ProfileName, Profile>,
}

impl Config {
    /// Reads the file in `directory`. A missing file has no profiles.
    pub fn load(directory: &Path) -> Result<Self, ConfigError> {
        let path = directory.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(ConfigError::Read { path, source }),
        };
        let config = toml::from_str(&text);
        config.map_err(|source| ConfigError::Malformed { path, source })
    }

    /// Writes the file. Its comments are lost.
    pub fn save(&self, directory: &Path) -> Result<(), ConfigError> {
        let path = directory.join(FILE);
        let text = toml::to_string(self)?;
        private_file::write(&path, text.as_bytes(), Existing::Replace)
            .map_err(|source| ConfigError::Write { path, source })
    }

    /// The profile `name`, by default the one in use, by default an empty one.
    pub fn profile(&self, name: Option<&ProfileName>) -> Result<Profile, ConfigError> {
        let Some(name) = name.or(self.current.as_ref()) else {
            return Ok(Profile::default());
        };
        let profile = self.profiles.get(name).cloned();
        profile.ok_or_else(|| ConfigError::UnknownProfile { name: name.clone() })
    }
}

/// A gateway and an identity.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The gateway's base URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<BaseUrl>,
    /// The base URL that signatures are made for, if it differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<BaseUrl>,
    /// The identity file, if it is not the default one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<PathBuf>,
    /// The model of `chat`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// An [`Audience`] in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BaseUrl(pub Audience);

impl TryFrom<String> for BaseUrl {
    type Error = BaseUrlError;

    fn try_from(text: String) -> Result<Self, BaseUrlError> {
        base_url(&text).map(Self)
    }
}

impl From<BaseUrl> for String {
    fn from(url: BaseUrl) -> Self {
        url.0.to_string()
    }
}

/// A profile's name: 1 to 64 of `A-Za-z0-9._-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProfileName(String);

impl FromStr for ProfileName {
    type Err = MalformedName;

    fn from_str(text: &str) -> Result<Self, MalformedName> {
        Self::try_from(text.to_owned())
    }
}

impl TryFrom<String> for ProfileName {
    type Error = MalformedName;

    fn try_from(text: String) -> Result<Self, MalformedName> {
        let alphabet = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if (1..=64).contains(&text.len()) && text.bytes().all(alphabet) {
            Ok(Self(text))
        } else {
            Err(MalformedName)
        }
    }
}

impl From<ProfileName> for String {
    fn from(name: ProfileName) -> Self {
        name.0
    }
}

impl fmt::Display for ProfileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A name that is too long or has other characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a profile's name is 1 to 64 of A-Za-z0-9._-")]
pub struct MalformedName;

/// The configuration directory: `llmgw` in `$XDG_CONFIG_HOME`, by default in `~/.config`. Relative values
/// are ignored, as the XDG Base Directory Specification requires
/// (<https://specifications.freedesktop.org/basedir-spec/latest/>).
#[must_use]
pub fn directory(config_home: Option<PathBuf>, home: Option<PathBuf>) -> Option<PathBuf> {
    ours(config_home, home, ".config")
}

/// The cache directory: `llmgw` in `$XDG_CACHE_HOME`, by default in `~/.cache`.
#[must_use]
pub fn cache_directory(cache_home: Option<PathBuf>, home: Option<PathBuf>) -> Option<PathBuf> {
    ours(cache_home, home, ".cache")
}

fn ours(base: Option<PathBuf>, home: Option<PathBuf>, default: &str) -> Option<PathBuf> {
    let absolute = |path: &PathBuf| path.is_absolute();
    let base = base.filter(absolute);
    let base = base.or_else(|| Some(home.filter(absolute)?.join(default)));
    Some(base?.join("llmgw"))
}

/// The reason why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages are the documentation")]
pub enum ConfigError {
    #[error("cannot read the configuration {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("the configuration {} is not as `llmgw profile add` writes it", path.display())]
    Malformed {
        path: PathBuf,
        source: toml::de::Error,
    },
    #[error("cannot write the configuration {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("the configuration cannot be written as TOML")]
    Toml(#[from] toml::ser::Error),
    #[error("there is no profile {name}; `llmgw profile list` lists the profiles")]
    UnknownProfile { name: ProfileName },
}

#[cfg(test)]
mod tests;
