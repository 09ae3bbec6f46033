//! Afterwards: an operator restores what only the log knows, and reconciliation runs until nothing is
//! open any more.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context as _, Result};
use futures_util::future::join_all;
use serde_json::Value;
use stack::{
    Database,
    lambda::{Abandoned, Failure, Invocation, Part, Pool, lock},
};
use tokio::{process::Command, time::sleep};
use uuid::Uuid;

use crate::{
    chronicle::{Chronicle, Group},
    plan::{Plan, Restored},
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
    /// What the operator's work did that it must not do.
    pub faults: Mutex<Vec<String>>,
    /// The built command line.
    pub llmgw: PathBuf,
    /// Where it finds its files.
    pub folder: PathBuf,
}

impl Settlement<'_> {
    /// One run of reconciliation, as scheduled.
    pub async fn run_once(&self) -> Option<Value> {
        let mut parts = self.reconcile.invoke(Invocation {
            id: uuid::Builder::from_random_bytes(fastrand::u128(..).to_be_bytes()).into_uuid(),
            event: b"{}".to_vec(),
            time: TIME,
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
        self.restore(Restored::Early).await?;
        // What is still pending is abandoned, and nothing is young any more.
        self.age("30 minutes")?;
        self.rounds().await?;
        self.age("8 days")?;
        self.rounds().await?;
        self.restore(Restored::Late).await?;
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

    /// Gives the emergency records of some requests to the database, twice, as an operator would.
    async fn restore(&self, these: Restored) -> Result<()> {
        let is_theirs = |record: &&String| {
            id_of(record)
                .and_then(|id| self.chronicle.number(id))
                .and_then(|number| self.plans.get(number))
                .is_some_and(|plan| plan.restored == these)
        };
        let records: Vec<String> = lock(&self.records)
            .iter()
            .filter(is_theirs)
            .cloned()
            .collect();
        if records.is_empty() {
            return Ok(());
        }
        let file = self.folder.join("emergency.jsonl");
        fs::write(&file, records.join("\n"))?;
        let first = self.books_restore(&file).await?;
        let second = self.books_restore(&file).await?;
        if second["restored"] != 0 || first["failed"] != 0 || first["unreadable"] != 0 {
            lock(&self.faults).push(format!("restored: {first}, and again: {second}"));
        }
        for fate in ["restored", "already_closed", "unknown"] {
            let times = first[fate].as_u64().unwrap_or_default();
            let name = format!("operator: emergency records: {}", fate.replace('_', " "));
            self.chronicle.count_many(Group::Settlement, name, times);
        }
        for line in first["records"].as_array().into_iter().flatten() {
            let id = line["id"].as_str().and_then(|id| id.parse().ok());
            if let Some(number) = id.and_then(|id| self.chronicle.number(id)) {
                self.chronicle
                    .note(number, "operator", format!("llmgw admin restore: {line}"));
            }
        }
        Ok(())
    }

    /// `llmgw admin restore`, past the door.
    async fn books_restore(&self, file: &Path) -> Result<Value> {
        let output = Command::new(&self.llmgw)
            .args(["admin", "restore", "--json"])
            .arg(file)
            .env_clear()
            .envs(self.database.env())
            .output()
            .await?;
        serde_json::from_slice(&output.stdout).with_context(|| {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            format!("llmgw admin restore: {} {said}", output.status)
        })
    }

    /// Runs SQL as the database's owner.
    fn sql(&self, sql: &str) -> Result<String> {
        let server = self.database.server().context("no server")?;
        Ok(server.query(sql)?)
    }
}

/// The request that an emergency record is about.
#[must_use]
pub fn id_of(record: &str) -> Option<Uuid> {
    let record: Value = serde_json::from_str(record).ok()?;
    record["id"].as_str()?.parse().ok()
}

/// Waits until `done`.
pub async fn until(done: impl Fn() -> bool) {
    while !done() {
        sleep(Duration::from_millis(20)).await;
    }
}
