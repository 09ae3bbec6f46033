//! What an operator can type.

use std::{num::NonZeroU32, path::PathBuf};

use clap::{Args, Subcommand};
use shared::{identity::did::Did, metering::money::Usd, vault::secret::KeyId};

const EXAMPLES: &str = r#"The database and Secrets Manager are found through the environment, by the variables that the
functions read: SUPABASE_URL, SUPABASE_SECRET_KEY, KEYSET_SECRET_NAME, AWS_REGION,
AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN. From a profile of AWS's command line:
  eval "$(aws configure export-credentials --profile NAME --format env)"

A rotation:
  llmgw admin keyset add
  llmgw admin keyset promote      # five minutes later
  llmgw admin rewrap
  llmgw admin keyset disable      # five minutes after the promotion
  llmgw admin keyset destroy      # a week later

Exit status: 0 if all is well, 1 if something was refused, failed or found wrong, 2 for wrong
arguments."#;

/// Arguments of `admin`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct AdminArgs {
    /// Print one JSON object instead of text
    #[arg(long, global = true)]
    pub json: bool,
    /// The keyset is in this file, not in Secrets Manager
    #[arg(long, global = true, value_name = "PATH")]
    pub file: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: AdminCommand,
}

/// A command of the operator's.
#[derive(Debug, Subcommand)]
pub enum AdminCommand {
    /// Make or rotate the keyset that seals users' keys
    #[command(subcommand)]
    Keyset(KeysetCommand),
    /// Seal every stored key with the primary key; can be interrupted and repeated
    Rewrap(RewrapArgs),
    /// Take over keys that the original system encrypted; its passphrase is read from stdin
    ImportLegacy(ImportArgs),
    /// Look at users' accounts and change them
    #[command(subcommand)]
    Did(DidCommand),
    /// Check everything that the gateway stands on, and say what to do
    Doctor(DoctorArgs),
}

/// A step of a keyset's life.
#[derive(Debug, Clone, Subcommand)]
pub enum KeysetCommand {
    /// Make a keyset of one key, where there is none
    New,
    /// Rotation, step 1: add a key that opens, and does not seal yet
    Add,
    /// Step 2: let a key seal; not before every function knows it
    Promote(StepArgs),
    /// Step 4, after `rewrap`: let a key open nothing any more; `enable` undoes it
    Disable(StepArgs),
    /// Let a disabled key open again
    Enable {
        /// The key's id [default: the only disabled one]
        #[arg(value_parser = key_id)]
        id: Option<KeyId>,
    },
    /// Step 5: remove a disabled key's material for good
    Destroy(StepArgs),
    /// Show the keys, how many rows each seals, and what comes next
    Status,
}

/// Arguments of a step that has to wait for the one before.
#[derive(Debug, Clone, Copy, Args)]
pub struct StepArgs {
    /// The key's id [default: the only one in question]
    #[arg(value_parser = key_id)]
    pub id: Option<KeyId>,
    /// Do not wait; says what that may break
    #[arg(long)]
    pub now: bool,
}

/// Arguments of `rewrap`.
#[derive(Debug, Clone, Copy, Args)]
pub struct RewrapArgs {
    /// Open every key and count, but write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How many rows a transaction seals
    #[arg(long, default_value_t = 100, value_name = "ROWS", value_parser = clap::value_parser!(u16).range(1..=500))]
    pub batch: u16,
}

/// Arguments of `import-legacy`.
#[derive(Debug, Clone, Args)]
pub struct ImportArgs {
    /// Decrypt every key and count, but write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Rows exported from another database: a JSON array, or one JSON object a line, with did,
    /// `encrypted_api_key`, `key_name` and `credit_limit` [default: the rows of this database]
    #[arg(long, value_name = "PATH")]
    pub rows: Option<PathBuf>,
}

/// What to do with accounts.
#[derive(Debug, Clone, Subcommand)]
pub enum DidCommand {
    /// List all accounts
    List,
    /// Show one account and what happened to its keys
    Show {
        /// Whose.
        #[arg(value_parser = did)]
        did: Did,
    },
    /// Set the credit limit
    SetLimit {
        /// Whose.
        #[arg(value_parser = did)]
        did: Did,
        /// US dollars, like 25 or 0.50; none for no limit
        #[arg(value_parser = usd)]
        limit: Setting<Usd>,
    },
    /// Set the requests per minute
    SetRate {
        /// Whose.
        #[arg(value_parser = did)]
        did: Did,
        /// From 1 to 1000000; none for the gateway's default
        #[arg(value_parser = rate)]
        rate: Setting<NonZeroU32>,
    },
    /// Refuse the DID's requests
    Disable {
        /// Whose.
        #[arg(value_parser = did)]
        did: Did,
    },
    /// Let the DID's requests pass again
    Enable {
        /// Whose.
        #[arg(value_parser = did)]
        did: Did,
    },
    /// Delete the DID's keys and what was set for it, for good; its requests stay in the books
    Delete {
        /// Whose.
        #[arg(value_parser = did)]
        did: Did,
        /// Really
        #[arg(long)]
        yes: bool,
    },
}

/// Arguments of `doctor`.
#[derive(Debug, Clone, Args)]
pub struct DoctorArgs {
    /// Supabase's publishable (anon) key, which must open nothing
    #[arg(
        long,
        env = "SUPABASE_ANON_KEY",
        value_name = "KEY",
        hide_env_values = true
    )]
    pub anon_key: Option<String>,
}

/// A value, or `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting<T>(pub Option<T>);

fn key_id(text: &str) -> Result<KeyId, &'static str> {
    text.parse()
        .map(KeyId)
        .map_err(|_| "a key's id is a number, see `llmgw admin keyset status`")
}

fn did(text: &str) -> Result<Did, String> {
    Did::parse(text).map_err(|error| error.to_string())
}

fn usd(text: &str) -> Result<Setting<Usd>, String> {
    if text == "none" {
        return Ok(Setting(None));
    }
    text.parse()
        .map(|usd| Setting(Some(usd)))
        .map_err(|error| format!("{error}; give US dollars like 25 or 0.50, or none"))
}

fn rate(text: &str) -> Result<Setting<NonZeroU32>, &'static str> {
    if text == "none" {
        return Ok(Setting(None));
    }
    text.parse()
        .ok()
        .filter(|rate: &NonZeroU32| rate.get() <= 1_000_000)
        .map(|rate| Setting(Some(rate)))
        .ok_or("a rate is a number from 1 to 1000000, or none")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings() {
        assert_eq!(usd("none"), Ok(Setting(None)));
        assert_eq!(usd("0.50"), Ok(Setting(Some("0.5".parse().unwrap()))));
        assert!(usd("-1").is_err());
        assert!(usd("lots").is_err());
        assert_eq!(rate("none"), Ok(Setting(None)));
        assert_eq!(rate("60"), Ok(Setting(NonZeroU32::new(60))));
        assert!(rate("0").is_err());
        assert!(rate("1000001").is_err());
    }

    #[test]
    fn ids() {
        assert_eq!(key_id("4294967295"), Ok(KeyId(u32::MAX)));
        assert!(key_id("4294967296").is_err());
        assert!(did("did:key:z6Mk").is_ok());
        assert!(did("nobody").is_err());
    }
}
