//! The rows that a program's task leaves in the books.

use std::collections::BTreeSet;
use std::fmt;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;

use super::stack::{Gateway, User};
use super::way::Way;

/// The time for the last row to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(200);

/// The billed requests of a task.
pub(super) struct Booked {
    endpoints: BTreeSet<String>,
    requests: usize,
    tokens: (u64, u64),
    cost: f64,
}

impl Booked {
    /// Waits until the user's rows are closed; refuses them if one failed, or if none has tokens and a cost.
    pub(super) fn read(gateway: &Gateway, user: &User, way: Way) -> Result<Self> {
        let mut rows = gateway.rows(user)?;
        for _ in 0..CLOSE_TIMEOUT.as_millis() / POLL.as_millis() {
            if !rows.iter().any(|row| row["status"] == "pending") {
                break;
            }
            sleep(POLL);
            rows = gateway.rows(user)?;
        }
        ensure!(!rows.is_empty(), "nothing is booked");
        let mut booked = Self {
            endpoints: BTreeSet::new(),
            requests: rows.len(),
            tokens: (0, 0),
            cost: 0.0,
        };
        for row in &rows {
            let is_final = row["status"] == "completed" && row["cost_state"] == "final";
            ensure!(is_final, "a row is not complete: {row}");
            let is_of_token = row["token_id"] != Value::Null;
            ensure!(
                is_of_token == (way == Way::Token),
                "a row of another way: {row}"
            );
            booked
                .endpoints
                .extend(row["endpoint"].as_str().map(str::to_owned));
            booked.tokens.0 += row["input_tokens"].as_u64().unwrap_or_default();
            booked.tokens.1 += row["output_tokens"].as_u64().unwrap_or_default();
            booked.cost += row["total_cost"].as_f64().unwrap_or_default();
        }
        let is_billed = booked.tokens.0 > 0 && booked.tokens.1 > 0 && booked.cost > 0.0;
        ensure!(is_billed, "no tokens or no cost: {booked}");
        Ok(booked)
    }

    /// The endpoints, as a cell of the table.
    pub(super) fn endpoints(&self) -> String {
        let spans: Vec<_> = self.endpoints.iter().map(|it| format!("`{it}`")).collect();
        spans.join(", ")
    }
}

impl fmt::Display for Booked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            requests,
            tokens: (input, output),
            cost,
            ..
        } = self;
        write!(
            f,
            "{requests} × {}, {input} + {output} tokens, {cost:.7} USD",
            self.endpoints()
        )
    }
}
