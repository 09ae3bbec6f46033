//! The only speaker of `PostgREST`: users' sealed keys and the books of their requests.
//!
//! The work is done by database functions (`migrations/`): `begin_request`, `note_generation`,
//! `finish_request`, `settle_job`, `usage_report`, `usage_requests`, for reconciliation
//! `claim_unsettled` and `settle_request`, `expire_requests`, `check_rollup`, those for keys
//! (`migrations/functions/keys.sql`, `provisioning.sql`), and for operators those that the command line
//! calls by [`Storage::call`]. Each is one round trip with a JSON body, so no value ever enters a
//! URL; each module has the calls of its own. The contract:
//!
//! - money is decimal text, never a float;
//! - what the database refuses on purpose comes back as an HTTP status and a word in `details`,
//!   read into [`Refusal`];
//! - a storage that cannot be reached is [`Unavailable`], which is never the same as a storage
//!   that has nothing.

mod admission;
mod begin;
mod budgets;
mod columns;
mod error;
mod finish;
mod key;
mod keys;
mod provisioning;
mod reconciliation;
mod retention;
mod rollup;
mod schema;
mod tokens;
mod transport;
mod usage;

use std::{fmt, time::Duration};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::{Instant, sleep};
use url::Url;

pub use admission::Admitted;
pub use begin::{Begin, BeginSender, Begun, Books, JobLimit, NamedModel, UnreadableModels};
pub use budgets::{Budget, BudgetPeriod, BudgetState, ReachedBudget};
pub use error::{Protocol, Refusal, StorageError, Unavailable};
pub use finish::{
    Cost, CostState, Failure, Finish, Finished, NoteGeneration, Noted, Status, Tokens,
};
pub use key::{InvalidStorageKey, StorageKey};
pub use keys::{
    CallerRequest, KeyDescription, KeySource, NewKey, PendingDeletion, RevokedKey, StoredKey,
};
pub use provisioning::{Grant, LimitReset, Reserved};
pub use reconciliation::{Claim, Finding, Settle, SettleJob, Settled, Unsettled};
pub use retention::{Expired, InvalidRetention, Retention};
pub use rollup::{RollupCheck, RollupDifference, RollupQuery};
pub use schema::{Feature, SCHEMA_VERSION, Schema};
pub use tokens::{
    DisallowedEndpoint, DisallowedModel, NewToken, PresentedToken, Presenting, TokenChange,
    TokenCount, TokenDescription, TokenRefusal, TokenSettings, TokenState,
};
pub use transport::{Probed, ping, probe};
pub use usage::{
    Decimal, Dimension, LocalOffset, Percentiles, Period, Place, ReportQuery, RequestEntry,
    RequestFilter, RequestPage, RequestsQuery, UsageGroup, UsageLabels, UsageQuery, UsageReport,
};

use transport::Transport;

pub use crate::identity::auth::ReplayGuard;

use crate::causes::causes;

/// The timeout of one attempt, the answer's body included.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);
/// The first pause between attempts; each further one is twice as long, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// The attempts while somebody waits for the result.
pub const ATTEMPTS_IN_FRONT: u32 = 3;

/// The one named argument of a database function.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Argument<T> {
    /// A request.
    Request(T),
    /// The end of something.
    Outcome(T),
}

/// A client of the storage. Cheap to share by reference; holds no connection of its own.
pub struct Storage {
    transport: Transport,
    attempt_timeout: Duration,
}

impl Storage {
    /// A client of the `PostgREST` at `rest_url` (for Supabase: the project's URL + `/rest/v1`),
    /// speaking through the gateway's one HTTP client.
    #[must_use]
    pub fn new(client: reqwest::Client, rest_url: &Url, key: StorageKey) -> Self {
        Self {
            transport: Transport::new(client, rest_url, key),
            attempt_timeout: ATTEMPT_TIMEOUT,
        }
    }

    /// Replaces the 3 s that one attempt may take.
    #[must_use]
    pub fn with_attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = timeout;
        self
    }

    /// Calls one database function, at most `attempts` times and not beyond `deadline`. All of them
    /// are idempotent, so an attempt whose answer was lost is repeated.
    pub async fn call<T: DeserializeOwned>(
        &self,
        function: &'static str,
        arguments: &Argument<impl Serialize>,
        attempts: u32,
        deadline: Instant,
    ) -> Result<T, StorageError> {
        self.attempt(function, arguments, attempts, deadline)
            .await
            .0
    }

    /// As [`call`](Self::call); also whether the answer is that of a repetition, so that an earlier
    /// attempt may have been carried out, or still be.
    async fn attempt<T: DeserializeOwned>(
        &self,
        function: &'static str,
        arguments: &Argument<impl Serialize>,
        attempts: u32,
        deadline: Instant,
    ) -> (Result<T, StorageError>, bool) {
        let Ok(body) = serde_json::to_vec(arguments) else {
            return (Err(Protocol::RequestNotBuilt.into()), false);
        };
        let body = Bytes::from(body);
        // A deadlock or a cancelled statement is a plain 500, too: a call with time left tries again.
        let patient = attempts > ATTEMPTS_IN_FRONT;
        let mut pause = FIRST_PAUSE;
        let mut attempt = 1;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let answer = self
                .transport
                .rpc(function, body.clone(), left.min(self.attempt_timeout))
                .await;
            match answer {
                Err(StorageError::Unavailable(error))
                    if (patient || error.is_transient())
                        && attempt < attempts
                        && Instant::now() + pause < deadline =>
                {
                    tracing::warn!(
                        function,
                        attempt,
                        error = causes(&error),
                        "storage attempt failed, repeating it"
                    );
                }
                answer => return (answer, attempt > 1),
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            attempt += 1;
        }
    }
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Storage")
            .field("transport", &self.transport)
            .field("attempt_timeout", &self.attempt_timeout)
            .finish()
    }
}

#[cfg(test)]
mod tests;
