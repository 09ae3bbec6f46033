//! What the steps report.

use std::fmt;

use jiff::{SignedDuration, Timestamp, Unit};
use serde::Serialize;
use shared::{secret::KeyId, vault::KeyStatus};

use super::super::output::Rows;

/// What a step did.
#[derive(Serialize)]
pub(super) struct Done {
    pub(super) id: KeyId,
    pub(super) changed: bool,
    #[serde(skip)]
    pub(super) what: String,
    pub(super) next: String,
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\nnext: {}", self.what, self.next)
    }
}

/// What `status` shows.
#[derive(Serialize)]
pub(super) struct Status {
    pub(super) primary: KeyId,
    pub(super) changed_at: String,
    #[serde(skip)]
    pub(super) place: String,
    pub(super) keys: Vec<KeyLine>,
    /// Rows of keys that are not in the keyset, or without any; null where the database is not
    /// known.
    pub(super) unknown_rows: Option<u64>,
    pub(super) next: String,
}

#[derive(Serialize)]
pub(super) struct KeyLine {
    pub(super) id: KeyId,
    pub(super) status: KeyStatus,
    pub(super) rows: Option<u64>,
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

/// `1 row is`, `2 rows are`.
pub(super) struct Are(pub(super) u64);

impl fmt::Display for Are {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}",
            Rows(self.0),
            if self.0 == 1 { "is" } else { "are" }
        )
    }
}

pub(super) fn clock_time(time: Timestamp) -> String {
    time.round(Unit::Second).unwrap_or(time).to_string()
}

/// In whole units: "7 d", "4 min 55 s".
pub(super) fn span(span: SignedDuration) -> String {
    let seconds = span.as_secs() + i64::from(span.subsec_nanos() > 0);
    match (
        seconds / 86_400,
        seconds % 86_400 / 3600,
        seconds / 60 % 60,
        seconds % 60,
    ) {
        (0, 0, 0, s) => format!("{s} s"),
        (0, 0, min, s) => format!("{min} min {s} s"),
        (0, h, min, _) => format!("{h} h {min} min"),
        (d, h, _, _) => format!("{d} d {h} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_in_two_units_rounded_up() {
        for (seconds, text) in [
            (SignedDuration::from_millis(100), "1 s"),
            (SignedDuration::from_secs(310), "5 min 10 s"),
            (SignedDuration::from_mins(150), "2 h 30 min"),
            (SignedDuration::from_hours(168), "7 d 0 h"),
        ] {
            assert_eq!(span(seconds), text);
        }
    }
}
