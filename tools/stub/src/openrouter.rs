//! The whole OpenRouter of the end-to-end tests and of `cargo xtask dev`.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use axum::{body::Body, response::Response};
use http::{Method, StatusCode, header};
use tokio::net::TcpListener;

use crate::{
    answer::Charge,
    billing::{Bill, Bills},
    demo,
    endpoint::Endpoint,
    job::Jobs,
    lock,
    long::Long,
    management::Management,
    response::{json_response, refusal, typed, with_generation_id},
    rules,
    scripted::{self, Billed, JobScript, ModelScript},
    sdks,
    server::{ROOT, Received, listen, serve},
};

/// A running stand-in. It ends with the runtime.
#[derive(Debug, Clone)]
pub struct OpenRouter {
    url: String,
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    audience: Audience,
    keys: Mutex<Vec<String>>,
    bills: Bills,
    jobs: Jobs,
    received: Mutex<Vec<Received>>,
    /// The bytes taken from each long answer, by its generation.
    taken: Mutex<Vec<(String, Arc<AtomicU64>)>>,
    management: Management,
}

/// The users of a stand-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Audience {
    /// Tests: keys have to be known, models are the stub's own, and all requests are remembered.
    Tests,
    /// People: any key and any model is good, and nothing is remembered but bills.
    People,
}

impl OpenRouter {
    /// Starts it for tests, on a free port.
    pub async fn start() -> anyhow::Result<Self> {
        let (listener, url) = listen().await?;
        Ok(Self::serve(listener, &url, Audience::Tests))
    }

    /// Starts it for people, on a free port.
    pub async fn demo() -> anyhow::Result<Self> {
        let (listener, url) = listen().await?;
        Ok(Self::serve(listener, &url, Audience::People))
    }

    /// Starts it for people, on `port`.
    pub async fn demo_on(port: u16) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        Ok(Self::serve(listener, &url, Audience::People))
    }

    fn serve(listener: TcpListener, url: &str, audience: Audience) -> Self {
        let inner = Arc::new(Inner {
            audience,
            keys: Mutex::default(),
            bills: Bills::default(),
            jobs: Jobs::default(),
            received: Mutex::default(),
            taken: Mutex::default(),
            management: Management::default(),
        });
        let shared = Arc::clone(&inner);
        serve(listener, Arc::default(), move |request| {
            let inner = Arc::clone(&shared);
            async move { inner.answer(request).await }
        });
        Self {
            url: format!("{url}{}", ROOT.trim_end_matches('/')),
            inner,
        }
    }

    /// The value of `GATEWAY_OPENROUTER_URL`.
    #[must_use]
    pub fn base_url(&self) -> String {
        self.url.clone()
    }

    /// Makes `key` valid.
    pub fn accept_key(&self, key: &str) {
        lock(&self.inner.keys).push(key.to_owned());
    }

    /// Bills `key` for a generation, as for one of `stub/cut-billed`.
    pub fn bill(&self, key: &str, generation_id: &str, byok: bool) {
        let charge = scripted::cut_charge(byok);
        self.inner.bill(key, generation_id, charge);
    }

    /// The number of bytes taken so far from the generation's long answer.
    #[must_use]
    pub fn taken(&self, generation_id: &str) -> u64 {
        lock(&self.inner.taken)
            .iter()
            .find(|(id, _)| id == generation_id)
            .map_or(0, |(_, taken)| taken.load(Ordering::Relaxed))
    }

    /// The management API.
    #[must_use]
    pub fn management(&self) -> &Management {
        &self.inner.management
    }

    /// The requests so far whose line or body contains `text`.
    #[must_use]
    pub fn received(&self, text: &str) -> Vec<Received> {
        let contains = |request: &&Received| {
            request.line().contains(text) || String::from_utf8_lossy(&request.body).contains(text)
        };
        lock(&self.inner.received)
            .iter()
            .filter(contains)
            .cloned()
            .collect()
    }
}

impl Inner {
    async fn answer(&self, request: Received) -> Response {
        if self.audience == Audience::Tests {
            lock(&self.received).push(request.clone());
        }
        if let Some(violation) = rules::violation(&request.headers) {
            return refusal(StatusCode::BAD_REQUEST, &violation);
        }
        let key = request.key().unwrap_or_default();
        let is_get = request.method == Method::GET;
        let path = request.path();
        if path == "key" && is_get {
            return self.management.describe(key, self.knows(key));
        }
        if path == "keys" || path.starts_with("keys/") {
            return self.management.answer(&request).await;
        }
        if !self.knows(key) {
            return refusal(StatusCode::UNAUTHORIZED, "No auth credentials found");
        }
        if self.audience == Audience::Tests
            && let Some(script) = sdks::script(&request.body)
        {
            return sdks::answer(script, &request, self.attempts(&request, script)).await;
        }
        if let Some(long) = Long::requested(&request) {
            return self.long(key, &long);
        }
        match (path, is_get) {
            ("generation", true) => self.bills.tell(key, request.query()),
            ("echo", _) => echo(request),
            ("models", _) if self.audience == Audience::People => demo::models(),
            ("models", _) => json_response(StatusCode::OK, r#"{"data":[{"id":"stub/ok"}]}"#),
            (_, true) if path.starts_with("models/") => {
                sdks::model(path.trim_start_matches("models/"))
            }
            ("messages/count_tokens", false) => demo::count_tokens(),
            (_, _) => self.inference(key, &request).await,
        }
    }

    fn knows(&self, key: &str) -> bool {
        match self.audience {
            Audience::Tests => {
                lock(&self.keys).iter().any(|known| known == key) || self.management.is_live(key)
            }
            Audience::People => !key.is_empty(),
        }
    }

    /// The number of requests like this one, itself included, for the same script.
    fn attempts(&self, request: &Received, script: &str) -> usize {
        let is_attempt = |it: &&Received| {
            it.line() == request.line()
                && it.headers.get(header::AUTHORIZATION)
                    == request.headers.get(header::AUTHORIZATION)
                && sdks::script(&it.body) == Some(script)
        };
        lock(&self.received).iter().filter(is_attempt).count()
    }

    fn long(&self, key: &str, long: &Long) -> Response {
        self.bill(key, &long.id, scripted::cut_charge(false));
        let taken = Arc::<AtomicU64>::default();
        lock(&self.taken).push((long.id.clone(), Arc::clone(&taken)));
        long.respond(taken)
    }

    /// Answers a billable request.
    async fn inference(&self, key: &str, request: &Received) -> Response {
        if let Some(endpoint) = Jobs::endpoint(request.path()) {
            let default = match self.audience {
                Audience::Tests => None,
                Audience::People => Some(JobScript::Completes { byok: false }),
            };
            return self.jobs.answer(key, endpoint, request, default);
        }
        let Some(endpoint) = Endpoint::of_path(request.path()) else {
            return refusal(StatusCode::NOT_FOUND, "Not Found");
        };
        let body = request.json();
        let script = body["model"].as_str().and_then(ModelScript::of);
        match (script, self.audience) {
            (Some(script), _) => self.scripted(script, endpoint, key, request).await,
            (None, Audience::People) => demo::answer(endpoint, request, key, &self.bills).await,
            (None, Audience::Tests) if body.is_null() => {
                refusal(StatusCode::BAD_REQUEST, "the body is not JSON")
            }
            (None, Audience::Tests) => refusal(StatusCode::BAD_REQUEST, "not a valid model ID"),
        }
    }

    async fn scripted(
        &self,
        script: ModelScript,
        endpoint: Endpoint,
        key: &str,
        request: &Received,
    ) -> Response {
        let is_json = request
            .headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|value| value.as_bytes().starts_with(b"application/json"));
        if !is_json {
            return refusal(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "content-type must be application/json",
            );
        }
        let body = request.json();
        let id = body["user"].as_str();
        if let Some(billed) = script.billed() {
            let charge = scripted::cut_charge(billed == Billed::Byok);
            self.bill(key, id.unwrap_or_default(), charge);
        }
        if endpoint == Endpoint::Speech {
            return speech(id.unwrap_or_default());
        }
        let streamed = body["stream"] == true;
        let id = id.unwrap_or("gen-stub");
        script
            .answer(endpoint, streamed, id, &request.headers)
            .await
    }

    fn bill(&self, key: &str, generation_id: &str, charge: Charge) {
        self.bills.add(Bill {
            key: key.to_owned(),
            generation_id: generation_id.to_owned(),
            model: scripted::SERVED_MODEL.to_owned(),
            charge,
            tokens: scripted::CUT_TOKENS,
            hidden_for: 1,
        });
    }
}

/// Sends a body back.
fn echo(request: Received) -> Response {
    let content_type = request.headers.get(header::CONTENT_TYPE).cloned();
    let mut response = Response::new(Body::from(request.body));
    if let Some(value) = content_type {
        response.headers_mut().insert(header::CONTENT_TYPE, value);
    }
    response
}

/// Audio; only the head names the generation.
fn speech(id: &str) -> Response {
    let mut audio = b"ID3\x04".repeat(9_000);
    audio.extend_from_slice(&[0xff, 0xfb, 0x00]);
    audio.extend_from_slice(&[0; 7]);
    with_generation_id(typed("audio/mpeg", Body::from(audio)), id)
}
