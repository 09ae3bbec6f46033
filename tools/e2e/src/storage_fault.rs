//! A storage that breaks down at one moment: it passes everything on to the real one, but for the
//! call that stores a provisioned key.

use std::net::SocketAddr;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
};
use http::{StatusCode, header};
use tokio::net::TcpListener;

/// The call that fails.
const FAILING: &str = "/rpc/activate_provisioning";
/// Below it the call is passed on, and only its answer is lost.
const UNCONFIRMED: &str = "/unconfirmed";
/// Below it the call is not passed on.
const UNSTORED: &str = "/unstored";

/// Both ways to break down.
#[derive(Debug)]
pub struct BrokenStorage {
    address: SocketAddr,
}

#[derive(Clone)]
struct Behind {
    client: reqwest::Client,
    storage: String,
}

impl BrokenStorage {
    /// Starts in front of the REST root `storage`, on a free port.
    pub async fn start(client: reqwest::Client, storage: String) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let router = Router::new()
            .fallback(pass_on)
            .with_state(Behind { client, storage });
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { address })
    }

    /// The REST root of a storage that does not store, for `SUPABASE_REST_URL`.
    #[must_use]
    pub fn unstored(&self) -> String {
        format!("http://{}{UNSTORED}", self.address)
    }

    /// The REST root of one that stores and does not say so.
    #[must_use]
    pub fn unconfirmed(&self) -> String {
        format!("http://{}{UNCONFIRMED}", self.address)
    }
}

async fn pass_on(State(behind): State<Behind>, request: Request) -> Response {
    answer(behind, request).await.unwrap_or_else(|_| broken())
}

async fn answer(behind: Behind, request: Request) -> anyhow::Result<Response> {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    let is_failing = path.ends_with(FAILING);
    if is_failing && path.starts_with(UNSTORED) {
        return Ok(broken());
    }
    let rest = path
        .trim_start_matches(UNSTORED)
        .trim_start_matches(UNCONFIRMED);
    let mut headers = head.headers;
    headers.remove(header::HOST);
    let passed = behind
        .client
        .request(head.method, format!("{}{rest}", behind.storage))
        .headers(headers)
        .body(axum::body::to_bytes(body, 1 << 20).await?)
        .send()
        .await?;
    if is_failing {
        return Ok(broken());
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = passed.status();
    if let Some(value) = passed.headers().get(header::CONTENT_TYPE) {
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, value.clone());
    }
    *response.body_mut() = Body::from(passed.bytes().await?);
    Ok(response)
}

fn broken() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response
}
