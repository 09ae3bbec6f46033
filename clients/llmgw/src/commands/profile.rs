//! `llmgw profile`.

use std::path;

use anyhow::{Result, ensure};
use clap::{Args, Subcommand};
use shared::identity::signing::Audience;

use crate::context::{Context, Outcome};
use crate::{
    config::{BaseUrl, Config, ConfigError, Profile, ProfileName},
    gateway::base_url,
    settings::Settings,
    terminal::Style,
};

/// The subcommands of `profile`.
#[derive(Debug, Subcommand)]
pub enum ProfileCommand {
    /// Add a gateway under a name; the first profile becomes the one in use
    Add(AddArgs),
    /// List the profiles; a * marks the one in use
    List,
    /// Choose the profile to use by default
    Use {
        /// The name
        name: ProfileName,
    },
    /// Remove a profile; its identity file is kept
    Remove {
        /// The name
        name: ProfileName,
    },
}

/// Arguments of `profile add`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct AddArgs {
    /// The name
    pub name: ProfileName,
    /// The gateway's base URL
    #[arg(value_name = "URL", value_parser = base_url)]
    pub gateway: Audience,
    /// The base URL that signatures are made for, if the gateway is configured with another one
    #[arg(long, value_name = "URL", value_parser = base_url)]
    pub audience: Option<Audience>,
    /// Replace an existing profile
    #[arg(long)]
    pub force: bool,
}

const EXAMPLES: &str = "Examples:
  llmgw profile add home https://gw.example.com
  llmgw profile add work https://gw.work.example --identity ~/.config/llmgw/work.json
  llmgw --profile work identity new
  llmgw profile use work

With --identity (or LLMGW_IDENTITY) the profile gets its own identity.";

/// Runs a subcommand.
pub(super) fn run(command: ProfileCommand, context: &mut Context<'_>) -> Result<Outcome> {
    let settings = &context.settings;
    let directory = settings.directory()?;
    let mut config = Config::load(directory)?;
    match command {
        ProfileCommand::Add(args) => add(&mut config, args, settings)?,
        ProfileCommand::List => {
            list(&config, context)?;
            return Ok(Outcome::Success);
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
    Ok(Outcome::Success)
}

fn add(config: &mut Config, args: AddArgs, settings: &Settings) -> Result<()> {
    ensure!(
        args.force || !config.profiles.contains_key(&args.name),
        "the profile {} exists already; --force replaces it",
        args.name
    );
    let profile = Profile {
        gateway: Some(BaseUrl(args.gateway)),
        audience: args.audience.map(BaseUrl),
        // Absolute, because profiles are used from any directory.
        identity: settings.identity.as_ref().map(path::absolute).transpose()?,
    };
    config.current.get_or_insert_with(|| args.name.clone());
    config.profiles.insert(args.name, profile);
    Ok(())
}

fn list(config: &Config, context: &mut Context<'_>) -> Result<()> {
    if config.profiles.is_empty() {
        writeln!(
            context.stderr,
            "There are no profiles; add one with `llmgw profile add NAME URL`."
        )?;
    }
    let widths = config.profiles.keys().map(|name| name.to_string().len());
    let width = widths.max().unwrap_or_default();
    for (name, profile) in &config.profiles {
        let is_current = config.current.as_ref() == Some(name);
        let mark = if is_current { '*' } else { ' ' };
        let shown = context.terminal.paint(Style::Bold, name);
        write!(context.stdout, "{mark} {shown:width$}")?;
        if let Some(BaseUrl(gateway)) = &profile.gateway {
            write!(context.stdout, "  {gateway}")?;
        }
        if let Some(BaseUrl(audience)) = &profile.audience {
            write!(context.stdout, "  as {audience}")?;
        }
        if let Some(identity) = &profile.identity {
            write!(context.stdout, "  {}", identity.display())?;
        }
        writeln!(context.stdout)?;
    }
    Ok(())
}
