//! AWS Secrets Manager, which keeps the master keyset and OpenRouter's management key.
//!
//! [`SecretSource`] reads a secret, [`KeysetCache`] and [`ManagementKeyCache`] decide when.

mod cache;
#[cfg(test)]
mod log;
mod management;

use std::{error::Error, fmt, time::Duration};

use aws_credential_types::Credentials;
use aws_sdk_secretsmanager::{
    Client,
    config::{
        BehaviorVersion, Config, Region, StalledStreamProtectionConfig, retry::RetryConfig,
        timeout::TimeoutConfig,
    },
    error::{ProvideErrorMetadata, SdkError},
    operation::RequestId,
};
use aws_smithy_runtime_api::client::result::ConnectorError;
use futures_util::future::BoxFuture;
use jiff::SignedDuration;
use zeroize::Zeroizing;

use crate::vault::aws_http::AwsHttp;

pub use self::cache::{KeysetCache, KeysetError, VaultError};
pub use self::management::{ManagementKeyCache, ManagementKeyError};

/// One attempt: the service answers within 100 ms, a cold connection adds as much.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);
/// All attempts together: the user's request waits for them.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_ATTEMPTS: u32 = 3;

/// The time for which functions use a keyset before they look for another, unless they are told to
/// look sooner. A rotation waits longer than this between its steps.
pub const KEYSET_LIFETIME: SignedDuration = SignedDuration::from_secs(300);

/// A source of the keyset's text, or of another secret's.
pub trait FetchSecret: Send + Sync {
    /// Reads the current text, from the source and not from a cache.
    fn fetch(&self) -> BoxFuture<'_, Result<Zeroizing<String>, FetchError>>;

    /// The time for which a fetched text may be used.
    fn lifetime(&self) -> SignedDuration {
        KEYSET_LIFETIME
    }
}

/// Temporary credentials of the function's role, as Lambda puts them into the environment.
#[derive(Clone)]
pub struct AwsCredentials {
    /// `AWS_ACCESS_KEY_ID`.
    pub access_key_id: String,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret_access_key: Zeroizing<String>,
    /// `AWS_SESSION_TOKEN`; long-term credentials have none.
    pub session_token: Option<Zeroizing<String>>,
}

impl fmt::Debug for AwsCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsCredentials").finish_non_exhaustive()
    }
}

/// The secret, and how to reach it.
#[derive(Debug, Clone)]
pub struct SecretLocation {
    /// The secret's name or ARN.
    pub secret_id: String,
    /// For example `us-east-1`.
    pub region: String,
    /// Another endpoint than the region's: a stand-in, or a VPC endpoint.
    pub endpoint_url: Option<String>,
    /// The time for which the keyset is used once it was read: at most [`KEYSET_LIFETIME`], which
    /// is what an operator who rotates it counts on.
    pub lifetime: SignedDuration,
}

/// The secret that holds the keyset, or another one, at version stage AWSCURRENT.
#[derive(Debug, Clone)]
pub struct SecretSource {
    client: Client,
    secret_id: String,
    lifetime: SignedDuration,
}

impl SecretSource {
    /// Connects to nothing yet.
    #[must_use]
    pub fn new(
        http: reqwest::Client,
        location: SecretLocation,
        credentials: &AwsCredentials,
    ) -> Self {
        let credentials = Credentials::new(
            credentials.access_key_id.as_str(),
            credentials.secret_access_key.as_str(),
            credentials.session_token.as_deref().cloned(),
            None,
            "configuration",
        );
        let mut config = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(AwsHttp(http))
            .region(Region::new(location.region))
            .credentials_provider(credentials)
            .retry_config(RetryConfig::standard().with_max_attempts(MAX_ATTEMPTS))
            .timeout_config(
                TimeoutConfig::builder()
                    .operation_attempt_timeout(ATTEMPT_TIMEOUT)
                    .operation_timeout(OPERATION_TIMEOUT)
                    .build(),
            )
            // An answer of 1 kB is covered by the timeouts above.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        config.set_endpoint_url(location.endpoint_url);
        Self {
            client: Client::from_conf(config.build()),
            secret_id: location.secret_id,
            lifetime: location.lifetime,
        }
    }

    /// For what no function does: the operator's command line also writes the secret.
    #[must_use]
    pub fn client(&self) -> (&Client, &str) {
        (&self.client, &self.secret_id)
    }
}

impl FetchSecret for SecretSource {
    fn fetch(&self) -> BoxFuture<'_, Result<Zeroizing<String>, FetchError>> {
        Box::pin(async move {
            let request = self.client.get_secret_value().secret_id(&self.secret_id);
            // Boxed: the SDK's futures are large, and this one rarely runs.
            let secret = Box::pin(request.send()).await.map_err(FetchError::from)?;
            secret
                .secret_string
                .map(Zeroizing::new)
                .ok_or(FetchError::NotText)
        })
    }

    fn lifetime(&self) -> SignedDuration {
        self.lifetime
    }
}

/// Why the secret could not be read.
///
/// It keeps no part of a response's body, which in the SDK's own errors may be the secret.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The request could not be made: region, endpoint or credentials are unusable.
    #[error("the request to Secrets Manager could not be made")]
    Configuration(#[source] Box<dyn Error + Send + Sync>),
    /// No connection, or it broke.
    #[error("Secrets Manager cannot be reached")]
    Unreachable(#[source] Box<dyn Error + Send + Sync>),
    /// No answer in time.
    #[error("Secrets Manager did not answer in time")]
    TimedOut,
    /// Secrets Manager said no: no such secret, no permission, throttled, …
    #[error("Secrets Manager refused: {code}: {message} (request {request_id})")]
    Refused {
        /// For example `ResourceNotFoundException`.
        code: String,
        /// The service's sentence.
        message: String,
        /// For AWS's support.
        request_id: String,
    },
    /// An answer that is not Secrets Manager's.
    #[error(
        "what answered with HTTP status {status} is not Secrets Manager, or its answer is broken"
    )]
    Unreadable {
        /// The HTTP status; 0 if there was none.
        status: u16,
    },
    /// The secret is binary.
    #[error("the secret is binary, not text")]
    NotText,
}

impl<E> From<SdkError<E>> for FetchError
where
    E: Error + ProvideErrorMetadata + RequestId + Send + Sync + 'static,
{
    fn from(error: SdkError<E>) -> Self {
        match error {
            SdkError::TimeoutError(_) => Self::TimedOut,
            SdkError::DispatchFailure(failure) if failure.is_timeout() => Self::TimedOut,
            SdkError::ConstructionFailure(_) => Self::Configuration(source(error)),
            SdkError::DispatchFailure(_) => Self::Unreachable(source(error)),
            SdkError::ServiceError(ref refusal) if let Some(code) = refusal.err().code() => {
                let text = |part: Option<&str>| part.unwrap_or("unknown").to_owned();
                Self::Refused {
                    code: code.to_owned(),
                    message: text(refusal.err().message()),
                    request_id: text(refusal.err().request_id()),
                }
            }
            // A success that the SDK could not parse is a `ServiceError` without a code. The
            // sources of these are about the body, so they are dropped.
            _ => Self::Unreadable {
                status: error.raw_response().map_or(0, |raw| raw.status().as_u16()),
            },
        }
    }
}

/// The cause of an error that happened before there was a response.
fn source<E: Error + Send + Sync + 'static>(error: SdkError<E>) -> Box<dyn Error + Send + Sync> {
    let source = error.into_source().unwrap_or_else(Into::into);
    match source.downcast::<ConnectorError>() {
        // Its own text is but "dispatch failure".
        Ok(connector) => connector.into_source(),
        Err(source) => source,
    }
}

#[cfg(test)]
mod tests;
