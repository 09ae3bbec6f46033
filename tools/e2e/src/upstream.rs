//! An OpenRouter for what the third-party stand-in cannot do: it breaks on demand, and it is
//! stricter than the real one. It refuses anything that the gateway must never send, knows which
//! keys exist, and keeps its own ledger of what it billed.
//!
//! The requested model chooses the behaviour: see [`Script`] and [`long`].

pub mod long;
mod reply;
mod script;
pub mod sdks;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use serde_json::Value;
use tokio::net::TcpListener;

pub(crate) use self::reply::{json_response, refusal};
pub use self::script::{Script, json_bytes, stream_bytes};

use self::{
    long::Long,
    reply::{naming, raw_body},
    script::chat,
};
use crate::{
    jobs,
    management::{Asked, Management},
};

/// A request as the stub received it.
#[derive(Debug, Clone)]
pub struct Received {
    /// Method and path with query.
    pub line: String,
    /// All headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// A running stub.
#[derive(Debug, Clone)]
pub struct Upstream {
    address: SocketAddr,
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    keys: Mutex<Vec<String>>,
    bills: Mutex<Vec<Bill>>,
    pub(crate) jobs: Mutex<Vec<jobs::Job>>,
    received: Mutex<Vec<Received>>,
    /// How much was taken of each long answer, by its generation.
    taken: Mutex<Vec<(String, Arc<AtomicU64>)>>,
    management: Management,
}

/// What was billed for a stream that broke.
#[derive(Debug)]
struct Bill {
    key: String,
    generation_id: String,
    byok: bool,
    /// How often it was asked for.
    asked: u32,
}

impl Bill {
    fn new(key: &str, generation_id: &str, byok: bool) -> Self {
        Self {
            key: key.to_owned(),
            generation_id: generation_id.to_owned(),
            byok,
            asked: 0,
        }
    }
}

/// The cost of a [`Script::CutBilled`], or of a [`Long`], as its text stands in the body of `GET /generation`.
pub const CUT_COST: &str = "1.2345678901e-05";
/// The same without an exponent.
pub const CUT_COST_PLAIN: &str = "0.000012345678901";
/// What the provider charges for it, if the user's own key paid.
pub const CUT_INFERENCE_COST: &str = "0.0076509169000000005";
/// The sum of the two.
pub const CUT_BYOK_TOTAL: &str = "0.0076632625789010005";

/// The cost that the stub bills for each answered request, as its text stands in the body.
pub const COST: &str = "7.434e-07";
/// The same without an exponent.
pub const COST_PLAIN: &str = "0.0000007434";

impl Upstream {
    /// Starts on a free port.
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let upstream = Self {
            address: listener.local_addr()?,
            inner: Arc::default(),
        };
        let router = Router::new()
            .fallback(answer)
            .with_state(upstream.inner.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(upstream)
    }

    /// What `OPENROUTER_BASE_URL` must be.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}/api/v1", self.address)
    }

    /// Makes `key` valid.
    pub fn accept_key(&self, key: &str) {
        lock(&self.inner.keys).push(key.to_owned());
    }

    /// Bills `key` for a generation, as [`Script::CutBilled`] is.
    pub fn bill(&self, key: &str, generation_id: &str, byok: bool) {
        lock(&self.inner.bills).push(Bill::new(key, generation_id, byok));
    }

    /// How many bytes of the generation's long answer were taken so far.
    #[must_use]
    pub fn taken(&self, generation_id: &str) -> u64 {
        let taken = lock(&self.inner.taken);
        let mut of_it = taken.iter().filter(|(id, _)| id == generation_id);
        of_it
            .next()
            .map_or(0, |(_, taken)| taken.load(Ordering::Relaxed))
    }

    /// The keys that it made, and who may manage them.
    #[must_use]
    pub fn management(&self) -> &Management {
        &self.inner.management
    }

    /// The requests so far whose line or body contains `text`.
    #[must_use]
    pub fn received(&self, text: &str) -> Vec<Received> {
        let contains = |request: &Received| {
            request.line.contains(text) || String::from_utf8_lossy(&request.body).contains(text)
        };
        lock(&self.inner.received)
            .iter()
            .filter(|request| contains(request))
            .cloned()
            .collect()
    }
}

async fn answer(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, 64 << 20).await else {
        return refusal(StatusCode::BAD_REQUEST, "the body could not be read");
    };
    let line = format!("{} {}", head.method, head.uri);
    lock(&inner.received).push(Received {
        line: line.clone(),
        headers: head.headers.clone(),
        body: body.clone(),
    });
    if let Some(fault) = fault(&head.headers) {
        return refusal(StatusCode::BAD_REQUEST, &fault);
    }
    let key = head
        .headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let key = key.unwrap_or_default();
    let path = head.uri.path();
    let is_known =
        lock(&inner.keys).iter().any(|known| known == key) || inner.management.is_live(key);
    if path == "/api/v1/key" && head.method == Method::GET {
        return inner.management.describe(key, is_known);
    }
    if path == "/api/v1/keys" || path.starts_with("/api/v1/keys/") {
        let asked = Asked {
            method: &head.method,
            path,
            query: head.uri.query().unwrap_or_default(),
            headers: &head.headers,
            key,
            body: &body,
        };
        return inner.management.answer(asked).await;
    }
    if !is_known {
        return refusal(StatusCode::UNAUTHORIZED, "No auth credentials found");
    }
    if let Some(script) = sdks::script(&body) {
        let is_attempt = |it: &&Received| {
            it.line == line
                && it.headers.get(header::AUTHORIZATION) == head.headers.get(header::AUTHORIZATION)
                && sdks::script(&it.body) == Some(script)
        };
        let attempts = lock(&inner.received).iter().filter(is_attempt).count();
        return sdks::answer(script, path, &body, attempts);
    }
    if let Some(long) = Long::asked(path, &body) {
        lock(&inner.bills).push(Bill::new(key, &long.id, false));
        let taken = Arc::<AtomicU64>::default();
        lock(&inner.taken).push((long.id.clone(), Arc::clone(&taken)));
        return long.answer(taken);
    }
    match path {
        "/api/v1/chat/completions" | "/api/v1/completions" | "/api/v1/messages" => {
            bill(&inner, key, &body);
            chat(head.uri.path(), &head.headers, &body).await
        }
        "/api/v1/generation" if head.method == Method::GET => {
            generation(&inner, key, head.uri.query().unwrap_or_default())
        }
        "/api/v1/audio/speech" => {
            bill(&inner, key, &body);
            speech(&body)
        }
        path if jobs::is_one(path) => jobs::answer(&inner.jobs, key, &head.method, path, &body),
        "/api/v1/echo" => echo(&head.headers, body),
        "/api/v1/models" => json_response(StatusCode::OK, r#"{"data":[{"id":"stub/ok"}]}"#.into()),
        _ => refusal(StatusCode::NOT_FOUND, "Not Found"),
    }
}

/// What the gateway must never send, and what it must always send.
#[must_use]
pub fn fault(headers: &HeaderMap) -> Option<String> {
    let forbidden = [
        "x-did",
        "signature",
        "x-forwarded-",
        "x-amz",
        "x-amzn",
        "cookie",
        "forwarded",
        "x-api-key",
        "via",
    ];
    if let Some(name) = headers.keys().find(|name| {
        forbidden
            .iter()
            .any(|start| name.as_str().starts_with(start))
    }) {
        return Some(format!("the header {name} must not reach OpenRouter"));
    }
    if headers
        .keys()
        .any(|name| headers.get_all(name).iter().count() > 1)
    {
        return Some("a header is repeated".to_owned());
    }
    (headers
        .get(header::ACCEPT_ENCODING)
        .is_none_or(|value| value != "identity"))
    .then(|| "accept-encoding must be identity".to_owned())
}

fn echo(headers: &HeaderMap, body: Bytes) -> Response {
    let content_type = headers.get(header::CONTENT_TYPE).cloned();
    let mut response = Response::new(Body::from(body));
    if let Some(value) = content_type {
        response.headers_mut().insert(header::CONTENT_TYPE, value);
    }
    response
}

/// Notes what a stream that is about to break costs.
fn bill(inner: &Inner, key: &str, body: &[u8]) {
    let request: Value = serde_json::from_slice(body).unwrap_or_default();
    let byok = match request["model"].as_str().and_then(Script::of) {
        Some(Script::CutBilled { byok }) => Some(byok),
        Some(Script::StallBilled | Script::HeadOnly { .. }) => Some(false),
        _ => None,
    };
    if let Some(byok) = byok {
        let generation_id = request["user"].as_str().unwrap_or_default();
        lock(&inner.bills).push(Bill::new(key, generation_id, byok));
    }
}

/// What a generation cost: only for the key that made it, and not at the first question.
fn generation(inner: &Inner, key: &str, query: &str) -> Response {
    let mut bills = lock(&inner.bills);
    let bill = bills
        .iter_mut()
        .find(|bill| bill.key == key && query == format!("id={}", bill.generation_id));
    let Some(bill) = bill else {
        return refusal(StatusCode::NOT_FOUND, "Generation not found");
    };
    bill.asked += 1;
    if bill.asked == 1 {
        return refusal(StatusCode::NOT_FOUND, "Generation not found");
    }
    let (id, byok) = (&bill.generation_id, bill.byok);
    json_response(
        StatusCode::OK,
        format!(
            r#"{{"data":{{"id":"{id}","model":"stub/served-model","total_cost":{CUT_COST},"upstream_inference_cost":{CUT_INFERENCE_COST},"is_byok":{byok},"cancelled":true,"tokens_prompt":10,"tokens_completion":20,"native_tokens_prompt":11,"native_tokens_completion":21,"native_tokens_cached":3,"native_tokens_reasoning":null}}}}"#
        )
        .into_bytes(),
    )
}

/// Audio, of which only the head names the generation.
fn speech(body: &[u8]) -> Response {
    let request: Value = serde_json::from_slice(body).unwrap_or_default();
    let chunks = [b"ID3\x04".repeat(9_000), vec![0xff, 0xfb, 0x00], vec![0; 7]];
    let response = raw_body("audio/mpeg", chunks.into_iter().map(Ok).collect());
    naming(response, request["user"].as_str().unwrap_or_default())
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
