//! Sealing every stored key with the primary key.
//!
//! Safe while users are served and replace their keys: a row is written only if it still holds what
//! was opened. Interrupted anywhere, it goes on where it was when it is run again, because rows
//! name the key that sealed them.

use std::{collections::BTreeMap, fmt};

use anyhow::{Context, Result};
use serde::Serialize;
use shared::{
    storage::{
        Storage,
        administration::{
            MOST_RESEALED, Reseal, ResealAction, ResealOutcome, SealedPage, StoredKey,
        },
    },
    vault::{
        keyset::{Keyset, OpenError},
        secret::{KeyId, MalformedSealedKey, SealedKey},
    },
};

use super::{
    cli::RewrapArgs,
    output::{Output, Rows},
    services::{Services, patience, rows_by_key, rows_of},
};
use crate::commands::Outcome;

/// How often it looks again for rows that were replaced while it worked. Each pass meets only those
/// of the moment, so more means that somebody keeps sealing with the old key.
const PASSES: u32 = 5;

/// Why a row cannot be opened.
#[derive(Debug, Clone, Copy, thiserror::Error)]
pub(super) enum RowFault {
    #[error(transparent)]
    Malformed(#[from] MalformedSealedKey),
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl RowFault {
    /// What to do about it, if the key is `retired` or not.
    pub(super) fn advice(self, retired: bool) -> &'static str {
        match self {
            Self::Open(OpenError::UnknownKeyId(_) | OpenError::DisabledKey(_)) if retired => {
                "enable the keyset's key, or put it back from a copy; else the costs that this \
                 retired key was kept for become unknown, and then it is forgotten"
            }
            _ if retired => {
                "the costs that this retired key was kept for become unknown, and then it is \
                 forgotten"
            }
            Self::Malformed(_) => {
                "if it is from the original system, `llmgw admin import-legacy`; else it was cut \
                 or damaged, and its owner must store the key anew"
            }
            Self::Open(OpenError::UnknownKeyId(_)) => {
                "put the key back from a copy of the keyset, or its owner must store the key anew"
            }
            Self::Open(OpenError::DisabledKey(_)) => {
                "`llmgw admin keyset enable`, then `llmgw admin rewrap`; after `destroy` its owner \
                 must store the key anew"
            }
            Self::Open(OpenError::NotAuthentic) => {
                "cut, changed, or moved here from another row: its owner must store the key anew"
            }
            Self::Open(OpenError::NotAnApiKey(_)) => "its owner must store the key anew",
        }
    }
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
    output.progress_ends()?;
    run.report.remaining = if args.dry_run {
        run.total
    } else {
        let counts = rows_by_key(&run.storage).await?;
        counts.iter().map(|it| it.rows).sum::<u64>() - rows_of(&counts, primary)
    };
    output.report(&run.report)?;
    let well = run.report.unusable.is_empty() && (args.dry_run || run.report.remaining == 0);
    Ok(if well {
        Outcome::Done
    } else {
        Outcome::Refused
    })
}

struct Run {
    keyset: Keyset,
    storage: Storage,
    args: RewrapArgs,
    total: u64,
    report: Report,
}

impl Run {
    /// Goes through all rows of other keys once. Whether another pass may find more.
    async fn pass(&mut self, output: &mut Output<'_>) -> Result<bool> {
        let mut after: Option<String> = None;
        let mut progress = false;
        loop {
            let page = SealedPage {
                other_than: Some(self.keyset.primary_id()),
                after: after.as_deref(),
                limit: self.args.batch,
            };
            let rows = self.storage.sealed_keys(&page, patience()).await?;
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

    /// Seals a page of rows anew. Whether any row was sealed, or was replaced by somebody else.
    async fn batch(&mut self, rows: Vec<StoredKey>) -> Result<bool> {
        let mut keys = Vec::with_capacity(rows.len());
        for row in rows {
            match resealed(&self.keyset, &row) {
                Ok(new) => keys.push(Reseal {
                    did: row.did,
                    old: row.sealed_key,
                    new: new.to_column(),
                    insert: None,
                }),
                Err(fault) => {
                    let whose = if row.retired {
                        format!("{} (retired)", row.did)
                    } else {
                        row.did
                    };
                    self.report.unusable.insert(whose, fault.to_string());
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
        // A DID may have any number of retired keys.
        for keys in keys.chunks(MOST_RESEALED) {
            let outcomes = self
                .storage
                .reseal(ResealAction::Rewrapped, keys, patience())
                .await
                .context("interrupted; run it again, it goes on from here")?;
            for outcome in &outcomes {
                tracing::debug!(did = outcome.did, outcome = ?outcome.outcome, "rewrapped");
                self.report.count(outcome.outcome);
            }
        }
        Ok(true)
    }
}

/// Opens a stored key.
pub(super) fn opened(
    keyset: &Keyset,
    row: &StoredKey,
) -> Result<shared::vault::secret::ApiKey, RowFault> {
    let sealed: SealedKey = row.sealed_key.parse()?;
    Ok(keyset.open(&row.did, &sealed)?)
}

fn resealed(keyset: &Keyset, row: &StoredKey) -> Result<SealedKey, RowFault> {
    Ok(keyset.seal(&row.did, &opened(keyset, row)?))
}

/// What `rewrap` did.
#[derive(Serialize)]
struct Report {
    primary: KeyId,
    dry_run: bool,
    /// In a dry run: those that would be.
    rewrapped: u64,
    /// Their owners replaced or deleted them at the same time; what they stored is kept.
    replaced_meanwhile: u64,
    /// DIDs whose keys cannot be opened, and why; a retired key is said to be one.
    unusable: BTreeMap<String, String>,
    /// Rows that the primary key does not seal.
    remaining: u64,
}

impl Report {
    fn count(&mut self, outcome: ResealOutcome) {
        match outcome {
            // `Already`: an attempt whose answer was lost.
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
            "{} {done} anew with key {}",
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

#[cfg(test)]
mod tests {
    use shared::vault::secret::ApiKey;
    use zeroize::Zeroizing;

    use super::*;

    const DID: &str = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK";

    fn keyset(id: u32) -> Keyset {
        Keyset::parse(&Keyset::generate(&Zeroizing::new([7; 64]), KeyId(id))).unwrap()
    }

    #[test]
    fn each_fault_of_a_row_has_its_advice() {
        let key = ApiKey::new("sk-or-v1-planted".to_owned()).unwrap();
        let row = |did: &str, sealed_key: String| StoredKey {
            did: did.to_owned(),
            sealed_key,
            retired: false,
        };
        let good = keyset(1).seal(DID, &key).to_column();
        assert!(resealed(&keyset(1), &row(DID, good.clone())).is_ok());
        for (row, part) in [
            (row("did:key:zOther", good.clone()), "moved"),
            (row(DID, good[..good.len() - 8].to_owned()), "cut"),
            (row(DID, "00ff:00ff".to_owned()), "import-legacy"),
            (
                row(DID, keyset(2).seal(DID, &key).to_column()),
                "copy of the keyset",
            ),
        ] {
            let fault = resealed(&keyset(1), &row).unwrap_err();
            assert!(fault.advice(false).contains(part), "{fault}");
            // Its owner has another one, or wants none.
            assert!(!fault.advice(true).contains("owner"), "{fault}");
            assert!(!fault.to_string().contains("planted"));
        }
    }
}
