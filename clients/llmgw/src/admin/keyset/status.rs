//! How far a rotation is, and what comes next.

use std::fmt;

use anyhow::Result;
use serde::Serialize;
use shared::vault::{keyset::KeyStatus, secret::KeyId};

use super::{
    super::{
        output::{Output, Rows},
        services::rows_of,
    },
    GRACE, Step,
    report::clock_time,
};
use crate::commands::Outcome;

impl Step<'_> {
    pub(super) async fn status(self, output: &mut Output<'_>) -> Result<Outcome> {
        let rows = self.rows_if_known().await;
        let keys = self
            .keyset
            .keys()
            .map(|(id, status)| KeyLine {
                id,
                status,
                rows: rows.as_deref().map(|rows| rows_of(rows, id)),
            })
            .collect::<Vec<_>>();
        let strangers = rows.as_ref().map(|rows| {
            rows.iter()
                .filter(|count| {
                    !count
                        .seal_key_id
                        .is_some_and(|id| keys.iter().any(|key| key.id == id))
                })
                .map(|count| count.rows)
                .sum()
        });
        let status = Status {
            primary: self.keyset.primary_id(),
            changed_at: clock_time(self.read.changed_at),
            next: self.next(&keys),
            place: self.store.to_string(),
            keys,
            unknown_rows: strangers,
        };
        output.report(&status)?;
        Ok(Outcome::Done)
    }

    /// What comes next in a rotation.
    fn next(&self, keys: &[KeyLine]) -> String {
        let of = |status| keys.iter().filter(move |key| key.status == status);
        let primary_rows = of(KeyStatus::Primary)
            .filter_map(|key| key.rows)
            .sum::<u64>();
        let ready = clock_time(self.read.changed_at + self.wait());
        match (
            of(KeyStatus::Enabled).next(),
            of(KeyStatus::Disabled).next(),
        ) {
            (Some(other), _) => match other.rows {
                Some(0) if primary_rows == 0 => format!(
                    "`llmgw admin keyset promote {0}` if it was added, or `disable {0}` if it was \
                     replaced; not before {ready}",
                    other.id
                ),
                Some(0) => format!(
                    "not before {ready}: `llmgw admin keyset promote {0}` if it was added, or \
                     `llmgw admin keyset disable {0}` if it was replaced",
                    other.id
                ),
                Some(_) => "`llmgw admin rewrap`".to_owned(),
                None => {
                    "unknown: the database does not tell how many rows each key seals".to_owned()
                }
            },
            (None, Some(other)) => format!(
                "after {}: `llmgw admin keyset destroy {}`",
                clock_time(self.read.changed_at + GRACE),
                other.id
            ),
            (None, None) => "nothing; `llmgw admin keyset add` begins a rotation".to_owned(),
        }
    }
}

/// What `status` shows.
#[derive(Serialize)]
struct Status {
    primary: KeyId,
    changed_at: String,
    #[serde(skip)]
    place: String,
    keys: Vec<KeyLine>,
    /// Rows of keys that are not in the keyset, or without any; null where the database is not
    /// known.
    unknown_rows: Option<u64>,
    next: String,
}

#[derive(Serialize)]
struct KeyLine {
    id: KeyId,
    status: KeyStatus,
    rows: Option<u64>,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, changed at {}", self.place, self.changed_at)?;
        for KeyLine { id, status, rows } in &self.keys {
            let status = match status {
                KeyStatus::Primary => "primary",
                KeyStatus::Enabled => "enabled",
                KeyStatus::Disabled => "disabled",
                KeyStatus::Destroyed => "destroyed",
            };
            let rows = rows.map_or("rows unknown".to_owned(), |rows| Rows(rows).to_string());
            writeln!(f, "{id:>10}  {status:<9}  {rows}")?;
        }
        if let Some(rows) = self.unknown_rows.filter(|rows| *rows > 0) {
            writeln!(f, "         –  not here   {}", Rows(rows))?;
        }
        write!(f, "next: {}", self.next)
    }
}
