//! `llmgw books reconcile`.

use std::time::Duration;

use anyhow::{Result, ensure};
use shared::{
    accounting::reconcile::Scope,
    config::{Env, ReconcileConfig},
    http_client,
};
use tokio::time::Instant;

use crate::client::CONNECT_TIMEOUT;
use crate::commands::{Outcome, Surroundings};

/// Shorter than the 2 minutes for which a run's rows are its own.
const PATIENCE: Duration = Duration::from_secs(90);

/// Arguments of `books reconcile`.
#[derive(Debug, clap::Args)]
#[command(after_help = NOTE)]
pub struct Args {
    /// Only the rows of this user
    #[arg(long)]
    pub did: Option<String>,
    /// Seconds after which a request that never ended counts as abandoned [default: 1200]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub abandoned_after: Option<u64>,
    /// Print the summary as one JSON object
    #[arg(long)]
    pub json: bool,
}

const NOTE: &str = "\
One run, over at most 200 rows. It may run beside the scheduled function: each row is in one of them.
Reads SUPABASE_URL (or SUPABASE_REST_URL), SUPABASE_SECRET_KEY, KEYSET_SECRET_NAME, AWS_REGION, the
usual AWS credentials, OPENROUTER_BASE_URL, and ABANDONED_AFTER_SECONDS, which --abandoned-after may
not go below. Exit status: 0, or 1 if a row could not be worked on.";

pub(super) async fn run(args: &Args, around: &mut Surroundings<'_>) -> Result<Outcome> {
    let config = ReconcileConfig::read(Env::process())?;
    let least = config.abandoned_after;
    let abandoned_after = args.abandoned_after.map_or(least, Duration::from_secs);
    ensure!(
        abandoned_after >= least,
        "--abandoned-after must be at least {}: a request in flight would be given up",
        least.as_secs()
    );
    let scope = Scope {
        did: args.did.as_deref(),
        abandoned_after,
    };
    let client = http_client::build(http_client::web_roots(), CONNECT_TIMEOUT)?;
    let reconciler = config.reconciler(client);
    let summary = reconciler.run(scope, Instant::now() + PATIENCE).await?;
    if args.json {
        writeln!(around.stdout, "{}", serde_json::to_string(&summary)?)?;
    } else {
        writeln!(
            around.stdout,
            "{} rows: {} settled, {} given up, {} to be asked again, {} failed",
            summary.claimed, summary.settled, summary.given_up, summary.retried, summary.failed
        )?;
    }
    Ok(if summary.failed == 0 {
        Outcome::Done
    } else {
        Outcome::Refused
    })
}
