//! `llmgw profile`.

use std::path;

use anyhow::{Result, ensure};
use clap::{Args, Subcommand};
use shared::identity::signing::Audience;

use crate::context::{Context, Outcome};
use crate::{
    config::{BaseUrl, Config, ConfigError, Profile, ProfileName},
    gateway::base_url,
    settings::{DEFAULT_IDENTITY, Settings},
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
    /// The model that `chat` uses by default
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
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
        ProfileCommand::Add(args) => {
            let said = add(&mut config, args, settings)?;
            writeln!(context.stderr, "{said}")?;
        }
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
            if config.current.as_ref() == Some(&name) {
                config.current = config.profiles.keys().next().cloned();
                match &config.current {
                    Some(next) => writeln!(context.stderr, "The profile in use is now {next}.")?,
                    None => writeln!(context.stderr, "No profile is left.")?,
                }
            }
        }
    }
    config.save(directory)?;
    Ok(Outcome::Success)
}

/// Adds a profile. Returns the next step.
fn add(config: &mut Config, args: AddArgs, settings: &Settings) -> Result<String> {
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
        model: args.model,
    };
    config.current.get_or_insert_with(|| args.name.clone());
    let is_current = config.current.as_ref() == Some(&args.name);
    let has_identity = match (&profile.identity, &settings.directory) {
        (Some(identity), _) => identity.exists(),
        (None, Some(directory)) => directory.join(DEFAULT_IDENTITY).exists(),
        (None, None) => false,
    };
    let way = if is_current {
        String::new()
    } else {
        format!(" --profile {}", args.name)
    };
    let step = if has_identity {
        format!(
            "`llmgw{way} doctor` checks it, `llmgw{way} connect` stores your OpenRouter key there"
        )
    } else {
        format!("`llmgw{way} identity new` makes your identity for it")
    };
    let said = format!("Added {}; {step}.", args.name);
    config.profiles.insert(args.name, profile);
    Ok(said)
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
        if let Some(model) = &profile.model {
            write!(context.stdout, "  {model}")?;
        }
        writeln!(context.stdout)?;
    }
    Ok(())
}
