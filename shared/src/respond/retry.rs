//! The gateway's advice on sending a request again.
//!
//! OpenAI's and Anthropic's SDKs send a request that failed up to twice again by themselves, also one that
//! OpenRouter may have billed. They do as the header `x-should-retry` says.

use http::{HeaderName, HeaderValue, header};

use crate::{
    credentials::provisioning::ProvisioningError,
    error::Error,
    identity::{auth::AuthError, documents::DocumentError},
    storage::{Refusal, StorageError},
    upstream::openrouter::{KeyCheckError, UpstreamError},
    vault::secrets_manager::{KeysetError, VaultError},
};

const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// The pause before a client should try a failed dependency again, in seconds.
const FAILED_DEPENDENCY: u32 = 5;
/// The pause for which a failed look-up of a DID document is remembered, in seconds.
const FAILED_LOOK_UP: u32 = 30;
/// The pause where a job must end first, in seconds.
const OPEN_JOB: u32 = 60;
/// The pause while another call does the same work, in seconds.
const SAME_WORK: u32 = 2;

/// Whether a request should be sent again as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retry {
    /// Yes, after so many seconds: OpenRouter was asked for nothing that costs.
    After(u32),
    /// No: OpenRouter may have billed it.
    MayBeBilled,
    /// No: it would be refused in the same way until a budget begins again.
    InVain,
    /// Nothing is said: it would fail in the same way.
    Unsaid,
}

impl Retry {
    pub(super) fn of(error: &Error) -> Self {
        match error {
            Error::Storage(error) => Self::of_storage(error),
            Error::Vault(error) => Self::of_vault(error),
            Error::Upstream(error) => Self::of_upstream(error),
            Error::KeyCheck(KeyCheckError::Undecided(_) | KeyCheckError::NotAnswered(_))
            | Error::NoRandomness(_)
            | Error::Unhealthy { .. } => Self::After(FAILED_DEPENDENCY),
            Error::Provisioning(error) => Self::of_provisioning(error),
            Error::JobOpen(_) => Self::After(OPEN_JOB),
            // It may have happened after the request was sent.
            Error::Panicked => Self::MayBeBilled,
            Error::Auth(AuthError::Document(DocumentError::Unavailable { .. })) => {
                Self::After(FAILED_LOOK_UP)
            }
            Error::Auth(_)
            | Error::Access(_)
            | Error::Path(_)
            | Error::Query(_)
            | Error::MalformedEvent
            | Error::Route(_)
            | Error::Parameter(_)
            | Error::Tag(_)
            | Error::Body(_)
            | Error::Method(_)
            | Error::NotFound
            | Error::UsageNotAllowed
            | Error::KeyCheck(KeyCheckError::Refused(_) | KeyCheckError::ManagementKey) => {
                Self::Unsaid
            }
        }
    }

    /// The database is asked before OpenRouter.
    fn of_storage(error: &StorageError) -> Self {
        match error {
            StorageError::Refused(refusal) | StorageError::RefusedInDoubt(refusal) => {
                Self::of_refusal(refusal)
            }
            StorageError::Unauthorized { .. }
            | StorageError::Unavailable(_)
            | StorageError::Protocol(_) => Self::After(FAILED_DEPENDENCY),
            StorageError::NoSuchRequest => Self::Unsaid,
        }
    }

    fn of_refusal(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::RateLimited { retry_after, .. } => Self::After(*retry_after),
            Refusal::TooManyOpenRequests { .. } => Self::After(FAILED_DEPENDENCY),
            Refusal::TooManyOpenJobs { .. } => Self::After(OPEN_JOB),
            Refusal::ProvisioningInProgress => Self::After(SAME_WORK),
            Refusal::BudgetReached(_) => Self::InVain,
            Refusal::NoKeyForDid
            | Refusal::DidNotAllowed
            | Refusal::PathNeedsOwnKey
            | Refusal::KeyDisabled
            | Refusal::Replayed
            | Refusal::CreditLimitReached { .. }
            | Refusal::Token(_)
            | Refusal::KeyExists
            | Refusal::ProvisioningUsedUp { .. } => Self::Unsaid,
        }
    }

    /// The user's key is opened before OpenRouter is asked.
    fn of_vault(error: &VaultError) -> Self {
        match error {
            VaultError::Keyset(KeysetError::Unavailable(_) | KeysetError::Malformed(_)) => {
                Self::After(FAILED_DEPENDENCY)
            }
            VaultError::Open(_) | VaultError::MalformedSealedKey(_) => Self::Unsaid,
        }
    }

    fn of_upstream(error: &UpstreamError) -> Self {
        match error {
            UpstreamError::Unreachable(_) => Self::After(FAILED_DEPENDENCY),
            UpstreamError::Broken(_)
            | UpstreamError::Protocol(_)
            | UpstreamError::Unusable(_)
            | UpstreamError::FirstByteTimeout => Self::MayBeBilled,
            UpstreamError::UnrepresentableUrl => Self::Unsaid,
        }
    }

    /// A key that may have been made costs nothing, and the next call finds it.
    fn of_provisioning(error: &ProvisioningError) -> Self {
        match error {
            ProvisioningError::ManagementKey(_)
            | ProvisioningError::NotMade(_)
            | ProvisioningError::InDoubt(_) => Self::After(FAILED_DEPENDENCY),
            ProvisioningError::Keyset(KeysetError::Unavailable(_) | KeysetError::Malformed(_)) => {
                Self::After(FAILED_DEPENDENCY)
            }
            ProvisioningError::NotReserved(error) => Self::of_storage(error),
            ProvisioningError::NotAllowed | ProvisioningError::Overtaken => Self::Unsaid,
        }
    }

    /// The headers that say it.
    pub(super) fn headers(self) -> Vec<(HeaderName, HeaderValue)> {
        let should = |value| (SHOULD_RETRY, HeaderValue::from_static(value));
        match self {
            Self::After(seconds) => vec![
                should("true"),
                (header::RETRY_AFTER, HeaderValue::from(seconds)),
            ],
            Self::MayBeBilled | Self::InVain => vec![should("false")],
            Self::Unsaid => Vec::new(),
        }
    }
}
