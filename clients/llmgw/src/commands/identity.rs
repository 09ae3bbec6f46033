//! `llmgw identity`.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, Subcommand};
use zeroize::Zeroizing;

use crate::{
    client::NO_RANDOMNESS,
    context::{Context, Outcome},
    identity::{Existing, Identity, IdentityError},
};

/// The name of stdin or stdout.
const DASH: &str = "-";

/// The subcommands of `identity`.
#[derive(Debug, Subcommand)]
pub enum IdentityCommand {
    /// Create a key, store it in the identity file, and print its DID
    New {
        /// Replace the existing identity, which cannot be recovered
        #[arg(long)]
        force: bool,
    },
    /// Print the DID
    Show,
    /// Import an identity from a file that `export` wrote
    Import(ImportArgs),
    /// Write the identity with its secret key to a file that only you can read
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
    /// Replace the existing identity, which cannot be recovered
    #[arg(long)]
    pub force: bool,
}

/// Arguments of `identity export`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  llmgw identity export /media/stick/identity.json")]
pub struct ExportArgs {
    /// The file, or - for stdout
    pub file: PathBuf,
    /// Replace an existing file; show the secret key on a terminal
    #[arg(long)]
    pub force: bool,
}

/// Runs a subcommand.
pub(super) fn run(command: IdentityCommand, context: &mut Context<'_>) -> Result<Outcome> {
    let path = context.settings.identity()?;
    match command {
        IdentityCommand::New { force } => new(&path, force, context)?,
        IdentityCommand::Show => writeln!(context.stdout, "{}", Identity::load(&path)?.did())?,
        IdentityCommand::Import(args) => import(&path, &args, context)?,
        IdentityCommand::Export(args) => export(&path, &args, context)?,
    }
    Ok(Outcome::Success)
}

fn new(path: &Path, force: bool, context: &mut Context<'_>) -> Result<()> {
    let identity = Identity::generate(context.random).context(NO_RANDOMNESS)?;
    identity.save(path, existing(force))?;
    writeln!(
        context.stderr,
        "The secret key is in {}; keep a copy of it in a safe place. This is your DID, for the \
         gateway's operator:",
        path.display()
    )?;
    writeln!(context.stdout, "{}", identity.did())?;
    Ok(())
}

fn import(path: &Path, args: &ImportArgs, context: &mut Context<'_>) -> Result<()> {
    let mut text = Zeroizing::new(Vec::new());
    let read = if args.file.as_os_str() == DASH {
        context.stdin.read_to_end(&mut text)
    } else {
        fs::File::open(&args.file).and_then(|mut file| file.read_to_end(&mut text))
    };
    read.with_context(|| format!("cannot read the identity {}", args.file.display()))?;
    let identity = Identity::parse(&text, &args.file)?;
    identity.save(path, existing(args.force))?;
    writeln!(context.stderr, "The identity is in {}.", path.display())?;
    writeln!(context.stdout, "{}", identity.did())?;
    Ok(())
}

fn export(path: &Path, args: &ExportArgs, context: &mut Context<'_>) -> Result<()> {
    let identity = Identity::load(path)?;
    if args.file.as_os_str() == DASH {
        ensure!(
            args.force || !context.terminal.stdout,
            "this would show the secret key; name a file, or add --force"
        );
        context.stdout.write_all(&identity.to_json())?;
        return Ok(());
    }
    match identity.save(&args.file, existing(args.force)) {
        Err(IdentityError::Exists { path }) => bail!(
            "the file {} exists already; --force replaces it",
            path.display()
        ),
        result => result?,
    }
    writeln!(
        context.stderr,
        "Anyone with {} can spend your credit.",
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
