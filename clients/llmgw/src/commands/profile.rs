//! `llmgw profile`.

use std::path;

use anyhow::{Result, ensure};
use clap::{Args, Subcommand};
use shared::identity::signing::Audience;

use super::{Outcome, Surroundings};
use crate::{
    config::{BaseUrl, Config, ConfigError, Profile, ProfileName},
    settings::Settings,
    terminal::Style,
};

/// What to do with profiles.
#[derive(Debug, Subcommand)]
pub enum ProfileCommand {
    /// Add a gateway under a name; the first one is used from then on
    Add(AddArgs),
    /// List the profiles; the one in use has a *
    List,
    /// Choose the profile that is used where none is named
    Use {
        /// Its name
        name: ProfileName,
    },
    /// Forget a profile; its identity file stays
    Remove {
        /// Its name
        name: ProfileName,
    },
}

/// Arguments of `profile add`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct AddArgs {
    /// Its name
    pub name: ProfileName,
    /// The gateway's base URL
    #[arg(value_name = "URL")]
    pub gateway: Audience,
    /// The base URL that the gateway knows itself by, where it is another
    #[arg(long, value_name = "URL")]
    pub audience: Option<Audience>,
    /// Replace a profile of that name
    #[arg(long)]
    pub force: bool,
}

const EXAMPLES: &str = "Examples:
  llmgw profile add home https://gw.example.com
  llmgw profile add work https://gw.work.example --identity ~/.config/llmgw/work.json
  llmgw --profile work identity new
  llmgw profile use work

With --identity (or LLMGW_IDENTITY) the profile has an identity of its own.";

/// Runs one of them.
pub fn run(
    command: ProfileCommand,
    settings: &Settings,
    around: &mut Surroundings<'_>,
) -> Result<Outcome> {
    let directory = settings.directory()?;
    let mut config = Config::load(directory)?;
    match command {
        ProfileCommand::Add(args) => add(&mut config, args, settings)?,
        ProfileCommand::List => {
            list(&config, around)?;
            return Ok(Outcome::Done);
        }
        ProfileCommand::Use { name } => {
            config.profile(Some(&name))?;
            config.current = Some(name);
        }
        ProfileCommand::Remove { name } => {
            if config.profiles.remove(&name).is_none() {
                return Err(ConfigError::UnknownProfile { name }.into());
            }
            config.current = config.current.filter(|current| *current != name);
        }
    }
    config.save(directory)?;
    Ok(Outcome::Done)
}

fn add(config: &mut Config, args: AddArgs, settings: &Settings) -> Result<()> {
    ensure!(
        args.force || !config.profiles.contains_key(&args.name),
        "there already is a profile {}; --force replaces it",
        args.name
    );
    let profile = Profile {
        gateway: Some(BaseUrl(args.gateway)),
        audience: args.audience.map(BaseUrl),
        // It has to mean the same file wherever the profile is used.
        identity: settings.identity.as_ref().map(path::absolute).transpose()?,
    };
    config.current.get_or_insert_with(|| args.name.clone());
    config.profiles.insert(args.name, profile);
    Ok(())
}

fn list(config: &Config, around: &mut Surroundings<'_>) -> Result<()> {
    if config.profiles.is_empty() {
        writeln!(
            around.stderr,
            "There are no profiles; add one with `llmgw profile add NAME URL`."
        )?;
    }
    let widths = config.profiles.keys().map(|name| name.to_string().len());
    let width = widths.max().unwrap_or_default();
    for (name, profile) in &config.profiles {
        let is_current = config.current.as_ref() == Some(name);
        let mark = if is_current { '*' } else { ' ' };
        let shown = around.terminal.paint(Style::Bold, name);
        write!(around.stdout, "{mark} {shown:width$}")?;
        if let Some(BaseUrl(gateway)) = &profile.gateway {
            write!(around.stdout, "  {gateway}")?;
        }
        if let Some(BaseUrl(audience)) = &profile.audience {
            write!(around.stdout, "  as {audience}")?;
        }
        if let Some(identity) = &profile.identity {
            write!(around.stdout, "  {}", identity.display())?;
        }
        writeln!(around.stdout)?;
    }
    Ok(())
}
