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
//! audience = "https://gw.work.example"       # where the gateway knows itself by another name
//! identity = "/home/me/work-identity.json"   # else identity.json beside this file
//! ```

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Serialize};
use shared::identity::signing::{Audience, AudienceError};

use crate::private_file::{self, Existing};

const FILE: &str = "config.toml";

/// What the file says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The profile that is used unless another is named.
    #[serde(rename = "use", skip_serializing_if = "Option::is_none")]
    pub current: Option<ProfileName>,
    /// All profiles.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub profiles: BTreeMap<ProfileName, Profile>,
}

impl Config {
    /// Reads the file in `directory`; without one there are no profiles.
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

    /// Writes the file. What it held besides profiles, comments among it, is lost.
    pub fn save(&self, directory: &Path) -> Result<(), ConfigError> {
        let path = directory.join(FILE);
        let text = toml::to_string(self)?;
        private_file::write(&path, text.as_bytes(), Existing::Replace)
            .map_err(|source| ConfigError::Write { path, source })
    }

    /// The profile `name`, or else the one in use; an empty one where none is.
    pub fn profile(&self, name: Option<&ProfileName>) -> Result<Profile, ConfigError> {
        let Some(name) = name.or(self.current.as_ref()) else {
            return Ok(Profile::default());
        };
        let profile = self.profiles.get(name).cloned();
        profile.ok_or_else(|| ConfigError::UnknownProfile { name: name.clone() })
    }
}

/// What a profile stands for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The gateway's base URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<BaseUrl>,
    /// The name that the gateway knows itself by, where it is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<BaseUrl>,
    /// The identity file, where it is not the common one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<PathBuf>,
}

/// An [`Audience`] as the file has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BaseUrl(pub Audience);

impl TryFrom<String> for BaseUrl {
    type Error = AudienceError;

    fn try_from(text: String) -> Result<Self, AudienceError> {
        Audience::parse(&text).map(Self)
    }
}

impl From<BaseUrl> for String {
    fn from(url: BaseUrl) -> Self {
        url.0.to_string()
    }
}

/// 1 to 64 of `A-Za-z0-9._-`.
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

/// Too long, or with other characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a profile's name is 1 to 64 of A-Za-z0-9._-")]
pub struct MalformedName;

/// Where the configuration is: `llmgw` below `$XDG_CONFIG_HOME`, or else below `~/.config`. Relative
/// values are ignored, as the XDG Base Directory Specification asks
/// (<https://specifications.freedesktop.org/basedir-spec/latest/>).
#[must_use]
pub fn directory(config_home: Option<PathBuf>, home: Option<PathBuf>) -> Option<PathBuf> {
    let absolute = |path: &PathBuf| path.is_absolute();
    let config_home = config_home.filter(absolute);
    let config_home = config_home.or_else(|| Some(home.filter(absolute)?.join(".config")));
    Some(config_home?.join("llmgw"))
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(
    missing_docs,
    reason = "the messages say it, and the fields are the place"
)]
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
    #[error("the configuration makes no TOML")]
    Toml(#[from] toml::ser::Error),
    #[error("there is no profile {name}; `llmgw profile list` names those that there are")]
    UnknownProfile { name: ProfileName },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ProfileName {
        text.parse().unwrap()
    }

    #[test]
    fn a_file_is_read_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(Config::load(directory.path()).unwrap(), Config::default());
        let url = |text: &str| Some(BaseUrl(text.parse().unwrap()));
        let home = Profile {
            gateway: url("https://gw.example.com"),
            ..Profile::default()
        };
        let work = Profile {
            gateway: url("http://127.0.0.1:9000"),
            audience: url("https://gw.work.example/Prod"),
            identity: Some("/i.json".into()),
        };
        let config = Config {
            current: Some(name("home")),
            profiles: [(name("home"), home.clone()), (name("w.1"), work.clone())].into(),
        };
        config.save(directory.path()).unwrap();
        assert_eq!(Config::load(directory.path()).unwrap(), config);
        let text = fs::read_to_string(directory.path().join(FILE)).unwrap();
        insta::assert_snapshot!(text, @r#"
        use = "home"

        [profiles.home]
        gateway = "https://gw.example.com"

        [profiles."w.1"]
        gateway = "http://127.0.0.1:9000"
        audience = "https://gw.work.example/Prod"
        identity = "/i.json"
        "#);
        assert_eq!(config.profile(None).unwrap(), home);
        assert_eq!(config.profile(Some(&name("w.1"))).unwrap(), work);
        let error = config.profile(Some(&name("none"))).unwrap_err();
        assert!(error.to_string().starts_with("there is no profile none; "));
    }

    #[test]
    fn a_file_that_is_wrong_is_explained() {
        let directory = tempfile::tempdir().unwrap();
        for (text, cause) in [
            ("use = ", "TOML parse error at line 1"),
            ("uses = \"a\"", "unknown field `uses`"),
            (
                "[profiles.a]\ngateway = \"gw\"",
                "an audience is a URL like",
            ),
            ("[profiles.\"a b\"]", "a profile's name is"),
        ] {
            fs::write(directory.path().join(FILE), text).unwrap();
            let error = Config::load(directory.path()).unwrap_err();
            let error = format!("{:#}", anyhow::Error::from(error));
            assert!(
                error.contains("is not as `llmgw profile add` writes it: "),
                "{error}"
            );
            assert!(error.contains(cause), "{error}");
        }
    }

    #[test]
    fn the_directory() {
        let path = |config: Option<&str>, home: Option<&str>| {
            directory(config.map(PathBuf::from), home.map(PathBuf::from))
        };
        let at = |text: &str| Some(PathBuf::from(text));
        assert_eq!(path(Some("/c"), Some("/h")), at("/c/llmgw"));
        for ignored in [None, Some(""), Some("c"), Some("./c")] {
            assert_eq!(path(ignored, Some("/h")), at("/h/.config/llmgw"));
            assert_eq!(path(ignored, None), None);
        }
    }
}
