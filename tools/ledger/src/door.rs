//! The door between the functions and the database: it lets calls pass, and breaks them as planned.

use std::{
    collections::HashMap,
    panic::resume_unwind,
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::{AtomicUsize, Ordering},
    },
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
use fastrand::Rng;
use http::{HeaderMap, StatusCode, header, request::Parts};
use serde_json::Value;
use shared::http_client::without_tls;
use tokio::{
    net::TcpListener,
    time::{Instant, sleep},
};
use uuid::Uuid;

use crate::{
    chronicle::{Chronicle, Group},
    faults::{Kill, StorageFault},
    lambda::{Pool, lock},
    plan::Plan,
};

/// The functions' way to the database.
#[derive(Debug)]
pub struct Door {
    client: reqwest::Client,
    database: String,
    plans: Arc<Vec<Plan>>,
    chronicle: Arc<Chronicle>,
    /// How often each call was attempted.
    attempts: Mutex<HashMap<(Uuid, String), usize>>,
    /// Since when, and until when, requests were open.
    open: Mutex<HashMap<Uuid, Span>>,
    /// For calls that belong to no request.
    dice: Mutex<Rng>,
    /// Calls that came and are not over, late ones included.
    under_way: AtomicUsize,
    functions: OnceLock<Weak<Pool>>,
}

/// From the end of the call that opened a request, to the beginning of the one that closed its books.
#[derive(Debug, Clone, Copy, Default)]
pub struct Span {
    pub opened: Option<Instant>,
    pub closed: Option<Instant>,
}

/// A call of a database function.
struct Call {
    function: String,
    /// The request that it is about, where it is about one.
    id: Option<Uuid>,
    number: Option<usize>,
    attempt: usize,
}

struct Executed {
    status: StatusCode,
    content_type: Option<header::HeaderValue>,
    body: Bytes,
}

impl Door {
    /// Opens it; returns it and what `SUPABASE_URL` must be.
    pub async fn open(
        database: String,
        plans: &Arc<Vec<Plan>>,
        chronicle: &Arc<Chronicle>,
        seed: u64,
    ) -> Result<(Arc<Self>, String)> {
        let door = Arc::new(Self {
            client: without_tls(Duration::from_secs(5))?,
            database,
            plans: Arc::clone(plans),
            chronicle: Arc::clone(chronicle),
            attempts: Mutex::default(),
            open: Mutex::default(),
            dice: Mutex::new(Rng::with_seed(seed)),
            under_way: AtomicUsize::new(0),
            functions: OnceLock::new(),
        });
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let listener = listener.tap_io(|stream| {
            let _ = stream.set_nodelay(true);
            // A connection that is dropped is reset.
            let _ = stream.set_zero_linger();
        });
        let router = Router::new().fallback(pass).with_state(Arc::clone(&door));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok((door, url))
    }

    /// Whose invocations it kills.
    pub fn aim_at(&self, functions: &Arc<Pool>) {
        let _ = self.functions.set(Arc::downgrade(functions));
    }

    /// Whether no call is on its way to the database.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.under_way.load(Ordering::SeqCst) == 0
    }

    /// Since when, and until when, a request was open.
    #[must_use]
    pub fn span(&self, id: Uuid) -> Span {
        lock(&self.open).get(&id).copied().unwrap_or_default()
    }

    fn call(&self, head: &Parts, body: &Bytes) -> Call {
        let function = head.uri.path().rsplit('/').next().unwrap_or_default();
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let id = body["request"]["id"]
            .as_str()
            .or_else(|| body["outcome"]["id"].as_str())
            .and_then(|id| id.parse().ok());
        let attempt = id.map_or(0, |id| {
            let mut attempts = lock(&self.attempts);
            let count = attempts.entry((id, function.to_owned())).or_default();
            *count += 1;
            *count - 1
        });
        Call {
            function: function.to_owned(),
            id,
            number: id.and_then(|id| self.chronicle.number(id)),
            attempt,
        }
    }

    fn fault(&self, call: &Call) -> Option<StorageFault> {
        match call.number.and_then(|number| self.plans.get(number)) {
            // Faults are planned for the first of two equal requests.
            Some(plan) if call.id == Some(plan.ids[0]) => {
                plan.storage.fault(&call.function, call.attempt)
            }
            Some(_) => None,
            None => {
                let mut dice = lock(&self.dice);
                (dice.u32(0..12) == 0).then(|| StorageFault::draw(&mut dice))
            }
        }
    }

    fn kill(&self, call: &Call, kill: Kill) -> bool {
        let plan = call.number.and_then(|number| self.plans.get(number));
        let Some(plan) = plan.filter(|plan| plan.kill == Some(kill) && call.attempt == 0) else {
            return false;
        };
        let pool = self.functions.get().and_then(Weak::upgrade);
        let killed = pool.is_some_and(|pool| pool.kill(plan.ids[0]));
        if killed {
            self.note(call, format!("kills the function in {}", call.function));
            self.chronicle.count(Group::Fault, kill.name());
        }
        killed
    }

    fn note(&self, call: &Call, what: String) {
        if let Some(number) = call.number {
            self.chronicle.note(number, "storage", what);
        }
    }

    /// Executes the call whether or not anyone waits for it.
    async fn execute(self: &Arc<Self>, call: Call, head: Parts, body: Bytes) -> Option<Executed> {
        let door = Arc::clone(self);
        let under_way = UnderWay::at(self);
        let executing = async move {
            let _under_way = under_way;
            let started = Instant::now();
            let executed = door.forward(&head, body).await;
            let (status, text) = match &executed {
                Some(it) => (it.status, String::from_utf8_lossy(&it.body).into_owned()),
                None => (StatusCode::BAD_GATEWAY, "no answer".to_owned()),
            };
            // Keys, even sealed, are no part of a story.
            let text = if call.function == "begin_request" && status.is_success() {
                "begun".to_owned()
            } else {
                text
            };
            door.note(
                &call,
                format!(
                    "{} attempt {}: {status} {text}",
                    call.function,
                    call.attempt + 1
                ),
            );
            if let (Some(id), true) = (call.id, status.is_success()) {
                let mut open = lock(&door.open);
                let span = open.entry(id).or_default();
                match call.function.as_str() {
                    "begin_request" => span.opened = Some(span.opened.unwrap_or_else(Instant::now)),
                    "finish_request" | "settle_request" => span.closed = Some(started),
                    _ => {}
                }
            }
            executed
        };
        tokio::spawn(executing).await.ok().flatten()
    }

    async fn forward(&self, head: &Parts, body: Bytes) -> Option<Executed> {
        let mut headers = HeaderMap::new();
        for (name, value) in &head.headers {
            if name != header::HOST && name != header::CONTENT_LENGTH {
                headers.insert(name.clone(), value.clone());
            }
        }
        let answer = self
            .client
            .request(
                head.method.clone(),
                format!("{}{}", self.database, head.uri),
            )
            .headers(headers)
            .body(body)
            .send()
            .await
            .ok()?;
        Some(Executed {
            status: answer.status(),
            content_type: answer.headers().get(header::CONTENT_TYPE).cloned(),
            body: answer.bytes().await.ok()?,
        })
    }
}

async fn pass(State(door): State<Arc<Door>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, 1 << 20).await else {
        return refusal(400);
    };
    let call = door.call(&head, &body);
    let kills = match call.function.as_str() {
        "begin_request" => Some((Kill::Beginning, Kill::Begun)),
        "finish_request" => Some((Kill::Finishing, Kill::Finished)),
        _ => None,
    };
    if let Some((before, after)) = kills {
        if door.kill(&call, before) {
            return std::future::pending().await;
        }
        let plan = call.number.and_then(|number| door.plans.get(number));
        if plan.is_some_and(|plan| plan.kill == Some(after)) && call.attempt == 0 {
            let (id, number, function) = (call.id, call.number, call.function.clone());
            door.execute(call, head, body).await;
            let call = Call {
                function,
                id,
                number,
                attempt: 0,
            };
            door.kill(&call, after);
            return std::future::pending().await;
        }
    }
    let Some(fault) = door.fault(&call) else {
        return respond(door.execute(call, head, body).await);
    };
    door.note(
        &call,
        format!("{} attempt {}: {fault:?}", call.function, call.attempt + 1),
    );
    door.chronicle.count(
        Group::Fault,
        format!("storage: {}: {}", call.function, fault.name()),
    );
    broken(&door, fault, call, head, body).await
}

async fn broken(
    door: &Arc<Door>,
    fault: StorageFault,
    call: Call,
    head: Parts,
    body: Bytes,
) -> Response {
    match fault {
        StorageFault::Refuse(status) => refusal(status),
        StorageFault::Reset => reset(),
        StorageFault::RefuseAfterwards(status) => {
            door.execute(call, head, body).await;
            refusal(status)
        }
        StorageFault::ResetAfterwards => {
            door.execute(call, head, body).await;
            reset()
        }
        StorageFault::Late(pause) => {
            // Also when the other side has given up meanwhile.
            let under_way = UnderWay::at(door);
            let door = Arc::clone(door);
            let late = tokio::spawn(async move {
                let _under_way = under_way;
                sleep(pause).await;
                door.execute(call, head, body).await
            });
            respond(late.await.ok().flatten())
        }
        StorageFault::AnswerLate(pause) => {
            let executed = door.execute(call, head, body).await;
            sleep(pause).await;
            respond(executed)
        }
    }
}

fn respond(executed: Option<Executed>) -> Response {
    let Some(executed) = executed else {
        return refusal(502);
    };
    let mut response = Response::new(Body::from(executed.body));
    *response.status_mut() = executed.status;
    if let Some(value) = executed.content_type {
        response.headers_mut().insert(header::CONTENT_TYPE, value);
    }
    response
}

fn refusal(status: u16) -> Response {
    let mut response = Response::new(Body::from(r#"{"message":"planned"}"#));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    response
}

/// hyper drops the connection of a service that panics.
fn reset() -> Response {
    resume_unwind(Box::new("planned"))
}

/// A call that is under way.
struct UnderWay(Arc<Door>);

impl UnderWay {
    fn at(door: &Arc<Door>) -> Self {
        door.under_way.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(door))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}
