//! Finding emergency records in logs and their exports.

use std::collections::HashSet;

use super::super::storage::EmergencyRecord;
use serde_json::{Deserializer, Value};

use super::csv;

/// The field of a log line that contains a record.
const MEMBER: &str = "emergency_record";

/// The records of a text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// The records in order, without duplicates.
    pub records: Vec<EmergencyRecord>,
    /// The number of unreadable records: torn lines, other formats.
    pub unreadable: usize,
}

/// Looks for records in log lines of the gateway, in CloudWatch's exports of them (JSON with the lines
/// in `events[].message` or `@message`, lines behind a time stamp, CSV), and for bare records.
///
/// Log lines quote what clients sent, so a record counts only where the gateway alone writes: as the
/// member `emergency_record` of a whole line of level ERROR, in one of these envelopes; or bare, where the
/// file's line or JSON value is the record. No other text is searched, whatever it looks like.
#[must_use]
pub(super) fn find(text: &str) -> Found {
    let mut found = Found::default();
    if let Ok(values) = values(text) {
        for value in &values {
            found.entry(value);
        }
    } else if let Some(messages) = Some(text)
        .filter(|text| has_csv_header(text))
        .and_then(csv::messages)
    {
        for message in &messages {
            found.message(message);
        }
        // In rows that are torn, and in other columns.
        let read: usize = messages.iter().map(|it| mentions(it)).sum();
        found.unreadable += mentions(text).saturating_sub(read);
    } else {
        text.lines().for_each(|line| found.line(line));
    }
    remove_duplicates(&mut found.records);
    found
}

fn remove_duplicates(records: &mut Vec<EmergencyRecord>) {
    let mut seen = HashSet::new();
    records.retain(|record| seen.insert(record.clone()));
}

impl Found {
    /// A JSON value that is no part of another text: a bare record, a log line, or an envelope.
    fn entry(&mut self, value: &Value) {
        match value {
            Value::Array(elements) => elements.iter().for_each(|element| self.entry(element)),
            Value::Object(_) if is_bare(value) => self.take(value),
            Value::Object(members) => {
                if let Some(Value::String(message)) = members.get("@message") {
                    self.message(message);
                } else if let Some(Value::Array(events)) = members.get("events") {
                    for event in events {
                        match event.get("message") {
                            Some(Value::String(message)) => self.message(message),
                            _ => self.other(event),
                        }
                    }
                } else if members.contains_key(MEMBER) || members.contains_key("level") {
                    self.log_line(value);
                } else {
                    self.other(value);
                }
            }
            _ => self.other(value),
        }
    }

    /// A JSON value in an envelope that is not known, such as the answer to a query.
    fn other(&mut self, value: &Value) {
        if may_hold_one(&value.to_string()) {
            self.unreadable += 1;
        }
    }

    /// The whole text of one log event.
    fn message(&mut self, text: &str) {
        match values(text).as_deref() {
            Ok([line]) => self.log_line(line),
            _ if may_hold_one(text) => self.unreadable += 1,
            _ => {}
        }
    }

    /// A line of a file: JSON, perhaps behind a time stamp and a log stream.
    fn line(&mut self, line: &str) {
        let (before, json) = line.split_at(line.find('{').unwrap_or(line.len()));
        let mut values = Deserializer::from_str(json).into_iter();
        let first = values.next().and_then(Result::ok);
        let ends = json
            .get(values.byte_offset()..)
            .is_some_and(|rest| rest.trim().is_empty());
        match first {
            Some(value) if before.trim().is_empty() && ends => self.entry(&value),
            Some(value) if !before.trim().is_empty() && is_position(before) => {
                self.log_line(&value);
                // The log stream's name may follow, but nothing that would be lost.
                let rest = json.get(values.byte_offset()..).unwrap_or_default();
                self.unreadable += usize::from(may_hold_one(rest));
            }
            _ if may_hold_one(line) => self.unreadable += 1,
            _ => {}
        }
    }

    /// A line that the gateway logged.
    fn log_line(&mut self, line: &Value) {
        match (line.get(MEMBER), line.get("level")) {
            (None, _) => {}
            (Some(Value::String(record)), Some(Value::String(level))) if level == "ERROR" => {
                self.take(&serde_json::from_str(record).unwrap_or_default());
            }
            _ => self.unreadable += 1,
        }
    }

    /// Adds a record, with its fields in one order, so that duplicates are equal.
    fn take(&mut self, record: &Value) {
        match EmergencyRecord::parse(&record.to_string()) {
            Ok(record) => self.records.push(record),
            Err(_) => self.unreadable += 1,
        }
    }
}

fn values(text: &str) -> Result<Vec<Value>, serde_json::Error> {
    Deserializer::from_str(text).into_iter().collect()
}

/// Whether it is the text that CloudWatch's tools print before a message: time stamps, ids, log streams.
fn is_position(text: &str) -> bool {
    text.split_whitespace()
        .all(|word| word == "EVENTS" || word.starts_with(|first: char| first.is_ascii_digit()))
}

/// Whether a value has the fields of a record, which log lines do not have.
fn is_bare(value: &Value) -> bool {
    ["id", "status", "cost_state", "response_time"]
        .iter()
        .all(|member| value.get(member).is_some())
}

/// Whether the first line names columns, as that of an export does. A log line may hold `",message,"`, too,
/// because clients choose its path and model, but it holds JSON.
fn has_csv_header(text: &str) -> bool {
    let first = text.trim_start_matches('\u{feff}').lines().next();
    first.is_some_and(|line| {
        line.split(',').all(|name| {
            let name = name.trim().trim_matches('"');
            let is_part = |c: char| c.is_ascii_alphanumeric() || "@_.-$ ".contains(c);
            !name.is_empty() && name.chars().all(is_part)
        })
    })
}

fn mentions(text: &str) -> usize {
    text.matches(MEMBER).count()
}

fn may_hold_one(text: &str) -> bool {
    text.contains(MEMBER) || text.contains("\"cost_state\"") || text.contains("\\\"cost_state\\\"")
}

#[cfg(test)]
mod tests;
