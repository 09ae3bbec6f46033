//! Reports of the steps.

use std::fmt;

use jiff::{SignedDuration, Timestamp, Unit};
use serde::Serialize;
use shared::vault::secret::KeyId;

use super::super::output::Rows;

/// The report of a step.
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

/// A number of rows as a subject: `1 row is`, `2 rows are`.
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

/// A duration in two units, rounded up: "7 d 0 h", "4 min 55 s".
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
