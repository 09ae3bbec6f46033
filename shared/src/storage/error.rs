//! The faults between the gateway and its storage.

use http::StatusCode;
use jiff::Timestamp;
use thiserror::Error;

use super::{budgets::ReachedBudget, tokens::TokenRefusal};

/// Why a storage call did not succeed. No variant holds a key, sealed or plain.
#[derive(Debug, Error)]
pub enum StorageError {
    /// The storage works and says no to this request.
    #[error("the storage refuses the request: {0}")]
    Refused(#[from] Refusal),
    /// As [`Refused`](Self::Refused), but only when it was asked again: an earlier attempt, whose
    /// answer was lost, may have been let through.
    #[error("the storage refuses the repeated request: {0}")]
    RefusedInDoubt(Refusal),
    /// `finish` was called for a request that never began.
    #[error("no request has this id")]
    NoSuchRequest,
    /// The storage does not accept the gateway's own key: a fault of the configuration.
    #[error("the storage does not accept the gateway's key (HTTP {status})")]
    Unauthorized {
        /// 401 or 403.
        status: StatusCode,
    },
    /// The storage did not answer, or could not. Says nothing about what it holds.
    #[error("the storage is unavailable: {0}")]
    Unavailable(#[from] Unavailable),
    /// The storage answered something that the contract does not know: another schema version,
    /// or no `PostgREST` at all.
    #[error("the storage broke the contract: {0}")]
    Protocol(#[from] Protocol),
}

impl StorageError {
    /// The stable name that clients see.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Refused(refusal) | Self::RefusedInDoubt(refusal) => refusal.reason(),
            Self::Unauthorized { .. } | Self::Unavailable(_) | Self::Protocol(_) => {
                "storage_unavailable"
            }
            Self::NoSuchRequest => "internal",
        }
    }
}

impl Refusal {
    /// The stable name that clients see.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoKeyForDid => "no_key_for_did",
            Self::DidNotAllowed => "did_not_allowed",
            Self::PathNeedsOwnKey => "path_needs_own_key",
            Self::KeyDisabled => "key_disabled",
            Self::Replayed => "replayed_request",
            Self::CreditLimitReached { .. } => "credit_limit_reached",
            Self::RateLimited { .. } => "rate_limited",
            Self::TooManyOpenRequests { .. } => "too_many_open_requests",
            Self::TooManyOpenJobs { .. } => "too_many_open_jobs",
            Self::Token(refusal) => refusal.reason(),
            Self::BudgetReached(_) => "budget_reached",
            Self::KeyExists => "key_exists",
            Self::ProvisioningInProgress => "provisioning_in_progress",
            Self::ProvisioningUsedUp { .. } => "provisioning_used_up",
        }
    }
}

/// A refusal by the database on purpose. See `begin_request` in `migrations/`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// No key is stored for the DID.
    #[error("no key is stored for this DID")]
    NoKeyForDid,
    /// The operator has not approved the DID.
    #[error("the operator has not approved this DID")]
    DidNotAllowed,
    /// The path reaches what all provisioned keys share, and the DID's key is one of them.
    #[error("this path takes a key that the DID has brought")]
    PathNeedsOwnKey,
    /// The DID's key has been disabled.
    #[error("the key of this DID is disabled")]
    KeyDisabled,
    /// This signed request was let through before.
    #[error("this signed request has been used before")]
    Replayed,
    /// The limit is spent, or what is left of it does not cover this request beside those in
    /// flight. US dollars, as decimal text.
    #[error("credit limit {limit} reached: {spent} spent, {held} held, {hold} needed")]
    CreditLimitReached {
        /// The DID's limit.
        limit: String,
        /// The cost of finished requests.
        spent: String,
        /// The sum reserved for requests in flight and for costs not known yet, without this one.
        held: String,
        /// The sum that would have been reserved for this one.
        hold: String,
    },
    /// The DID sends requests faster than it may.
    #[error("more than {requests_per_minute} requests per minute, free again in {retry_after} s")]
    RateLimited {
        /// The rate that applies to the DID.
        requests_per_minute: u32,
        /// Seconds until the next request would pass, rounded up.
        retry_after: u32,
    },
    /// The DID has as many requests that have not ended as it may.
    #[error("{open_requests} of {max_open_requests} requests are open")]
    TooManyOpenRequests {
        /// Its open requests.
        open_requests: u32,
        /// How many it may have.
        max_open_requests: u32,
    },
    /// The DID has as many jobs whose cost is not known as it may.
    #[error("{open_jobs} of {max_open_jobs} jobs are open")]
    TooManyOpenJobs {
        /// Its open jobs.
        open_jobs: u32,
        /// How many it may have.
        max_open_jobs: u32,
    },
    /// What a token may not do, or what may not be done to it.
    #[error(transparent)]
    Token(#[from] TokenRefusal),
    /// A budget is spent, or what is left of it does not cover this request beside those in flight.
    #[error("a budget is reached")]
    BudgetReached(Box<ReachedBudget>),
    /// A key was to be provisioned for a DID that has brought one.
    #[error("this DID has brought a key")]
    KeyExists,
    /// Another call provisions the DID's key at the moment.
    #[error("another call provisions this DID's key")]
    ProvisioningInProgress,
    /// A key with the whole limit of the present day, week or month was provisioned for the DID, and
    /// is gone.
    #[error("this DID has had its key")]
    ProvisioningUsedUp {
        /// When the next one begins; `None`: there is but one.
        available_at: Option<Timestamp>,
    },
}

/// The reason why the storage is unavailable.
#[derive(Debug, Error)]
pub enum Unavailable {
    /// No complete answer in time.
    #[error("no answer in time")]
    Timeout,
    /// No connection, or one that broke before the answer was complete.
    #[error("connection failed")]
    Transport(#[source] reqwest::Error),
    /// It answered that it cannot.
    #[error("HTTP {status} {}", code.as_deref().unwrap_or_default())]
    Status {
        /// 408, 429 or 5xx.
        status: StatusCode,
        /// `PostgREST`'s or `PostgreSQL`'s code (`PGRST003`, `57014`).
        code: Option<String>,
    },
}

impl Unavailable {
    /// Whether the same call may succeed in a moment. A plain 500 is not among them: it is how
    /// backends report an error of the function itself.
    #[must_use]
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Timeout | Self::Transport(_) => true,
            Self::Status { status, .. } => matches!(
                status.as_u16(),
                // 520–524: Cloudflare, in front of hosted Supabase, did not reach it.
                408 | 429 | 502 | 503 | 504 | 520..=524
            ),
        }
    }

    /// Sorts an error of the HTTP client. The URL is dropped: it may carry credentials.
    pub(super) fn from_client(error: reqwest::Error) -> Self {
        if error.is_timeout() {
            Self::Timeout
        } else {
            Self::Transport(error.without_url())
        }
    }
}

/// A breach of the contract by the storage.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Protocol {
    /// A success whose body is not the function's result. What it holds is not told: it may be a
    /// sealed key.
    #[error("{function} returned an unexpected body")]
    UnexpectedBody {
        /// The database function.
        function: &'static str,
    },
    /// A status that the contract does not know.
    #[error("{function} answered HTTP {status} {}", code.as_deref().unwrap_or_default())]
    UnexpectedStatus {
        /// The database function.
        function: &'static str,
        /// The HTTP status.
        status: StatusCode,
        /// `PostgREST`'s or `PostgreSQL`'s code (`PGRST202`: the migrations are not applied).
        code: Option<String>,
    },
    /// The request could not be put into HTTP.
    #[error("the request could not be built")]
    RequestNotBuilt,
}
