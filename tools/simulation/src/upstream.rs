//! An OpenRouter that keeps its own ledger. It does what each request's plan says, which it knows by
//! the header `x-session-id`, and refuses whatever the gateway must not send.
//!
//! # When it bills
//!
//! Once for each request, at the first token (of JSON and audio: the first byte; of a job: its
//! completion). A request whose connection is closed before that is cancelled, and costs nothing:
//! afterwards `GET /generation` knows it with a cost of 0, or not at all. So no gateway can be asked
//! to know what it was never told.

mod answer;
mod books;
mod script;

use std::{
    collections::HashMap,
    panic::resume_unwind,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use anyhow::Result;
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
    serve::ListenerExt,
};
use bytes::Bytes;
use e2e::upstream::fault;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts};
use serde_json::json;
use stack::lambda::Pool;
use tokio::{net::TcpListener, time::sleep};

pub use books::{Books, Exchange};

use self::{
    answer::Answer,
    books::{Generation, Job},
};
use crate::{
    chronicle::{Chronicle, Group},
    faults::{Behaviour, Kill},
    kind::Kind,
    plan::{Plan, Price},
};

const ROOT: &str = "/api/v1/";
/// Names a request's plan.
pub const TAG: HeaderName = HeaderName::from_static("x-session-id");

/// The stub.
#[derive(Debug)]
pub struct Stub {
    pub books: Books,
    plans: Arc<Vec<Plan>>,
    chronicle: Arc<Chronicle>,
    by_tag: HashMap<String, usize>,
    by_generation: HashMap<String, usize>,
    by_job: HashMap<String, usize>,
    /// The users' keys.
    keys: Vec<String>,
    /// Who can kill the asking function.
    functions: OnceLock<Weak<Pool>>,
}

impl Stub {
    /// Starts it; returns it and what `OPENROUTER_BASE_URL` must be. User n has the nth key.
    pub async fn start(
        plans: &Arc<Vec<Plan>>,
        chronicle: &Arc<Chronicle>,
        keys: Vec<String>,
    ) -> Result<(Arc<Self>, String)> {
        let by = |name: fn(&Plan) -> String| {
            let named = |plan: &Plan| (name(plan), plan.number);
            plans.iter().map(named).collect::<HashMap<_, _>>()
        };
        let stub = Arc::new(Self {
            books: Books::new(Arc::clone(plans), Arc::clone(chronicle)),
            by_tag: by(|plan| plan.tag.clone()),
            by_generation: by(|plan| plan.generation.id.clone()),
            by_job: by(|plan| plan.job.id.clone()),
            plans: Arc::clone(plans),
            chronicle: Arc::clone(chronicle),
            keys,
            functions: OnceLock::new(),
        });
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!(
            "http://{}{}",
            listener.local_addr()?,
            ROOT.trim_end_matches('/')
        );
        let listener = listener.tap_io(|stream| {
            let _ = stream.set_nodelay(true);
        });
        let router = Router::new()
            .fallback(receive)
            .with_state(Arc::clone(&stub));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok((stub, url))
    }

    /// Whose invocations it kills.
    pub fn aim_at(&self, functions: &Arc<Pool>) {
        let _ = self.functions.set(Arc::downgrade(functions));
    }

    fn note(&self, number: usize, what: impl Into<String>) {
        self.chronicle.note(number, "upstream", what);
    }

    fn kill(&self, number: usize, kill: Kill) {
        let pool = self.functions.get().and_then(Weak::upgrade);
        let id = self.plans.get(number).map(|plan| plan.ids[0]);
        if pool.zip(id).is_some_and(|(pool, id)| pool.kill(id)) {
            self.note(number, "kills the function");
            self.chronicle.count(Group::Fault, kill.name());
        }
    }
}

async fn receive(State(stub): State<Arc<Stub>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, 64 << 20).await else {
        return refusal(StatusCode::BAD_REQUEST, "the body could not be read");
    };
    if let Some(fault) = fault(&head.headers) {
        stub.books
            .fault(format!("{} {}: {fault}", head.method, head.uri));
        return refusal(StatusCode::BAD_REQUEST, &fault);
    }
    let key = head
        .headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let Some(user) = stub.keys.iter().position(|known| key == Some(known)) else {
        stub.books
            .fault(format!("{} {}: no known key", head.method, head.uri));
        return refusal(StatusCode::UNAUTHORIZED, "No auth credentials found");
    };
    let path = head.uri.path().trim_start_matches(ROOT);
    if head.method == Method::GET {
        return tell(&stub, user, path, head.uri.query().unwrap_or_default());
    }
    let plan = head
        .headers
        .get(TAG)
        .and_then(|tag| stub.by_tag.get(tag.to_str().ok()?))
        .and_then(|number| stub.plans.get(*number))
        .filter(|plan| plan.user == user);
    let Some(plan) = plan else {
        stub.books.fault(format!(
            "{} {}: no such request of this user",
            head.method, head.uri
        ));
        return refusal(StatusCode::NOT_FOUND, "Not Found");
    };
    if let Some(fault) = changed(plan, &head, path, &body) {
        stub.books.fault(format!("{}: {fault}", plan.tag));
        return refusal(StatusCode::BAD_REQUEST, &fault);
    }
    stub.books.received(plan.number);
    stub.note(
        plan.number,
        format!("receives {} {}", head.method, head.uri),
    );
    let open = Open {
        stub: &stub,
        number: plan.number,
        answered: false,
    };
    answer(open, plan).await
}

/// What is not as the client sent it.
fn changed(plan: &Plan, head: &Parts, path: &str, body: &Bytes) -> Option<String> {
    let content_type = head.headers.get(header::CONTENT_TYPE);
    if path != plan.kind.path() {
        return Some(format!("the path {path}"));
    }
    if content_type.is_none_or(|it| it != plan.content_type.as_str()) {
        return Some(format!("the content type {content_type:?}"));
    }
    (*body != plan.body).then(|| "the body was changed".to_owned())
}

/// A request without an answer. Dropped, it was closed by the other side.
struct Open<'a> {
    stub: &'a Arc<Stub>,
    number: usize,
    answered: bool,
}

impl Open<'_> {
    fn answer(mut self, status: StatusCode) {
        self.answered = true;
        self.stub.books.answered(self.number, status.as_u16());
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.stub
                .note(self.number, "the connection is closed without an answer");
            self.stub.books.ended(self.number);
        }
    }
}

async fn answer(open: Open<'_>, plan: &Plan) -> Response {
    let stub = open.stub;
    if let Some(name) = plan.behaviour.name() {
        stub.chronicle.count(Group::Fault, name);
    }
    if plan.kill == Some(Kill::BeforeHead) {
        sleep(Duration::from_millis(20)).await;
        stub.kill(plan.number, Kill::BeforeHead);
        return std::future::pending().await;
    }
    match plan.behaviour {
        Behaviour::Silent => return std::future::pending().await,
        // hyper closes a connection whose service panics, without an answer.
        Behaviour::HangUp => resume_unwind(Box::new("planned")),
        Behaviour::Refuse {
            status,
            retry_after,
        } => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
            let mut response = refusal(status, "planned");
            if retry_after {
                response
                    .headers_mut()
                    .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            return finish(open, plan, response, &refusal_bytes(status, "planned"));
        }
        Behaviour::ErrorBody { named } => {
            let mut response = whole(StatusCode::OK, answer::error_body());
            if named {
                name(&mut response, plan);
            }
            return finish(open, plan, response, &answer::error_body());
        }
        _ => {}
    }
    if plan.kind.is_job() {
        stub.books.accept_job(plan.number);
        let body = job_body(plan, Job::Running);
        let response = whole(StatusCode::ACCEPTED, body.clone());
        return finish(open, plan, response, &body);
    }
    let answer = match plan.behaviour {
        Behaviour::ErrorEvent => answer::failing(plan),
        _ => answer::answer(plan),
    };
    play(open, plan, answer)
}

fn play(open: Open<'_>, plan: &Plan, answer: Answer) -> Response {
    let content_type = answer.content_type;
    let stub = open.stub;
    let mut response = Response::new(Body::from_stream(script::body(stub, plan, answer)));
    set(response.headers_mut(), header::CONTENT_TYPE, content_type);
    if plan.generation.in_head {
        name(&mut response, plan);
    }
    if plan.behaviour == Behaviour::CacheHit {
        let name = HeaderName::from_static("x-openrouter-cache-status");
        set(response.headers_mut(), name, "HIT");
    }
    set(
        response.headers_mut(),
        header::SET_COOKIE,
        "__cf_bm=planted-cookie; Secure",
    );
    open.answer(StatusCode::OK);
    response
}

/// An answer that costs nothing and goes out at once.
fn finish(open: Open<'_>, plan: &Plan, response: Response, body: &[u8]) -> Response {
    let stub = open.stub;
    stub.books.sent(plan.number, body);
    open.answer(response.status());
    stub.books.ended(plan.number);
    response
}

/// `GET /generation?id=…`, `GET /videos/…`, `GET /batches/…`: only for the user whose it is.
fn tell(stub: &Arc<Stub>, user: usize, path: &str, query: &str) -> Response {
    let job = path
        .strip_prefix("videos/")
        .or_else(|| path.strip_prefix("batches/"));
    let number = match job {
        Some(id) => stub.by_job.get(id),
        None => query
            .strip_prefix("id=")
            .and_then(|id| stub.by_generation.get(id)),
    };
    let plan = number
        .and_then(|number| stub.plans.get(*number))
        .filter(|plan| plan.user == user);
    let Some(plan) = plan else {
        return refusal(StatusCode::NOT_FOUND, "Not Found");
    };
    if job.is_some() {
        let state = stub.books.job(plan.number);
        stub.note(plan.number, format!("GET {path}: {state:?}"));
        if state == Job::Unknown || !path.starts_with(plan.kind.path()) {
            return refusal(StatusCode::NOT_FOUND, "Not Found");
        }
        return whole(StatusCode::OK, job_body(plan, state));
    }
    let known = stub.books.generation(plan.number);
    stub.note(plan.number, format!("GET {path}: {known:?}"));
    match known {
        Generation::NotFound => refusal(StatusCode::NOT_FOUND, "Generation not found"),
        Generation::Billed => whole(StatusCode::OK, generation_body(plan, &plan.price)),
        Generation::Free => whole(StatusCode::OK, generation_body(plan, &Price::free())),
    }
}

fn generation_body(plan: &Plan, price: &Price) -> Vec<u8> {
    let (id, model, byok) = (&plan.generation.id, &plan.served, price.byok);
    let (input, output) = plan.tokens;
    let upstream = price.upstream.as_deref().unwrap_or("null");
    format!(
        r#"{{"data":{{"id":"{id}","model":"{model}","total_cost":{},"upstream_inference_cost":{upstream},"is_byok":{byok},"tokens_prompt":1,"tokens_completion":1,"native_tokens_prompt":{input},"native_tokens_completion":{output}}}}}"#,
        price.cost
    )
    .into_bytes()
}

fn job_body(plan: &Plan, state: Job) -> Vec<u8> {
    let (id, price) = (&plan.job.id, &plan.price);
    let (running, done) = match plan.kind {
        Kind::Video => ("pending", "completed"),
        _ => ("validating", "completed"),
    };
    let rest = match state {
        Job::Unknown | Job::Running => format!(r#""status":"{running}""#),
        Job::Failed => r#""status":"failed","error":"moderated""#.to_owned(),
        // A video's state does not tell the provider's charge: its generation does.
        Job::Done if plan.kind == Kind::Video && price.byok => format!(
            r#""status":"{done}","generation_id":"{}","usage":{{"cost":{},"is_byok":true}}"#,
            plan.generation.id, price.cost
        ),
        Job::Done => format!(
            r#""results":[{{"usage":{{"cost":99}}}}],"status":"{done}","usage":{{"cost":{},"is_byok":{},"cost_details":{{"upstream_inference_cost":{}}}}}"#,
            price.cost,
            price.byok,
            price.upstream.as_deref().unwrap_or("null")
        ),
    };
    format!(r#"{{"id":"{id}","model":"{}",{rest}}}"#, plan.served).into_bytes()
}

fn name(response: &mut Response, plan: &Plan) {
    let name = HeaderName::from_static("x-generation-id");
    set(response.headers_mut(), name, &plan.generation.id);
}

fn refusal_bytes(status: StatusCode, message: &str) -> Vec<u8> {
    json!({"error": {"code": status.as_u16(), "message": message}, "user_id": "user_x"})
        .to_string()
        .into_bytes()
}

fn refusal(status: StatusCode, message: &str) -> Response {
    whole(status, refusal_bytes(status, message))
}

fn whole(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    set(
        response.headers_mut(),
        header::CONTENT_TYPE,
        "application/json",
    );
    response
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
