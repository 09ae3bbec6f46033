//! Afterwards: an operator restores what only the log knows, and reconciliation runs until nothing is
//! open any more.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::join_all;
use serde_json::{Value, json};
use stack::Database;
use tokio::time::sleep;
use uuid::Uuid;

use crate::{
    chronicle::{Chronicle, Group},
    lambda::{Abandoned, Failure, Invocation, Part, Pool, lock},
    plan::Plan,
};

/// Runs of reconciliation at the same time.
pub const AT_ONCE: usize = 3;
/// As in `template.yaml`.
const TIME: Duration = Duration::from_secs(90);
/// More rounds than the most hidden generation needs.
const ROUNDS: usize = 12;

/// Rows that are not settled.
const OPEN: &str = "(cost_state = 'pending' OR status = 'pending')";

/// What it takes to settle what a run left open.
#[derive(Debug)]
pub struct Settlement<'a> {
    pub database: &'a Database,
    pub reconcile: Arc<Pool>,
    pub chronicle: Arc<Chronicle>,
    pub plans: Arc<Vec<Plan>>,
    /// What functions logged under `emergency_record`.
    pub records: Arc<Mutex<Vec<String>>>,
    pub client: reqwest::Client,
}

impl Settlement<'_> {
    /// One run of reconciliation, as scheduled.
    pub async fn run_once(&self) -> Option<Value> {
        let mut parts = self.reconcile.invoke(Invocation {
            id: uuid::Builder::from_random_bytes(fastrand::u128(..).to_be_bytes()).into_uuid(),
            event: b"{}".to_vec(),
            time: TIME,
            abandoned: Abandoned::Drained,
        });
        let mut body = Vec::new();
        while let Some(part) = parts.recv().await {
            match part {
                Part::Data(bytes) => body.extend_from_slice(&bytes),
                Part::End => {
                    let summary: Value = serde_json::from_slice(&body).ok()?;
                    for name in ["settled", "given_up", "retried", "failed"] {
                        let times = summary[name].as_u64().unwrap_or_default();
                        let name = format!("reconciliation: {}", name.replace('_', " "));
                        self.chronicle.count_many(Group::Settlement, name, times);
                    }
                    return Some(summary);
                }
                Part::Head(..) => {}
                Part::Failed(failure) => {
                    let how = match failure {
                        Failure::Reported(_) => "reconciliation: runs that failed",
                        _ => "reconciliation: runs that died",
                    };
                    self.chronicle.count(Group::Settlement, how);
                    return None;
                }
            }
        }
        None
    }

    /// Closes everything that is open; fails if something stays open.
    pub async fn settle(&self) -> Result<()> {
        self.restore(|plan| plan.restored_early).await?;
        // What is still pending is abandoned, and nothing is young any more.
        self.age("30 minutes")?;
        self.rounds().await?;
        self.age("8 days")?;
        self.rounds().await?;
        self.restore(|plan| !plan.restored_early).await?;
        self.age("0")?;
        self.rounds().await?;
        // What nobody knows although the operator has told it.
        self.age("8 days")?;
        self.rounds().await?;
        Ok(())
    }

    /// How many rows are open.
    pub fn open(&self) -> Result<u64> {
        let count = self.sql(&format!(
            "SELECT count(*) FROM public.request_logs WHERE {OPEN}"
        ))?;
        Ok(count.parse()?)
    }

    /// Runs until nothing is open, or nothing becomes known any more.
    async fn rounds(&self) -> Result<()> {
        for _ in 0..ROUNDS {
            if self.open()? == 0 {
                return Ok(());
            }
            join_all((0..AT_ONCE).map(|_| self.run_once())).await;
            // Their leases would take minutes.
            self.sql(&format!(
                "UPDATE public.request_logs SET next_reconcile_at = NULL WHERE {OPEN}"
            ))?;
        }
        Ok(())
    }

    /// Lets time pass for what is open.
    fn age(&self, interval: &str) -> Result<()> {
        self.sql(&format!(
            "UPDATE public.request_logs SET next_reconcile_at = NULL, request_time = request_time - interval '{interval}'
              WHERE {OPEN}"
        ))
        .map(drop)
    }

    /// Gives the emergency records of some requests to the database, twice, as the README says.
    async fn restore(&self, these: impl Fn(&Plan) -> bool) -> Result<()> {
        let records = lock(&self.records).clone();
        for record in records {
            let mut outcome: Value = serde_json::from_str(&record).context("emergency record")?;
            let id: Uuid = outcome["id"].as_str().unwrap_or_default().parse()?;
            let plan = self
                .chronicle
                .number(id)
                .and_then(|number| self.plans.get(number));
            let Some(plan) = plan.filter(|plan| these(plan)) else {
                continue;
            };
            for time in ["first", "second"] {
                let mut answer = self.rpc("finish_request", &outcome).await?;
                if answer["finished"] == false && outcome["cost_state"] == "final" {
                    outcome["settled_at"] = outcome["response_time"].clone();
                    answer = self.rpc("settle_request", &outcome).await?;
                }
                ensure!(
                    time == "first" || answer["finished"] == false || answer["settled"] == false,
                    "{id} was restored twice"
                );
                self.chronicle.note(
                    plan.number,
                    "operator",
                    format!("restores the record: {answer}"),
                );
            }
            self.chronicle
                .count(Group::Settlement, "operator: emergency records restored");
        }
        Ok(())
    }

    /// Asks the database itself, past the door.
    async fn rpc(&self, function: &str, outcome: &Value) -> Result<Value> {
        let answer = self
            .client
            .post(format!("{}/rest/v1/rpc/{function}", self.database.url()))
            .header("apikey", self.database.secret_key())
            .header("content-type", "application/json")
            .body(json!({ "outcome": outcome }).to_string())
            .send()
            .await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "{function}: {status} {text}");
        Ok(serde_json::from_str(&text)?)
    }

    /// Runs SQL as the database's owner.
    fn sql(&self, sql: &str) -> Result<String> {
        let server = self.database.server().context("no server")?;
        Ok(server.query(sql)?)
    }
}

/// Waits until `done`.
pub async fn until(done: impl Fn() -> bool) {
    while !done() {
        sleep(Duration::from_millis(20)).await;
    }
}
