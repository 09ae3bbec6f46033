//! The only speaker of `PostgREST`: users' sealed keys and the books of their requests.
//!
//! The work is done by database functions (`migrations/`): `begin_request`, `note_generation`,
//! `finish_request`, `settle_job`, `usage_report`, `usage_requests`, for reconciliation
//! `claim_unsettled` and `settle_request`, `expire_requests`, those for keys (`migrations/20260107000000_keys.sql`), and
//! those of [`administration`]. Each is one round trip with a JSON body, so no value ever enters a
//! URL. The contract:
//!
//! - money is decimal text, never a float;
//! - what the database refuses on purpose comes back as an HTTP status and a word in `details`,
//!   read into [`Refusal`];
//! - a storage that cannot be reached is [`Unavailable`], which is never the same as a storage
//!   that has nothing.

pub mod administration;
mod emergency;
mod error;
mod key;
mod keys;
mod reconciliation;
mod records;
mod retention;
mod transport;
mod usage;

use std::{fmt, time::Duration};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::{Instant, sleep};
use url::Url;

pub use emergency::{EmergencyRecord, NotARecord};
pub use error::{Protocol, Refusal, StorageError, Unavailable};
pub use key::{InvalidStorageKey, StorageKey};
pub use keys::{
    Asking, Condemned, Grant, KeyDescription, KeySource, LimitReset, NewKey, Reserved, RevokedKey,
    StoredKey,
};
pub use reconciliation::{Claim, Finding, Settle, SettleJob, Settled, Unsettled};
pub use records::{
    Begin, Begun, Books, Cost, CostState, Failure, Finish, Finished, NoteGeneration, Noted,
    ReplayGuard, Status, Tokens,
};
pub use retention::{Expired, InvalidRetention, Retention};
pub use transport::ping;
pub use usage::{
    Decimal, Dimension, LocalOffset, Percentiles, Period, Place, ReportQuery, RequestEntry,
    RequestFilter, RequestPage, RequestsQuery, UsageGroup, UsageQuery, UsageReport,
};

use keys::{ActivateJson, Arguments};
use transport::Transport;
use uuid::Uuid;

use crate::causes::causes;

/// How long one attempt may take, the answer's body included.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);
/// The first pause between attempts; each further one is twice as long, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Attempts while a client waits for its first byte.
const ATTEMPTS_IN_FRONT: u32 = 3;

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

    /// Begins a request: looks up the caller's sealed key, refuses a replay and, for a billable
    /// request, opens its books and takes the hold, all in one transaction.
    ///
    /// Repeating it with the same id, DID and fingerprint is safe, and is done here up to twice
    /// until `until`. After [`StorageError::Unavailable`] the request may or may not have begun:
    /// the caller does not go upstream, and [finishes](Self::finish) a billable request as failed
    /// ([`StorageError::NoSuchRequest`] then says that it never began).
    pub async fn begin(&self, begin: &Begin<'_>, until: Instant) -> Result<Begun, StorageError> {
        let arguments = records::BeginArguments {
            request: begin.into(),
        };
        let (answer, is_repeated) = self
            .attempt("begin_request", &arguments, ATTEMPTS_IN_FRONT, until)
            .await;
        answer.map_err(|error| match error {
            StorageError::Refused(refusal) if is_repeated => StorageError::RefusedInDoubt(refusal),
            error => error,
        })
    }

    /// Names the generation of a request that is still running, so that its cost can be asked for
    /// should the function not live to finish it. May come before [`finish`](Self::finish), after it,
    /// or twice; it is only of use before, so it is repeated at most twice, until `until`.
    pub async fn note_generation(
        &self,
        note: &NoteGeneration<'_>,
        until: Instant,
    ) -> Result<Noted, StorageError> {
        let arguments = records::NoteArguments {
            request: note.into(),
        };
        self.call("note_generation", &arguments, ATTEMPTS_IN_FRONT, until)
            .await
    }

    /// Closes the books of one request, exactly once however often it is called. Retries until
    /// `until`, because nobody else knows what the request cost.
    pub async fn finish(
        &self,
        finish: &Finish<'_>,
        until: Instant,
    ) -> Result<Finished, StorageError> {
        let arguments = records::FinishArguments {
            outcome: finish.into(),
        };
        self.call("finish_request", &arguments, u32::MAX, until)
            .await
    }

    /// Closes the books of a request with what its function could only log. As
    /// [`finish`](Self::finish), also where the row was given up as abandoned meanwhile.
    pub async fn restore(
        &self,
        record: &EmergencyRecord,
        until: Instant,
    ) -> Result<Finished, StorageError> {
        let arguments = emergency::RestoreArguments::of(record).ok_or(Protocol::RequestNotBuilt)?;
        self.call("finish_request", &arguments, u32::MAX, until)
            .await
    }

    /// Sums up one DID's requests over a time, in groups if asked to. A DID without requests has all
    /// zeros.
    pub async fn usage_report(
        &self,
        query: &ReportQuery<'_>,
        until: Instant,
    ) -> Result<UsageReport, StorageError> {
        let arguments = usage::Arguments {
            request: usage::ReportJson::from(query),
        };
        self.call("usage_report", &arguments, ATTEMPTS_IN_FRONT, until)
            .await
    }

    /// One page of a DID's requests, the newest first.
    pub async fn usage_requests(
        &self,
        query: &RequestsQuery<'_>,
        until: Instant,
    ) -> Result<RequestPage, StorageError> {
        let arguments = usage::Arguments {
            request: usage::RequestsJson::from(query),
        };
        self.call("usage_requests", &arguments, ATTEMPTS_IN_FRONT, until)
            .await
    }

    /// Takes rows whose books are still open, for as long as their leases last. Runs at the same
    /// time get different rows.
    ///
    /// It is repeated after a lost answer; the rows of that answer then wait for the end of their
    /// leases.
    pub async fn claim_unsettled(
        &self,
        claim: &Claim<'_>,
        until: Instant,
    ) -> Result<Vec<Unsettled>, StorageError> {
        let arguments = reconciliation::ClaimArguments {
            request: claim.into(),
        };
        self.call("claim_unsettled", &arguments, ATTEMPTS_IN_FRONT, until)
            .await
    }

    /// Closes a claimed row, exactly once however often it is called. Retries until `until`.
    pub async fn settle(
        &self,
        settle: &Settle<'_>,
        until: Instant,
    ) -> Result<Settled, StorageError> {
        let arguments = reconciliation::SettleArguments {
            outcome: settle.into(),
        };
        self.call("settle_request", &arguments, u32::MAX, until)
            .await
    }

    /// Closes the row that created a job, exactly once however often it is called. Retries until
    /// `until`.
    pub async fn settle_job(
        &self,
        settle: &SettleJob<'_>,
        until: Instant,
    ) -> Result<Settled, StorageError> {
        let arguments = reconciliation::SettleJobArguments {
            outcome: settle.into(),
        };
        self.call("settle_job", &arguments, u32::MAX, until).await
    }

    /// What the caller may know of their key.
    pub async fn describe_key(
        &self,
        asking: &Asking<'_>,
        until: Instant,
    ) -> Result<KeyDescription, StorageError> {
        let arguments = Arguments {
            request: keys::AskingJson::from(asking),
        };
        self.call("describe_key", &arguments, ATTEMPTS_IN_FRONT, until)
            .await
    }

    /// Stores the caller's key, or puts it in the place of their last one; their account stays.
    pub async fn store_key(
        &self,
        asking: &Asking<'_>,
        key: &NewKey<'_>,
        until: Instant,
    ) -> Result<StoredKey, StorageError> {
        let arguments = Arguments {
            request: keys::StoreJson {
                asking: asking.into(),
                key: key.into(),
            },
        };
        self.call("store_key", &arguments, ATTEMPTS_IN_FRONT, until)
            .await
    }

    /// Deletes the caller's key; their account stays.
    pub async fn revoke_key(
        &self,
        asking: &Asking<'_>,
        until: Instant,
    ) -> Result<RevokedKey, StorageError> {
        let arguments = Arguments {
            request: keys::AskingJson::from(asking),
        };
        self.call("revoke_key", &arguments, ATTEMPTS_IN_FRONT, until)
            .await
    }

    /// Reserves the provisioning of a key for the caller, for as long as `lease` (whole seconds). The
    /// provisioning's id is that of the request.
    pub async fn reserve_provisioning(
        &self,
        asking: &Asking<'_>,
        grant: Grant,
        lease: Duration,
        until: Instant,
    ) -> Result<Reserved, StorageError> {
        let function = "reserve_provisioning";
        let arguments = Arguments {
            request: keys::ReserveJson {
                asking: asking.into(),
                lease: lease.as_secs(),
                limit: grant.limit,
                limit_reset: grant.reset,
            },
        };
        let answer: keys::ReserveAnswer = self
            .call(function, &arguments, ATTEMPTS_IN_FRONT, until)
            .await?;
        Ok(answer.read().ok_or(Protocol::UnexpectedBody { function })?)
    }

    /// Stores a provisioned key. `None`: its reservation was given up, or the DID has brought a key
    /// meanwhile; then the new one is to be deleted. Retries until `until`: the key exists.
    pub async fn activate_provisioning(
        &self,
        id: Uuid,
        did: &str,
        key: &NewKey<'_>,
        until: Instant,
    ) -> Result<Option<KeyDescription>, StorageError> {
        let arguments = Arguments {
            request: ActivateJson {
                id: id.to_string(),
                did,
                upstream_hash: key.hash,
                key: key.into(),
            },
        };
        let answer: keys::ActivateAnswer = self
            .call("activate_provisioning", &arguments, u32::MAX, until)
            .await?;
        Ok(answer.key)
    }

    /// Gives a reservation up. `made`: a key may exist, so it is to be deleted.
    pub async fn abandon_provisioning(
        &self,
        id: Uuid,
        made: bool,
        until: Instant,
    ) -> Result<(), StorageError> {
        let arguments = Arguments {
            request: keys::AbandonJson {
                id: id.to_string(),
                made,
            },
        };
        let keys::Done {} = self
            .call("abandon_provisioning", &arguments, ATTEMPTS_IN_FRONT, until)
            .await?;
        Ok(())
    }

    /// Takes provisioned keys that are to be deleted, and reservations that nobody works on any more;
    /// as [`claim_unsettled`](Self::claim_unsettled).
    pub async fn claim_provisionings(
        &self,
        claim: &Claim<'_>,
        until: Instant,
    ) -> Result<Vec<Condemned>, StorageError> {
        let arguments = keys::claim(claim);
        self.call("claim_provisionings", &arguments, ATTEMPTS_IN_FRONT, until)
            .await
    }

    /// Notes that OpenRouter has a provisioning's key no more.
    pub async fn finish_provisioning(&self, id: Uuid, until: Instant) -> Result<(), StorageError> {
        let arguments = Arguments {
            request: keys::FinishJson { id: id.to_string() },
        };
        let keys::Done {} = self
            .call("finish_provisioning", &arguments, ATTEMPTS_IN_FRONT, until)
            .await?;
        Ok(())
    }

    /// Calls one database function, at most `attempts` times and not beyond `until`. All of them
    /// are idempotent, so an attempt whose answer was lost is repeated.
    async fn call<T: DeserializeOwned>(
        &self,
        function: &'static str,
        arguments: &impl Serialize,
        attempts: u32,
        until: Instant,
    ) -> Result<T, StorageError> {
        self.attempt(function, arguments, attempts, until).await.0
    }

    /// As [`call`](Self::call); also whether the answer is that of a repetition, so that an earlier
    /// attempt may have been carried out, or still be.
    async fn attempt<T: DeserializeOwned>(
        &self,
        function: &'static str,
        arguments: &impl Serialize,
        attempts: u32,
        until: Instant,
    ) -> (Result<T, StorageError>, bool) {
        let Ok(body) = serde_json::to_vec(arguments) else {
            return (Err(Protocol::RequestNotBuilt.into()), false);
        };
        let body = Bytes::from(body);
        // A deadlock or a cancelled statement is a plain 500, too: whoever has the time tries again.
        let patient = attempts > ATTEMPTS_IN_FRONT;
        let mut pause = FIRST_PAUSE;
        let mut attempt = 1;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let answer = self
                .transport
                .rpc(function, body.clone(), left.min(self.attempt_timeout))
                .await;
            match answer {
                Err(StorageError::Unavailable(error))
                    if (patient || error.is_transient())
                        && attempt < attempts
                        && Instant::now() + pause < until =>
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
