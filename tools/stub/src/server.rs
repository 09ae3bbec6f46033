//! HTTP on loopback: every request is read whole before its handler sees it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{Router, extract::Request, response::Response, serve::ListenerExt};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri, header};
use serde_json::Value;
use tokio::{net::TcpListener, time::Instant};

use crate::response::refusal;

/// The path above all of OpenRouter's endpoints.
pub const ROOT: &str = "/api/v1/";
/// More than the gateway ever forwards.
const LONGEST_BODY: usize = 64 << 20;

/// A request.
#[derive(Debug, Clone)]
pub struct Received {
    /// The time at which its head was there.
    pub at: Instant,
    /// The method.
    pub method: Method,
    /// Path and query.
    pub uri: Uri,
    /// All headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Received {
    /// Method, path and query.
    #[must_use]
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.uri)
    }

    /// The path below [`ROOT`].
    #[must_use]
    pub fn path(&self) -> &str {
        let path = self.uri.path();
        path.strip_prefix(ROOT).unwrap_or(path)
    }

    /// The query, without its question mark.
    #[must_use]
    pub fn query(&self) -> &str {
        self.uri.query().unwrap_or_default()
    }

    /// The bearer token.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        let value = self.headers.get(header::AUTHORIZATION)?;
        value.to_str().ok()?.strip_prefix("Bearer ")
    }

    /// The body as JSON; `null` if it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// A port of its own for [`serve`], and the base URL without a path.
pub async fn listen() -> anyhow::Result<(TcpListener, String)> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    Ok((listener, url))
}

/// Answers requests with `handler` for as long as the runtime lives. `connections` counts those that
/// were accepted.
pub fn serve<F>(
    listener: TcpListener,
    connections: Arc<AtomicUsize>,
    handler: impl Fn(Received) -> F + Clone + Send + Sync + 'static,
) where
    F: Future<Output = Response> + Send + 'static,
{
    let listener = listener.tap_io(move |stream| {
        connections.fetch_add(1, Ordering::Relaxed);
        // Each event is a write; none may wait for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
    });
    let router = Router::new().fallback(move |request: Request| {
        let handler = handler.clone();
        async move {
            let at = Instant::now();
            let (head, body) = request.into_parts();
            let Ok(body) = axum::body::to_bytes(body, LONGEST_BODY).await else {
                return refusal(StatusCode::BAD_REQUEST, "the body could not be read");
            };
            handler(Received {
                at,
                method: head.method,
                uri: head.uri,
                headers: head.headers,
                body,
            })
            .await
        }
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
}
