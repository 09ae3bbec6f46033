//! The proxy between the functions and the database: each call meets the fault that its request's plan
//! says.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;

use e2e::chaos_proxy::{Call, ChaosProxy, Fault, FaultPolicy, StorageResponse};
use fastrand::Rng;
use serde_json::Value;
use stack::lambda::{Pool, lock};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    faults::{Kill, draw_fault, storage_name},
    journal::{Group, Journal},
    plan::Plan,
};

/// The functions' way to the database.
pub type StorageProxy = ChaosProxy<PlannedFaults>;

/// The faults that the plans say.
#[derive(Debug)]
pub struct PlannedFaults {
    plans: Arc<Vec<Plan>>,
    journal: Arc<Journal>,
    /// The number of attempts of each call.
    attempts: Mutex<HashMap<(Uuid, String), usize>>,
    spans: Mutex<HashMap<Uuid, Span>>,
    /// Decides on calls that belong to no request.
    dice: Mutex<Rng>,
    functions: OnceLock<Weak<Pool>>,
    /// The milliseconds by which reconciliation's clock is ahead.
    ahead: AtomicU64,
}

/// The time from the end of the call that opened a request to the start of the call that closed it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Span {
    pub opened: Option<Instant>,
    pub closed: Option<Instant>,
}

/// The request that a call is about, and the attempt.
#[derive(Debug, Clone, Copy)]
pub struct Context {
    /// The request's id; `None` if the call is about none.
    id: Option<Uuid>,
    number: Option<usize>,
    attempt: usize,
}

impl PlannedFaults {
    #[must_use]
    pub fn new(plans: &Arc<Vec<Plan>>, journal: &Arc<Journal>, seed: u64) -> Self {
        Self {
            plans: Arc::clone(plans),
            journal: Arc::clone(journal),
            attempts: Mutex::default(),
            spans: Mutex::default(),
            dice: Mutex::new(Rng::with_seed(seed)),
            functions: OnceLock::new(),
            ahead: AtomicU64::new(0),
        }
    }

    /// Lets time pass for reconciliation: its clock is so much ahead from now on. Requests keep the time at
    /// which they began, which decides what period of a budget they count in.
    pub(crate) fn set_ahead(&self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.ahead.store(millis, Ordering::SeqCst);
    }

    /// Sets the functions whose processes it kills.
    pub fn aim_at(&self, functions: &Arc<Pool>) {
        let _ = self.functions.set(Arc::downgrade(functions));
    }

    /// The time for which a request was open.
    #[must_use]
    pub fn span(&self, id: Uuid) -> Span {
        lock(&self.spans).get(&id).copied().unwrap_or_default()
    }

    fn context(&self, call: &Call) -> Context {
        let body: Value = serde_json::from_slice(&call.body).unwrap_or_default();
        let id = body["request"]["id"]
            .as_str()
            .or_else(|| body["outcome"]["id"].as_str())
            .and_then(|id| id.parse().ok());
        let attempt = id.map_or(0, |id| {
            let mut attempts = lock(&self.attempts);
            let count = attempts.entry((id, call.function.clone())).or_default();
            *count += 1;
            *count - 1
        });
        Context {
            id,
            number: id.and_then(|id| self.journal.number(id)),
            attempt,
        }
    }

    /// The plan of the call's request. Faults are planned for the first of two equal requests.
    fn plan(&self, context: Context) -> Option<&Plan> {
        let plan = self.plans.get(context.number?)?;
        (context.id == Some(plan.ids[0])).then_some(plan)
    }

    /// The kill that is planned for this call.
    fn kill(&self, call: &Call, context: Context) -> Option<Kill> {
        let plan = self.plan(context).filter(|_| context.attempt == 0)?;
        let kills = match call.function.as_str() {
            "begin_request" => [Kill::Beginning, Kill::Begun],
            "finish_request" => [Kill::Finishing, Kill::Finished],
            _ => return None,
        };
        plan.kill.filter(|kill| kills.contains(kill))
    }

    fn execute_kill(&self, context: Context, kill: Kill) {
        let pool = self.functions.get().and_then(Weak::upgrade);
        let killed = pool.zip(context.id).is_some_and(|(pool, id)| pool.kill(id));
        if killed {
            self.note(context, kill.name().to_owned());
            self.journal.count(Group::Fault, kill.name());
        }
    }

    fn note(&self, context: Context, text: String) {
        if let Some(number) = context.number {
            self.journal.note(number, "storage", text);
        }
    }

    fn fault(&self, call: &Call, context: Context) -> Fault {
        if context.number.is_some() {
            return self.plan(context).map_or(Fault::None, |plan| {
                plan.storage.fault(&call.function, context.attempt)
            });
        }
        let mut dice = lock(&self.dice);
        if dice.u32(0..12) == 0 {
            draw_fault(&mut dice)
        } else {
            Fault::None
        }
    }
}

impl FaultPolicy for PlannedFaults {
    type Context = Context;

    fn arguments(&self, call: &Call) -> Bytes {
        let ahead = self.ahead.load(Ordering::SeqCst);
        if ahead > 0 && call.function == "claim_unsettled" {
            let mut body: Value = serde_json::from_slice(&call.body).unwrap_or_default();
            if let Some(now) = body["request"]["now"].as_u64() {
                body["request"]["now"] = (now + ahead).into();
                return body.to_string().into();
            }
        }
        call.body.clone()
    }

    fn decide(&self, call: &Call) -> (Fault, Context) {
        let context = self.context(call);
        let fault = match self.kill(call, context) {
            Some(kill @ (Kill::Beginning | Kill::Finishing)) => {
                self.execute_kill(context, kill);
                Fault::Hold
            }
            // The kill follows once the call is executed.
            Some(_) => Fault::HoldResponse,
            None => self.fault(call, context),
        };
        if fault != Fault::None {
            let (function, attempt) = (&call.function, context.attempt + 1);
            self.note(context, format!("{function} attempt {attempt}: {fault:?}"));
            if let Some(name) = storage_name(fault) {
                let name = format!("storage: {function}: {name}");
                self.journal.count(Group::Fault, name);
            }
        }
        (fault, context)
    }

    fn executed(
        &self,
        call: &Call,
        context: &Context,
        response: Option<&StorageResponse>,
        since: Instant,
    ) {
        let succeeded = response.is_some_and(|it| it.status.is_success());
        let text = match response {
            None => "no answer".to_owned(),
            // Keys, even sealed ones, are not written down.
            Some(_) if succeeded && call.function == "begin_request" => "begun".to_owned(),
            Some(response) => {
                let body = String::from_utf8_lossy(&response.body);
                format!("{} {body}", response.status)
            }
        };
        let (function, attempt) = (&call.function, context.attempt + 1);
        self.note(
            *context,
            format!("{function} attempt {attempt} is executed: {text}"),
        );
        if let (Some(id), true) = (context.id, succeeded) {
            let mut spans = lock(&self.spans);
            let span = spans.entry(id).or_default();
            match function.as_str() {
                "begin_request" => {
                    span.opened.get_or_insert_with(Instant::now);
                }
                "finish_request" | "settle_request" => span.closed = Some(since),
                _ => {}
            }
        }
        if let Some(kill @ (Kill::Begun | Kill::Finished)) = self.kill(call, *context) {
            self.execute_kill(*context, kill);
        }
    }
}
