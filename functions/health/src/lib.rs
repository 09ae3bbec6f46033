//! `GET /` and `GET /api/v1/health`: whether the gateway runs and, with `?deep=true`, whether what
//! it stands on answers. It has no secret.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Response, header};
use serde_json::{Value, json};
use shared::{
    clock::Clock,
    config::{Env, HealthConfig, StartError},
    error::Error,
    http_client,
    identity::{
        auth::{self, Audience, Audiences},
        canonical::{CanonicalPath, CanonicalQuery},
    },
    request::{Incoming, Invocation},
    respond,
    routes::{Function, Route},
    storage,
    upstream::openrouter::{OpenRouter, Timeouts},
};
use tokio::time::Instant;
use url::Url;

/// The timeout of each part of a deep check.
const CHECK_TIMEOUT: Duration = Duration::from_secs(3);

/// The state that the function keeps between requests.
#[derive(Debug)]
pub struct Health {
    clock: Clock,
    audiences: Audiences,
    client: reqwest::Client,
    storage: Url,
    openrouter: OpenRouter,
}

impl Health {
    /// Builds it from the environment.
    pub fn load(env: Env<'_>) -> Result<Self, StartError> {
        let config = HealthConfig::read(env)?;
        let client = http_client::build(http_client::web_roots(), CHECK_TIMEOUT)?;
        let timeouts = Timeouts {
            first_byte: CHECK_TIMEOUT,
            idle: CHECK_TIMEOUT,
        };
        Ok(Self {
            clock: Clock::system(),
            audiences: config.audiences,
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
        Ok(Report::Json(report)) => respond::json(&report, invocation.id),
        Ok(Report::Page(location)) => respond::page_elsewhere(&location, invocation.id),
        Err(error) => respond::failure(&error, invocation.id),
    }
}

/// What a request is told.
enum Report {
    Json(Value),
    /// The address of the console, for somebody who opened the gateway's address in a browser.
    Page(String),
}

impl Health {
    async fn report(&self, request: &Incoming) -> Result<Report, Error> {
        let path = CanonicalPath::from_raw(&request.raw_path)?;
        let query = CanonicalQuery::from_raw(&request.query)?;
        // Every path that is no other function's comes here.
        let stage = request.stage.as_deref();
        let route = self.route(&path, stage).ok_or(Error::NotFound)?;
        route.check_method(&request.method)?;
        match route {
            Route::Banner if prefers_html(&request.headers) => {
                Ok(Report::Page(self.console(request)))
            }
            Route::Banner => Ok(Report::Json(self.banner())),
            Route::Health if is_deep(&query) => self.deep().await.map(Report::Json),
            Route::Health => Ok(Report::Json(self.healthy(&Value::Null))),
            Route::DatabaseHealth
            | Route::OpenRouter
            | Route::Usage
            | Route::UsageRequests
            | Route::Keys
            | Route::Tokens
            | Route::Token
            | Route::Console
            | Route::ConsoleFile => Err(Error::NotFound),
        }
    }

    /// The route that the path names below any of the gateway's addresses.
    fn route(&self, path: &CanonicalPath, stage: Option<&str>) -> Option<Route> {
        let below = |audience| {
            let (likely, whole) = auth::paths_below(audience, stage, path);
            let route = |path: &CanonicalPath| Route::of(Function::Health, path.as_str());
            route(&likely).or_else(|| route(&whole?))
        };
        self.audiences.iter().find_map(below)
    }

    /// The console's address below the base URL that the request came to, as far as its host tells.
    fn console(&self, request: &Incoming) -> String {
        let host = request.headers.get(header::HOST);
        let host = host.and_then(|it| it.to_str().ok()).unwrap_or_default();
        let is_asked = |it: &&Audience| {
            let (_, rest) = it.as_str().split_once("://").unwrap_or_default();
            rest.split('/').next() == Some(host)
        };
        let base = self.audiences.iter().find(is_asked);
        let base = base.unwrap_or_else(|| self.audiences.first());
        format!("{}{}", base.as_str(), Route::Console.path())
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
            timed(storage::ping(&self.client, &self.storage, CHECK_TIMEOUT)),
            timed(self.openrouter.ping(CHECK_TIMEOUT)),
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
            error = shared::causes::causes(error),
            "a deep health check found something down"
        );
    }
    Check {
        up: answered.is_ok(),
        latency: asked.elapsed(),
    }
}

/// Whether a browser asks for a page: only they name `text/html`. A client that prefers JSON gets JSON.
fn prefers_html(headers: &HeaderMap) -> bool {
    let html = weight(headers, "text/html");
    html > 0.0 && html >= weight(headers, "application/json")
}

/// The weight that `Accept` gives a media type by its name (RFC 9110 §12.5.1); 0 where it is not named.
fn weight(headers: &HeaderMap, media_type: &str) -> f32 {
    let values = headers.get_all(header::ACCEPT);
    let choices = values
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    choices
        .filter_map(|choice| {
            let mut parts = choice.split(';').map(str::trim);
            let is_named = parts.next()?.eq_ignore_ascii_case(media_type);
            let weight = parts.find_map(|it| it.strip_prefix("q=").or(it.strip_prefix("Q=")));
            let weight = weight.map_or(Some(1.0), |it| it.parse().ok())?;
            is_named.then_some(weight)
        })
        .fold(0.0, f32::max)
}

fn is_deep(query: &CanonicalQuery) -> bool {
    query
        .pairs()
        .any(|(name, value)| name == "deep" && value == "true")
}

#[cfg(test)]
mod tests;
