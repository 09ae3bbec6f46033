//! The journal of a run: the events of each request, and the number of times that each fault occurred.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    sync::Mutex,
    time::{Duration, Instant},
};

use stack::lambda::lock;
use uuid::Uuid;

use crate::plan::Plan;

/// The notes of a run.
#[derive(Debug)]
pub struct Journal {
    start: Instant,
    by_id: HashMap<Uuid, usize>,
    notes: Mutex<HashMap<usize, Vec<Note>>>,
    counts: Mutex<BTreeMap<(Group, String), u64>>,
}

#[derive(Debug)]
struct Note {
    at: Duration,
    source: &'static str,
    text: String,
}

/// The group of a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// A fault that occurred.
    Fault,
    /// A client's result.
    Client,
    /// A result of the operator's or of reconciliation's work.
    Settlement,
}

impl Journal {
    #[must_use]
    pub fn new(plans: &[Plan]) -> Self {
        let ids = plans
            .iter()
            .flat_map(|plan| plan.ids.map(|id| (id, plan.number)));
        Self {
            start: Instant::now(),
            by_id: ids.collect(),
            notes: Mutex::default(),
            counts: Mutex::default(),
        }
    }

    /// The number of an invocation's request.
    #[must_use]
    pub fn number(&self, id: Uuid) -> Option<usize> {
        self.by_id.get(&id).copied()
    }

    pub fn note(&self, number: usize, source: &'static str, text: impl Into<String>) {
        let note = Note {
            at: self.start.elapsed(),
            source,
            text: text.into(),
        };
        lock(&self.notes).entry(number).or_default().push(note);
    }

    pub fn count(&self, group: Group, name: impl Into<String>) {
        self.count_many(group, name, 1);
    }

    pub fn count_many(&self, group: Group, name: impl Into<String>, times: u64) {
        *lock(&self.counts).entry((group, name.into())).or_default() += times;
    }

    /// The counts of a group, by name.
    #[must_use]
    pub fn counts(&self, group: Group) -> Vec<(String, u64)> {
        lock(&self.counts)
            .iter()
            .filter(|((of, _), _)| *of == group)
            .map(|((_, name), times)| (name.clone(), *times))
            .collect()
    }

    /// Adds a line of a function's log.
    pub fn logged(&self, line: &str) {
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
        let number = line["request.id"]
            .as_str()
            .and_then(|id| self.number(id.parse().ok()?));
        if let Some(number) = number {
            self.note(number, "function", line.to_string());
        }
    }

    /// The notes of a request, in the order of time.
    #[must_use]
    pub fn history(&self, number: usize) -> String {
        let mut text = String::new();
        for note in lock(&self.notes).get(&number).into_iter().flatten() {
            let at = note.at.as_secs_f64();
            let _ = writeln!(text, "  {at:>9.3} s  {:<9} {}", note.source, note.text);
        }
        text
    }
}
