//! The door between the functions and the database: it treats each call as its request's plan says.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, Weak},
};

use e2e::storage_door::{Call, Door, Porter, Said, Treatment};
use fastrand::Rng;
use serde_json::Value;
use stack::lambda::{Pool, lock};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    chronicle::{Chronicle, Group},
    faults::{Kill, draw_treatment, name_of},
    plan::Plan,
};

/// The functions' way to the database.
pub type StorageDoor = Door<Planned>;

/// Knows what is planned.
#[derive(Debug)]
pub struct Planned {
    plans: Arc<Vec<Plan>>,
    chronicle: Arc<Chronicle>,
    /// How often each call was attempted.
    attempts: Mutex<HashMap<(Uuid, String), usize>>,
    spans: Mutex<HashMap<Uuid, Span>>,
    /// For calls that belong to no request.
    dice: Mutex<Rng>,
    functions: OnceLock<Weak<Pool>>,
}

/// From the end of the call that opened a request, to the beginning of the one that closed its books.
#[derive(Debug, Clone, Copy, Default)]
pub struct Span {
    pub opened: Option<Instant>,
    pub closed: Option<Instant>,
}

/// Whose call it is, and which attempt.
#[derive(Debug, Clone, Copy)]
pub struct Ticket {
    /// The request that it is about, where it is about one.
    id: Option<Uuid>,
    number: Option<usize>,
    attempt: usize,
}

impl Planned {
    #[must_use]
    pub fn new(plans: &Arc<Vec<Plan>>, chronicle: &Arc<Chronicle>, seed: u64) -> Self {
        Self {
            plans: Arc::clone(plans),
            chronicle: Arc::clone(chronicle),
            attempts: Mutex::default(),
            spans: Mutex::default(),
            dice: Mutex::new(Rng::with_seed(seed)),
            functions: OnceLock::new(),
        }
    }

    /// Whose invocations it kills.
    pub fn aim_at(&self, functions: &Arc<Pool>) {
        let _ = self.functions.set(Arc::downgrade(functions));
    }

    /// Since when, and until when, a request was open.
    #[must_use]
    pub fn span(&self, id: Uuid) -> Span {
        lock(&self.spans).get(&id).copied().unwrap_or_default()
    }

    fn ticket(&self, call: &Call) -> Ticket {
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
        Ticket {
            id,
            number: id.and_then(|id| self.chronicle.number(id)),
            attempt,
        }
    }

    /// The plan of the call's request. Faults are planned for the first of two equal requests.
    fn plan(&self, ticket: Ticket) -> Option<&Plan> {
        let plan = self.plans.get(ticket.number?)?;
        (ticket.id == Some(plan.ids[0])).then_some(plan)
    }

    /// When the call's function is to be killed, if it is at this call.
    fn kill(&self, call: &Call, ticket: Ticket) -> Option<Kill> {
        let plan = self.plan(ticket).filter(|_| ticket.attempt == 0)?;
        let kills = match call.function.as_str() {
            "begin_request" => [Kill::Beginning, Kill::Begun],
            "finish_request" => [Kill::Finishing, Kill::Finished],
            _ => return None,
        };
        plan.kill.filter(|kill| kills.contains(kill))
    }

    fn execute_kill(&self, ticket: Ticket, kill: Kill) {
        let pool = self.functions.get().and_then(Weak::upgrade);
        let killed = pool.zip(ticket.id).is_some_and(|(pool, id)| pool.kill(id));
        if killed {
            self.note(ticket, kill.name().to_owned());
            self.chronicle.count(Group::Fault, kill.name());
        }
    }

    fn note(&self, ticket: Ticket, what: String) {
        if let Some(number) = ticket.number {
            self.chronicle.note(number, "storage", what);
        }
    }

    fn treatment(&self, call: &Call, ticket: Ticket) -> Treatment {
        if ticket.number.is_some() {
            return self.plan(ticket).map_or(Treatment::Pass, |plan| {
                plan.storage.treatment(&call.function, ticket.attempt)
            });
        }
        let mut dice = lock(&self.dice);
        if dice.u32(0..12) == 0 {
            draw_treatment(&mut dice)
        } else {
            Treatment::Pass
        }
    }
}

impl Porter for Planned {
    type Ticket = Ticket;

    fn admit(&self, call: &Call) -> (Treatment, Ticket) {
        let ticket = self.ticket(call);
        let treatment = match self.kill(call, ticket) {
            Some(kill @ (Kill::Beginning | Kill::Finishing)) => {
                self.execute_kill(ticket, kill);
                Treatment::Hold
            }
            // Killed when it was executed.
            Some(_) => Treatment::Swallow,
            None => self.treatment(call, ticket),
        };
        if treatment != Treatment::Pass {
            let (function, attempt) = (&call.function, ticket.attempt + 1);
            self.note(
                ticket,
                format!("{function} attempt {attempt}: {treatment:?}"),
            );
            if let Some(name) = name_of(treatment) {
                let name = format!("storage: {function}: {name}");
                self.chronicle.count(Group::Fault, name);
            }
        }
        (treatment, ticket)
    }

    fn executed(&self, call: &Call, ticket: &Ticket, said: Option<&Said>, since: Instant) {
        let succeeded = said.is_some_and(|said| said.status.is_success());
        let text = match said {
            None => "no answer".to_owned(),
            // Keys, even sealed, are no part of a story.
            Some(_) if succeeded && call.function == "begin_request" => "begun".to_owned(),
            Some(said) => format!("{} {}", said.status, String::from_utf8_lossy(&said.body)),
        };
        let (function, attempt) = (&call.function, ticket.attempt + 1);
        self.note(
            *ticket,
            format!("{function} attempt {attempt} is executed: {text}"),
        );
        if let (Some(id), true) = (ticket.id, succeeded) {
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
        if let Some(kill @ (Kill::Begun | Kill::Finished)) = self.kill(call, *ticket) {
            self.execute_kill(*ticket, kill);
        }
    }
}
