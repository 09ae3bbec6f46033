//! The books: every billable request has an open entry before OpenRouter is asked, and every
//! entry is closed exactly once, whatever happens.
//!
//! Two things are written at other times than the end. The generation's id is written as soon as it
//! is known ([`Entry::note_generation`]), so that a function that is killed leaves a row whose cost
//! can be found out. The cost of a job is written when its owner asks for the job's state
//! ([`JobPoll`]).

mod outcome;
mod poll;
mod record;

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::{
    causes::causes,
    clock::{Clock, Moment},
    observe,
    request::{Invocation, Tasks},
    storage::{Finish, Finished, NoteGeneration, Storage, StorageError},
    upstream::endpoint::{Endpoint, Job},
    vault::secret::clipped_without_keys,
};

use self::record::Record;
pub use self::{
    outcome::{Ending, Outcome},
    poll::JobPoll,
};

/// The default timeout of closing an entry: an outage of the database must not keep every
/// environment busy, and billed, until its deadline.
pub const CLOSE_TIMEOUT: Duration = Duration::from_mins(1);
/// The timeout of naming the generation. It is of use only before the entry is closed, which names
/// it, too; and an outage of the database must not fill environments with it.
const NOTE_TIMEOUT: Duration = Duration::from_secs(5);
/// Kept free before the deadline, for writing the emergency record.
const LAST_MOMENT: Duration = Duration::from_millis(300);
/// The timeout of closing an entry that may not exist.
const DOUBT_TIMEOUT: Duration = Duration::from_secs(10);

const DOUBT_PAUSE: Duration = Duration::from_secs(1);

/// The books, and how they are written.
#[derive(Debug, Clone)]
pub struct Ledger {
    /// The database.
    pub storage: Arc<Storage>,
    /// Says when the cost of a job was settled.
    pub clock: Clock,
    /// The timeout of closing an entry. It ends at the latest with the invocation's deadline.
    pub close_timeout: Duration,
}

/// An open row of `request_logs`. Dropped without [`Entry::close`], it closes itself as failed, in
/// a task that the invocation waits for.
#[derive(Debug)]
pub struct Entry {
    row: Option<Row>,
    tasks: Tasks,
}

#[derive(Debug)]
struct Row {
    ledger: Ledger,
    id: Uuid,
    endpoint: Endpoint,
    deadline: Instant,
    /// When the request arrived.
    arrived: Moment,
    /// Whether the database is known to hold the row.
    certain: bool,
    /// As it was noted.
    generation_id: Option<String>,
}

impl Ledger {
    /// The entry that `begin_request` has opened under the invocation's id, for a request of the time
    /// `arrived`.
    #[must_use]
    pub fn opened(&self, endpoint: Endpoint, invocation: &Invocation, arrived: Moment) -> Entry {
        Entry {
            row: Some(Row {
                ledger: self.clone(),
                id: invocation.id,
                endpoint,
                deadline: last_moment(invocation),
                arrived,
                certain: true,
                generation_id: None,
            }),
            tasks: invocation.tasks.clone(),
        }
    }

    /// The question of `did` about its job.
    #[must_use]
    pub fn poll(&self, did: &str, job: &Job, invocation: &Invocation) -> JobPoll {
        JobPoll::new(self.clone(), did, job, last_moment(invocation))
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
        let deadline = row.deadline.min(Instant::now() + NOTE_TIMEOUT);
        let generation_id = generation_id.to_owned();
        self.tasks.spawn(async move {
            // The client's stream goes first.
            tokio::task::yield_now().await;
            let note = NoteGeneration {
                id,
                generation_id: &generation_id,
            };
            if let Err(error) = storage.note_generation(&note, deadline).await {
                tracing::warn!(
                    request.id = %id,
                    error = causes(&error),
                    "the generation could not be noted; closing the request does it"
                );
            }
        });
    }

    /// Whether the generation's id was [noted](Self::note_generation).
    pub(crate) fn has_generation(&self) -> bool {
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
            row.deadline = row.deadline.min(Instant::now() + DOUBT_TIMEOUT);
        }
        self
    }

    /// Writes how the request ended. Retries until the ledger's timeout, at the longest
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
        let record =
            Record::of(self.endpoint, outcome).with_generation(self.generation_id.as_deref());
        let finish = record.finish(self.id, self.arrived.now());
        let deadline = self
            .deadline
            .min(Instant::now() + self.ledger.close_timeout);
        if let Some(malformed) = record.malformed() {
            tracing::warn!(request.id = %self.id, %malformed, "an answer is not as documented");
        }
        let begun = Instant::now();
        let written = self.finish(&finish, deadline).await;
        observed(&finish, begun.elapsed());
        match written {
            Ok(Finished { by_this_call, .. }) => observe::record("books.recorded", by_this_call),
            Err(StorageError::NoSuchRequest) if !self.certain => {}
            Err(error) => tracing::error!(
                request.id = %self.id,
                error = causes(&error),
                emergency.records = 1,
                emergency_record = finish.to_json(),
                "the books could not be written: give this record to finish_request"
            ),
        }
    }

    /// A row in doubt may still be on its way into the database, so its absence is not believed at
    /// once.
    async fn finish(
        &self,
        finish: &Finish<'_>,
        deadline: Instant,
    ) -> Result<Finished, StorageError> {
        loop {
            match self.ledger.storage.finish(finish, deadline).await {
                Err(StorageError::NoSuchRequest)
                    if !self.certain && Instant::now() + DOUBT_PAUSE < deadline =>
                {
                    sleep(DOUBT_PAUSE).await;
                }
                answer => return answer,
            }
        }
    }
}

/// Adds what the books say of the request, and how long it took to write them, to its line in the log.
fn observed(finish: &Finish<'_>, took: Duration) {
    use observe::{milliseconds, record};
    record("request.status", finish.status.as_str());
    record("request.reason", finish.error.map(|failure| failure.reason));
    record("request.first_byte_ms", finish.first_byte.map(milliseconds));
    record(
        "request.served_model",
        finish.model.map(|it| clipped_without_keys(it, 256)),
    );
    record("usage.input_tokens", finish.tokens.input);
    record("usage.output_tokens", finish.tokens.output);
    record("usage.cost", finish.cost.openrouter);
    record("usage.cost_state", finish.cost.state.as_str());
    record("storage.finish_ms", milliseconds(took));
}
