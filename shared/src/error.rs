//! Everything that can keep a request from being answered, by stage. [`crate::respond`] alone
//! turns these into HTTP.

use crate::{
    accounting::{reconcile::JobOpen, usage::ParameterError},
    credentials::{body::BodyError, provisioning::ProvisioningError},
    identity::{
        access::DidNotAllowed,
        auth::AuthError,
        canonical::{PathError, QueryError},
    },
    routes::MethodNotAllowed,
    storage::StorageError,
    upstream::{
        endpoint::RouteError,
        labels::MalformedTag,
        openrouter::{KeyCheckError, UpstreamError},
    },
    vault::secrets_manager::VaultError,
};

/// Why a request was not answered as asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The sender could not be authenticated.
    #[error("authentication failed")]
    Auth(#[from] AuthError),
    /// The sender may not use the gateway.
    #[error(transparent)]
    Access(#[from] DidNotAllowed),
    /// Its path has no canonical form.
    #[error("the path has no canonical form")]
    Path(#[from] PathError),
    /// Its query has no canonical form.
    #[error("the query has no canonical form")]
    Query(#[from] QueryError),
    /// The event's body is not what it says it is.
    #[error("the event's body cannot be decoded")]
    MalformedEvent,
    /// Its path is not passed on.
    #[error("the path is not passed on")]
    Route(#[from] RouteError),
    /// A query parameter is not usable.
    #[error("a parameter is not usable")]
    Parameter(#[from] ParameterError),
    /// The word for a request is none.
    #[error("the request's tag is not usable")]
    Tag(#[from] MalformedTag),
    /// A body that is not what the route takes.
    #[error("the body is not usable")]
    Body(#[from] BodyError),
    /// The route exists, but not for this method.
    #[error(transparent)]
    Method(#[from] MethodNotAllowed),
    /// There is no such route.
    #[error("no such route")]
    NotFound,
    /// The database refused or failed.
    #[error("storage failed")]
    Storage(#[from] StorageError),
    /// The user's key cannot be opened.
    #[error("the user's key cannot be opened")]
    Vault(#[from] VaultError),
    /// OpenRouter did not answer.
    #[error("OpenRouter did not answer")]
    Upstream(#[from] UpstreamError),
    /// The key that a user brings is not known to be good.
    #[error("the key was not stored")]
    KeyCheck(#[from] KeyCheckError),
    /// No key was provisioned.
    #[error("no key was provisioned")]
    Provisioning(#[from] ProvisioningError),
    /// A job is to be deleted whose cost is not known.
    #[error(transparent)]
    JobOpen(#[from] JobOpen),
    /// The token may not read usage.
    #[error("this token may not read usage")]
    UsageNotAllowed,
    /// A deep health check found something down.
    #[error("unhealthy")]
    Unhealthy {
        /// The parts that were checked, each with its state.
        checks: serde_json::Value,
    },
    /// The system gives no randomness for a secret.
    #[error("the system gives no randomness")]
    NoRandomness(#[from] getrandom::Error),
    /// A bug: the handler panicked.
    #[error("the handler panicked")]
    Panicked,
}

impl Error {
    /// The stable name that clients see, and that the books and the log keep.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Auth(error) => error.reason(),
            Self::Access(error) => error.reason(),
            Self::Path(error) => error.reason(),
            Self::Query(error) => error.reason(),
            Self::MalformedEvent => "malformed_body",
            Self::Route(error) => error.reason(),
            Self::Parameter(error) => error.reason(),
            Self::Tag(error) => error.reason(),
            Self::Body(error) => error.reason(),
            Self::Method(error) => error.reason(),
            Self::NotFound => "not_found",
            Self::Storage(error) => error.reason(),
            Self::Vault(error) => error.reason(),
            Self::Upstream(error) => error.reason(),
            Self::KeyCheck(error) => error.reason(),
            Self::Provisioning(error) => error.reason(),
            Self::JobOpen(error) => error.reason(),
            Self::UsageNotAllowed => "usage_not_allowed",
            Self::Unhealthy { .. } => "unhealthy",
            Self::NoRandomness(_) | Self::Panicked => "internal",
        }
    }
}
