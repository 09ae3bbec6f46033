//! `GET /api/v1/usage`, what the caller has used, summed in the database, and
//! `GET /api/v1/usage/requests`, the requests it is the sum of. Also `GET /api/v1/health/database`,
//! whether the database answers: this function has the key for it, and `health` has no secret.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use bytes::Bytes;
use http::Response;
use jiff::Timestamp;
use serde_json::json;
use shared::{
    accounting::usage::{Format, RequestsQuestion, SummaryQuestion},
    causes::causes,
    clock::Clock,
    config::{AccountConfig, Env, StartError},
    error::Error,
    http_client,
    identity::{
        access::{AllowedDids, Sender},
        auth::{self, Authenticator},
        canonical::{CanonicalPath, CanonicalQuery},
    },
    request::{Incoming, Invocation},
    respond,
    routes::{Function, Route},
    storage::{
        Admitted, Period, PresentedToken, Presenting, SCHEMA_VERSION, Schema, Storage, UsageQuery,
    },
};
use tokio::time::Instant;

/// The timeout for making a connection to the database.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The longest time that a user waits for a response. After it the database counts as unavailable.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The timeout of counting a request before it is answered.
const ADMISSION_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the check of the database waits.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(3);

/// The state that the function keeps between requests.
#[derive(Debug)]
pub struct Usage {
    clock: Clock,
    authenticator: Authenticator,
    allowed_dids: AllowedDids,
    account_requests_per_minute: NonZeroU32,
    storage: Storage,
}

impl Usage {
    /// Builds it from the environment.
    pub fn load(env: Env<'_>) -> Result<Self, StartError> {
        let config = AccountConfig::read(env)?;
        let client = http_client::build(http_client::web_roots(), CONNECT_TIMEOUT)?;
        Ok(Self {
            clock: Clock::system(),
            authenticator: config.authenticator()?,
            // Sums over a million rows take a small database seconds; asking again would not help.
            storage: config.storage(client, ANSWER_TIMEOUT),
            allowed_dids: config.allowed_dids,
            account_requests_per_minute: config.account_requests_per_minute,
        })
    }
}

/// Answers one request.
pub async fn handle(
    usage: Arc<Usage>,
    request: Incoming,
    invocation: Invocation,
) -> Response<Bytes> {
    usage
        .answer(&request, &invocation)
        .await
        .unwrap_or_else(|error| respond::failure(&error, invocation.id))
}

impl Usage {
    async fn answer(
        &self,
        request: &Incoming,
        invocation: &Invocation,
    ) -> Result<Response<Bytes>, Error> {
        let now = self.clock.now();
        if self.is_health(request)? {
            return self.health(request, invocation).await;
        }
        let identified = self.authenticator.identify(request, now).await?;
        let sender = self.allowed_dids.check_sender(identified)?;
        let path = sender.path().as_str().trim_end_matches('/');
        let route = Route::of(Function::Usage, path).ok_or(Error::NotFound)?;
        route.check_method(&request.method)?;
        let ask = Ask {
            request,
            invocation,
            now,
            query: sender.query(),
            asker: self.asker(&sender, now).await?,
        };
        match route {
            Route::Usage => self.summary(ask).await,
            Route::UsageRequests => self.requests(ask).await,
            Route::Banner
            | Route::Health
            | Route::DatabaseHealth
            | Route::OpenRouter
            | Route::Keys
            | Route::Tokens
            | Route::Token
            | Route::Console
            | Route::ConsoleFile => Err(Error::NotFound),
        }
    }

    /// Finds out whose usage the sender may read, and counts the request.
    async fn asker<'a>(&self, sender: &'a Sender, now: Timestamp) -> Result<Asker<'a>, Error> {
        let deadline = Instant::now() + ADMISSION_TIMEOUT;
        match sender {
            Sender::Signed(allowed) => {
                let rate = self.account_requests_per_minute;
                let admitted = self.storage.admit(allowed, rate, deadline).await?;
                Ok(Asker::Did(admitted))
            }
            Sender::Token(bearer) => {
                let presenting = Presenting {
                    digest: bearer.digest,
                    request_time: now,
                    owners: &self.allowed_dids,
                    requests_per_minute: Some(self.account_requests_per_minute),
                };
                let presented = self.storage.describe_token(&presenting, deadline).await?;
                if presented.token.read_usage {
                    Ok(Asker::Token(Box::new(presented)))
                } else {
                    Err(Error::UsageNotAllowed)
                }
            }
        }
    }

    /// Whether the request is for the check of the database, below any of the gateway's addresses.
    fn is_health(&self, request: &Incoming) -> Result<bool, Error> {
        let path = CanonicalPath::from_raw(&request.raw_path)?;
        let is_it = |path: &CanonicalPath| path.as_str() == Route::DatabaseHealth.path();
        Ok(self.authenticator.audiences().iter().any(|audience| {
            let (likely, whole) = auth::paths_below(audience, request.stage.as_deref(), &path);
            is_it(&likely) || whole.is_some_and(|whole| is_it(&whole))
        }))
    }

    /// Calls a function of the database with the deployed key, through PostgREST and everything before
    /// it, and compares the schema's version with the one that this function needs.
    async fn health(
        &self,
        request: &Incoming,
        invocation: &Invocation,
    ) -> Result<Response<Bytes>, Error> {
        Route::DatabaseHealth.check_method(&request.method)?;
        let asked = Instant::now();
        let schema = self.storage.schema(asked + HEALTH_TIMEOUT).await;
        let latency = asked.elapsed().as_millis();
        let (status, version) = match &schema {
            Ok(schema) if is_outdated(schema) => {
                tracing::warn!(
                    schema.version,
                    needed = SCHEMA_VERSION,
                    missing = schema.missing.join(", "),
                    "the database lacks migrations"
                );
                ("outdated", Some(schema.version.as_str()))
            }
            Ok(schema) => ("up", Some(schema.version.as_str())),
            Err(error) => {
                tracing::warn!(error = causes(error), "the database does not answer");
                ("down", None)
            }
        };
        let checks = json!({"database": {
            "status": status,
            "latency_ms": latency,
            "schema_version": version,
            "needed_version": SCHEMA_VERSION,
        }});
        if status == "up" {
            let data = json!({
                "status": "healthy",
                "timestamp": self.clock.now().to_string(),
                "checks": checks,
            });
            Ok(respond::data(&data, invocation.id))
        } else {
            Err(Error::Unhealthy { checks })
        }
    }

    async fn summary(&self, ask: Ask<'_>) -> Result<Response<Bytes>, Error> {
        let mut question = SummaryQuestion::read(ask.query, &ask.request.headers, ask.now)?;
        if let Asker::Token(presented) = &ask.asker {
            question.restrict_to(presented.token.id)?;
        }
        let asked = ask.about(question.period());
        let report = self
            .storage
            .usage_report(&question.of(asked), Instant::now() + ANSWER_TIMEOUT)
            .await?;
        let report = match &ask.asker {
            Asker::Did(_) => report,
            Asker::Token(_) => report.without_account(),
        };
        let summary = question.answer(report)?;
        let id = ask.invocation.id;
        Ok(match question.format() {
            Format::Json => respond::data(&summary, id),
            Format::Csv => respond::csv(summary.to_csv(), "usage.csv", id),
        })
    }

    async fn requests(&self, ask: Ask<'_>) -> Result<Response<Bytes>, Error> {
        let mut question = RequestsQuestion::read(ask.query, &ask.request.headers)?;
        if let Asker::Token(presented) = &ask.asker {
            question.restrict_to(presented.token.id)?;
        }
        let asked = ask.about(question.period());
        let page = self
            .storage
            .usage_requests(&question.of(asked), Instant::now() + ANSWER_TIMEOUT)
            .await?;
        let page = question.answer(page);
        let id = ask.invocation.id;
        let response = match question.format() {
            Format::Json => respond::data(&page, id),
            Format::Csv => respond::csv(page.to_csv(), "usage-requests.csv", id),
        };
        Ok(match page.next_query(ask.query) {
            Some(next) => respond::with_next(response, &next),
            None => response,
        })
    }
}

/// Whether the database lacks something that this function was built with. A later schema is fine:
/// migrations only add.
fn is_outdated(schema: &Schema) -> bool {
    schema.version.as_str() < SCHEMA_VERSION || !schema.missing.is_empty()
}

/// A request whose sender is known.
struct Ask<'a> {
    request: &'a Incoming,
    invocation: &'a Invocation,
    now: Timestamp,
    query: &'a CanonicalQuery,
    asker: Asker<'a>,
}

/// The one whose usage is asked for.
enum Asker<'a> {
    /// A DID: all of its requests.
    Did(Admitted<'a>),
    /// The holder of a token: the requests that came with it.
    Token(Box<PresentedToken>),
}

impl Ask<'_> {
    /// The caller's own question, about a time.
    fn about(&self, period: Period) -> UsageQuery<'_> {
        let (id, request_time) = (self.invocation.id, self.now);
        let (did, fingerprint) = match &self.asker {
            Asker::Did(admitted) => {
                let asked = admitted.request(id, request_time, &self.request.method);
                (asked.did, asked.fingerprint)
            }
            Asker::Token(presented) => (presented.did.as_str(), None),
        };
        UsageQuery {
            id,
            did,
            request_time,
            fingerprint,
            period,
        }
    }
}
