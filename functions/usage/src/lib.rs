//! `GET /api/v1/usage`: what the caller has used, summed in the database.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Response};
use shared::{
    auth::{self, Audiences},
    clock::Clock,
    config::{Env, StartError, UsageConfig},
    error::Error,
    http_client,
    request::{Incoming, Invocation},
    respond,
    storage::{Storage, UsageSummary},
    usage::Period,
};

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
        Ok(Self { clock: Clock::system(), audiences: config.audiences, storage })
    }
}

/// Answers one request.
pub async fn handle(usage: Arc<Usage>, request: Incoming, invocation: Invocation) -> Response<Bytes> {
    match usage.summary(&request, &invocation).await {
        Ok(summary) => respond::data(&summary, invocation.id),
        Err(error) => respond::failure(&error, invocation.id),
    }
}

impl Usage {
    async fn summary(&self, request: &Incoming, invocation: &Invocation) -> Result<UsageSummary, Error> {
        let authenticated = auth::authenticate(request, &self.audiences, auth::MAX_BODY, self.clock.now())?;
        match authenticated.path.as_str().trim_end_matches('/') {
            "/api/v1/usage" if request.method == Method::GET => {}
            "/api/v1/usage" => {
                return Err(Error::MethodNotAllowed { method: request.method.clone(), allow: "GET" });
            }
            _ => return Err(Error::NotFound),
        }
        let period = Period::parse(&authenticated.query)?;
        Ok(self.storage.usage_summary(&authenticated.caller, invocation.id, period).await?)
    }
}
