//! The bills of the stub, and its part of each exchange.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use stack::lambda::lock;
use stub::script::Behaviour;
use tokio::time::Instant;

use crate::{amount::Amount, journal::Journal, plan::Plan};

/// One request, as the stub saw it.
#[derive(Debug, Default, Clone)]
pub struct Exchange {
    /// The number of times it arrived.
    pub received: u32,
    /// The bills.
    pub bills: Vec<Amount>,
    /// The bytes that were sent of the answer's body.
    pub sent: Vec<u8>,
    /// The answer's status.
    pub status: Option<u16>,
    /// The number of its connections that are still open.
    open: u32,
    /// The number of questions about its generation.
    asked: u32,
    /// The start of its job.
    job_since: Option<Instant>,
}

/// All exchanges and bills.
#[derive(Debug)]
pub struct Bills {
    plans: Arc<Vec<Plan>>,
    journal: Arc<Journal>,
    exchanges: Mutex<HashMap<usize, Exchange>>,
    /// The rules that the gateway broke.
    violations: Mutex<Vec<String>>,
}

/// The state of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Job {
    Unknown,
    Running,
    Completed,
    Failed,
}

/// The answer of `GET /generation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Generation {
    NotFound,
    Billed,
    Free,
}

impl Bills {
    pub(crate) fn new(plans: Arc<Vec<Plan>>, journal: Arc<Journal>) -> Self {
        Self {
            plans,
            journal,
            exchanges: Mutex::default(),
            violations: Mutex::default(),
        }
    }

    /// The exchange of a request.
    #[must_use]
    pub fn exchange(&self, number: usize) -> Exchange {
        lock(&self.exchanges)
            .get(&number)
            .cloned()
            .unwrap_or_default()
    }

    /// The rules that the gateway broke.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        lock(&self.violations).clone()
    }

    pub(crate) fn violation(&self, text: String) {
        lock(&self.violations).push(text);
    }

    pub(crate) fn received(&self, number: usize) {
        self.with(number, |exchange| {
            exchange.received += 1;
            exchange.open += 1;
        });
    }

    pub(crate) fn answered(&self, number: usize, status: u16) {
        self.journal
            .note(number, "upstream", format!("answers {status}"));
        self.with(number, |exchange| exchange.status = Some(status));
    }

    pub(crate) fn sent(&self, number: usize, bytes: &[u8]) {
        self.with(number, |exchange| exchange.sent.extend_from_slice(bytes));
    }

    /// Notes the end of one of the request's connections.
    pub(crate) fn ended(&self, number: usize) {
        self.with(number, |exchange| {
            exchange.open = exchange.open.saturating_sub(1);
        });
    }

    pub(crate) fn bill(&self, number: usize) {
        if let Some(plan) = self.plans.get(number) {
            let total = plan.price.total;
            self.journal
                .note(number, "upstream", format!("BILLS {total}"));
            self.with(number, |exchange| exchange.bills.push(total));
        }
    }

    pub(crate) fn accept_job(&self, number: usize) {
        self.with(number, |exchange| {
            exchange.job_since = Some(Instant::now());
        });
    }

    /// The state of a request's job, which is billed once, on completion.
    pub(crate) fn job(&self, number: usize) -> Job {
        let Some(plan) = self.plans.get(number) else {
            return Job::Unknown;
        };
        let state = self.with(number, |exchange| match exchange.job_since {
            None => Job::Unknown,
            Some(since) if since.elapsed() < plan.job.time => Job::Running,
            Some(_) if plan.job.fails => Job::Failed,
            Some(_) => Job::Completed,
        });
        if state == Job::Completed && self.exchange(number).bills.is_empty() {
            self.bill(number);
        }
        state
    }

    /// Bills the completed jobs that nobody asked for.
    pub fn complete_jobs(&self) {
        for plan in self
            .plans
            .iter()
            .filter(|plan| plan.kind.endpoint().is_job())
        {
            self.job(plan.number);
        }
    }

    pub(crate) fn generation(&self, number: usize) -> Generation {
        let Some(plan) = self.plans.get(number) else {
            return Generation::NotFound;
        };
        if plan.kind.endpoint().is_job() {
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
