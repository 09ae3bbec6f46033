//! The names that completions offer: profiles from the configuration, models and tokens from the gateway.
//!
//! A list of the gateway's is kept in a file of the cache. If that is old, the gateway is asked, for a second at most:
//! someone waits for the key that was pressed.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::Result;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use shared::clock::Clock;
use tokio::time::timeout;

use crate::{
    api::{self, MODELS, TOKENS},
    args::GatewayArgs,
    client::{Client, FillRandom},
    config::{BaseUrl, Config},
    context::block_on,
    identity::{Existing, Identity},
    private_file,
    settings::Settings,
};

/// The time for the gateway's answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// The pause after a question without an answer.
const PAUSE: Duration = Duration::from_secs(10);

/// A list of the gateway's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum List {
    Models,
    Tokens,
}

impl List {
    fn path(self) -> &'static str {
        match self {
            Self::Models => MODELS,
            Self::Tokens => TOKENS,
        }
    }

    fn file(self) -> &'static str {
        match self {
            Self::Models => "models",
            Self::Tokens => "tokens",
        }
    }

    /// The age at which the gateway is asked.
    fn max_age(self) -> Duration {
        match self {
            Self::Models => Duration::from_hours(24),
            Self::Tokens => Duration::from_mins(1),
        }
    }
}

/// The origin of the names.
pub(super) struct Source {
    pub(super) settings: Settings,
    pub(super) gateway: GatewayArgs,
    pub(super) clock: Clock,
    pub(super) random: FillRandom,
}

impl Source {
    /// The profiles with their gateways. None if the configuration cannot be read.
    pub(super) fn profiles(&self) -> Vec<(String, Option<String>)> {
        let directory = self.settings.directory.as_deref();
        let config = directory.and_then(|it| Config::load(it).ok());
        let profiles = config.unwrap_or_default().profiles.into_iter();
        let named = profiles.map(|(name, profile)| {
            let gateway = profile.gateway.map(|BaseUrl(url)| url.to_string());
            (name.to_string(), gateway)
        });
        named.collect()
    }

    /// The names of a list. An old list is better than none.
    pub(super) fn names(&self, list: List) -> Vec<String> {
        let Some(file) = file(&self.settings, &self.gateway, list) else {
            return Vec::new();
        };
        let now = SystemTime::from(self.clock.now());
        let written = fs::metadata(&file).and_then(|it| it.modified()).ok();
        let age = written.and_then(|it| now.duration_since(it).ok());
        if age.is_none_or(|age| age >= list.max_age()) {
            match self.ask(list) {
                // Without a file the next completion asks again.
                Ok(names) => drop(write(&file, &names)),
                Err(_) => drop(touch(&file, now + PAUSE - list.max_age())),
            }
        }
        let text = fs::read_to_string(&file).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn ask(&self, list: List) -> Result<Vec<String>> {
        #[derive(Deserialize)]
        struct Named {
            id: String,
            name: Option<String>,
        }

        let identity = Identity::load(&self.settings.identity()?)?;
        // Its command may ask for a PIN, or for a touch.
        anyhow::ensure!(!identity.is_external(), "the key is a program's");
        let gateway = self.settings.gateway(self.gateway.clone())?;
        let client = Client::new(gateway, identity, self.clock.clone(), self.random)?;
        let named: Vec<Named> = block_on(async {
            timeout(PATIENCE, api::ask(&client, api::get(list.path(), &[])?)).await?
        })?;
        let name = |it: Named| match list {
            List::Models => it.id,
            List::Tokens => it.name.unwrap_or(it.id),
        };
        Ok(named.into_iter().map(name).collect())
    }
}

/// Keeps the ids of models for completions. Nothing depends on it, so it does not fail.
pub(in crate::commands) fn remember_models(
    settings: &Settings,
    gateway: &GatewayArgs,
    ids: &[String],
) {
    if let Some(file) = file(settings, gateway, List::Models) {
        let _ = write(&file, ids);
    }
}

/// The file of a list of one user at one gateway.
fn file(settings: &Settings, gateway: &GatewayArgs, list: List) -> Option<PathBuf> {
    let cache = settings.cache.as_ref()?;
    let gateway = settings.gateway(gateway.clone()).ok()?.base().to_string();
    let identity = settings.identity().ok()?;
    let user = format!("{gateway}\n{}", identity.display());
    let digest = hex::encode(&Sha256::digest(user)[..8]);
    Some(cache.join(format!("{}-{digest}", list.file())))
}

/// Writes one name a line, sorted. Names that a line cannot hold, or that a terminal would obey, are left out.
fn write(file: &Path, names: &[String]) -> io::Result<()> {
    let printable = names.iter().filter(|it| !it.contains(char::is_control));
    let printable = printable.collect::<BTreeSet<_>>().into_iter();
    let text: String = printable.flat_map(|it| [it.as_str(), "\n"]).collect();
    private_file::write(file, text.as_bytes(), Existing::Replace)
}

/// Sets the time at which the file was written.
fn touch(file: &Path, time: SystemTime) -> io::Result<()> {
    private_file::append(file, b"")?;
    File::options().append(true).open(file)?.set_modified(time)
}
