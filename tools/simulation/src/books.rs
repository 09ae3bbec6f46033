//! The gateway's books: the rows that it wrote to the database.

use anyhow::{Context as _, Result};
use serde::{Deserialize, Deserializer, de::Error as _};
use stack::Database;
use uuid::Uuid;

use crate::amount::Amount;

/// A row of the books.
#[derive(Debug, Clone, Deserialize)]
pub struct Row {
    #[serde(deserialize_with = "uuid")]
    pub id: Uuid,
    pub did: String,
    pub model: String,
    pub(crate) requested_model: Option<String>,
    pub status: String,
    pub cost_state: String,
    total_cost: Option<String>,
    pub(crate) hold: String,
    pub error_reason: Option<String>,
    pub unknown_cost_reason: Option<String>,
    pub(crate) input_tokens: Option<u64>,
    pub(crate) output_tokens: Option<u64>,
    pub(crate) token_id: Option<Uuid>,
    /// Unix time in seconds.
    pub(crate) began: i64,
}

/// A token's own sums.
#[derive(Debug, Clone, Deserialize)]
pub struct TokenSums {
    #[serde(deserialize_with = "uuid")]
    pub id: Uuid,
    pub(crate) requests: String,
    pub(crate) cost: String,
}

/// A budget.
#[derive(Debug, Clone, Deserialize)]
pub struct Budget {
    pub id: u64,
    pub did: String,
    pub(crate) token_id: Option<Uuid>,
    pub(crate) period: String,
    pub(crate) time_zone: String,
    pub(crate) amount: String,
    pub(crate) periods: Vec<BudgetPeriod>,
}

/// A period of a budget.
#[derive(Debug, Clone, Deserialize)]
pub struct BudgetPeriod {
    /// Unix time in seconds; `None`: all time.
    pub(crate) starts: Option<i64>,
    pub(crate) spent: String,
    pub(crate) held: String,
    /// The percentages of its events.
    pub(crate) events: Vec<u32>,
}

/// A user's account.
#[derive(Debug, Clone, Deserialize)]
pub struct Account {
    pub did: String,
    pub(crate) spent: String,
    pub(crate) held: String,
    pub(crate) credit_limit: Option<String>,
    pub(crate) requests_per_minute: Option<u64>,
}

/// The contents of the database.
#[derive(Debug)]
pub struct Books {
    pub rows: Vec<Row>,
    pub accounts: Vec<Account>,
    pub tokens: Vec<TokenSums>,
    pub budgets: Vec<Budget>,
    /// Sums of usage that are not those of the rows.
    pub wrong_sums: WrongSums,
}

/// The response of the database function `check_rollup`.
#[derive(Debug, Default, Deserialize)]
pub struct WrongSums {
    pub(crate) differences: String,
    pub(crate) examples: Vec<serde_json::Value>,
    pub(crate) untracked: String,
}

impl Books {
    pub fn read(database: &Database) -> Result<Self> {
        let server = database.server().context("no server")?;
        let list = |columns: &str, table: &str| -> Result<String> {
            Ok(server.query(&format!(
                "SELECT coalesce(json_agg(t), '[]') FROM (SELECT {columns} FROM public.{table}) AS t"
            ))?)
        };
        let rows = list(
            "id, did, model, requested_model, status, cost_state, total_cost::text, hold::text, error_reason,
             unknown_cost_reason, input_tokens, output_tokens, token_id,
             floor(extract(epoch FROM request_time))::bigint AS began",
            "request_logs",
        )?;
        let accounts = list(
            "did, spent::text, held::text, credit_limit::text, requests_per_minute",
            "accounts",
        )?;
        let tokens = server.query(
            "SELECT coalesce(jsonb_agg(public.token_json(t, now())), '[]') FROM public.access_tokens AS t",
        )?;
        let budgets = list(
            "b.id, b.did, b.token_id, b.period, b.time_zone, b.amount::text,
             (SELECT coalesce(json_agg(json_build_object(
                       'starts', CASE WHEN isfinite(p.starts) THEN extract(epoch FROM p.starts)::bigint END,
                       'spent', p.spent::text, 'held', p.held::text,
                       'events', ARRAY(SELECT e.percent FROM public.budget_events AS e
                                        WHERE e.budget_id = b.id AND e.starts = p.starts ORDER BY e.percent))), '[]')
                FROM public.budget_periods AS p WHERE p.budget_id = b.id) AS periods",
            "budgets AS b",
        )?;
        let wrong_sums = server.query(r#"SELECT public.check_rollup('{"limit": 20}')"#)?;
        Ok(Self {
            rows: serde_json::from_str(&rows)?,
            accounts: serde_json::from_str(&accounts)?,
            tokens: serde_json::from_str(&tokens)?,
            budgets: serde_json::from_str(&budgets)?,
            wrong_sums: serde_json::from_str(&wrong_sums)?,
        })
    }
}

impl Row {
    /// Whether the model costs nothing by its name. No limit refuses such a request, and nothing is held
    /// for it; a bill that comes all the same is booked.
    pub(crate) fn is_free(&self) -> bool {
        let model = self.requested_model.as_deref();
        model.is_some_and(|it| it.ends_with(":free"))
    }

    /// The total cost that it tells.
    #[must_use]
    pub fn total(&self) -> Amount {
        amount(self.total_cost.as_deref())
    }

    pub(crate) fn is_final(&self) -> bool {
        self.cost_state == "final"
    }
}

impl Account {
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.credit_limit.is_some() || self.requests_per_minute.is_some()
    }
}

fn uuid<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Uuid, D::Error> {
    String::deserialize(deserializer)?
        .parse()
        .map_err(D::Error::custom)
}

/// Reads an amount. A text that is none becomes more than anyone ever bills, so that it is noticed.
pub(crate) fn amount(text: Option<&str>) -> Amount {
    text.map_or(Amount::ZERO, |text| {
        Amount::parse(text).unwrap_or(Amount::new(u64::MAX, 0))
    })
}
