//! The access tokens of a DID, as an operator sees and ends them, and the DID's own budgets.

use std::fmt;

use anyhow::{Result, bail, ensure};
use clap::Args;
use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;
use shared::{
    identity::did::Did,
    storage::{
        Budget, BudgetState, Refusal, StorageError, TokenDescription, TokenRefusal, TokenState,
    },
};
use uuid::Uuid;

use super::{
    super::{
        output::Output,
        services::deadline,
        storage::{AccountChange, AdminStorage},
    },
    parse_did,
};
use crate::{commands::tokens::scope::BudgetArg, context::Outcome, terminal::printable};

/// Arguments of `did set-budgets`.
#[derive(Debug, Clone, Args)]
pub struct BudgetsArgs {
    /// The DID
    #[arg(value_parser = parse_did)]
    pub did: Did,
    /// US dollars per day, week, month or total, as in 5/day; or none
    #[arg(required = true, value_name = "AMOUNT/PERIOD")]
    pub budgets: Vec<BudgetArg>,
    /// The IANA time zone in which they begin again
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    pub time_zone: String,
}

/// Arguments of `did tokens`.
#[derive(Debug, Clone, Args)]
pub struct TokensArgs {
    /// The DID
    #[arg(value_parser = parse_did)]
    pub did: Did,
    /// The ended ones, too
    #[arg(long)]
    pub all: bool,
}

/// Arguments of `did revoke-tokens`.
#[derive(Debug, Clone, Args)]
pub struct RevokeArgs {
    /// The DID
    #[arg(value_parser = parse_did)]
    pub did: Did,
    /// The token's id
    #[arg(required_unless_present = "all")]
    pub id: Option<Uuid>,
    /// All of the DID's tokens
    #[arg(long, conflicts_with = "id")]
    pub all: bool,
}

impl BudgetsArgs {
    /// The change of the account.
    pub(super) fn change(self) -> Result<(Did, AccountChange)> {
        let Self {
            did,
            budgets,
            time_zone,
        } = self;
        ensure!(
            TimeZone::get(&time_zone).is_ok(),
            "{time_zone:?} is no IANA time zone, such as Europe/Berlin"
        );
        let number = budgets.len();
        let mut set: Vec<Budget> = Vec::new();
        for budget in budgets {
            match budget {
                BudgetArg::None => ensure!(number == 1, "none stands alone"),
                BudgetArg::Of(amount, period) => {
                    let is_double = set.iter().any(|it| it.period == period);
                    ensure!(!is_double, "a DID has one budget per {}", period.as_str());
                    set.push(Budget {
                        period,
                        amount,
                        time_zone: time_zone.clone(),
                    });
                }
            }
        }
        Ok((did, AccountChange::Budgets(set)))
    }
}

pub(super) async fn list(
    storage: &AdminStorage,
    TokensArgs { did, all }: TokensArgs,
    now: Timestamp,
    output: &mut Output<'_>,
) -> Result<Outcome> {
    let tokens = storage.tokens(did.as_str(), all, now, deadline()).await?;
    output.report(&Tokens {
        tokens,
        ended: false,
    })?;
    Ok(Outcome::Success)
}

pub(super) async fn revoke(
    storage: &AdminStorage,
    RevokeArgs { did, id, all: _ }: RevokeArgs,
    output: &mut Output<'_>,
) -> Result<Outcome> {
    let tokens = match storage.end_tokens(did.as_str(), id, deadline()).await {
        Err(StorageError::Refused(Refusal::Token(TokenRefusal::NotFound))) => bail!(
            "this DID has no live token with this id; see `llmgw admin did tokens {} --all`",
            did.as_str()
        ),
        answer => answer?,
    };
    output.report(&Tokens {
        tokens,
        ended: true,
    })?;
    Ok(Outcome::Success)
}

#[derive(Serialize)]
struct Tokens {
    tokens: Vec<TokenDescription>,
    /// Whether they were ended just now.
    #[serde(skip)]
    ended: bool,
}

impl fmt::Display for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for token in &self.tokens {
            write!(
                f,
                "{}  {}  {:?}  spent {} USD in {} requests",
                token.id,
                token.label,
                printable(&token.name),
                token.cost,
                token.requests
            )?;
            write_budgets(f, &token.budgets)?;
            match token.state {
                TokenState::Live => {}
                TokenState::Disabled => f.write_str(", disabled by its owner")?,
                TokenState::Expired => f.write_str(", expired")?,
                TokenState::Revoked => f.write_str(", revoked")?,
            }
            writeln!(f)?;
        }
        let plural = if self.tokens.len() == 1 { "" } else { "s" };
        let done = if self.ended { " revoked" } else { "" };
        write!(f, "{} token{plural}{done}", self.tokens.len())
    }
}

/// `, 1.5 of 5 USD/day`, and what is held.
pub(super) fn write_budgets(f: &mut fmt::Formatter<'_>, budgets: &[BudgetState]) -> fmt::Result {
    for budget in budgets {
        let BudgetState {
            amount,
            spent,
            held,
            ..
        } = budget;
        write!(f, ", {spent} of {amount} USD/{}", budget.period.as_str())?;
        if held != "0" {
            write!(f, " ({held} held)")?;
        }
    }
    Ok(())
}
