//! What everyone saw of each request, and how often each fault came about.

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
pub struct Chronicle {
    start: Instant,
    by_id: HashMap<Uuid, usize>,
    stories: Mutex<HashMap<usize, Vec<Note>>>,
    counts: Mutex<BTreeMap<(Group, String), u64>>,
}

#[derive(Debug)]
struct Note {
    at: Duration,
    who: &'static str,
    what: String,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// A fault that came about.
    Fault,
    /// How clients fared.
    Client,
    /// What the operator and reconciliation did.
    Settlement,
}

impl Chronicle {
    #[must_use]
    pub fn of(plans: &[Plan]) -> Self {
        let ids = plans
            .iter()
            .flat_map(|plan| plan.ids.map(|id| (id, plan.number)));
        Self {
            start: Instant::now(),
            by_id: ids.collect(),
            stories: Mutex::default(),
            counts: Mutex::default(),
        }
    }

    /// The request to which an invocation belongs.
    #[must_use]
    pub fn number(&self, id: Uuid) -> Option<usize> {
        self.by_id.get(&id).copied()
    }

    pub fn note(&self, number: usize, who: &'static str, what: impl Into<String>) {
        let note = Note {
            at: self.start.elapsed(),
            who,
            what: what.into(),
        };
        lock(&self.stories).entry(number).or_default().push(note);
    }

    pub fn count(&self, group: Group, name: impl Into<String>) {
        self.count_many(group, name, 1);
    }

    pub fn count_many(&self, group: Group, name: impl Into<String>, times: u64) {
        *lock(&self.counts).entry((group, name.into())).or_default() += times;
    }

    /// What was counted, by name.
    #[must_use]
    pub fn counts(&self, group: Group) -> Vec<(String, u64)> {
        lock(&self.counts)
            .iter()
            .filter(|((of, _), _)| *of == group)
            .map(|((_, name), times)| (name.clone(), *times))
            .collect()
    }

    /// Takes in a line of a function's log.
    pub fn logged(&self, line: &str) {
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
        let number = line["request.id"]
            .as_str()
            .and_then(|id| self.number(id.parse().ok()?));
        if let Some(number) = number {
            self.note(number, "function", line.to_string());
        }
    }

    /// All that is known of a request, in the order of time.
    #[must_use]
    pub fn story(&self, number: usize) -> String {
        let mut text = String::new();
        for note in lock(&self.stories).get(&number).into_iter().flatten() {
            let at = note.at.as_secs_f64();
            let _ = writeln!(text, "  {at:>9.3} s  {:<9} {}", note.who, note.what);
        }
        text
    }
}
