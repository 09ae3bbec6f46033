//! Reconciliation: finds out what requests cost whose cost was not known when they ended, and closes
//! the books of those that never ended.
//!
//! A [run](Reconciler::run) claims a bounded number of rows, asks OpenRouter for each with the key
//! that made the request, and closes it exactly once. The storage keeps that key for it, where its owner
//! has replaced or revoked it meanwhile. What is not told yet is left to a later run; after
//! [`GIVE_UP_AFTER`], or [`GIVE_UP_JOBS_AFTER`], its cost is unknown, with the reason. Runs may overlap: none
//! gets another's rows.
//!
//! A row that created an asynchronous job is asked for at the job's own address, which is made of the
//! row's endpoint and the job's id, never taken from an answer.

mod deletion;
mod job_cost;
mod obstacle;

use std::time::Duration;

use futures_util::{StreamExt, stream};
use serde::Serialize;
use tokio::time::{Instant, sleep};

pub use self::deletion::{Deletion, JobOpen, settle_before_deletion};
use self::{
    job_cost::job_cost,
    obstacle::{Obstacle, Verdict},
};
use crate::{
    causes::causes,
    clock::Clock,
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
pub const GIVE_UP_AFTER: Duration = Duration::from_hours(24);
/// The same period for requests that created a job: a batch may run for 96 hours.
pub const GIVE_UP_JOBS_AFTER: Duration = Duration::from_hours(7 * 24);

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

/// Rows of one claim.
const BATCH: u16 = 200;
/// The rest of a run's time that another claim needs.
const FOR_A_BATCH: Duration = Duration::from_secs(15);
/// Questions at the same time.
const CONCURRENCY: usize = 8;
/// The timeout of a question about a generation.
const GENERATION_TIMEOUT: Duration = Duration::from_secs(10);

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
    /// Its time was over before all rows that were due were taken.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unfinished: bool,
}

/// The result of one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RowResult {
    Settled,
    GivenUp,
    Retried,
    Failed,
}

impl Summary {
    fn add(mut self, result: RowResult) -> Self {
        let count = match result {
            RowResult::Settled => &mut self.settled,
            RowResult::GivenUp => &mut self.given_up,
            RowResult::Retried => &mut self.retried,
            RowResult::Failed => &mut self.failed,
        };
        *count += 1;
        self
    }
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

    /// One run over the rows of `scope`: one batch after the other, until none is due or `deadline` is near.
    /// It begins nothing new after `deadline`.
    ///
    /// Only a first claim that fails is an error; what goes wrong later, or with single rows, is in the
    /// summary and in the log.
    pub async fn run(&self, scope: Scope<'_>, deadline: Instant) -> Result<Summary, StorageError> {
        let mut summary = Summary::default();
        loop {
            let claim = Claim {
                now: self.clock.now(),
                limit: BATCH,
                leases: &LEASES,
                abandoned_after: Some(scope.abandoned_after),
                did: scope.did,
            };
            let rows = match self.storage.claim_unsettled(&claim, deadline).await {
                Err(error) if summary.claimed > 0 => {
                    tracing::warn!(error = causes(&error), "no further rows could be claimed");
                    break;
                }
                rows => rows?,
            };
            let count = rows.len();
            summary.claimed += u32::try_from(count).unwrap_or(u32::MAX);
            summary = stream::iter(rows)
                .map(|row| self.reconcile(row, deadline))
                .buffer_unordered(CONCURRENCY)
                .fold(summary, async |summary, fate| summary.add(fate))
                .await;
            let is_last = count < usize::from(BATCH);
            summary.unfinished = !is_last && Instant::now() + FOR_A_BATCH >= deadline;
            if is_last || summary.unfinished {
                break;
            }
        }
        tracing::info!(
            reconcile.claimed = summary.claimed,
            reconcile.settled = summary.settled,
            reconcile.given_up = summary.given_up,
            reconcile.retried = summary.retried,
            reconcile.failed = summary.failed,
            reconcile.unfinished = u8::from(summary.unfinished),
            "reconciliation ended"
        );
        Ok(summary)
    }

    async fn reconcile(&self, row: Unsettled, deadline: Instant) -> RowResult {
        match self.ask(&row, deadline).await {
            Ok(generation) => {
                let result = self.close(&row, finding(&generation), deadline).await;
                if result == RowResult::Settled {
                    tracing::info!(request.id = %row.id, usage.cost = %generation.cost, "cost settled");
                }
                result
            }
            Err(obstacle) => {
                let verdict = obstacle.verdict(row.age, give_up_after(&row));
                report(&row, &obstacle, verdict);
                match verdict {
                    Verdict::Retry => RowResult::Retried,
                    Verdict::Fail => RowResult::Failed,
                    Verdict::GiveUp => {
                        let reason = obstacle.reason();
                        let attempts = Some(row.attempts);
                        let finding = Finding::Unknown {
                            reason,
                            attempts,
                            known: obstacle.known(),
                        };
                        self.close(&row, finding, deadline).await
                    }
                }
            }
        }
    }

    async fn ask(&self, row: &Unsettled, deadline: Instant) -> Result<Generation, Obstacle> {
        if let Some(job) = job(row) {
            let key = self.key(row).await?;
            return job_cost(&self.openrouter, &job, &key, deadline).await;
        }
        let id = row
            .generation_id
            .as_deref()
            .filter(|id| !id.is_empty())
            .ok_or(Obstacle::NoGenerationId)?;
        let key = self.key(row).await?;
        self.ask_generation(row, id, &key, deadline).await
    }

    async fn ask_generation(
        &self,
        row: &Unsettled,
        id: &str,
        key: &ApiKey,
        deadline: Instant,
    ) -> Result<Generation, Obstacle> {
        let pauses: &[Duration] = if row.age < YOUNG {
            &PAUSES_WHILE_YOUNG
        } else {
            &[]
        };
        let mut pauses = pauses.iter();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Obstacle::OutOfTime);
            }
            match self
                .openrouter
                .generation(id, key, left.min(GENERATION_TIMEOUT))
                .await
            {
                Err(GenerationError::NotFound) => match pauses.next() {
                    Some(pause) if Instant::now() + *pause < deadline => sleep(*pause).await,
                    _ => return Err(GenerationError::NotFound.into()),
                },
                answer => return whole(row, answer?),
            }
        }
    }

    async fn key(&self, row: &Unsettled) -> Result<ApiKey, Obstacle> {
        let sealed = row.sealed_key.as_deref().ok_or(Obstacle::NoKey)?;
        let sealed: SealedKey = sealed.parse().map_err(VaultError::from)?;
        let now = self.clock.now();
        Ok(self.keyset.open(&row.did, &sealed, now).await?)
    }

    async fn close(&self, row: &Unsettled, finding: Finding<'_>, deadline: Instant) -> RowResult {
        let settle = Settle {
            id: row.id,
            time: self.clock.now(),
            finding,
        };
        match (self.storage.settle(&settle, deadline).await, finding) {
            (Ok(_), Finding::Final { .. }) => RowResult::Settled,
            (Ok(_), Finding::Unknown { .. }) => RowResult::GivenUp,
            (Err(error), _) => {
                tracing::error!(
                    request.id = %row.id,
                    error = causes(&error),
                    "a cost that was found out could not be written: a later run does it"
                );
                RowResult::Failed
            }
        }
    }
}

/// `generation` as the whole of the row's cost. Where the request may have made several generations (by
/// subagents, advisors or a panel of models) nothing tells that this is the only one: OpenRouter groups
/// them by a `request_id`, but lists no group.
fn whole(row: &Unsettled, generation: Generation) -> Result<Generation, Obstacle> {
    if row.several_generations {
        Err(Obstacle::OtherGenerations {
            known: generation.charge(),
        })
    } else {
        Ok(generation)
    }
}

/// The job whose cost is the row's.
fn job(row: &Unsettled) -> Option<Job> {
    Job::of_row(row.endpoint.as_deref()?, row.job_id.as_deref()?)
}

fn give_up_after(row: &Unsettled) -> Duration {
    if row.job_id.is_some() {
        GIVE_UP_JOBS_AFTER
    } else {
        GIVE_UP_AFTER
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

fn finding(generation: &Generation) -> Finding<'_> {
    Finding::Final {
        openrouter: generation.cost,
        upstream_inference: generation.upstream_inference_cost,
        is_byok: generation.is_byok,
        server_tool: generation.server_tool_cost,
        tokens: Tokens {
            input: generation.input_tokens,
            output: generation.output_tokens,
            cached: generation.cached_tokens,
            cache_write: generation.cache_write_tokens,
            reasoning: generation.reasoning_tokens,
        },
        service_tier: generation.service_tier.as_deref(),
        model: generation.model.as_deref(),
    }
}

#[cfg(test)]
mod questions;

#[cfg(test)]
mod tests;
