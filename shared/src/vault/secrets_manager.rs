//! AWS Secrets Manager, which keeps the master keyset and OpenRouter's management key.
//!
//! [`KeysetSource`] reads a secret, [`KeysetCache`] and [`ManagementKeyCache`] decide when.

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

/// How long functions use a keyset before they look for another, unless they are told to look
/// sooner. A rotation waits longer than this between its steps.
pub const KEYSET_LIFETIME: SignedDuration = SignedDuration::from_secs(300);

/// Where the text of the keyset, or of another secret, comes from.
pub trait FetchKeyset: Send + Sync {
    /// Reads the current text, from the source and not from a cache.
    fn fetch(&self) -> BoxFuture<'_, Result<Zeroizing<String>, FetchError>>;

    /// How long a text may be used once it was fetched.
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

/// Which secret, and how to reach it.
#[derive(Debug, Clone)]
pub struct KeysetLocation {
    /// The secret's name or ARN.
    pub secret_id: String,
    /// For example `us-east-1`.
    pub region: String,
    /// Another endpoint than the region's: a stand-in, or a VPC endpoint.
    pub endpoint_url: Option<String>,
    /// How long the keyset is used once it was read: at most [`KEYSET_LIFETIME`], which is what an
    /// operator who rotates it counts on.
    pub lifetime: SignedDuration,
}

/// The secret that holds the keyset, or another one, at version stage AWSCURRENT.
#[derive(Debug, Clone)]
pub struct KeysetSource {
    client: Client,
    secret_id: String,
    lifetime: SignedDuration,
}

impl KeysetSource {
    /// Connects to nothing yet.
    #[must_use]
    pub fn new(
        http: reqwest::Client,
        location: KeysetLocation,
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

impl FetchKeyset for KeysetSource {
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
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::TcpListener,
        process::{Child, Command, Stdio},
        sync::Arc,
    };

    use jiff::Timestamp;
    use tracing::Level;

    use super::{log::Log, *};
    use crate::{
        http_client,
        vault::{
            keyset::Keyset,
            secret::{ApiKey, KeyId},
        },
    };

    const NOW: Timestamp = Timestamp::constant(1_790_000_000, 0);

    fn source(port: u16) -> KeysetSource {
        source_at(format!("http://127.0.0.1:{port}"), Duration::from_secs(1))
    }

    fn source_at(endpoint_url: String, connect_timeout: Duration) -> KeysetSource {
        let http = http_client::build(http_client::web_roots(), connect_timeout).unwrap();
        let location = KeysetLocation {
            secret_id: "llm-gateway/keyset".to_owned(),
            region: "us-east-1".to_owned(),
            endpoint_url: Some(endpoint_url),
            lifetime: KEYSET_LIFETIME,
        };
        KeysetSource::new(http, location, &credentials())
    }

    fn credentials() -> AwsCredentials {
        AwsCredentials {
            access_key_id: "AKIDPLANTED".to_owned(),
            secret_access_key: Zeroizing::new("planted-secret-access-key".to_owned()),
            session_token: Some(Zeroizing::new("planted-session-token".to_owned())),
        }
    }

    /// The error as a log shows it, and as `Debug` shows it.
    fn everything(error: &FetchError) -> String {
        std::iter::successors(Some(error as &dyn Error), |error| (*error).source())
            .map(|error| format!("{error:?}\n{error}"))
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// Answers one request with `status` and `body`; returns the request.
    fn answer_once(
        status: &'static str,
        body: &'static str,
    ) -> (u16, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut seen = vec![0; 4096];
            let mut len = 0;
            while !seen[..len].ends_with(b"}") {
                len += stream.read(&mut seen[len..]).unwrap();
            }
            let head = format!("HTTP/1.1 {status}\r\nx-amzn-requestid: req-1\r\n");
            let length = body.len();
            write!(stream, "{head}content-length: {length}\r\n\r\n{body}").unwrap();
            String::from_utf8(seen[..len].to_vec()).unwrap()
        });
        (port, server)
    }

    #[tokio::test]
    async fn asks_for_the_secret_with_a_signed_request() {
        let (port, server) = answer_once(
            "200 OK",
            r#"{"Name":"llm-gateway/keyset","SecretString":"planted-keyset"}"#,
        );
        let log = Log::default();
        let guard = log.capture(Level::TRACE);
        let text = source(port).fetch().await.unwrap();
        drop(guard);
        assert_eq!(*text, "planted-keyset");
        // The SDK tells a lot, at this level, but not this.
        assert!(log.text().contains("GetSecretValue"));
        assert!(!log.text().contains("planted"), "{}", log.text());

        let request = server.join().unwrap();
        assert!(request.starts_with("POST / HTTP/1.1\r\n"), "{request}");
        for part in [
            "x-amz-target: secretsmanager.GetSecretValue\r\n",
            "x-amz-security-token: planted-session-token\r\n",
            "authorization: AWS4-HMAC-SHA256 Credential=AKIDPLANTED/",
            "/us-east-1/secretsmanager/aws4_request",
            r#"{"SecretId":"llm-gateway/keyset"}"#,
        ] {
            assert!(request.contains(part), "{part} in {request}");
        }
        assert!(!request.contains("planted-secret-access-key"));
    }

    #[tokio::test]
    async fn a_refusal_names_code_and_request() {
        let (port, _) = answer_once(
            "400 Bad Request",
            r#"{"__type":"AccessDeniedException","Message":"not authorized"}"#,
        );
        let error = source(port).fetch().await.unwrap_err();
        insta::assert_snapshot!(error, @"Secrets Manager refused: AccessDeniedException: not authorized (request req-1)");
    }

    #[tokio::test]
    async fn a_binary_secret_is_refused() {
        let (port, _) = answer_once("200 OK", r#"{"SecretBinary":"AAAA"}"#);
        let error = source(port).fetch().await.unwrap_err();
        assert!(matches!(error, FetchError::NotText), "{error:?}");
    }

    /// The SDK's own error holds the whole response.
    #[tokio::test]
    async fn an_unreadable_answer_is_not_shown() {
        let (port, _) = answer_once("200 OK", r#"{"SecretString":"planted-keyset", oops"#);
        let error = source(port).fetch().await.unwrap_err();
        assert!(
            matches!(error, FetchError::Unreadable { status: 200 }),
            "{error:?}"
        );
        assert!(!everything(&error).contains("planted"));
    }

    /// Time is paused: the timers fire as soon as nothing else can happen.
    #[tokio::test(start_paused = true)]
    async fn silence_times_out() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let started = tokio::time::Instant::now();
        let error = source(port).fetch().await.unwrap_err();
        assert!(matches!(error, FetchError::TimedOut), "{error:?}");
        assert!(started.elapsed() <= OPERATION_TIMEOUT + Duration::from_millis(10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_is_not_established_counts_as_silence() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        // The TLS handshake is not answered, and the client gives up on each attempt before the
        // SDK does.
        let error = source_at(format!("https://{address}"), Duration::from_millis(100))
            .fetch()
            .await
            .unwrap_err();
        assert!(matches!(error, FetchError::TimedOut), "{error:?}");
    }

    #[tokio::test]
    async fn a_closed_port_is_unreachable_and_its_cause_is_kept() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let error = source(port).fetch().await.unwrap_err();
        assert!(matches!(error, FetchError::Unreachable(_)), "{error:?}");
        let text = everything(&error);
        assert!(text.contains("Connection refused"), "{text}");
        assert!(!text.contains("planted"), "{text}");
    }

    #[test]
    fn debug_shows_no_credentials() {
        let shown = format!("{:?} {:?}", credentials(), source(1));
        assert!(!shown.contains("planted"), "{shown}");
    }

    /// moto, an independent implementation of the service.
    struct Moto {
        server: Child,
        port: u16,
    }

    impl Moto {
        #[expect(
            clippy::disallowed_methods,
            reason = "the interpreter is the machine's, not the gateway's configuration"
        )]
        async fn start() -> Self {
            let python = std::env::var("ORACLE_PYTHON").expect("ORACLE_PYTHON names a Python");
            let free = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = free.local_addr().unwrap().port();
            drop(free);
            let mut moto = Self {
                server: Command::new(python)
                    .args(["-m", "moto.server", "-p", &port.to_string()])
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()
                    .unwrap(),
                port,
            };
            for _ in 0..600 {
                if tokio::net::TcpStream::connect(("127.0.0.1", port))
                    .await
                    .is_ok()
                {
                    return moto;
                }
                assert_eq!(moto.server.try_wait().unwrap(), None, "moto ended");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            panic!("moto did not start in a minute");
        }

        fn stop(&mut self) {
            self.server.kill().unwrap();
            self.server.wait().unwrap();
        }
    }

    impl Drop for Moto {
        fn drop(&mut self) {
            let _ = self.server.kill();
            let _ = self.server.wait();
        }
    }

    #[tokio::test]
    #[ignore = "needs ORACLE_PYTHON"]
    async fn the_whole_way_through_an_outage_and_a_rotation() {
        let mut moto = Moto::start().await;
        let source = source(moto.port);
        let cache = KeysetCache::new(source.clone());

        let error = source.fetch().await.unwrap_err();
        assert!(
            matches!(&error, FetchError::Refused { code, .. } if code == "ResourceNotFoundException"),
            "{error:?}"
        );
        assert!(matches!(
            cache.get(NOW).await,
            Err(KeysetError::Unavailable(_))
        ));

        let first = Keyset::generate(&Zeroizing::new([1; 64]), KeyId(1));
        let created = source
            .client
            .create_secret()
            .name(&source.secret_id)
            .secret_string(first.as_str())
            .send()
            .await
            .unwrap();
        assert!(created.arn().unwrap().contains("secretsmanager"));
        let sealed = cache
            .get(NOW)
            .await
            .unwrap()
            .seal("did:a", &ApiKey::new("sk-or".to_owned()).unwrap());
        let key = cache.open("did:a", &sealed, NOW).await.unwrap();
        assert_eq!(key.expose_secret(), "sk-or");

        // Another writer already uses a new key; this cache is still young.
        let second = Keyset::generate(&Zeroizing::new([2; 64]), KeyId(2));
        source
            .client
            .put_secret_value()
            .secret_id(&source.secret_id)
            .secret_string(second.as_str())
            .send()
            .await
            .unwrap();
        let newer = Keyset::parse(&second)
            .unwrap()
            .seal("did:a", &ApiKey::new("sk-or-2".to_owned()).unwrap());
        let key = cache.open("did:a", &newer, NOW).await.unwrap();
        assert_eq!(key.expose_secret(), "sk-or-2");

        moto.stop();
        let later = NOW + jiff::SignedDuration::from_hours(1);
        let key = cache.open("did:a", &newer, later).await.unwrap();
        assert_eq!(key.expose_secret(), "sk-or-2");
        let error = source.fetch().await.unwrap_err();
        assert!(matches!(error, FetchError::Unreachable(_)), "{error:?}");

        let empty = Arc::new(KeysetCache::new(source));
        assert!(matches!(
            empty.get(later).await,
            Err(KeysetError::Unavailable(_))
        ));
    }
}
