//! `llmgw identity`.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand};
use zeroize::Zeroizing;

use super::{NO_RANDOMNESS, Outcome, Surroundings};
use crate::{
    identity::{Existing, Identity, IdentityError},
    settings::Settings,
};

/// Stands for stdin or stdout.
const DASH: &str = "-";

/// What to do with the identity.
#[derive(Debug, Subcommand)]
pub enum IdentityCommand {
    /// Make a key, keep it in the identity file, and print its DID
    New {
        /// Replace the identity that is there; it is lost for good
        #[arg(long)]
        force: bool,
    },
    /// Print the DID
    Show,
    /// Take over an identity from a file, as `export` writes it
    Import(ImportArgs),
    /// Write the identity, its secret key included, to a file that only you can read
    Export(ExportArgs),
}

/// Arguments of `identity import`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  llmgw identity import /media/stick/identity.json\n  \
                        ssh laptop llmgw identity export - | llmgw identity import -"
)]
pub struct ImportArgs {
    /// The file, or - for stdin
    pub file: PathBuf,
    /// Replace the identity that is there; it is lost for good
    #[arg(long)]
    pub force: bool,
}

/// Arguments of `identity export`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  llmgw identity export /media/stick/identity.json")]
pub struct ExportArgs {
    /// The file, or - for stdout
    pub file: PathBuf,
    /// Replace a file that is there; show the secret key on a terminal
    #[arg(long)]
    pub force: bool,
}

/// Runs one of them.
pub fn run(
    command: IdentityCommand,
    settings: &Settings,
    around: &mut Surroundings<'_>,
) -> Result<Outcome> {
    let path = settings.identity()?;
    match command {
        IdentityCommand::New { force } => new(&path, force, around)?,
        IdentityCommand::Show => writeln!(around.stdout, "{}", Identity::load(&path)?.did())?,
        IdentityCommand::Import(args) => import(&path, &args, around)?,
        IdentityCommand::Export(args) => export(&path, &args, around)?,
    }
    Ok(Outcome::Done)
}

fn new(path: &Path, force: bool, around: &mut Surroundings<'_>) -> Result<()> {
    let identity = Identity::generate(around.random).context(NO_RANDOMNESS)?;
    identity.save(path, existing(force))?;
    writeln!(
        around.stderr,
        "The secret key is in {}; keep a copy of it in a safe place. This is your DID, for the \
         gateway's operator:",
        path.display()
    )?;
    writeln!(around.stdout, "{}", identity.did())?;
    Ok(())
}

fn import(path: &Path, args: &ImportArgs, around: &mut Surroundings<'_>) -> Result<()> {
    let mut text = Zeroizing::new(Vec::new());
    let read = if args.file.as_os_str() == DASH {
        around.stdin.read_to_end(&mut text)
    } else {
        fs::File::open(&args.file).and_then(|mut file| file.read_to_end(&mut text))
    };
    read.with_context(|| format!("cannot read the identity {}", args.file.display()))?;
    let identity = Identity::parse(&text, &args.file)?;
    identity.save(path, existing(args.force))?;
    writeln!(around.stderr, "The identity is in {}.", path.display())?;
    writeln!(around.stdout, "{}", identity.did())?;
    Ok(())
}

fn export(path: &Path, args: &ExportArgs, around: &mut Surroundings<'_>) -> Result<()> {
    let identity = Identity::load(path)?;
    if args.file.as_os_str() == DASH {
        ensure!(
            args.force || !around.terminal.stdout,
            "the secret key would be shown; name a file, or add --force"
        );
        around.stdout.write_all(&identity.to_json())?;
        return Ok(());
    }
    match identity.save(&args.file, existing(args.force)) {
        Err(IdentityError::Exists { path }) => bail!(
            "there already is a file {}; --force replaces it",
            path.display()
        ),
        result => result?,
    }
    writeln!(
        around.stderr,
        "Whoever has {} can spend your credit.",
        args.file.display()
    )?;
    Ok(())
}

fn existing(force: bool) -> Existing {
    if force {
        Existing::Replace
    } else {
        Existing::Keep
    }
}
