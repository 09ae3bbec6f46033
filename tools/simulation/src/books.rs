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
    /// Sums of usage that are not those of the rows.
    pub wrong_sums: WrongSums,
}

/// The response of the database function `check_rollup`.
#[derive(Debug, Default, Deserialize)]
pub struct WrongSums {
    pub(crate) differences: String,
    pub(crate) examples: Vec<serde_json::Value>,
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
             unknown_cost_reason, input_tokens, output_tokens",
            "request_logs",
        )?;
        let accounts = list(
            "did, spent::text, held::text, credit_limit::text, requests_per_minute",
            "accounts",
        )?;
        let wrong_sums = server.query(r#"SELECT public.check_rollup('{"limit": 20}')"#)?;
        Ok(Self {
            rows: serde_json::from_str(&rows)?,
            accounts: serde_json::from_str(&accounts)?,
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
