//! `llmgw admin did`: users' accounts, their limits and their history.

mod tokens;

use std::{fmt, num::NonZeroU32};

use anyhow::{Result, bail};
use clap::Subcommand;
use serde::Serialize;
use shared::{identity::did::Did, metering::money::Usd};

use super::{
    output::Output,
    services::{Services, deadline},
    storage::{Account, AccountChange, AccountHistory, AdminStorage, Changed, KeyEvent, Settings},
};
use crate::context::Outcome;

/// The number of accounts per call.
const PAGE: u16 = 500;

/// The subcommands of `did`.
#[derive(Debug, Clone, Subcommand)]
pub enum DidCommand {
    /// List all accounts
    List,
    /// Show an account and the history of its keys
    Show {
        /// The DID
        #[arg(value_parser = parse_did)]
        did: Did,
    },
    /// Set the credit limit
    SetLimit {
        /// The DID
        #[arg(value_parser = parse_did)]
        did: Did,
        /// US dollars, like 25 or 0.50; none for no limit
        #[arg(value_parser = parse_limit)]
        limit: Setting<Usd>,
    },
    /// Set the requests per minute
    SetRate {
        /// The DID
        #[arg(value_parser = parse_did)]
        did: Did,
        /// From 1 to 1000000; none for the gateway's default
        #[arg(value_parser = parse_rate)]
        rate: Setting<NonZeroU32>,
    },
    /// Set the budgets, in place of those that the DID has
    SetBudgets(tokens::BudgetsArgs),
    /// List the access tokens and what they have spent
    Tokens(tokens::TokensArgs),
    /// End access tokens, at once and for good
    RevokeTokens(tokens::RevokeArgs),
    /// Refuse the DID's requests
    Disable {
        /// The DID
        #[arg(value_parser = parse_did)]
        did: Did,
    },
    /// Accept the DID's requests again
    Enable {
        /// The DID
        #[arg(value_parser = parse_did)]
        did: Did,
    },
    /// Let the DID use a gateway that is for approved DIDs (`ALLOWED_DIDS`)
    Approve {
        /// The DID
        #[arg(value_parser = parse_did)]
        did: Did,
    },
    /// Take an approval back
    WithdrawApproval {
        /// The DID
        #[arg(value_parser = parse_did)]
        did: Did,
    },
    /// Delete the DID's keys and settings; its requests stay in the database
    Delete {
        /// The DID
        #[arg(value_parser = parse_did)]
        did: Did,
        /// Confirm the deletion, which cannot be undone
        #[arg(long)]
        yes: bool,
    },
}

/// A value, or `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting<T>(pub Option<T>);

fn parse_did(text: &str) -> Result<Did, String> {
    Did::parse(text).map_err(|error| error.to_string())
}

fn parse_limit(text: &str) -> Result<Setting<Usd>, String> {
    if text == "none" {
        return Ok(Setting(None));
    }
    text.parse()
        .map(|usd| Setting(Some(usd)))
        .map_err(|error| format!("{error}; give US dollars like 25 or 0.50, or none"))
}

fn parse_rate(text: &str) -> Result<Setting<NonZeroU32>, &'static str> {
    if text == "none" {
        return Ok(Setting(None));
    }
    text.parse()
        .ok()
        .filter(|rate: &NonZeroU32| rate.get() <= 1_000_000)
        .map(|rate| Setting(Some(rate)))
        .ok_or("a rate is a number from 1 to 1000000, or none")
}

pub(super) async fn run(
    command: DidCommand,
    services: &Services,
    output: &mut Output<'_>,
) -> Result<Outcome> {
    let storage = services.storage()?;
    let (did, change) = match command {
        DidCommand::List => return list(&storage, output).await,
        DidCommand::Show { did } => return show(&storage, &did, output).await,
        DidCommand::Delete { did, yes } => return delete(&storage, &did, yes, output).await,
        DidCommand::Tokens(args) => {
            return tokens::list(&storage, args, services.clock.now(), output).await;
        }
        DidCommand::RevokeTokens(args) => return tokens::revoke(&storage, args, output).await,
        DidCommand::SetBudgets(args) => args.change()?,
        DidCommand::SetLimit { did, limit } => (did, AccountChange::CreditLimit(limit.0)),
        DidCommand::SetRate { did, rate } => (did, AccountChange::RequestsPerMinute(rate.0)),
        DidCommand::Disable { did } => (did, AccountChange::Disabled(true)),
        DidCommand::Enable { did } => (did, AccountChange::Disabled(false)),
        DidCommand::Approve { did } => (did, AccountChange::Approved(true)),
        DidCommand::WithdrawApproval { did } => (did, AccountChange::Approved(false)),
    };
    match storage
        .set_account(did.as_str(), change, deadline())
        .await?
    {
        Changed::Account(account) => output.report(&Line(account))?,
        Changed::Settings(settings) => output.report(&NextKey(settings))?,
    }
    Ok(Outcome::Success)
}

async fn list(storage: &AdminStorage, output: &mut Output<'_>) -> Result<Outcome> {
    let mut accounts: Vec<Line> = Vec::new();
    loop {
        let after = accounts.last().map(|line| line.0.did.clone());
        let page = storage.accounts(after.as_deref(), PAGE, deadline()).await?;
        if page.is_empty() {
            break;
        }
        accounts.extend(page.into_iter().map(Line));
    }
    output.report(&List { accounts })?;
    Ok(Outcome::Success)
}

async fn show(storage: &AdminStorage, did: &Did, output: &mut Output<'_>) -> Result<Outcome> {
    let history = storage.account(did.as_str(), deadline()).await?;
    if history.account.is_none() && history.settings.is_none() && history.events.is_empty() {
        bail!("{}", no_key(did));
    }
    output.report(&History(history))?;
    Ok(Outcome::Success)
}

async fn delete(
    storage: &AdminStorage,
    did: &Did,
    yes: bool,
    output: &mut Output<'_>,
) -> Result<Outcome> {
    let account = storage.account(did.as_str(), deadline()).await?.account;
    let had_key = account.is_some();
    match account {
        _ if yes => {}
        Some(account) => bail!(
            "this deletes the key, which only its owner can store again: {}. The DID's settings are \
             deleted, too, and costs that are still open become unknown. Confirm with --yes; to refuse \
             the DID's requests only, use `llmgw admin did disable`",
            Line(account)
        ),
        None => bail!("{}; --yes deletes what is left of former ones", no_key(did)),
    }
    let deleted = storage.delete_account(did.as_str(), deadline()).await?;
    if !deleted && !had_key {
        bail!("{}", no_key(did));
    }
    output.report(&Deleted {
        did: did.as_str().to_owned(),
        deleted: true,
    })?;
    Ok(Outcome::Success)
}

fn no_key(did: &Did) -> String {
    format!("no key is stored for {}", did.as_str())
}

#[derive(Serialize)]
#[serde(transparent)]
struct Line(Account);

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Account {
            did,
            key_name,
            credit_limit,
            spent,
            held,
            requests_per_minute,
            disabled,
            approved,
            budgets,
            seal_key_id,
            ..
        } = &self.0;
        write!(f, "{did}  {key_name:?}  ")?;
        write_spent(f, spent, credit_limit.as_deref())?;
        if held != "0" {
            write!(f, ", {held} held")?;
        }
        if let Some(rate) = requests_per_minute {
            write!(f, ", {rate} per minute")?;
        }
        tokens::write_budgets(f, budgets)?;
        match seal_key_id {
            Some(id) => write!(f, ", sealed by {id}")?,
            None => f.write_str(", NOT SEALED")?,
        }
        if *approved {
            f.write_str(", approved")?;
        }
        if *disabled {
            f.write_str(", DISABLED")?;
        }
        Ok(())
    }
}

/// The settings of a DID without a key.
#[derive(Serialize)]
#[serde(transparent)]
struct NextKey(Settings);

impl fmt::Display for NextKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings {
            did,
            credit_limit,
            requests_per_minute,
            disabled,
            approved,
            spent,
            budgets,
        } = &self.0;
        write!(f, "{did}  no key is stored; for the next one: ")?;
        write_spent(f, spent, credit_limit.as_deref())?;
        if let Some(rate) = requests_per_minute {
            write!(f, ", {rate} per minute")?;
        }
        tokens::write_budgets(f, budgets)?;
        if *approved {
            f.write_str(", approved")?;
        }
        if *disabled {
            f.write_str(", DISABLED: none can be stored")?;
        }
        Ok(())
    }
}

fn write_spent(f: &mut fmt::Formatter<'_>, spent: &str, limit: Option<&str>) -> fmt::Result {
    match limit {
        Some(limit) => write!(f, "spent {spent} of {limit} USD"),
        None => write!(f, "spent {spent} USD, no limit"),
    }
}

#[derive(Serialize)]
struct List {
    accounts: Vec<Line>,
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for account in &self.accounts {
            writeln!(f, "{account}")?;
        }
        match self.accounts.len() {
            1 => f.write_str("1 account"),
            n => write!(f, "{n} accounts"),
        }
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct History(AccountHistory);

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.0.account, &self.0.settings) {
            (Some(account), _) => {
                writeln!(f, "{}", Line(account.clone()))?;
                let unknown = "unknown".to_owned();
                let stored = account.created_at.as_ref().unwrap_or(&unknown);
                let changed = account.updated_at.as_ref().unwrap_or(&unknown);
                write!(
                    f,
                    "key {}, stored {stored}, changed {changed}",
                    account.key_hash
                )?;
            }
            (None, Some(settings)) => write!(f, "{}", NextKey(settings.clone()))?,
            (None, None) => f.write_str("no key is stored any more")?,
        }
        for event in &self.0.events {
            let KeyEvent {
                time,
                actor,
                action,
                seal_key_id,
                details,
                ..
            } = event;
            write!(f, "\n{time}  {actor}  {action}")?;
            if let Some(id) = seal_key_id {
                write!(f, ", sealed by {id}")?;
            }
            if let Some(details) = details {
                write!(f, "  {details}")?;
            }
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct Deleted {
    did: String,
    deleted: bool,
}

impl fmt::Display for Deleted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the key of {} is deleted", self.did)
    }
}

#[cfg(test)]
mod tests;
