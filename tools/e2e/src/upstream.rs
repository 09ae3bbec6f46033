//! An OpenRouter for what the third-party stand-in cannot do: it breaks on demand, and it is
//! stricter than the real one. It refuses anything that the gateway must never send, knows which
//! keys exist, and keeps its own ledger of what it billed.
//!
//! The requested model chooses the behaviour: see [`Script`] and [`long`].

pub mod long;
pub mod sdks;

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, Method, StatusCode, header};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use self::long::Long;
use crate::{
    jobs,
    management::{Asked, Management},
};

/// What the stub does with a request, by the last segment of the model's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Script {
    /// Answers well; in a stream with comments and multi-byte text.
    Ok,
    /// As [`Script::Ok`], with 50 ms between chunks.
    Slow,
    /// Streams two events and half of a third, then breaks the connection.
    Cut,
    /// As [`Script::Cut`], and billed: `GET /generation` tells it, but not at the first question.
    CutBilled {
        /// Billed by the provider, to the user's own key.
        byok: bool,
    },
    /// Ends a stream politely, but in the middle.
    PoliteCut,
    /// Streams two events, then says nothing more.
    Stall,
    /// As [`Script::Stall`], and billed as [`Script::CutBilled`].
    StallBilled,
    /// Billed as [`Script::CutBilled`], names the generation in the head, and then breaks the
    /// connection, or says nothing more, before the body's first byte.
    HeadOnly {
        /// It says nothing more.
        silent: bool,
    },
    /// Accepts the request and never answers.
    Silent,
    /// Closes the connection without an answer.
    Hangup,
    /// An error event in the middle of a stream.
    ErrorEvent,
    /// A 200 whose body is an error.
    ErrorBody,
    /// Refuses the key and quotes it.
    EchoKey,
    /// 402, 429 (with `Retry-After`) or 503 (with `Retry-After`).
    Status(u16),
}

impl Script {
    fn of(model: &str) -> Option<Self> {
        Some(match model.strip_prefix("stub/")? {
            "ok" => Self::Ok,
            "slow" => Self::Slow,
            "cut" => Self::Cut,
            "cut-billed" => Self::CutBilled { byok: false },
            "cut-billed-byok" => Self::CutBilled { byok: true },
            "polite-cut" => Self::PoliteCut,
            "stall" => Self::Stall,
            "stall-billed" => Self::StallBilled,
            "head-only" => Self::HeadOnly { silent: false },
            "head-silent" => Self::HeadOnly { silent: true },
            "silent" => Self::Silent,
            "hangup" => Self::Hangup,
            "error-event" => Self::ErrorEvent,
            "echo-key" => Self::EchoKey,
            "error-body" => Self::ErrorBody,
            status => Self::Status(status.parse().ok()?),
        })
    }
}

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

/// The bytes of a streamed answer of [`Script::Ok`], which the client must receive unchanged.
#[must_use]
pub fn stream_bytes(id: &str) -> Vec<u8> {
    stream_chunks(id).concat()
}

/// The bytes of an unstreamed answer of [`Script::Ok`].
#[must_use]
pub fn json_bytes(id: &str) -> Vec<u8> {
    format!(
        r#"{{"id":"{id}","object":"chat.completion","created":1735689600,"model":"stub/served-model",  "choices":[{{"index":0,"message":{{"role":"assistant","content":"Grüezi, 世界"}},"finish_reason":"stop"}}],"usage":{}}}"#,
        usage()
    )
    .into_bytes()
}

fn usage() -> String {
    format!(
        r#"{{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18,"cost":{COST},"is_byok":false,"prompt_tokens_details":{{"cached_tokens":3}},"completion_tokens_details":{{"reasoning_tokens":2}},"cost_details":{{"upstream_inference_cost":null}}}}"#
    )
}

/// Chunks whose borders fall in the middle of events and of a character.
fn stream_chunks(id: &str) -> Vec<Vec<u8>> {
    let event = |delta: &str, more: &str| {
        format!(
            "data: {{\"id\":\"{id}\",\"object\":\"chat.completion.chunk\",\"model\":\"stub/served-model\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{delta}\"}},\"finish_reason\":null}}]{more}}}\n\n"
        )
    };
    let text = [
        ": OPENROUTER PROCESSING\n\n: OPENROUTER PROCESSING\n\n".to_owned(),
        event("Grüezi", ""),
        event(", 世界", ""),
        event("!", &format!(",\"usage\":{}", usage())),
        "data: [DONE]\n\n".to_owned(),
    ]
    .concat();
    // 97 is no multiple of anything in there.
    text.as_bytes().chunks(97).map(<[u8]>::to_vec).collect()
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

async fn chat(path: &str, headers: &HeaderMap, body: &[u8]) -> Response {
    if headers
        .get(header::CONTENT_TYPE)
        .is_none_or(|value| !value.as_bytes().starts_with(b"application/json"))
    {
        return refusal(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "content-type must be application/json",
        );
    }
    let Ok(request) = serde_json::from_slice::<Value>(body) else {
        return refusal(StatusCode::BAD_REQUEST, "the body is not JSON");
    };
    let Some(script) = request["model"].as_str().and_then(Script::of) else {
        return refusal(StatusCode::BAD_REQUEST, "not a valid model ID");
    };
    let id = request["user"].as_str().unwrap_or("gen-stub").to_owned();
    match script {
        Script::Silent => std::future::pending().await,
        // hyper closes a connection whose service panics, without an answer.
        Script::Hangup => std::panic::resume_unwind(Box::new("scripted")),
        Script::EchoKey => refusal(StatusCode::UNAUTHORIZED, &echoed_key(headers)),
        Script::HeadOnly { silent } => head_only(&id, silent),
        Script::PoliteCut if path.ends_with("/messages") => message_start(&id),
        _ if request["stream"] == true => streamed(script, &id),
        _ => whole(script, &id),
    }
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

fn echoed_key(headers: &HeaderMap) -> String {
    let key = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    format!("Incorrect API key provided: {}.", key.unwrap_or_default())
}

/// The beginning of a Messages stream, which tells tokens, and nothing more.
fn message_start(id: &str) -> Response {
    let event = json!({"type": "message_start", "message": {"id": id, "model": "stub/served-model", "usage": {"input_tokens": 5, "output_tokens": 1}}});
    raw_body(
        "text/event-stream",
        vec![Ok(
            format!("event: message_start\ndata: {event}\n\n").into_bytes()
        )],
    )
}

/// Audio, of which only the head names the generation.
fn speech(body: &[u8]) -> Response {
    let request: Value = serde_json::from_slice(body).unwrap_or_default();
    let chunks = [b"ID3\x04".repeat(9_000), vec![0xff, 0xfb, 0x00], vec![0; 7]];
    let response = raw_body("audio/mpeg", chunks.into_iter().map(Ok).collect());
    naming(response, request["user"].as_str().unwrap_or_default())
}

fn head_only(id: &str, silent: bool) -> Response {
    let wait = if silent {
        Duration::from_mins(2)
    } else {
        Duration::from_millis(200)
    };
    naming(raw_body("application/json", vec![Err(wait)]), id)
}

fn naming(mut response: Response, id: &str) -> Response {
    if let Ok(id) = id.parse() {
        response.headers_mut().insert("x-generation-id", id);
    }
    response
}

fn whole(script: Script, id: &str) -> Response {
    match script {
        Script::Cut | Script::CutBilled { .. } => raw_body(
            "application/json",
            vec![Ok(json_bytes(id)[..40].to_vec()), Err(Duration::ZERO)],
        ),
        Script::ErrorBody => json_response(
            StatusCode::OK,
            r#"{"error":{"code":502,"message":"Provider returned error"},"user_id":"user_x"}"#
                .into(),
        ),
        Script::Status(status) => status_response(status),
        _ => json_response(StatusCode::OK, json_bytes(id)),
    }
}

fn streamed(script: Script, id: &str) -> Response {
    let chunks = stream_chunks(id);
    let part: Vec<_> = chunks.iter().take(4).cloned().map(Ok).collect();
    let steps = match script {
        Script::Status(status) => return status_response(status),
        Script::Cut | Script::CutBilled { .. } => [part, vec![Err(Duration::ZERO)]].concat(),
        Script::PoliteCut => part,
        Script::Stall | Script::StallBilled => [part, vec![Err(Duration::from_mins(2))]].concat(),
        Script::ErrorEvent => {
            let event = json!({"id": id, "error": {"code": 502, "message": "Provider disconnected"}, "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}]});
            vec![
                Ok(chunks[0].clone()),
                Ok(b"\n\n".to_vec()),
                Ok(format!("data: {event}\n\ndata: [DONE]\n\n").into_bytes()),
            ]
        }
        Script::Slow => {
            let pause = Duration::from_millis(50);
            return paced(chunks, pause);
        }
        Script::Ok
        | Script::ErrorBody
        | Script::Silent
        | Script::Hangup
        | Script::HeadOnly { .. }
        | Script::EchoKey => chunks.into_iter().map(Ok).collect(),
    };
    raw_body("text/event-stream", steps)
}

fn paced(chunks: Vec<Vec<u8>>, pause: Duration) -> Response {
    let stream = stream::iter(chunks).then(move |chunk| async move {
        tokio::time::sleep(pause).await;
        Ok::<_, Infallible>(Bytes::from(chunk))
    });
    typed("text/event-stream", Body::from_stream(stream))
}

/// Sends the chunks; an `Err` waits and then breaks the connection.
fn raw_body(content_type: &str, steps: Vec<Result<Vec<u8>, Duration>>) -> Response {
    let stream = stream::iter(steps).then(|step| async move {
        // Separate writes, so that the client sees separate chunks.
        tokio::time::sleep(Duration::from_millis(2)).await;
        match step {
            Ok(chunk) => Ok(Bytes::from(chunk)),
            Err(wait) => {
                tokio::time::sleep(wait).await;
                Err(std::io::Error::other("scripted"))
            }
        }
    });
    typed(content_type, Body::from_stream(stream))
}

fn status_response(status: u16) -> Response {
    let code = StatusCode::from_u16(status).unwrap_or(StatusCode::IM_A_TEAPOT);
    let mut response = refusal(code, "scripted refusal");
    if matches!(status, 429 | 503) {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, header::HeaderValue::from_static("17"));
    }
    response
}

pub(crate) fn refusal(status: StatusCode, message: &str) -> Response {
    let body = json!({"error": {"code": status.as_u16(), "message": message}, "user_id": "user_x"});
    json_response(status, body.to_string().into_bytes())
}

pub(crate) fn json_response(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = typed("application/json", Body::from(body));
    *response.status_mut() = status;
    response
}

fn typed(content_type: &str, body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    if let Ok(value) = content_type.parse() {
        headers.insert(header::CONTENT_TYPE, value);
    }
    headers.insert(
        header::SET_COOKIE,
        header::HeaderValue::from_static("__cf_bm=planted-cookie; Secure"),
    );
    headers.insert(
        "x-ratelimit-remaining",
        header::HeaderValue::from_static("41"),
    );
    response
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
