//! `GET /` and `GET /api/v1/health`: whether the gateway runs and, with `?deep=true`, whether what
//! it stands on answers. It has no secret.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Response};
use serde_json::{Value, json};
use shared::{
    canonical::{CanonicalPath, CanonicalQuery},
    clock::Clock,
    config::{Env, HealthConfig, StartError},
    error::Error,
    http_client,
    openrouter::{OpenRouter, Timeouts},
    request::{Incoming, Invocation},
    respond, storage,
};
use tokio::time::Instant;
use url::Url;

/// How long a deep check waits for each part.
const PATIENCE: Duration = Duration::from_secs(3);

/// What the function keeps between requests.
#[derive(Debug)]
pub struct Health {
    clock: Clock,
    client: reqwest::Client,
    storage: Url,
    openrouter: OpenRouter,
}

impl Health {
    /// Builds it from the environment.
    pub fn load(env: Env<'_>) -> Result<Self, StartError> {
        let config = HealthConfig::read(env)?;
        let client = http_client::build(http_client::web_roots(), PATIENCE)?;
        let timeouts = Timeouts {
            first_byte: PATIENCE,
            idle: PATIENCE,
        };
        Ok(Self {
            clock: Clock::system(),
            storage: config.storage,
            openrouter: OpenRouter::new(client.clone(), config.openrouter, timeouts),
            client,
        })
    }
}

/// Answers one request.
pub async fn handle(
    health: Arc<Health>,
    request: Incoming,
    invocation: Invocation,
) -> Response<Bytes> {
    match health.report(&request).await {
        Ok(report) => respond::json(&report, invocation.id),
        Err(error) => respond::failure(&error, invocation.id),
    }
}

impl Health {
    async fn report(&self, request: &Incoming) -> Result<Value, Error> {
        let path = CanonicalPath::from_raw(&request.raw_path)?;
        let query = CanonicalQuery::from_raw(&request.query)?;
        if request.method != Method::GET && request.method != Method::HEAD {
            return Err(Error::MethodNotAllowed {
                method: request.method.clone(),
                allow: "GET, HEAD",
            });
        }
        match below_stage(&path, request.stage.as_deref()).as_str() {
            "/" => Ok(self.banner()),
            "/api/v1/health" if is_deep(&query) => self.deep().await,
            "/api/v1/health" => Ok(self.healthy(&Value::Null)),
            _ => Err(Error::NotFound),
        }
    }

    fn banner(&self) -> Value {
        json!({
            "service": "LLM Gateway",
            "version": env!("CARGO_PKG_VERSION"),
            "status": "running",
            "timestamp": self.clock.now().to_string(),
        })
    }

    fn healthy(&self, checks: &Value) -> Value {
        let mut data = json!({"status": "healthy", "timestamp": self.clock.now().to_string()});
        if !checks.is_null() {
            data["checks"] = checks.clone();
        }
        json!({"success": true, "data": data})
    }

    async fn deep(&self) -> Result<Value, Error> {
        let (storage, openrouter) = tokio::join!(
            timed(storage::ping(&self.client, &self.storage, PATIENCE)),
            timed(self.openrouter.ping(PATIENCE)),
        );
        let checks = json!({"storage": storage.to_json(), "openrouter": openrouter.to_json()});
        if storage.up && openrouter.up {
            Ok(self.healthy(&checks))
        } else {
            Err(Error::Unhealthy { checks })
        }
    }
}

/// One part of a deep check.
struct Check {
    up: bool,
    latency: Duration,
}

impl Check {
    fn to_json(&self) -> Value {
        json!({"status": if self.up { "up" } else { "down" }, "latency_ms": self.latency.as_millis()})
    }
}

async fn timed<E: std::error::Error + 'static>(ping: impl Future<Output = Result<(), E>>) -> Check {
    let asked = Instant::now();
    let answered = ping.await;
    if let Err(error) = &answered {
        tracing::warn!(
            error = error as &dyn std::error::Error,
            "a deep health check found something down"
        );
    }
    Check {
        up: answered.is_ok(),
        latency: asked.elapsed(),
    }
}

/// The path without the stage's name, which some event formats include.
fn below_stage(path: &CanonicalPath, stage: Option<&str>) -> CanonicalPath {
    stage
        .and_then(|stage| path.below(&format!("/{stage}")))
        .unwrap_or_else(|| path.clone())
}

fn is_deep(query: &CanonicalQuery) -> bool {
    query
        .pairs()
        .any(|(name, value)| name == "deep" && value == "true")
}
