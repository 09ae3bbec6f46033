//! `GET /api/v1/usage`, what the caller has used, summed in the database, and
//! `GET /api/v1/usage/requests`, the requests it is the sum of.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::Response;
use jiff::Timestamp;
use shared::{
    accounting::usage::{Format, RequestsQuestion, SummaryQuestion},
    clock::Clock,
    config::{Env, StartError, UsageConfig},
    error::Error,
    http_client,
    identity::auth::{self, Audiences, Authenticated},
    request::{self, Incoming, Invocation},
    respond,
    routes::{Function, Route},
    storage::{Period, Storage, UsageQuery},
};
use tokio::time::Instant;

/// The timeout for making a connection to the database.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The longest time that a user waits for a response. After it the database counts as unavailable.
const PATIENCE: Duration = Duration::from_secs(10);

/// The state that the function keeps between requests.
#[derive(Debug)]
pub struct Usage {
    clock: Clock,
    audiences: Audiences,
    storage: Storage,
}

impl Usage {
    /// Builds it from the environment.
    pub fn load(env: Env<'_>) -> Result<Self, StartError> {
        let config = UsageConfig::read(env)?;
        let client = http_client::build(http_client::web_roots(), CONNECT_TIMEOUT)?;
        Ok(Self {
            clock: Clock::system(),
            // Sums over a million rows take a small database seconds; asking again would not help.
            storage: config.storage(client, PATIENCE),
            audiences: config.audiences,
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
        let authenticated = auth::authenticate(request, &self.audiences, request::MAX_BODY, now)?;
        let ask = Ask {
            request,
            invocation,
            now,
            authenticated: &authenticated,
        };
        let path = authenticated.path.as_str().trim_end_matches('/');
        let route = Route::of(Function::Usage, path).ok_or(Error::NotFound)?;
        route.check_method(&request.method)?;
        match route {
            Route::Usage => self.summary(ask).await,
            Route::UsageRequests => self.requests(ask).await,
            Route::Banner | Route::Health | Route::OpenRouter | Route::Keys => Err(Error::NotFound),
        }
    }

    async fn summary(&self, ask: Ask<'_>) -> Result<Response<Bytes>, Error> {
        let query = &ask.authenticated.query;
        let question = SummaryQuestion::read(query, &ask.request.headers, ask.now)?;
        let asked = ask.about(question.period());
        let report = self
            .storage
            .usage_report(&question.of(asked), Instant::now() + PATIENCE)
            .await?;
        let summary = question.answer(report)?;
        let id = ask.invocation.id;
        Ok(match question.format() {
            Format::Json => respond::data(&summary, id),
            Format::Csv => respond::csv(summary.to_csv(), "usage.csv", id),
        })
    }

    async fn requests(&self, ask: Ask<'_>) -> Result<Response<Bytes>, Error> {
        let query = &ask.authenticated.query;
        let question = RequestsQuestion::read(query, &ask.request.headers)?;
        let asked = ask.about(question.period());
        let page = self
            .storage
            .usage_requests(&question.of(asked), Instant::now() + PATIENCE)
            .await?;
        let page = question.answer(page);
        let id = ask.invocation.id;
        let response = match question.format() {
            Format::Json => respond::data(&page, id),
            Format::Csv => respond::csv(page.to_csv(), "usage-requests.csv", id),
        };
        Ok(match page.next_query(query) {
            Some(next) => respond::with_next(response, &next),
            None => response,
        })
    }
}

/// A request whose sender is known.
struct Ask<'a> {
    request: &'a Incoming,
    invocation: &'a Invocation,
    now: Timestamp,
    authenticated: &'a Authenticated,
}

impl<'a> Ask<'a> {
    /// The caller's own question, about a time.
    fn about(&self, period: Period) -> UsageQuery<'a> {
        let caller = &self.authenticated.caller;
        UsageQuery {
            id: self.invocation.id,
            did: caller.did().as_str(),
            request_time: self.now,
            fingerprint: caller.replay_guard(&self.request.method),
            period,
        }
    }
}
