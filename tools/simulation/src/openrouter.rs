//! An OpenRouter with bills of its own. It does what each request's plan says, which it finds by the
//! header `x-session-id`, and refuses whatever the gateway must not send.
//!
//! # Billing
//!
//! Each request is billed once, at the first token (JSON and audio: at the first byte; a job: on
//! completion). A request whose connection is closed before that is cancelled and costs nothing:
//! afterwards `GET /generation` tells a cost of 0, or does not know it. The gateway therefore never has
//! to know what it was not told.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use anyhow::Result;
use axum::{body::Body, response::Response};
use http::{HeaderName, Method, StatusCode, header};
use stack::lambda::Pool;
use stub::{
    Answer, Charge, Endpoint, Received, Tokens,
    answer::{COMMENT, End},
    billing::{generation, not_found},
    job,
    response::{json_response, refusal, set, typed, with_generation_id},
    rules,
    script::{self, Behaviour, KillPoint, Observer, Prepared, Script, Split},
    server::{ROOT, listen, serve},
};
use tokio::time::sleep;

use crate::{
    bills::{Bills, Generation, Job},
    faults::{self, Kill},
    journal::{Group, Journal},
    plan::Plan,
};

/// The header that names a request's plan.
pub const TAG: HeaderName = HeaderName::from_static("x-session-id");
const CACHE_STATUS: HeaderName = HeaderName::from_static("x-openrouter-cache-status");

/// The stub.
#[derive(Debug)]
pub struct OpenRouter {
    pub bills: Bills,
    plans: Arc<Vec<Plan>>,
    journal: Arc<Journal>,
    by_tag: HashMap<String, usize>,
    by_generation: HashMap<String, usize>,
    by_job: HashMap<String, usize>,
    /// The users' keys.
    keys: Vec<String>,
    /// The functions whose processes it kills.
    functions: OnceLock<Weak<Pool>>,
}

impl OpenRouter {
    /// Starts it, and returns it with the value of `GATEWAY_OPENROUTER_URL`. User n has the nth key.
    pub async fn start(
        plans: &Arc<Vec<Plan>>,
        journal: &Arc<Journal>,
        keys: Vec<String>,
    ) -> Result<(Arc<Self>, String)> {
        let by = |name: fn(&Plan) -> String| {
            let named = |plan: &Plan| (name(plan), plan.number);
            plans.iter().map(named).collect::<HashMap<_, _>>()
        };
        let openrouter = Arc::new(Self {
            bills: Bills::new(Arc::clone(plans), Arc::clone(journal)),
            by_tag: by(|plan| plan.tag.clone()),
            by_generation: by(|plan| plan.generation.id.clone()),
            by_job: by(|plan| plan.job.id.clone()),
            plans: Arc::clone(plans),
            journal: Arc::clone(journal),
            keys,
            functions: OnceLock::new(),
        });
        let (listener, url) = listen().await?;
        let shared = Arc::clone(&openrouter);
        serve(listener, Arc::default(), move |request| {
            receive(Arc::clone(&shared), request)
        });
        Ok((openrouter, url + ROOT.trim_end_matches('/')))
    }

    /// Sets the functions whose processes it kills.
    pub fn aim_at(&self, functions: &Arc<Pool>) {
        let _ = self.functions.set(Arc::downgrade(functions));
    }

    fn note(&self, number: usize, text: impl Into<String>) {
        self.journal.note(number, "upstream", text);
    }

    fn kill(&self, number: usize, kill: Kill) {
        let pool = self.functions.get().and_then(Weak::upgrade);
        let id = self.plans.get(number).map(|plan| plan.ids[0]);
        if pool.zip(id).is_some_and(|(pool, id)| pool.kill(id)) {
            self.note(number, "kills the function");
            self.journal.count(Group::Fault, kill.name());
        }
    }

    /// The plan of a request, or the response that refuses it.
    fn plan(&self, request: &Received, user: usize) -> Result<&Plan, Box<Response>> {
        let plan = request
            .headers
            .get(TAG)
            .and_then(|tag| self.by_tag.get(tag.to_str().ok()?))
            .and_then(|number| self.plans.get(*number))
            .filter(|plan| plan.user == user);
        let Some(plan) = plan else {
            let line = request.line();
            self.bills
                .violation(format!("{line}: no such request of this user"));
            return Err(Box::new(refusal(StatusCode::NOT_FOUND, "Not Found")));
        };
        if let Some(change) = change(plan, request) {
            self.bills.violation(format!("{}: {change}", plan.tag));
            return Err(Box::new(refusal(StatusCode::BAD_REQUEST, &change)));
        }
        Ok(plan)
    }

    /// Answers `GET /generation?id=…`, `GET /videos/…` and `GET /batches/…`, to their user alone.
    fn tell(&self, user: usize, path: &str, query: &str) -> Response {
        let job = path
            .strip_prefix("videos/")
            .or_else(|| path.strip_prefix("batches/"));
        let number = match job {
            Some(id) => self.by_job.get(id),
            None => query
                .strip_prefix("id=")
                .and_then(|id| self.by_generation.get(id)),
        };
        let plan = number
            .and_then(|number| self.plans.get(*number))
            .filter(|plan| plan.user == user);
        let Some(plan) = plan else {
            return refusal(StatusCode::NOT_FOUND, "Not Found");
        };
        if job.is_some() {
            let state = self.bills.job(plan.number);
            self.note(plan.number, format!("GET {path}: {state:?}"));
            if state == Job::Unknown || !path.starts_with(plan.kind.endpoint().path()) {
                return refusal(StatusCode::NOT_FOUND, "Not Found");
            }
            return json_response(StatusCode::OK, job_body(plan, state));
        }
        let known = self.bills.generation(plan.number);
        self.note(plan.number, format!("GET {path}: {known:?}"));
        let tell = |charge: &Charge| {
            let (id, tokens) = (&plan.generation.id, tokens(plan));
            json_response(
                StatusCode::OK,
                generation(id, &plan.served, charge, &tokens),
            )
        };
        match known {
            Generation::NotFound => not_found(),
            Generation::Billed => tell(&plan.part.as_ref().unwrap_or(&plan.price).charge),
            Generation::Free => tell(&Charge::free()),
        }
    }
}

async fn receive(openrouter: Arc<OpenRouter>, request: Received) -> Response {
    let line = request.line();
    if let Some(violation) = rules::violation(&request.headers) {
        openrouter.bills.violation(format!("{line}: {violation}"));
        return refusal(StatusCode::BAD_REQUEST, &violation);
    }
    let key = request.key();
    let Some(user) = openrouter.keys.iter().position(|it| key == Some(it)) else {
        openrouter.bills.violation(format!("{line}: no known key"));
        return refusal(StatusCode::UNAUTHORIZED, "No auth credentials found");
    };
    if request.method == Method::GET {
        return openrouter.tell(user, request.path(), request.query());
    }
    let plan = match openrouter.plan(&request, user) {
        Ok(plan) => plan,
        Err(response) => return *response,
    };
    openrouter.bills.received(plan.number);
    openrouter.note(plan.number, format!("receives {line}"));
    let unanswered = Unanswered {
        openrouter: &openrouter,
        number: plan.number,
        is_answered: false,
    };
    answer(unanswered, plan).await
}

/// The first difference between the request and what the client sent.
fn change(plan: &Plan, request: &Received) -> Option<String> {
    let content_type = request.headers.get(header::CONTENT_TYPE);
    let path = request.path();
    if path != plan.kind.endpoint().path() {
        return Some(format!("the path {path}"));
    }
    if content_type.is_none_or(|it| it != plan.content_type.as_str()) {
        return Some(format!("the content type {content_type:?}"));
    }
    (*request.body != plan.body).then(|| "the body was changed".to_owned())
}

/// A request without an answer. If it is dropped as such, the other side closed the connection.
struct Unanswered<'a> {
    openrouter: &'a Arc<OpenRouter>,
    number: usize,
    is_answered: bool,
}

impl Unanswered<'_> {
    fn answer(mut self, status: StatusCode) {
        self.is_answered = true;
        self.openrouter.bills.answered(self.number, status.as_u16());
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.openrouter
                .note(self.number, "the connection is closed without an answer");
            self.openrouter.bills.ended(self.number);
        }
    }
}

async fn answer(unanswered: Unanswered<'_>, plan: &Plan) -> Response {
    let openrouter = unanswered.openrouter;
    if let Some(name) = faults::name(plan.behaviour) {
        openrouter.journal.count(Group::Fault, name);
    }
    if plan.kill == Some(Kill::BeforeHead) {
        sleep(Duration::from_millis(20)).await;
        openrouter.kill(plan.number, Kill::BeforeHead);
        return std::future::pending().await;
    }
    if let Some(refused) = script::refused(plan.behaviour).await {
        let body = refused.body.clone();
        let mut response = refused.into_response();
        if plan.behaviour == (Behaviour::ErrorBody { named: true }) {
            response = with_generation_id(response, &plan.generation.id);
        }
        return send_free(unanswered, plan, response, &body);
    }
    if plan.kind.endpoint().is_job() {
        openrouter.bills.accept_job(plan.number);
        let body = job_body(plan, Job::Running);
        let response = json_response(StatusCode::ACCEPTED, body.clone());
        return send_free(unanswered, plan, response, &body);
    }
    play(unanswered, plan)
}

fn play(unanswered: Unanswered<'_>, plan: &Plan) -> Response {
    let (content_type, prepared) = prepare(plan);
    let script = Script {
        behaviour: plan.behaviour,
        kill: plan.kill.and_then(Kill::point),
        first_token: plan.first_token,
        comments: plan.streamed,
        split: Split::Seeded(plan.split_seed),
    };
    let on_its_way = OnItsWay {
        openrouter: Arc::clone(unanswered.openrouter),
        number: plan.number,
    };
    let body = Body::from_stream(script::body(&script, &prepared, on_its_way));
    let mut response = typed(content_type, body);
    if plan.generation.in_head {
        response = with_generation_id(response, &plan.generation.id);
    }
    if plan.behaviour == Behaviour::CacheHit {
        set(&mut response, CACHE_STATUS, "HIT");
    }
    unanswered.answer(StatusCode::OK);
    response
}

/// Sends an answer that costs nothing at once.
fn send_free(unanswered: Unanswered<'_>, plan: &Plan, response: Response, body: &[u8]) -> Response {
    let openrouter = unanswered.openrouter;
    openrouter.bills.sent(plan.number, body);
    unanswered.answer(response.status());
    openrouter.bills.ended(plan.number);
    response
}

/// The bytes of an answer, with their content type.
fn prepare(plan: &Plan) -> (&'static str, Prepared) {
    let endpoint = plan.kind.endpoint();
    let answer = Answer {
        endpoint,
        id: plan.generation.id.clone(),
        model: plan.served.clone(),
        tokens: tokens(plan),
        charge: plan.cost_in_body.then(|| plan.price.charge.clone()),
    };
    if endpoint == Endpoint::Speech {
        let audio = b"ID3\x04\x00\xff\xfb\x90".repeat(40 + plan.number % 50);
        return ("audio/mpeg", Prepared::whole(audio));
    }
    if !plan.streamed {
        let body = answer.body(&text(endpoint, plan.number % 300));
        return ("application/json", Prepared::whole(body));
    }
    let end = if plan.behaviour == Behaviour::ErrorEvent {
        End::Failed {
            with_usage: plan.split_seed.is_multiple_of(2),
        }
    } else if plan.number.is_multiple_of(7) {
        End::Incomplete
    } else {
        End::Complete
    };
    let text = text(endpoint, 0);
    // Some servers end their lines with CR LF.
    let lines = |text: String| {
        if plan.split_seed.is_multiple_of(11) {
            text.replace('\n', "\r\n")
        } else {
            text
        }
    };
    let head = COMMENT.repeat(plan.number % 4) + &answer.head();
    let tokens = answer.delta(&text).repeat(2 + plan.number % 5);
    let end = answer.end(end, &text);
    (
        "text/event-stream",
        Prepared::stream(&lines(head), &lines(tokens), &lines(end)),
    )
}

/// A text that challenges the meter: not ASCII, or a usage that is none.
fn text(endpoint: Endpoint, padding: usize) -> String {
    if endpoint == Endpoint::Messages {
        r#"{"usage":{"cost":99}}"#.to_owned()
    } else {
        format!("Grüezi, 世界 {}", "!".repeat(padding))
    }
}

fn tokens(plan: &Plan) -> Tokens {
    let (input, output) = plan.tokens;
    Tokens {
        input,
        output,
        cached: None,
        reasoning: None,
    }
}

fn job_body(plan: &Plan, state: Job) -> Vec<u8> {
    let state = match state {
        Job::Unknown | Job::Running => job::State::Open("pending"),
        Job::Failed => job::State::Ended("failed"),
        Job::Completed => job::State::Completed,
    };
    let names = job::Names {
        id: &plan.job.id,
        generation_id: &plan.generation.id,
        model: &plan.served,
    };
    let charge = &plan.price.charge;
    job::body(plan.kind.endpoint(), &names, state, charge, &tokens(plan))
}

/// An answer on its way to the gateway.
struct OnItsWay {
    openrouter: Arc<OpenRouter>,
    number: usize,
}

impl Observer for OnItsWay {
    fn bills(&self) {
        self.openrouter.bills.bill(self.number);
    }

    fn sends(&self, bytes: &[u8]) {
        self.openrouter.bills.sent(self.number, bytes);
    }

    fn kills(&self, point: KillPoint) {
        self.openrouter.kill(self.number, Kill::at(point));
    }

    fn breaks(&self) {
        self.openrouter.note(self.number, "breaks the connection");
    }

    fn ends(&self, complete: bool) {
        let how = if complete {
            "the answer is over"
        } else {
            "the gateway closed the connection before the answer was over"
        };
        self.openrouter.note(self.number, how);
        self.openrouter.bills.ended(self.number);
    }
}
