//! The books: every billable request has an open entry before OpenRouter is asked, and every
//! entry is closed exactly once, whatever happens.
//!
//! What closing cannot wait for is written before: the generation's id as soon as it is known
//! ([`Entry::note_generation`]), so that a function that is killed leaves a row whose cost can be
//! found out. What comes after it is written when it comes: the cost of a job, when its owner asks how
//! far it is ([`JobPoll`]).

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::{
    causes::causes,
    clock::Clock,
    endpoint::{Endpoint, Job},
    error::Error,
    meter::{JobCost, JobReading, Malformed, Reading, Usage},
    request::Invocation,
    secret::without_keys,
    storage::{
        Cost, CostState, Failure, Finding, Finish, Finished, NoteGeneration, SettleJob, Status,
        Storage, StorageError, Tokens,
    },
};

/// How long closing an entry is tried unless configured: an outage of the database must not keep every
/// environment busy, and billed, until its deadline.
pub const PATIENCE: Duration = Duration::from_mins(1);
/// How long naming the generation is tried. It is of use only before the entry is closed, which names
/// it, too; and an outage of the database must not fill environments with it.
const PATIENCE_FOR_NOTES: Duration = Duration::from_secs(5);
/// Kept free before the deadline, for writing the emergency record.
const LAST_MOMENT: Duration = Duration::from_millis(300);
/// How long closing an entry is tried that may not exist.
const PATIENCE_IN_DOUBT: Duration = Duration::from_secs(10);

const DOUBT_PAUSE: Duration = Duration::from_secs(1);

/// How the bytes of an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// All of it was received.
    Complete,
    /// OpenRouter closed the connection in the middle.
    Cut,
    /// OpenRouter fell silent for longer than the configured idle time.
    Stalled,
    /// The invocation's time ran out.
    DeadlineReached,
}

impl Ending {
    /// The stable name in `request_logs.error_reason` and in the error event, unless complete.
    #[must_use]
    pub fn reason(self) -> Option<&'static str> {
        match self {
            Self::Complete => None,
            Self::Cut => Some("upstream_cut"),
            Self::Stalled => Some("upstream_stalled"),
            Self::DeadlineReached => Some("deadline_reached"),
        }
    }

    /// The status that would have said so, had it not been sent already.
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Self::Complete => 200,
            Self::Cut => 502,
            Self::Stalled | Self::DeadlineReached => 504,
        }
    }

    /// One sentence for people.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Self::Complete => "The answer is complete.",
            Self::Cut => "OpenRouter closed the connection before its answer was complete.",
            Self::Stalled => "OpenRouter stopped sending before its answer was complete.",
            Self::DeadlineReached => {
                "The answer took longer than a request may; ask for a shorter one."
            }
        }
    }
}

/// How a billable request ended.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "one lives per request, and it is moved twice"
)]
pub enum Outcome {
    /// OpenRouter answered.
    Answered {
        /// Its HTTP status.
        http_status: u16,
        /// How the body ended.
        ending: Ending,
        /// What the meter read in the body.
        reading: Reading,
        /// The answer's `x-generation-id`, for bodies that do not name it.
        generation_id: Option<String>,
        /// From the request's arrival to the first byte of the body.
        first_byte: Duration,
    },
    /// OpenRouter did not answer.
    NotAnswered {
        /// The stable name of the failure.
        reason: &'static str,
        /// One sentence without secrets.
        message: String,
        /// Whether OpenRouter may have received, and so billed, the request.
        may_have_been_billed: bool,
    },
}

impl Outcome {
    /// What a failure before OpenRouter's answer means for the books.
    #[must_use]
    pub fn not_answered(reason: &'static str, error: &Error) -> Self {
        let (message, may_have_been_billed) = match error {
            Error::Upstream(error) => (error.to_string(), error.may_have_been_billed()),
            other => (other.to_string(), false),
        };
        Self::NotAnswered {
            reason,
            message,
            may_have_been_billed,
        }
    }
}

/// Where entries are kept.
#[derive(Debug, Clone)]
pub struct Ledger {
    /// The database.
    pub storage: Arc<Storage>,
    /// Says when something was written.
    pub clock: Clock,
    /// How long writing is tried, at the longest until the invocation's deadline.
    pub patience: Duration,
}

/// An open row of `request_logs`. Dropped without [`Entry::close`], it closes itself as failed, in
/// a task that the invocation waits for.
#[derive(Debug)]
pub struct Entry {
    row: Option<Row>,
    tasks: TaskTracker,
}

#[derive(Debug)]
struct Row {
    ledger: Ledger,
    id: Uuid,
    endpoint: Endpoint,
    until: Instant,
    /// Whether the database is known to hold the row.
    certain: bool,
    /// As it was noted.
    generation_id: Option<String>,
}

impl Ledger {
    /// The entry that `begin_request` has opened under the invocation's id.
    #[must_use]
    pub fn opened(&self, endpoint: Endpoint, invocation: &Invocation) -> Entry {
        Entry {
            row: Some(Row {
                ledger: self.clone(),
                id: invocation.id,
                endpoint,
                until: last_moment(invocation),
                certain: true,
                generation_id: None,
            }),
            tasks: invocation.tasks.clone(),
        }
    }

    /// The question of `did` about its job.
    #[must_use]
    pub fn poll(&self, did: &str, job: &Job, invocation: &Invocation) -> JobPoll {
        JobPoll {
            ledger: self.clone(),
            did: did.to_owned(),
            job: job.clone(),
            until: last_moment(invocation),
        }
    }
}

fn last_moment(invocation: &Invocation) -> Instant {
    invocation
        .deadline
        .checked_sub(LAST_MOMENT)
        .unwrap_or(invocation.deadline)
}

impl Entry {
    /// Writes the generation's id into the row, unless that was done, without waiting for it: in a
    /// task of the invocation. Should it not succeed, closing the entry writes it.
    pub fn note_generation(&mut self, generation_id: &str) {
        let Some(row) = &mut self.row else { return };
        if row.generation_id.is_some() || generation_id.is_empty() {
            return;
        }
        row.generation_id = Some(generation_id.to_owned());
        let (storage, id) = (Arc::clone(&row.ledger.storage), row.id);
        let until = row.until.min(Instant::now() + PATIENCE_FOR_NOTES);
        let generation_id = generation_id.to_owned();
        self.tasks.spawn(async move {
            let note = NoteGeneration {
                id,
                generation_id: &generation_id,
            };
            if let Err(error) = storage.note_generation(&note, until).await {
                tracing::warn!(
                    request.id = %id,
                    error = causes(&error),
                    "the generation could not be noted; closing the request does it"
                );
            }
        });
    }

    /// Whether the generation's id was [noted](Self::note_generation).
    #[must_use]
    pub fn has_generation(&self) -> bool {
        self.row
            .as_ref()
            .is_some_and(|row| row.generation_id.is_some())
    }

    /// Makes this the entry of a `begin_request` whose answer was lost: it may never have been
    /// opened, and nothing was spent, so closing it is tried only for a short while.
    #[must_use]
    pub fn in_doubt(mut self) -> Self {
        if let Some(row) = &mut self.row {
            row.certain = false;
            row.until = row.until.min(Instant::now() + PATIENCE_IN_DOUBT);
        }
        self
    }

    /// Writes how the request ended. Retries as long as the ledger's patience lasts, at the longest
    /// until the deadline; then the record goes to the log, whole, so that nothing is lost.
    pub async fn close(mut self, outcome: Outcome) {
        if let Some(row) = self.row.take() {
            row.close(outcome).await;
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(row) = self.row.take() {
            self.tasks.spawn(row.close(Outcome::NotAnswered {
                reason: "internal",
                message: "the gateway abandoned the request".to_owned(),
                may_have_been_billed: true,
            }));
        }
    }
}

impl Row {
    async fn close(self, outcome: Outcome) {
        let mut record = Record::of(self.endpoint, outcome);
        record.generation_id = record.generation_id.or(self.generation_id.clone());
        let finish = record.finish(self.id, self.ledger.clock.now());
        let until = self.until.min(Instant::now() + self.ledger.patience);
        if let Some(malformed) = record.malformed {
            tracing::warn!(request.id = %self.id, %malformed, "an answer is not as documented");
        }
        match self.finish(&finish, until).await {
            Ok(finished) => tracing::info!(
                request.id = %self.id,
                request.endpoint = self.endpoint.as_str(),
                request.status = finish.status.as_str(),
                request.reason = record.failure.as_ref().map(|failure| failure.0),
                http.status = finish.http_status,
                usage.input_tokens = finish.tokens.input,
                usage.output_tokens = finish.tokens.output,
                usage.cost = finish.cost.openrouter,
                usage.cost_state = finish.cost.state.as_str(),
                recorded = finished.by_this_call,
                "request closed"
            ),
            Err(StorageError::NoSuchRequest) if !self.certain => {}
            Err(error) => tracing::error!(
                request.id = %self.id,
                error = causes(&error),
                emergency_record = finish.to_json(),
                "the books could not be written: give this record to finish_request"
            ),
        }
    }

    /// A row in doubt may still be on its way into the database, so its absence is not believed at
    /// once.
    async fn finish(&self, finish: &Finish<'_>, until: Instant) -> Result<Finished, StorageError> {
        loop {
            match self.ledger.storage.finish(finish, until).await {
                Err(StorageError::NoSuchRequest)
                    if !self.certain && Instant::now() + DOUBT_PAUSE < until =>
                {
                    sleep(DOUBT_PAUSE).await;
                }
                answer => return answer,
            }
        }
    }
}

/// A question about a job whose answer may tell what the job cost.
#[derive(Debug)]
pub struct JobPoll {
    ledger: Ledger,
    did: String,
    job: Job,
    until: Instant,
}

impl JobPoll {
    /// Settles the row that created the job, if `reading` tells the cost of just this job. Nothing is
    /// lost where that fails: reconciliation asks by itself.
    pub async fn settle(self, http_status: u16, reading: JobReading) {
        let JobCost::Final(usage) = reading.cost() else {
            return;
        };
        let (Some(openrouter), 200) = (usage.cost, http_status) else {
            return;
        };
        if reading.id.as_deref() != Some(self.job.id()) {
            return;
        }
        let settle = SettleJob {
            did: &self.did,
            endpoint: self.job.endpoint().as_str(),
            job_id: self.job.id(),
            time: self.ledger.clock.now(),
            finding: Finding::Final {
                openrouter,
                upstream_inference: usage.upstream_inference_cost,
                is_byok: usage.is_byok,
                tokens: tokens(&usage),
                model: reading.model.as_deref(),
            },
        };
        let until = self.until.min(Instant::now() + self.ledger.patience);
        match self.ledger.storage.settle_job(&settle, until).await {
            Ok(settled) => tracing::info!(
                job.id = self.job.id(),
                usage.cost = %openrouter,
                recorded = settled.by_this_call,
                "job settled"
            ),
            Err(error) => tracing::warn!(
                job.id = self.job.id(),
                error = causes(&error),
                "a job's cost could not be written; reconciliation does it"
            ),
        }
    }
}

fn tokens(usage: &Usage) -> Tokens {
    Tokens {
        input: usage.input_tokens,
        output: usage.output_tokens,
        cached: usage.cached_tokens,
        reasoning: usage.reasoning_tokens,
    }
}

/// What the books will say, by the rules of accounting.
#[derive(Debug, Default)]
struct Record {
    failure: Option<(&'static str, String)>,
    malformed: Option<Malformed>,
    cost_state: Option<CostState>,
    cost: Option<String>,
    upstream_inference_cost: Option<String>,
    is_byok: Option<bool>,
    tokens: Tokens,
    http_status: Option<u16>,
    first_byte: Option<Duration>,
    generation_id: Option<String>,
    job: Option<Job>,
    model: Option<String>,
}

impl Record {
    fn of(endpoint: Endpoint, outcome: Outcome) -> Self {
        match outcome {
            Outcome::NotAnswered {
                reason,
                message,
                may_have_been_billed,
            } => Self {
                failure: Some((reason, message)),
                cost_state: may_have_been_billed.then_some(CostState::Pending),
                ..Self::default()
            },
            Outcome::Answered {
                http_status,
                ending,
                reading,
                generation_id,
                first_byte,
            } => {
                // What such an endpoint names is the job.
                let job = reading
                    .generation_id
                    .as_deref()
                    .and_then(|id| Job::new(endpoint, id));
                let named = reading
                    .generation_id
                    .clone()
                    .filter(|_| !endpoint.creates_jobs());
                let has_generation = generation_id.is_some() || reading.generation_id.is_some();
                Self {
                    failure: failure(http_status, ending, &reading),
                    malformed: reading.malformed,
                    cost_state: Some(cost_state(
                        endpoint,
                        http_status,
                        ending,
                        &reading,
                        has_generation,
                    )),
                    http_status: Some(http_status),
                    first_byte: Some(first_byte),
                    generation_id: named.or(generation_id),
                    job,
                    model: reading.model,
                    ..reading
                        .usage
                        .as_ref()
                        .map(Self::of_usage)
                        .unwrap_or_default()
                }
            }
        }
    }

    fn of_usage(usage: &Usage) -> Self {
        Self {
            tokens: tokens(usage),
            cost: usage.cost.as_ref().map(ToString::to_string),
            upstream_inference_cost: usage
                .upstream_inference_cost
                .as_ref()
                .map(ToString::to_string),
            is_byok: usage.is_byok,
            ..Self::default()
        }
    }

    fn finish(&self, id: Uuid, response_time: Timestamp) -> Finish<'_> {
        Finish {
            id,
            status: if self.failure.is_none() {
                Status::Completed
            } else {
                Status::Failed
            },
            response_time,
            first_byte: self.first_byte,
            http_status: self.http_status,
            model: self.model.as_deref(),
            generation_id: self.generation_id.as_deref(),
            job_id: self.job.as_ref().map(Job::id),
            tokens: self.tokens,
            cost: Cost {
                state: self.cost_state.unwrap_or(CostState::None),
                openrouter: self.cost.as_deref(),
                upstream_inference: self.upstream_inference_cost.as_deref(),
                is_byok: self.is_byok,
            },
            error: self
                .failure
                .as_ref()
                .map(|(reason, message)| Failure { reason, message }),
        }
    }
}

fn failure(http_status: u16, ending: Ending, reading: &Reading) -> Option<(&'static str, String)> {
    let said = reading
        .upstream_error
        .as_ref()
        .map(|error| without_keys(&error.message));
    if http_status >= 300 {
        Some((
            "upstream_status",
            said.unwrap_or_else(|| format!("OpenRouter answered {http_status}.")),
        ))
    } else if let Some(message) = said {
        Some(("upstream_error", message))
    } else {
        ending
            .reason()
            .map(|reason| (reason, ending.message().to_owned()))
    }
}

/// A cost that was read is final. What may have cost something without saying so is pending: it is
/// asked for later, never taken to be free.
fn cost_state(
    endpoint: Endpoint,
    http_status: u16,
    ending: Ending,
    reading: &Reading,
    has_generation: bool,
) -> CostState {
    let sold = has_generation || reading.may_hide_cost;
    let refused = http_status >= 300 || (reading.upstream_error.is_some() && !sold);
    let may_cost = ending != Ending::Complete
        || sold
        || reading.usage.is_some()
        || endpoint != Endpoint::Other;
    if reading
        .usage
        .as_ref()
        .is_some_and(|usage| usage.charge().is_some())
    {
        CostState::Final
    } else if may_cost && !refused {
        CostState::Pending
    } else {
        CostState::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::{AnswerFormat, BodyEnd, Meter};

    const PRICED: &str =
        r#"{"id":"gen-1","model":"m","usage":{"prompt_tokens":1,"cost":7.434e-07}}"#;
    const UNPRICED: &str = r#"{"id":"gen-1","model":"m","usage":{"prompt_tokens":1}}"#;
    const REFUSED: &str = r#"{"error":{"code":429,"message":"slow down, sk-or-v1-0123456789"}}"#;

    fn books(
        endpoint: Endpoint,
        http_status: u16,
        ending: Ending,
        body: &str,
    ) -> (Option<&'static str>, CostState, Option<String>) {
        let mut meter = Meter::new(AnswerFormat::Json);
        meter.feed(body.as_bytes());
        let outcome = Outcome::Answered {
            http_status,
            ending,
            reading: meter.finish(BodyEnd::Clean),
            generation_id: None,
            first_byte: Duration::ZERO,
        };
        let record = Record::of(endpoint, outcome);
        let state = record.cost_state.unwrap_or(CostState::None);
        (record.failure.map(|failure| failure.0), state, record.cost)
    }

    #[test]
    fn the_rules_of_accounting() {
        use {
            CostState::{Final, None as Free, Pending},
            Ending::{Complete, Cut, DeadlineReached, Stalled},
        };
        let chat = Endpoint::ChatCompletions;
        for (endpoint, status, ending, body, reason, state) in [
            (chat, 200, Complete, PRICED, None, Final),
            // A cost that was read is final, whatever came after it.
            (chat, 200, Cut, PRICED, Some("upstream_cut"), Final),
            // What may have cost something is never free.
            (chat, 200, Complete, UNPRICED, None, Pending),
            (chat, 200, Complete, "{}", None, Pending),
            (chat, 200, Cut, "", Some("upstream_cut"), Pending),
            (
                chat,
                200,
                Stalled,
                UNPRICED,
                Some("upstream_stalled"),
                Pending,
            ),
            (
                Endpoint::Other,
                200,
                DeadlineReached,
                "",
                Some("deadline_reached"),
                Pending,
            ),
            (Endpoint::Speech, 200, Complete, "", None, Pending),
            // Nothing was sold.
            (chat, 429, Complete, REFUSED, Some("upstream_status"), Free),
            (chat, 302, Complete, "", Some("upstream_status"), Free),
            (chat, 200, Complete, REFUSED, Some("upstream_error"), Free),
            (Endpoint::Other, 200, Complete, "{}", None, Free),
        ] {
            let (got_reason, got_state, cost) = books(endpoint, status, ending, body);
            assert_eq!(
                (got_reason, got_state),
                (reason, state),
                "{endpoint:?} {status} {ending:?} {body}"
            );
            assert_eq!(cost.as_deref(), (state == Final).then_some("0.0000007434"));
        }
    }

    #[test]
    fn what_cannot_be_read_is_never_free() {
        use crate::json_scan::{CAPTURE_LIMIT, DEPTH_LIMIT};
        let long = "x".repeat(CAPTURE_LIMIT);
        let deep = "[".repeat(DEPTH_LIMIT) + &"]".repeat(DEPTH_LIMIT);
        for body in [
            // A captured value beyond the limit, before and after what it hides.
            format!(r#"{{"id":"gen-1","usage":{{"cost":1,"note":"{long}"}}}}"#),
            format!(r#"{{"usage":{{"note":"{long}","cost":1}},"id":"gen-1"}}"#),
            format!(r#"{{"usage":{{"cost":1,"note":"{long}"}}}}"#),
            // A number longer than any amount.
            format!(
                r#"{{"id":"gen-1","usage":{{"cost":0.{}}}}}"#,
                "1".repeat(CAPTURE_LIMIT)
            ),
            format!(r#"{{"id":"gen-1","usage":{{"cost":{}}}}}"#, "1".repeat(400)),
            // An id that cannot be read, with an error: something was sold.
            format!(r#"{{"id":"{long}","error":{{"message":"late"}}}}"#),
            // Nested deeper than is followed, with the usage behind it.
            format!(r#"{{"id":"gen-1","a":{deep},"usage":{{"cost":1}}}}"#),
            format!(r#"{{"a":{deep},"usage":{{"cost":1}}}}"#),
        ] {
            for endpoint in [Endpoint::ChatCompletions, Endpoint::Other] {
                let (_, state, _) = books(endpoint, 200, Ending::Complete, &body);
                assert_eq!(state, CostState::Pending, "{endpoint:?} {}", &body[..40]);
            }
        }
    }

    #[test]
    fn byok_without_the_providers_charge_is_not_final() {
        let body = r#"{"id":"gen-1","usage":{"cost":0.5,"is_byok":true}}"#;
        assert_eq!(
            books(Endpoint::ChatCompletions, 200, Ending::Complete, body).1,
            CostState::Pending
        );
    }

    #[test]
    fn a_quoted_key_stays_out_of_the_books() {
        let mut meter = Meter::new(AnswerFormat::Json);
        meter.feed(REFUSED.as_bytes());
        let (_, message) = failure(429, Ending::Complete, &meter.finish(BodyEnd::Clean)).unwrap();
        assert_eq!(message, "slow down, sk-…");
    }
}
