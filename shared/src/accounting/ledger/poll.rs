//! The cost of a job, learned from its owner's own question.

use tokio::time::Instant;

use super::{Ledger, record::tokens};
use crate::{
    causes::causes,
    metering::meter::{JobCost, JobReading},
    storage::{Finding, SettleJob},
    upstream::endpoint::Job,
};

/// A question about a job whose answer may tell what the job cost.
#[derive(Debug)]
pub struct JobPoll {
    ledger: Ledger,
    did: String,
    job: Job,
    deadline: Instant,
}

impl JobPoll {
    pub(super) fn new(ledger: Ledger, did: &str, job: &Job, deadline: Instant) -> Self {
        Self {
            ledger,
            did: did.to_owned(),
            job: job.clone(),
            deadline,
        }
    }

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
                server_tool: usage.server_tool_cost,
                tokens: tokens(&usage),
                service_tier: usage.service_tier.as_deref(),
                model: reading.model.as_deref(),
            },
        };
        let deadline = self
            .deadline
            .min(Instant::now() + self.ledger.close_timeout);
        match self.ledger.storage.settle_job(&settle, deadline).await {
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
