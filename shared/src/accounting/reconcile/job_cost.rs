//! What a job cost, asked at the job's own address.

use std::time::Duration;

use tokio::time::Instant;

use super::{GENERATION_TIMEOUT, obstacle::Obstacle};
use crate::{
    metering::meter::{JobCost, JobMeter, Usage},
    upstream::{
        endpoint::Job,
        openrouter::{Generation, GenerationError, OpenRouter},
    },
    vault::secret::ApiKey,
};

/// The timeout of a question about a job: the answer holds all results of a batch.
const JOB_TIMEOUT: Duration = Duration::from_secs(30);

/// Asks for a job's cost, with the key of the user who created it.
pub(super) async fn job_cost(
    openrouter: &OpenRouter,
    job: &Job,
    key: &ApiKey,
    deadline: Instant,
) -> Result<Generation, Obstacle> {
    let left = || match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(Obstacle::OutOfTime),
        left => Ok(left),
    };
    let mut meter = JobMeter::default();
    openrouter
        .job(job, key, left()?.min(JOB_TIMEOUT), |chunk| {
            meter.feed(chunk);
        })
        .await
        .map_err(Obstacle::Job)?;
    let reading = meter.finish();
    let (cost, is_over) = (reading.cost(), reading.is_over());
    match cost {
        JobCost::Running => return Err(Obstacle::JobRunning),
        JobCost::Final(usage) => return Ok(charged(&usage, reading.model)),
        JobCost::FeeOnly(_) | JobCost::NotTold => {}
    }
    // A job's state tells no provider's charge, which with BYOK is most of the cost; its
    // generation may.
    let error = match &reading.generation_id {
        Some(id) => {
            let time = left()?.min(GENERATION_TIMEOUT);
            match openrouter.generation(id, key, time).await {
                Ok(generation) => return Ok(generation),
                Err(error) => error,
            }
        }
        None => GenerationError::NoCost,
    };
    Err(match cost {
        JobCost::FeeOnly(fee) => Obstacle::ProviderChargeNotTold {
            fee,
            may_be_told: !matches!(error, GenerationError::NoCost),
        },
        JobCost::NotTold if is_over => Obstacle::JobCostNotTold(error),
        JobCost::NotTold | JobCost::Running | JobCost::Final(_)
            if reading.generation_id.is_some() =>
        {
            Obstacle::Generation(error)
        }
        JobCost::NotTold | JobCost::Running | JobCost::Final(_) => Obstacle::Job(error),
    })
}

/// A job's charge, in the form in which a generation's is told.
fn charged(usage: &Usage, model: Option<String>) -> Generation {
    Generation {
        cost: usage.cost.unwrap_or_default(),
        upstream_inference_cost: usage.upstream_inference_cost,
        is_byok: usage.is_byok,
        server_tool_cost: usage.server_tool_cost,
        input_tokens: usage.prompt_tokens(),
        output_tokens: usage.output_tokens,
        cached_tokens: usage.cached_tokens,
        cache_write_tokens: usage.cache_write_tokens,
        reasoning_tokens: usage.reasoning_tokens,
        service_tier: usage.service_tier.clone(),
        model,
    }
}
