//! The deletion of a job, before which its cost is put into the books.

use jiff::Timestamp;
use tokio::time::Instant;

use super::{finding, job_cost::job_cost, obstacle::Obstacle};
use crate::{
    causes::causes,
    storage::{Finding, SettleJob, Storage},
    upstream::{
        endpoint::Job,
        openrouter::{GenerationError, OpenRouter},
    },
    vault::secret::ApiKey,
};

/// A job that its owner wants to delete: nobody can ask for its cost afterwards.
#[derive(Debug, Clone, Copy)]
pub struct Deletion<'a> {
    /// Who created it.
    pub did: &'a str,
    /// The job.
    pub job: &'a Job,
    /// Its owner's key.
    pub key: &'a ApiKey,
    /// The present time.
    pub time: Timestamp,
}

/// The cost of a job is not in the books yet, so it must not be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cost of the job is not known yet")]
pub struct JobOpen;

impl JobOpen {
    /// The stable name that clients see.
    #[must_use]
    pub fn reason(self) -> &'static str {
        "job_open"
    }
}

/// Puts into the books what a job cost, before it is deleted. What is over and tells no cost is unknown from
/// then on; a job that OpenRouter does not know may be deleted in vain.
///
/// # Errors
///
/// While the job goes on, or the cost cannot be asked for or written.
pub async fn settle_before_deletion(
    storage: &Storage,
    openrouter: &OpenRouter,
    deletion: Deletion<'_>,
    deadline: Instant,
) -> Result<(), JobOpen> {
    let found = job_cost(openrouter, deletion.job, deletion.key, deadline).await;
    let finding = match &found {
        Ok(generation) => finding(generation),
        Err(Obstacle::Job(GenerationError::NotFound)) => return Ok(()),
        Err(
            obstacle @ (Obstacle::ProviderChargeNotTold {
                may_be_told: false, ..
            }
            | Obstacle::JobCostNotTold(GenerationError::NoCost)),
        ) => Finding::Unknown {
            reason: obstacle.reason(),
            attempts: None,
            known: obstacle.known(),
        },
        Err(obstacle) => {
            tracing::info!(
                job.id = deletion.job.id(),
                reason = obstacle.reason(),
                "a job is not deleted before its cost is known"
            );
            return Err(JobOpen);
        }
    };
    let settle = SettleJob {
        did: deletion.did,
        endpoint: deletion.job.endpoint().as_str(),
        job_id: deletion.job.id(),
        time: deletion.time,
        finding,
    };
    storage
        .settle_job(&settle, deadline)
        .await
        .map(|_| ())
        .map_err(|error| {
            tracing::error!(
                job.id = deletion.job.id(),
                error = causes(&error),
                "the cost of a job that is to be deleted could not be written"
            );
            JobOpen
        })
}
