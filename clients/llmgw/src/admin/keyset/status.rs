//! The state of a rotation, and its next step.

use std::fmt;

use anyhow::Result;
use serde::Serialize;
use shared::vault::secret::KeyId;

use super::{
    super::{
        keyset_edit::KeyStatus,
        output::{Output, Rows},
        services::rows_of,
    },
    report::clock_time,
    step::{GRACE, Step},
};
use crate::context::Outcome;

pub(super) async fn run(step: Step<'_>, output: &mut Output<'_>) -> Result<Outcome> {
    let rows = step.rows_if_known().await;
    let keys = step
        .keyset
        .keys()
        .map(|(id, status)| KeyLine {
            id,
            status,
            rows: rows.as_deref().map(|rows| rows_of(rows, id)),
        })
        .collect::<Vec<_>>();
    let unknown_rows = rows.as_ref().map(|rows| {
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
        primary: step.keyset.primary_id(),
        changed_at: clock_time(step.read.changed_at),
        next: next(&step, &keys),
        place: step.store.to_string(),
        keys,
        unknown_rows,
    };
    output.report(&status)?;
    Ok(Outcome::Success)
}

/// The next step of a rotation.
fn next(step: &Step<'_>, keys: &[KeyLine]) -> String {
    let of = |status| keys.iter().filter(move |key| key.status == status);
    let primary_rows = of(KeyStatus::Primary)
        .filter_map(|key| key.rows)
        .sum::<u64>();
    let ready = clock_time(step.read.changed_at + step.wait());
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
                "not before {ready}: `llmgw admin keyset promote {0}` if it was added, or `llmgw \
                 admin keyset disable {0}` if it was replaced",
                other.id
            ),
            Some(_) => "`llmgw admin rewrap`".to_owned(),
            None => "unknown: the database does not return the number of rows that each key seals"
                .to_owned(),
        },
        (None, Some(other)) => format!(
            "after {}: `llmgw admin keyset destroy {}`",
            clock_time(step.read.changed_at + GRACE),
            other.id
        ),
        (None, None) => "nothing; `llmgw admin keyset add` begins a rotation".to_owned(),
    }
}

/// The state of the keyset.
#[derive(Serialize)]
struct Status {
    primary: KeyId,
    changed_at: String,
    #[serde(skip)]
    place: String,
    keys: Vec<KeyLine>,
    /// Rows that no key of the keyset sealed; null if the database cannot be asked.
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
