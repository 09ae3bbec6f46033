//! `llmgw books restore`.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use serde::Serialize;
use shared::{
    causes::causes,
    config::{Env, StorageConfig},
    http_client,
    storage::{EmergencyRecord, Storage, StorageError},
};
use tokio::time::Instant;

use super::find;
use crate::client::CONNECT_TIMEOUT;
use crate::commands::{Outcome, Surroundings};

/// How long one record is tried.
const PATIENCE: Duration = Duration::from_secs(30);

/// Arguments of `books restore`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A log, an export of one, or bare records; - for stdin
    pub file: PathBuf,
    /// Only say what is in it; asks nobody
    #[arg(long)]
    pub dry_run: bool,
    /// Print the report as one JSON object
    #[arg(long)]
    pub json: bool,
}

const EXAMPLES: &str = "\
Twice does no harm. Reads SUPABASE_URL (or SUPABASE_REST_URL) and SUPABASE_SECRET_KEY. Exit status: 0
if every record is in the books now, 1 if one is not.

Examples:
  llmgw books restore proxy.log
  aws logs filter-log-events --log-group-name /aws/lambda/llm-gateway-proxy \\
      --filter-pattern emergency_record | llmgw books restore -";

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Fate {
    /// The books were closed with it.
    Restored,
    /// They were closed before.
    AlreadyClosed,
    /// No request has its id.
    Unknown,
    /// The storage did not take it.
    Failed,
    /// Nothing, in a dry run.
    Found,
}

impl Fate {
    fn words(self) -> &'static str {
        match self {
            Self::Restored => "restored",
            Self::AlreadyClosed => "already closed",
            Self::Unknown => "unknown request",
            Self::Failed => "failed",
            Self::Found => "found",
        }
    }

    /// Whether the books are in order as far as this record goes.
    fn is_well(self) -> bool {
        matches!(self, Self::Restored | Self::AlreadyClosed | Self::Found)
    }
}

#[derive(Debug, Serialize)]
struct Line {
    id: String,
    outcome: Fate,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Report {
    records: Vec<Line>,
    restored: usize,
    already_closed: usize,
    unknown: usize,
    failed: usize,
    unreadable: usize,
}

pub(super) async fn run(args: Args, around: &mut Surroundings<'_>) -> Result<Outcome> {
    let found = find(&read(&args.file, around.stdin)?);
    let storage = if args.dry_run || found.records.is_empty() {
        None
    } else {
        Some(storage()?)
    };
    let mut lines = Vec::new();
    for record in &found.records {
        let (outcome, error) = match &storage {
            None => (Fate::Found, None),
            Some(storage) => restore(storage, record).await,
        };
        let line = Line {
            id: record.id().to_string(),
            outcome,
            error,
        };
        if !args.json {
            // At once: whoever interrupts it should know how far it came.
            writeln!(around.stdout, "{}  {}", line.id, outcome.words())?;
        }
        lines.push(line);
    }
    report(lines, found.unreadable, args.json, around)
}

fn storage() -> Result<Storage> {
    let config = StorageConfig::read(Env::process())?;
    let client = http_client::build(http_client::web_roots(), CONNECT_TIMEOUT)?;
    Ok(Storage::new(client, &config.url, config.key))
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
    // A torn character is no reason to lose the other lines.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

async fn restore(storage: &Storage, record: &EmergencyRecord) -> (Fate, Option<String>) {
    match storage.restore(record, Instant::now() + PATIENCE).await {
        Ok(finished) if finished.by_this_call => (Fate::Restored, None),
        Ok(_) => (Fate::AlreadyClosed, None),
        Err(StorageError::NoSuchRequest) => (Fate::Unknown, None),
        Err(error) => (Fate::Failed, Some(causes(&error))),
    }
}

fn report(
    lines: Vec<Line>,
    unreadable: usize,
    as_json: bool,
    around: &mut Surroundings<'_>,
) -> Result<Outcome> {
    let count = |fate| lines.iter().filter(|line| line.outcome == fate).count();
    let well = unreadable == 0 && lines.iter().all(|line| line.outcome.is_well());
    let report = Report {
        restored: count(Fate::Restored),
        already_closed: count(Fate::AlreadyClosed),
        unknown: count(Fate::Unknown),
        failed: count(Fate::Failed),
        unreadable,
        records: lines,
    };
    if as_json {
        writeln!(around.stdout, "{}", serde_json::to_string(&report)?)?;
    } else {
        for line in &report.records {
            if let Some(error) = &line.error {
                writeln!(around.stderr, "llmgw: {}: {error}", line.id)?;
            }
        }
        writeln!(
            around.stderr,
            "{} records: {} restored, {} already closed, {} unknown, {} failed; {} unreadable",
            report.records.len(),
            report.restored,
            report.already_closed,
            report.unknown,
            report.failed,
            report.unreadable
        )?;
    }
    Ok(if well {
        Outcome::Done
    } else {
        Outcome::Refused
    })
}
