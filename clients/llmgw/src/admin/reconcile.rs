//! `llmgw admin reconcile`.

use std::{fmt, time::Duration};

use anyhow::{Result, ensure};
use clap::Args;
use serde::Serialize;
use shared::{
    accounting::reconcile::{Scope, Summary},
    config::{Env, ReconcileConfig},
};
use tokio::time::Instant;

use super::{output::Output, services::Services};
use crate::context::Outcome;

/// Shorter than the lease of two minutes that a run has on its rows.
const TIMEOUT: Duration = Duration::from_secs(90);

/// Arguments of `reconcile`.
#[derive(Debug, Args)]
#[command(after_help = NOTES)]
pub struct ReconcileArgs {
    /// Only the rows of this user
    #[arg(long)]
    pub did: Option<String>,
    /// Seconds after which an unfinished request counts as abandoned [default: 1200]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub abandoned_after: Option<u64>,
}

const NOTES: &str = "\
One run of at most 200 rows. It may run beside the scheduled function: each row is in one of the runs.
Reads SUPABASE_URL (or SUPABASE_REST_URL), SUPABASE_SECRET_KEY, KEYSET_SECRET_NAME, AWS_REGION, the
usual AWS credentials, GATEWAY_OPENROUTER_URL, and ABANDONED_AFTER_SECONDS, the minimum of
--abandoned-after. Exit status: 0, or 1 if a row failed.";

pub(super) async fn run(
    args: &ReconcileArgs,
    services: &Services,
    output: &mut Output<'_>,
) -> Result<Outcome> {
    let config = ReconcileConfig::read(Env::process())?;
    let minimum = config.abandoned_after;
    let abandoned_after = args.abandoned_after.map_or(minimum, Duration::from_secs);
    ensure!(
        abandoned_after >= minimum,
        "--abandoned-after must be at least {}: requests in flight would be given up",
        minimum.as_secs()
    );
    let scope = Scope {
        did: args.did.as_deref(),
        abandoned_after,
    };
    let reconciler = config.reconciler(services.http.clone());
    let summary = reconciler.run(scope, Instant::now() + TIMEOUT).await?;
    let failed = summary.failed;
    output.report(&Report(summary))?;
    Ok(Outcome::from_ok(failed == 0))
}

#[derive(Serialize)]
#[serde(transparent)]
struct Report(Summary);

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(summary) = self;
        write!(
            f,
            "{} rows: {} settled, {} given up, {} to be asked again, {} failed",
            summary.claimed, summary.settled, summary.given_up, summary.retried, summary.failed
        )
    }
}
