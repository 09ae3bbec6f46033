//! `llmgw identity`.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, Subcommand};
use shared::identity::did::{DidUrl, KeySource};
use zeroize::Zeroizing;

use crate::{
    client::NO_RANDOMNESS,
    context::{Context, Outcome},
    identity::{Existing, Identity, IdentityError, from_pem, is_encrypted, may_be_of},
    private_file,
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
        /// Make a P-256 key in place of an Ed25519 key
        #[arg(long)]
        p256: bool,
    },
    /// Use a key that a program holds, such as one in hardware
    AddExternal(AddExternalArgs),
    /// Print the DID
    Show,
    /// Import an identity from a file that `export` wrote
    Import(ImportArgs),
    /// Write the identity with its secret key to a file that only you can read
    Export(ExportArgs),
}

/// Arguments of `identity add-external`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  llmgw identity add-external --public-key public.pem 'openssl dgst -sha256 -sign key.pem'\n  \
                        llmgw identity add-external --did did:key:zDn… 'sign-with-my-tpm'\n\n\
                        The command reads the text to sign on stdin and writes the signature to stdout: 64 bytes (with \
                        P-256 also DER), or those in base64 or hex. With P-256 it hashes the text with SHA-256."
)]
pub struct AddExternalArgs {
    /// The command, for /bin/sh
    pub command: String,
    /// The file with the public key, Ed25519 or P-256, in PEM or DER
    #[arg(long, value_name = "FILE", required_unless_present = "did")]
    pub public_key: Option<PathBuf>,
    /// The DID of the key [default: its did:key]
    #[arg(long)]
    pub did: Option<String>,
    /// Replace the existing identity, which cannot be recovered
    #[arg(long)]
    pub force: bool,
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
    /// The file whose first line is the passphrase of an encrypted identity [default: it is asked for]
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
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
    /// Encrypt it with a passphrase; the console reads such files, too
    #[arg(long)]
    pub encrypted: bool,
    /// The file whose first line is the passphrase [default: it is asked for]
    #[arg(long, value_name = "FILE", requires = "encrypted")]
    pub passphrase_file: Option<PathBuf>,
    /// Replace an existing file; show the secret key on a terminal
    #[arg(long)]
    pub force: bool,
}

/// Runs a subcommand.
pub(super) fn run(command: IdentityCommand, context: &mut Context<'_>) -> Result<Outcome> {
    let path = context.settings.identity()?;
    match command {
        IdentityCommand::New { force, p256 } => new(&path, force, p256, context)?,
        IdentityCommand::AddExternal(args) => add_external(&path, args, context)?,
        IdentityCommand::Show => writeln!(context.stdout, "{}", Identity::load(&path)?.did())?,
        IdentityCommand::Import(args) => import(&path, &args, context)?,
        IdentityCommand::Export(args) => export(&path, &args, context)?,
    }
    Ok(Outcome::Success)
}

fn new(path: &Path, force: bool, p256: bool, context: &mut Context<'_>) -> Result<()> {
    let identity = if p256 {
        let mut secret = Zeroizing::new([0; 32]);
        (context.random)(secret.as_mut_slice()).context(NO_RANDOMNESS)?;
        // One in 2³² is no key.
        Identity::from_p256(&secret).context("the random number is no key; try again")?
    } else {
        Identity::generate(context.random).context(NO_RANDOMNESS)?
    };
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

fn add_external(path: &Path, args: AddExternalArgs, context: &mut Context<'_>) -> Result<()> {
    let did = args.did.as_deref().map(DidUrl::parse).transpose()?;
    let public = match (&args.public_key, &did) {
        (Some(file), _) => {
            let pem = fs::read(file);
            let pem = pem.with_context(|| format!("cannot read the key {}", file.display()))?;
            from_pem(&pem).with_context(|| {
                format!("{} is not a public key on Ed25519 or P-256", file.display())
            })?
        }
        (None, Some(did)) => match did.key_source()? {
            KeySource::Identifier(key) => key,
            KeySource::Document(_) => {
                bail!("name the key with --public-key: a did:web does not contain it")
            }
        },
        (None, None) => bail!("name the key with --public-key or --did"),
    };
    if let Some(did) = &did {
        ensure!(may_be_of(did, &public)?, "the DID belongs to another key");
    }
    let identity = Identity::external(args.command, did, public)?;
    identity.save(path, existing(args.force))?;
    writeln!(
        context.stderr,
        "The command signs; {} names it. This is your DID, for the gateway's operator:",
        path.display()
    )?;
    writeln!(context.stdout, "{}", identity.did())?;
    Ok(())
}

/// Reads a passphrase from a file or asks for it, twice where it cannot be checked.
fn passphrase(
    file: Option<&Path>,
    twice: bool,
    context: &mut Context<'_>,
) -> Result<Zeroizing<String>> {
    let line = |text: &str| Zeroizing::new(text.lines().next().unwrap_or_default().to_owned());
    if let Some(file) = file {
        let text = fs::read_to_string(file).map(Zeroizing::new);
        let text =
            text.with_context(|| format!("cannot read the passphrase {}", file.display()))?;
        return Ok(line(&text));
    }
    context.prompt("Passphrase: ")?;
    let first = line(&context.read_secret()?);
    if twice && context.terminal.stdin {
        context.prompt("\nAgain: ")?;
        let second = line(&context.read_secret()?);
        ensure!(first == second, "the passphrases differ");
    }
    writeln!(context.stderr)?;
    Ok(first)
}

fn import(path: &Path, args: &ImportArgs, context: &mut Context<'_>) -> Result<()> {
    let mut text = Zeroizing::new(Vec::new());
    let read = if args.file.as_os_str() == DASH {
        context.stdin.read_to_end(&mut text)
    } else {
        fs::File::open(&args.file).and_then(|mut file| file.read_to_end(&mut text))
    };
    read.with_context(|| format!("cannot read the identity {}", args.file.display()))?;
    let identity = if is_encrypted(&text) {
        let passphrase = passphrase(args.passphrase_file.as_deref(), false, context)?;
        Identity::decrypt(&text, &passphrase)?
    } else {
        Identity::parse(&text, &args.file)?
    };
    identity.save(path, existing(args.force))?;
    writeln!(context.stderr, "The identity is in {}.", path.display())?;
    writeln!(context.stdout, "{}", identity.did())?;
    Ok(())
}

fn export(path: &Path, args: &ExportArgs, context: &mut Context<'_>) -> Result<()> {
    let identity = Identity::load(path)?;
    if args.encrypted {
        return export_encrypted(&identity, args, context);
    }
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

fn export_encrypted(
    identity: &Identity,
    args: &ExportArgs,
    context: &mut Context<'_>,
) -> Result<()> {
    let passphrase = passphrase(args.passphrase_file.as_deref(), true, context)?;
    let (mut salt, mut iv) = ([0; 16], [0; 12]);
    (context.random)(&mut salt).context(NO_RANDOMNESS)?;
    (context.random)(&mut iv).context(NO_RANDOMNESS)?;
    let file = identity.encrypt(&passphrase, salt, iv)?;
    if args.file.as_os_str() == DASH {
        context.stdout.write_all(file.as_bytes())?;
        return Ok(());
    }
    let written = private_file::write(&args.file, file.as_bytes(), existing(args.force));
    written.with_context(|| {
        format!(
            "cannot write {}; --force replaces an existing file",
            args.file.display()
        )
    })?;
    writeln!(
        context.stderr,
        "Without its passphrase {} cannot be read.",
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
