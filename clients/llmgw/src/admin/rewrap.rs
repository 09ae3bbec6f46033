//! `llmgw admin rewrap`: seals every stored key with the primary key.
//!
//! Safe in operation: a row is written only if it still has the content that was opened. Rows name the
//! key that sealed them, so an interrupted run is continued by the next one.

use std::{collections::BTreeMap, fmt};

use anyhow::{Context as _, Result};
use clap::Args;
use serde::Serialize;
use shared::vault::{keyset::Keyset, secret::KeyId};

use super::{
    output::{Output, Rows},
    row,
    services::{Services, deadline, rows_by_key, rows_of},
    storage::{
        AdminStorage, MOST_RESEALED, Reseal, ResealAction, ResealOutcome, SealedPage, StoredKey,
    },
};
use crate::context::Outcome;

/// The number of passes. Each later pass finds only rows that were replaced during the one before, so
/// rows that are left after these mean that something still seals with the old key.
const PASSES: u32 = 5;

/// Arguments of `rewrap`.
#[derive(Debug, Clone, Copy, Args)]
pub struct RewrapArgs {
    /// Open every key and count, but write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// The number of rows per transaction
    #[arg(long, default_value_t = 100, value_name = "ROWS", value_parser = clap::value_parser!(u16).range(1..=500))]
    pub batch: u16,
}

pub(super) async fn run(
    args: RewrapArgs,
    services: &Services,
    output: &mut Output<'_>,
) -> Result<Outcome> {
    let read = services.keyset()?.read().await?;
    let keyset = read.keyset().context("the keyset cannot be used")?;
    let storage = services.storage()?;
    let counts = rows_by_key(&storage).await?;
    let all: u64 = counts.iter().map(|count| count.rows).sum();
    let primary = keyset.primary_id();
    let mut run = Run {
        total: all - rows_of(&counts, primary),
        keyset,
        storage,
        args,
        report: Report {
            primary,
            dry_run: args.dry_run,
            rewrapped: 0,
            replaced_meanwhile: 0,
            unusable: BTreeMap::new(),
            remaining: 0,
        },
    };
    for _ in 0..PASSES {
        if !run.pass(output).await? || args.dry_run {
            break;
        }
    }
    output.end_progress()?;
    run.report.remaining = if args.dry_run {
        run.total
    } else {
        let counts = rows_by_key(&run.storage).await?;
        counts.iter().map(|it| it.rows).sum::<u64>() - rows_of(&counts, primary)
    };
    output.report(&run.report)?;
    let ok = run.report.unusable.is_empty() && (args.dry_run || run.report.remaining == 0);
    Ok(Outcome::from_ok(ok))
}

struct Run {
    keyset: Keyset,
    storage: AdminStorage,
    args: RewrapArgs,
    total: u64,
    report: Report,
}

impl Run {
    /// Seals all rows of other keys once. Returns whether another pass may find more.
    async fn pass(&mut self, output: &mut Output<'_>) -> Result<bool> {
        let mut after: Option<String> = None;
        let mut progress = false;
        loop {
            let page = SealedPage {
                other_than: Some(self.keyset.primary_id()),
                after: after.as_deref(),
                limit: self.args.batch,
            };
            let rows = self.storage.sealed_keys(&page, deadline()).await?;
            let Some(last) = rows.last() else {
                return Ok(progress);
            };
            after = Some(last.did.clone());
            progress |= self.batch(rows).await?;
            output.progress(
                if self.args.dry_run {
                    "opened"
                } else {
                    "rewrapped"
                },
                self.report.rewrapped,
                self.total,
            )?;
        }
    }

    /// Seals a page of rows. Returns whether any row was sealed or replaced by its owner.
    async fn batch(&mut self, rows: Vec<StoredKey>) -> Result<bool> {
        let mut keys = Vec::with_capacity(rows.len());
        for row in rows {
            match row::reseal(&self.keyset, &row) {
                Ok(new) => keys.push(Reseal {
                    did: row.did,
                    old: row.sealed_key,
                    new: new.to_column(),
                    insert: None,
                }),
                Err(fault) => {
                    let owner = if row.retired {
                        format!("{} (retired)", row.did)
                    } else {
                        row.did
                    };
                    self.report.unusable.insert(owner, fault.to_string());
                }
            }
        }
        if self.args.dry_run {
            self.report.rewrapped += keys.len() as u64;
            return Ok(false);
        }
        if keys.is_empty() {
            return Ok(false);
        }
        // A DID may have any number of retired keys, so a page may exceed the limit.
        for keys in keys.chunks(MOST_RESEALED) {
            let outcomes = self
                .storage
                .reseal(ResealAction::Rewrapped, keys, deadline())
                .await
                .context("interrupted; run it again to continue")?;
            for outcome in &outcomes {
                tracing::debug!(did = outcome.did, outcome = ?outcome.outcome, "rewrapped");
                self.report.count(outcome.outcome);
            }
        }
        Ok(true)
    }
}

/// The result of `rewrap`.
#[derive(Serialize)]
struct Report {
    primary: KeyId,
    dry_run: bool,
    /// Rows that were sealed, or would be without `--dry-run`.
    rewrapped: u64,
    /// Rows that their owners replaced or deleted at the same time; those changes are kept.
    replaced_meanwhile: u64,
    /// Faults by DID; a DID with a retired key is marked.
    unusable: BTreeMap<String, String>,
    /// Rows that the primary key does not seal.
    remaining: u64,
}

impl Report {
    fn count(&mut self, outcome: ResealOutcome) {
        match outcome {
            // `Already`: an earlier attempt whose response was lost.
            ResealOutcome::Resealed | ResealOutcome::Already | ResealOutcome::Inserted => {
                self.rewrapped += 1;
            }
            ResealOutcome::Replaced | ResealOutcome::Gone => self.replaced_meanwhile += 1,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (did, fault) in &self.unusable {
            writeln!(f, "cannot be opened: {did}: {fault}")?;
        }
        let done = if self.dry_run {
            "would be sealed"
        } else {
            "sealed"
        };
        write!(
            f,
            "{} {done} with key {}",
            Rows(self.rewrapped),
            self.primary
        )?;
        if self.replaced_meanwhile > 0 {
            write!(f, "; {} replaced meanwhile", self.replaced_meanwhile)?;
        }
        match self.remaining {
            _ if self.dry_run => Ok(()),
            0 => write!(f, "; no row is left"),
            left => write!(
                f,
                "; {} left: run it again, or see `llmgw admin doctor`",
                Rows(left)
            ),
        }
    }
}
