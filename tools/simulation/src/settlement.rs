//! The settlement after the requests: an operator restores the emergency records of the log, and
//! reconciliation runs until nothing is open.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context as _, Result};
use futures_util::future::join_all;
use serde_json::{Value, json};
use stack::{
    Database,
    lambda::{Abandoned, Failure, Invocation, Part, Pool, lock},
};
use tokio::{process::Command, time::sleep};
use uuid::Uuid;

use crate::{
    amount::Amount,
    journal::{Group, Journal},
    openrouter::OpenRouter,
    plan::{Plan, Restore},
    storage::PlannedFaults,
};

/// The number of concurrent runs of reconciliation.
pub const CONCURRENT_RUNS: usize = 3;
/// The function's timeout in `template.yaml`.
const TIMEOUT: Duration = Duration::from_secs(90);
/// More rounds than the generation that is hidden longest needs.
const ROUNDS: usize = 12;

/// The age at which any cost counts as unknown.
const OLD: Duration = Duration::from_hours(8 * 24);

/// The condition of rows that are not settled.
const OPEN: &str = "(cost_state = 'pending' OR status = 'pending')";

/// Everything that settles what a run left open.
#[derive(Debug)]
pub struct Settlement<'a> {
    pub database: &'a Database,
    pub reconcile: Arc<Pool>,
    pub journal: Arc<Journal>,
    pub plans: Arc<Vec<Plan>>,
    /// The functions' way to the database.
    pub storage: Arc<PlannedFaults>,
    /// The emergency records in the functions' log.
    pub records: Arc<Mutex<Vec<String>>>,
    /// Its bills, which an operator looks up.
    pub openrouter: Arc<OpenRouter>,
    /// The rules that the operator's work, or its findings, broke.
    pub violations: Mutex<Vec<String>>,
    /// The built command line.
    pub llmgw: PathBuf,
    /// The folder of its files.
    pub folder: PathBuf,
}

impl Settlement<'_> {
    /// Runs reconciliation once, as the schedule does.
    pub async fn run_once(&self) -> Option<Value> {
        let mut parts = self.reconcile.invoke(Invocation {
            id: uuid::Builder::from_random_bytes(fastrand::u128(..).to_be_bytes()).into_uuid(),
            event: b"{}".to_vec(),
            timeout: TIMEOUT,
            abandoned: Abandoned::Drained,
            last: false,
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
                        self.journal.count_many(Group::Settlement, name, times);
                    }
                    return Some(summary);
                }
                Part::Head(..) => {}
                Part::Failed(failure) => {
                    let how = match failure {
                        Failure::Reported(_) => "reconciliation: runs that failed",
                        Failure::Killed
                        | Failure::TimedOut
                        | Failure::Crashed(_)
                        | Failure::BrokenOff
                        | Failure::NotAnswered
                        | Failure::EventTooLarge
                        | Failure::AnswerTooLarge => "reconciliation: runs that died",
                    };
                    self.journal.count(Group::Settlement, how);
                    return None;
                }
            }
        }
        None
    }

    /// Settles everything that is open.
    pub async fn settle(&self) -> Result<()> {
        self.restore(Restore::Early).await?;
        // Old enough for reconciliation, and for rows to count as abandoned.
        self.pass(Duration::from_mins(30))?;
        self.rounds().await?;
        self.pass(OLD)?;
        self.rounds().await?;
        self.restore(Restore::Late).await?;
        self.pass(Duration::ZERO)?;
        self.rounds().await?;
        // Rows whose cost nobody knows, although the operator restored them.
        self.pass(OLD)?;
        self.rounds().await?;
        self.enter_costs_of_several_generations()
    }

    /// Enters the costs of requests with several generations, of which reconciliation knows one, as an operator
    /// would from OpenRouter's list of bills. Before that it checks the part that is known, and that nothing
    /// better could be known.
    fn enter_costs_of_several_generations(&self) -> Result<()> {
        let unknown = self.sql(
            "SELECT coalesce(json_agg(l), '[]')
               FROM (SELECT id, known_cost::text FROM public.request_logs
                      WHERE cost_state = 'unknown' AND unknown_cost_reason = 'other_generations_not_told') AS l",
        )?;
        let unknown: Vec<Value> = serde_json::from_str(&unknown)?;
        for row in unknown {
            let id = row["id"].as_str().unwrap_or_default();
            let number = id.parse().ok().and_then(|id| self.journal.number(id));
            let Some(plan) = number.and_then(|number| self.plans.get(number)) else {
                continue; // The verdict knows it as a stranger.
            };
            let violation = |text: &str| {
                lock(&self.violations).push(format!("{}: {text}: {row}", plan.tag));
            };
            if plan.part.is_none() || plan.tells_its_whole_cost() {
                violation("is unknown although its whole cost was told");
            }
            let bills = self.openrouter.bills.exchange(plan.number).bills;
            let part = plan.part.as_ref().map(|part| part.total);
            let known = row["known_cost"].as_str().and_then(Amount::parse);
            let [bill] = bills.as_slice() else {
                if known != Some(Amount::ZERO) {
                    violation("a part of it is known, and it was not billed once");
                }
                continue;
            };
            if known != part || known > Some(*bill) {
                violation("the part that is known is not what OpenRouter told");
            }
            let (input, output) = plan.tokens;
            let whole = json!({
                "id": id, "settled_at": 0, "cost_state": "final", "openrouter_cost": bill.to_string(),
                "model": plan.served, "input_tokens": input, "output_tokens": output,
            });
            self.sql(&format!("SELECT public.settle_request('{whole}')"))?;
            let name = "operator: whole costs of several generations entered";
            self.journal.count(Group::Settlement, name);
        }
        Ok(())
    }

    /// The number of open rows.
    pub fn open(&self) -> Result<u64> {
        let count = self.sql(&format!(
            "SELECT count(*) FROM public.request_logs WHERE {OPEN}"
        ))?;
        Ok(count.parse()?)
    }

    /// Runs reconciliation until nothing is open, at most [`ROUNDS`] times.
    async fn rounds(&self) -> Result<()> {
        for _ in 0..ROUNDS {
            if self.open()? == 0 {
                return Ok(());
            }
            join_all((0..CONCURRENT_RUNS).map(|_| self.run_once())).await;
            // Their leases would last minutes.
            self.make_due()?;
        }
        Ok(())
    }

    /// Lets time pass since the run.
    fn pass(&self, time: Duration) -> Result<()> {
        self.storage.set_ahead(time);
        self.make_due()
    }

    fn make_due(&self) -> Result<()> {
        self.sql(&format!(
            "UPDATE public.request_logs SET next_reconcile_at = NULL WHERE {OPEN}"
        ))
        .map(drop)
    }

    /// Restores the emergency records that are due, twice, as an operator would.
    async fn restore(&self, due: Restore) -> Result<()> {
        let is_due = |record: &&String| {
            id_of(record)
                .and_then(|id| self.journal.number(id))
                .and_then(|number| self.plans.get(number))
                .is_some_and(|plan| plan.restore == due)
        };
        let records: Vec<String> = lock(&self.records).iter().filter(is_due).cloned().collect();
        if records.is_empty() {
            return Ok(());
        }
        let file = self.folder.join("emergency.jsonl");
        fs::write(&file, records.join("\n"))?;
        let first = self.books_restore(&file).await?;
        let second = self.books_restore(&file).await?;
        if second["restored"] != 0 || first["failed"] != 0 || first["unreadable"] != 0 {
            lock(&self.violations).push(format!("restored: {first}, and again: {second}"));
        }
        for outcome in ["restored", "already_closed", "unknown"] {
            let times = first[outcome].as_u64().unwrap_or_default();
            let name = format!("operator: emergency records: {}", outcome.replace('_', " "));
            self.journal.count_many(Group::Settlement, name, times);
        }
        for line in first["records"].as_array().into_iter().flatten() {
            let id = line["id"].as_str().and_then(|id| id.parse().ok());
            if let Some(number) = id.and_then(|id| self.journal.number(id)) {
                self.journal
                    .note(number, "operator", format!("llmgw admin restore: {line}"));
            }
        }
        Ok(())
    }

    /// Runs `llmgw admin restore`, past the proxy.
    async fn books_restore(&self, file: &Path) -> Result<Value> {
        let output = Command::new(&self.llmgw)
            .args(["admin", "restore", "--json"])
            .arg(file)
            .env_clear()
            .envs(self.database.env())
            .output()
            .await?;
        serde_json::from_slice(&output.stdout).with_context(|| {
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            format!("llmgw admin restore: {} {errors}", output.status)
        })
    }

    /// Runs SQL as the database's owner.
    fn sql(&self, sql: &str) -> Result<String> {
        let server = self.database.server().context("no server")?;
        Ok(server.query(sql)?)
    }
}

/// The id of an emergency record's request.
#[must_use]
pub fn id_of(record: &str) -> Option<Uuid> {
    let record: Value = serde_json::from_str(record).ok()?;
    record["id"].as_str()?.parse().ok()
}

/// Waits until `is_done` returns true.
pub async fn until(is_done: impl Fn() -> bool) {
    while !is_done() {
        sleep(Duration::from_millis(20)).await;
    }
}
