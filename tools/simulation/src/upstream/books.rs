//! The stub's own ledger.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use stack::lambda::lock;
use tokio::time::Instant;

use crate::{amount::Amount, chronicle::Chronicle, faults::Behaviour, plan::Plan};

/// What the stub knows of one request.
#[derive(Debug, Default, Clone)]
pub struct Exchange {
    /// How often it came.
    pub received: u32,
    /// What was billed: one amount each time.
    pub bills: Vec<Amount>,
    /// The bytes of the body that were sent.
    pub sent: Vec<u8>,
    /// The status that was sent.
    pub status: Option<u16>,
    /// How many of its connections are still open.
    open: u32,
    /// How often its generation was asked for.
    asked: u32,
    /// Since when its job runs.
    job_since: Option<Instant>,
}

/// What was billed, to whom, for what.
#[derive(Debug)]
pub struct Books {
    plans: Arc<Vec<Plan>>,
    chronicle: Arc<Chronicle>,
    exchanges: Mutex<HashMap<usize, Exchange>>,
    faults: Mutex<Vec<String>>,
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Job {
    Unknown,
    Running,
    Done,
    Failed,
}

/// What `GET /generation` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Generation {
    NotFound,
    Billed,
    Free,
}

impl Books {
    pub(super) fn new(plans: Arc<Vec<Plan>>, chronicle: Arc<Chronicle>) -> Self {
        Self {
            plans,
            chronicle,
            exchanges: Mutex::default(),
            faults: Mutex::default(),
        }
    }

    /// What is known of a request.
    #[must_use]
    pub fn exchange(&self, number: usize) -> Exchange {
        lock(&self.exchanges)
            .get(&number)
            .cloned()
            .unwrap_or_default()
    }

    /// What the gateway sent and must not send.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        lock(&self.faults).clone()
    }

    pub(super) fn fault(&self, what: String) {
        lock(&self.faults).push(what);
    }

    pub(super) fn received(&self, number: usize) {
        self.with(number, |exchange| {
            exchange.received += 1;
            exchange.open += 1;
        });
    }

    pub(super) fn answered(&self, number: usize, status: u16) {
        self.chronicle
            .note(number, "upstream", format!("answers {status}"));
        self.with(number, |exchange| exchange.status = Some(status));
    }

    pub(super) fn sent(&self, number: usize, bytes: &[u8]) {
        self.with(number, |exchange| exchange.sent.extend_from_slice(bytes));
    }

    /// One of the request's connections is over.
    pub(super) fn ended(&self, number: usize) {
        self.with(number, |exchange| {
            exchange.open = exchange.open.saturating_sub(1);
        });
    }

    pub(super) fn bill(&self, number: usize) {
        if let Some(plan) = self.plans.get(number) {
            let total = plan.price.total;
            self.chronicle
                .note(number, "upstream", format!("BILLS {total}"));
            self.with(number, |exchange| exchange.bills.push(total));
        }
    }

    pub(super) fn accept_job(&self, number: usize) {
        self.with(number, |exchange| {
            exchange.job_since = Some(Instant::now());
        });
    }

    /// How far the job of a request is. It is billed once, when it is done.
    pub(super) fn job(&self, number: usize) -> Job {
        let Some(plan) = self.plans.get(number) else {
            return Job::Unknown;
        };
        let state = self.with(number, |exchange| match exchange.job_since {
            None => Job::Unknown,
            Some(since) if since.elapsed() < plan.job.time => Job::Running,
            Some(_) if plan.job.fails => Job::Failed,
            Some(_) => Job::Done,
        });
        if state == Job::Done && self.exchange(number).bills.is_empty() {
            self.bill(number);
        }
        state
    }

    /// Bills the jobs that are done and that nobody asked for.
    pub fn complete_jobs(&self) {
        for plan in self.plans.iter().filter(|plan| plan.kind.is_job()) {
            self.job(plan.number);
        }
    }

    pub(super) fn generation(&self, number: usize) -> Generation {
        let Some(plan) = self.plans.get(number) else {
            return Generation::NotFound;
        };
        if plan.kind.is_job() {
            self.job(number);
        }
        self.with(number, |exchange| {
            exchange.asked += 1;
            let is_known = plan.generation.cancelled_is_known
                || matches!(plan.behaviour, Behaviour::ErrorBody { .. });
            if exchange.received == 0 || exchange.asked <= plan.generation.hidden_for {
                Generation::NotFound
            } else if !exchange.bills.is_empty() {
                Generation::Billed
            } else if exchange.open == 0 && is_known {
                Generation::Free
            } else {
                Generation::NotFound
            }
        })
    }

    fn with<T>(&self, number: usize, change: impl FnOnce(&mut Exchange) -> T) -> T {
        change(lock(&self.exchanges).entry(number).or_default())
    }
}
