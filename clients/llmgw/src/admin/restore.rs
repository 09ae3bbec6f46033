//! `llmgw admin restore`: finishes requests from the emergency records that the gateway logged when
//! the database could not be written.

mod csv;
mod find;
#[cfg(fuzzing)]
pub mod fuzzing;

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use clap::Args;
use serde::Serialize;
use shared::{causes::causes, storage::StorageError};

use self::find::find;
use super::{
    output::Output,
    services::{Services, deadline},
    storage::{AdminStorage, EmergencyRecord},
};
use crate::context::Outcome;

/// Arguments of `restore`.
#[derive(Debug, Args)]
#[command(after_help = NOTES)]
pub struct RestoreArgs {
    /// A log, an export of one, or bare records; - for stdin
    pub file: PathBuf,
    /// List the records without connecting to the database
    #[arg(long)]
    pub dry_run: bool,
}

const NOTES: &str = "\
Restoring twice is harmless. Reads SUPABASE_URL (or SUPABASE_REST_URL) and SUPABASE_SECRET_KEY. Exit
status: 0 if the database has every record, 1 if one is missing.

Examples:
  llmgw admin restore proxy.log
  aws logs filter-log-events --log-group-name /aws/lambda/llm-gateway-proxy \\
      --filter-pattern emergency_record | llmgw admin restore -";

pub(super) async fn run(
    args: &RestoreArgs,
    services: &Services,
    stdin: &mut dyn Read,
    output: &mut Output<'_>,
) -> Result<Outcome> {
    let found = find(&read(&args.file, stdin)?);
    let storage = if args.dry_run || found.records.is_empty() {
        None
    } else {
        Some(services.storage()?)
    };
    let mut records = Vec::new();
    for record in &found.records {
        let (outcome, error) = match &storage {
            None => (RecordOutcome::Found, None),
            Some(storage) => restore(storage, record).await,
        };
        let record = RecordReport {
            id: record.id().to_string(),
            outcome,
            error,
        };
        // Immediately, so that an interrupted run shows its progress.
        output.line(&format!("{}  {}", record.id, outcome.words()))?;
        records.push(record);
    }
    print(&Report::new(records, found.unreadable), output)
}

fn read(file: &Path, stdin: &mut dyn Read) -> Result<String> {
    let mut bytes = Vec::new();
    if file == Path::new("-") {
        stdin
            .read_to_end(&mut bytes)
            .context("cannot read the log from stdin")?;
    } else {
        bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    }
    // A torn character must not lose the other lines.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

async fn restore(
    storage: &AdminStorage,
    record: &EmergencyRecord,
) -> (RecordOutcome, Option<String>) {
    match storage.restore(record, deadline()).await {
        Ok(finished) if finished.by_this_call => (RecordOutcome::Restored, None),
        Ok(_) => (RecordOutcome::AlreadyClosed, None),
        Err(StorageError::NoSuchRequest) => (RecordOutcome::Unknown, None),
        Err(error) => (RecordOutcome::Failed, Some(causes(&error))),
    }
}

fn print(report: &Report, output: &mut Output<'_>) -> Result<Outcome> {
    for record in &report.records {
        if let Some(error) = &record.error {
            output.summary(&format!("llmgw: {}: {error}", record.id))?;
        }
    }
    output.json(report)?;
    output.summary(&format!(
        "{} records: {} restored, {} already closed, {} unknown, {} failed; {} unreadable",
        report.records.len(),
        report.restored,
        report.already_closed,
        report.unknown,
        report.failed,
        report.unreadable
    ))?;
    Ok(Outcome::from_ok(report.is_complete()))
}

/// The fate of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum RecordOutcome {
    /// The request was finished with it.
    Restored,
    /// The request had been finished before.
    AlreadyClosed,
    /// The database has no request with its id.
    Unknown,
    /// The database failed.
    Failed,
    /// A dry run found it.
    Found,
}

impl RecordOutcome {
    fn words(self) -> &'static str {
        match self {
            Self::Restored => "restored",
            Self::AlreadyClosed => "already closed",
            Self::Unknown => "unknown request",
            Self::Failed => "failed",
            Self::Found => "found",
        }
    }

    /// Whether nothing is left to do for the record.
    fn is_complete(self) -> bool {
        match self {
            Self::Restored | Self::AlreadyClosed | Self::Found => true,
            Self::Unknown | Self::Failed => false,
        }
    }
}

#[derive(Debug, Serialize)]
struct RecordReport {
    id: String,
    outcome: RecordOutcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Report {
    records: Vec<RecordReport>,
    restored: usize,
    already_closed: usize,
    unknown: usize,
    failed: usize,
    unreadable: usize,
}

impl Report {
    fn new(records: Vec<RecordReport>, unreadable: usize) -> Self {
        let count = |outcome| records.iter().filter(|it| it.outcome == outcome).count();
        Self {
            restored: count(RecordOutcome::Restored),
            already_closed: count(RecordOutcome::AlreadyClosed),
            unknown: count(RecordOutcome::Unknown),
            failed: count(RecordOutcome::Failed),
            unreadable,
            records,
        }
    }

    fn is_complete(&self) -> bool {
        self.unreadable == 0 && self.records.iter().all(|it| it.outcome.is_complete())
    }
}
