//! Reconciliation: finds out what requests cost whose cost was not known when they ended, and closes
//! the books of those that never ended.
//!
//! A [run](Reconciler::run) claims a bounded number of rows, asks OpenRouter for each with the key
//! that made the request, and closes it exactly once. The storage keeps that key for it, where its owner
//! has replaced or revoked it meanwhile. What is not told yet is left to a later run; after
//! [`PATIENCE`], or [`PATIENCE_FOR_JOBS`], its cost is unknown, with the reason. Runs may overlap: none
//! gets another's rows.
//!
//! A row that created an asynchronous job is asked for at the job's own address, which is made of the
//! row's endpoint and the job's id, never taken from an answer.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::{
    causes::causes,
    clock::Clock,
    metering::meter::{JobCost, JobMeter, Usage},
    storage::{Claim, Finding, Settle, Storage, StorageError, Tokens, Unsettled},
    upstream::{
        endpoint::Job,
        openrouter::{Generation, GenerationError, OpenRouter},
    },
    vault::{
        secret::{ApiKey, SealedKey},
        secrets_manager::{KeysetCache, VaultError},
    },
};

/// From a request's beginning until its cost counts as unknown.
pub const PATIENCE: Duration = Duration::from_hours(24);
/// The same period for requests that created a job: a batch may run for 96 hours.
pub const PATIENCE_FOR_JOBS: Duration = Duration::from_hours(7 * 24);

/// From a request's beginning until nobody can be at work on it any more, unless configured: a
/// function lives 15 minutes at most.
pub const ABANDONED_AFTER: Duration = Duration::from_mins(20);

/// When a row is due again after its first, second, … claim; the last one repeats. The first is
/// longer than a run may take, so that nobody takes a row from a run that is still at it.
pub const LEASES: [Duration; 4] = [
    Duration::from_mins(2),
    Duration::from_mins(5),
    Duration::from_mins(15),
    Duration::from_hours(1),
];

/// Rows of one run.
const BATCH: u16 = 200;
/// Questions at the same time.
const CONCURRENCY: usize = 8;
/// The timeout of a question about a generation.
const ASKING: Duration = Duration::from_secs(10);
/// The timeout of a question about a job: the answer holds all results of a batch.
const ASKING_FOR_JOB: Duration = Duration::from_secs(30);

/// OpenRouter often knows a generation only some moments after its end, so who asks about a young
/// one asks again within the run.
const PAUSES_WHILE_YOUNG: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];
const YOUNG: Duration = Duration::from_mins(1);

/// The counts of one run. Every claimed row is in exactly one of the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Rows that it took.
    pub claimed: u32,
    /// Rows whose final cost was recorded.
    pub settled: u32,
    /// Rows whose cost is unknown for good.
    pub given_up: u32,
    /// Rows that are left to a later run.
    pub retried: u32,
    /// Rows skipped because the database or the keyset failed. A later run takes them.
    pub failed: u32,
}

/// The result of one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Settled,
    GivenUp,
    Retried,
    Failed,
}

impl Summary {
    fn add(mut self, fate: Fate) -> Self {
        let count = match fate {
            Fate::Settled => &mut self.settled,
            Fate::GivenUp => &mut self.given_up,
            Fate::Retried => &mut self.retried,
            Fate::Failed => &mut self.failed,
        };
        *count += 1;
        self
    }
}

/// Why a cost is not known.
#[derive(Debug, thiserror::Error)]
enum Obstacle {
    #[error("there is no generation id to ask for")]
    NoGenerationId,
    #[error("the key that made the request is not kept any more")]
    NoKey,
    #[error("the user's key cannot be opened")]
    Vault(#[from] VaultError),
    #[error("OpenRouter did not tell the cost")]
    Generation(#[from] GenerationError),
    #[error("OpenRouter did not tell what the job cost")]
    Job(#[source] GenerationError),
    #[error("the job goes on")]
    JobRunning,
    #[error("the run's time is over")]
    OutOfTime,
}

impl Obstacle {
    /// The stable name in `request_logs.unknown_cost_reason`.
    fn reason(&self) -> &'static str {
        match self {
            Self::NoGenerationId => "no_generation_id",
            Self::NoKey => "no_key_for_did",
            Self::Vault(_) => "key_unusable",
            Self::Job(GenerationError::NotFound) => "job_not_found",
            Self::JobRunning => "job_still_running",
            Self::Generation(error) | Self::Job(error) => match error {
                GenerationError::NotFound => "generation_not_found",
                GenerationError::Refused(_) => "upstream_refused",
                GenerationError::NotAnswered(_) => "upstream_unavailable",
                GenerationError::NoCost => "cost_not_reported",
            },
            Self::OutOfTime => "not_asked",
        }
    }

    /// The consequence, `age` after the request began, if the cost may be asked for until
    /// `patience`.
    fn verdict(&self, age: Duration, patience: Duration) -> Verdict {
        match self {
            // Nothing can ever be asked.
            Self::NoGenerationId => Verdict::GiveUp,
            // The gateway's own failure is no reason to write anything off.
            Self::Vault(VaultError::Keyset(_)) => Verdict::Fail,
            Self::OutOfTime => Verdict::Retry,
            Self::NoKey
            | Self::Vault(VaultError::Open(_) | VaultError::MalformedSealedKey(_))
            | Self::Generation(_)
            | Self::Job(_)
            | Self::JobRunning => {
                if age >= patience {
                    Verdict::GiveUp
                } else {
                    Verdict::Retry
                }
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    GiveUp,
    Retry,
    Fail,
}

/// Runs reconciliation.
#[derive(Debug)]
pub struct Reconciler {
    clock: Clock,
    storage: Storage,
    keyset: KeysetCache,
    openrouter: OpenRouter,
}

/// The rows that a run takes.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// This DID's only.
    pub did: Option<&'a str>,
    /// The age from which on a pending row counts as abandoned. A row that a function is still at work
    /// on must never be younger than that: its cost would be given up under its hands.
    pub abandoned_after: Duration,
}

impl Reconciler {
    /// With the gateway's own clients.
    #[must_use]
    pub fn new(
        clock: Clock,
        storage: Storage,
        keyset: KeysetCache,
        openrouter: OpenRouter,
    ) -> Self {
        Self {
            clock,
            storage,
            keyset,
            openrouter,
        }
    }

    /// One run over the rows of `scope`. It begins nothing new after `until`.
    ///
    /// Only a claim that fails is an error; what goes wrong with single rows is in the summary and
    /// in the log.
    pub async fn run(&self, scope: Scope<'_>, until: Instant) -> Result<Summary, StorageError> {
        let claim = Claim {
            now: self.clock.now(),
            limit: BATCH,
            leases: &LEASES,
            abandoned_after: Some(scope.abandoned_after),
            did: scope.did,
        };
        let rows = self.storage.claim_unsettled(&claim, until).await?;
        let claimed = Summary {
            claimed: rows.len().try_into().unwrap_or(u32::MAX),
            ..Summary::default()
        };
        let summary = stream::iter(rows)
            .map(|row| self.reconcile(row, until))
            .buffer_unordered(CONCURRENCY)
            .fold(claimed, async |summary, fate| summary.add(fate))
            .await;
        tracing::info!(
            reconcile.claimed = summary.claimed,
            reconcile.settled = summary.settled,
            reconcile.given_up = summary.given_up,
            reconcile.retried = summary.retried,
            reconcile.failed = summary.failed,
            "reconciliation ended"
        );
        Ok(summary)
    }

    async fn reconcile(&self, row: Unsettled, until: Instant) -> Fate {
        match self.ask(&row, until).await {
            Ok(generation) => {
                let fate = self.close(&row, finding(&generation), until).await;
                if fate == Fate::Settled {
                    tracing::info!(request.id = %row.id, usage.cost = %generation.cost, "cost settled");
                }
                fate
            }
            Err(obstacle) => {
                let verdict = obstacle.verdict(row.age, patience(&row));
                report(&row, &obstacle, verdict);
                match verdict {
                    Verdict::Retry => Fate::Retried,
                    Verdict::Fail => Fate::Failed,
                    Verdict::GiveUp => {
                        let reason = obstacle.reason();
                        let attempts = Some(row.attempts);
                        self.close(&row, Finding::Unknown { reason, attempts }, until)
                            .await
                    }
                }
            }
        }
    }

    async fn ask(&self, row: &Unsettled, until: Instant) -> Result<Generation, Obstacle> {
        if let Some(job) = job(row) {
            let key = self.key(row).await?;
            return self.ask_job(&job, &key, until).await;
        }
        let id = row
            .generation_id
            .as_deref()
            .filter(|id| !id.is_empty())
            .ok_or(Obstacle::NoGenerationId)?;
        let key = self.key(row).await?;
        let pauses: &[Duration] = if row.age < YOUNG {
            &PAUSES_WHILE_YOUNG
        } else {
            &[]
        };
        let mut pauses = pauses.iter();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Obstacle::OutOfTime);
            }
            match self.openrouter.generation(id, &key, left.min(ASKING)).await {
                Err(GenerationError::NotFound) => match pauses.next() {
                    Some(pause) if Instant::now() + *pause < until => sleep(*pause).await,
                    _ => return Err(GenerationError::NotFound.into()),
                },
                answer => return Ok(answer?),
            }
        }
    }

    async fn ask_job(
        &self,
        job: &Job,
        key: &ApiKey,
        until: Instant,
    ) -> Result<Generation, Obstacle> {
        let left = || match until.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(Obstacle::OutOfTime),
            left => Ok(left),
        };
        let mut meter = JobMeter::default();
        self.openrouter
            .job(job, key, left()?.min(ASKING_FOR_JOB), |chunk| {
                meter.feed(chunk);
            })
            .await
            .map_err(Obstacle::Job)?;
        let reading = meter.finish();
        match (reading.cost(), reading.generation_id) {
            (JobCost::Running, _) => Err(Obstacle::JobRunning),
            (JobCost::Final(usage), _) => Ok(charged(&usage, reading.model)),
            // A video's state tells no provider's charge, which with BYOK is most of the cost.
            (JobCost::NotTold, Some(id)) => {
                let time = left()?.min(ASKING);
                Ok(self.openrouter.generation(&id, key, time).await?)
            }
            (JobCost::NotTold, None) => Err(Obstacle::Job(GenerationError::NoCost)),
        }
    }

    async fn key(&self, row: &Unsettled) -> Result<ApiKey, Obstacle> {
        let sealed = row.sealed_key.as_deref().ok_or(Obstacle::NoKey)?;
        let sealed: SealedKey = sealed.parse().map_err(VaultError::from)?;
        let now = self.clock.now();
        Ok(self.keyset.open(&row.did, &sealed, now).await?)
    }

    async fn close(&self, row: &Unsettled, finding: Finding<'_>, until: Instant) -> Fate {
        let settle = Settle {
            id: row.id,
            time: self.clock.now(),
            finding,
        };
        match (self.storage.settle(&settle, until).await, finding) {
            (Ok(_), Finding::Final { .. }) => Fate::Settled,
            (Ok(_), Finding::Unknown { .. }) => Fate::GivenUp,
            (Err(error), _) => {
                tracing::error!(
                    request.id = %row.id,
                    error = causes(&error),
                    "a cost that was found out could not be written: a later run does it"
                );
                Fate::Failed
            }
        }
    }
}

/// The job whose cost is the row's.
fn job(row: &Unsettled) -> Option<Job> {
    Job::of_row(row.endpoint.as_deref()?, row.job_id.as_deref()?)
}

fn patience(row: &Unsettled) -> Duration {
    if row.job_id.is_some() {
        PATIENCE_FOR_JOBS
    } else {
        PATIENCE
    }
}

fn report(row: &Unsettled, obstacle: &Obstacle, verdict: Verdict) {
    if matches!(obstacle, Obstacle::JobRunning) && verdict == Verdict::Retry {
        tracing::info!(request.id = %row.id, job.id = row.job_id, "a job goes on");
        return;
    }
    tracing::warn!(
        request.id = %row.id,
        reason = obstacle.reason(),
        attempts = row.attempts,
        gives_up = verdict == Verdict::GiveUp,
        error = causes(obstacle),
        "a cost could not be found out"
    );
}

/// A job's charge, in the form in which a generation's is told.
fn charged(usage: &Usage, model: Option<String>) -> Generation {
    Generation {
        cost: usage.cost.unwrap_or_default(),
        upstream_inference_cost: usage.upstream_inference_cost,
        is_byok: usage.is_byok,
        input_tokens: usage.input_tokens,
        output_tokens: usage.output_tokens,
        cached_tokens: usage.cached_tokens,
        reasoning_tokens: usage.reasoning_tokens,
        model,
    }
}

fn finding(generation: &Generation) -> Finding<'_> {
    Finding::Final {
        openrouter: generation.cost,
        upstream_inference: generation.upstream_inference_cost,
        is_byok: generation.is_byok,
        tokens: Tokens {
            input: generation.input_tokens,
            output: generation.output_tokens,
            cached: generation.cached_tokens,
            reasoning: generation.reasoning_tokens,
        },
        model: generation.model.as_deref(),
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[test]
    fn the_backoff_grows_and_gives_up_after_a_day() {
        assert!(LEASES.is_sorted());
        // At least hourly, so that giving up does not come much later than promised.
        assert!(LEASES.iter().all(|lease| *lease <= Duration::from_hours(1)));
        assert!(
            LEASES
                .iter()
                .all(|lease| lease.subsec_nanos() == 0 && !lease.is_zero())
        );
    }

    #[test]
    fn what_may_still_be_told_is_asked_for_a_day_long() {
        let asked = [
            Obstacle::NoKey,
            GenerationError::NotFound.into(),
            GenerationError::Refused(StatusCode::UNAUTHORIZED).into(),
            GenerationError::NoCost.into(),
            Obstacle::Job(GenerationError::NotFound),
            Obstacle::JobRunning,
        ];
        for obstacle in asked {
            for patience in [PATIENCE, PATIENCE_FOR_JOBS] {
                let before = patience.saturating_sub(Duration::from_secs(1));
                assert_eq!(
                    obstacle.verdict(before, patience),
                    Verdict::Retry,
                    "{obstacle:?}"
                );
                assert_eq!(
                    obstacle.verdict(patience, patience),
                    Verdict::GiveUp,
                    "{obstacle:?}"
                );
            }
        }
        assert_eq!(
            Obstacle::NoGenerationId.verdict(Duration::ZERO, PATIENCE),
            Verdict::GiveUp
        );
        assert_eq!(
            Obstacle::OutOfTime.verdict(PATIENCE * 2, PATIENCE),
            Verdict::Retry
        );
    }

    #[test]
    fn every_fate_is_counted_once() {
        let fates = [Fate::Settled, Fate::GivenUp, Fate::Retried, Fate::Failed];
        let summary = fates.into_iter().fold(Summary::default(), Summary::add);
        assert_eq!(
            serde_json::to_string(&summary).unwrap(),
            r#"{"claimed":0,"settled":1,"given_up":1,"retried":1,"failed":1}"#
        );
    }
}
