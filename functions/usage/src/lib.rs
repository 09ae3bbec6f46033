//! `GET /api/v1/usage`: what the caller has used, summed in the database.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Response};
use shared::{
    auth::{self, Audiences},
    clock::Clock,
    config::{Env, StartError, UsageConfig},
    error::Error,
    http_client,
    request::{self, Incoming, Invocation},
    respond,
    storage::{Storage, UsageQuery, UsageSummary},
    usage,
};
use tokio::time::Instant;

/// How long a connection to the database may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a user waits for an answer before the database counts as unavailable.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the function keeps between requests.
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
        let storage = Storage::new(client, &config.storage.url, config.storage.key);
        Ok(Self {
            clock: Clock::system(),
            audiences: config.audiences,
            storage,
        })
    }
}

/// Answers one request.
pub async fn handle(
    usage: Arc<Usage>,
    request: Incoming,
    invocation: Invocation,
) -> Response<Bytes> {
    match usage.summary(&request, &invocation).await {
        Ok(summary) => respond::data(&summary, invocation.id),
        Err(error) => respond::failure(&error, invocation.id),
    }
}

impl Usage {
    async fn summary(
        &self,
        request: &Incoming,
        invocation: &Invocation,
    ) -> Result<UsageSummary, Error> {
        let now = self.clock.now();
        let authenticated = auth::authenticate(request, &self.audiences, request::MAX_BODY, now)?;
        match authenticated.path.as_str().trim_end_matches('/') {
            "/api/v1/usage" if request.method == Method::GET => {}
            "/api/v1/usage" => {
                return Err(Error::MethodNotAllowed {
                    method: request.method.clone(),
                    allow: "GET",
                });
            }
            _ => return Err(Error::NotFound),
        }
        let caller = &authenticated.caller;
        let query = UsageQuery {
            id: invocation.id,
            did: caller.did().as_str(),
            request_time: now,
            fingerprint: caller.replay_guard(&request.method),
            period: usage::period(&authenticated.query)?,
        };
        Ok(self
            .storage
            .usage_summary(&query, Instant::now() + PATIENCE)
            .await?)
    }
}
