//! The search for records, for fuzz targets.

use super::{csv, find::find as find_records};
use crate::admin::storage::EmergencyRecord;

/// The records in a text, and the number of unreadable ones.
#[must_use]
pub fn find(text: &str) -> (Vec<EmergencyRecord>, usize) {
    let found = find_records(text);
    (found.records, found.unreadable)
}

/// The log lines in a CSV export.
#[must_use]
pub fn csv_messages(text: &str) -> Option<Vec<String>> {
    csv::messages(text)
}
