//! The Runtime API of one process.

use std::{
    future::poll_fn,
    panic::resume_unwind,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, BodyDataStream, HttpBody},
    extract::{Path, Request, State},
    response::Response,
    routing::{get, post},
    serve::ListenerExt,
};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    time::{Instant, sleep, sleep_until},
};
use uuid::Uuid;

use super::{Abandoned, Failure, Limits, Mode, Part, limits::Passage, prelude::Splitter};

/// The bytes that Lambda, which is written in Go, still reads of an answer that is too long, and the time
/// for which it listens after its own response, so that this is not lost (`maxPostHandlerReadBytes` and
/// `rstAvoidanceDelay` in <https://github.com/golang/go/blob/master/src/net/http/server.go>).
const READ_IN_VAIN: usize = 256 * 1024;
const LINGER: Duration = Duration::from_millis(500);

/// A message from a process to its environment.
#[derive(Debug)]
pub(super) enum Word {
    /// The process asks for an invocation after the last one has ended; it is frozen.
    Next,
    /// The function could not be initialised.
    InitError(String),
}

/// An invocation on its way to the process.
#[derive(Debug)]
pub(super) struct Assigned {
    pub(super) id: Uuid,
    pub(super) event: Vec<u8>,
    pub(super) deadline: Instant,
    pub(super) deadline_ms: i64,
    pub(super) abandoned: Abandoned,
    pub(super) answer: mpsc::Sender<Part>,
}

/// The API's side of the invocation that runs.
#[derive(Debug)]
struct Current {
    id: Uuid,
    deadline: Instant,
    abandoned: Abandoned,
    answer: Option<mpsc::Sender<Part>>,
}

#[derive(Debug)]
pub(super) struct Api {
    mode: Mode,
    limits: Limits,
    process: Mutex<Option<Pid>>,
    current: Mutex<Option<Current>>,
    assignments: tokio::sync::Mutex<mpsc::Receiver<Assigned>>,
    words: mpsc::UnboundedSender<Word>,
    violations: Arc<Mutex<Vec<String>>>,
}

/// A running API. Dropping it closes its port.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) address: String,
    pub(super) api: Arc<Api>,
    _stop: oneshot::Sender<()>,
}

impl Server {
    pub(super) async fn start(
        mode: Mode,
        limits: Limits,
        assignments: mpsc::Receiver<Assigned>,
        words: mpsc::UnboundedSender<Word>,
        violations: Arc<Mutex<Vec<String>>>,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?.to_string();
        let api = Arc::new(Api {
            mode,
            limits,
            process: Mutex::new(None),
            current: Mutex::new(None),
            assignments: tokio::sync::Mutex::new(assignments),
            words,
            violations,
        });
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route(
                "/2018-06-01/runtime/invocation/{id}/response",
                post(respond),
            )
            .route("/2018-06-01/runtime/invocation/{id}/error", post(report))
            .route("/2018-06-01/runtime/init/error", post(init_error))
            .fallback(unknown)
            .with_state(Arc::clone(&api));
        let (stop, stopped) = oneshot::channel();
        tokio::spawn(async move {
            tokio::select! {
                _ = axum::serve(listener.tap_io(|io| drop(io.set_nodelay(true))), router) => {}
                _ = stopped => {}
            }
        });
        Ok(Self {
            address,
            api,
            _stop: stop,
        })
    }
}

impl Api {
    /// Makes the API freeze and thaw this process.
    pub(super) fn attach(&self, process: Pid) {
        *lock(&self.process) = Some(process);
    }

    /// The process is gone; its number may be given to others. Ends the answer that it owes.
    pub(super) fn detach(&self) -> Option<mpsc::Sender<Part>> {
        *lock(&self.process) = None;
        lock(&self.current)
            .take()
            .and_then(|current| current.answer)
    }

    fn signal(&self, signal: Signal) {
        if let Some(process) = *lock(&self.process) {
            // One that is being killed needs no freezing.
            let _ = kill_process(process, signal);
        }
    }

    fn violation(&self, what: impl Into<String>) {
        lock(&self.violations).push(what.into());
    }

    /// The answer's other end: once for each invocation, and not after its deadline.
    fn begin_answer(&self, id: &str) -> Result<(mpsc::Sender<Part>, Abandoned), String> {
        let mut current = lock(&self.current);
        let current = current
            .as_mut()
            .filter(|current| current.id.to_string() == id)
            .ok_or_else(|| format!("an answer to {id}, which is not the current invocation"))?;
        let answer = current
            .answer
            .take()
            .ok_or_else(|| format!("a second answer to {id}"))?;
        if Instant::now() > current.deadline {
            return Err(format!("an answer to {id} after its deadline"));
        }
        Ok((answer, current.abandoned))
    }
}

async fn next(State(api): State<Arc<Api>>) -> Response {
    let ended = lock(&api.current).take();
    if let Some((id, answer)) = ended.and_then(|it| Some((it.id, it.answer?))) {
        api.violation(format!("{id} was not answered"));
        let _ = answer.try_send(Part::Failed(Failure::NotAnswered));
    }
    api.signal(Signal::STOP);
    let _ = api.words.send(Word::Next);
    let Some(assigned) = api.assignments.lock().await.recv().await else {
        // The environment ends.
        return std::future::pending().await;
    };
    *lock(&api.current) = Some(Current {
        id: assigned.id,
        deadline: assigned.deadline,
        abandoned: assigned.abandoned,
        answer: Some(assigned.answer),
    });
    let mut response = Response::new(Body::from(assigned.event));
    let headers = [
        ("content-type", "application/json".to_owned()),
        ("lambda-runtime-aws-request-id", assigned.id.to_string()),
        (
            "lambda-runtime-deadline-ms",
            assigned.deadline_ms.to_string(),
        ),
        (
            "lambda-runtime-invoked-function-arn",
            "arn:aws:lambda:us-east-1:123456789012:function:ledger".to_owned(),
        ),
        (
            "lambda-runtime-trace-id",
            "Root=1-67748580-acffd616891d139783b16459;Parent=53995c3f42cd8ad8;Sampled=0".to_owned(),
        ),
    ];
    for (name, value) in headers {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    }
    api.signal(Signal::CONT);
    response
}

async fn respond(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    let (answer, abandoned) = match api.begin_answer(&id) {
        Ok(begun) => begun,
        Err(violation) => return refuse(&api, violation),
    };
    if let Err(violation) = check_headers(api.mode, request.headers()) {
        let _ = answer.send(Part::Failed(Failure::NotAnswered)).await;
        return refuse(&api, format!("{id}: {violation}"));
    }
    let mut head = (api.mode == Mode::Streaming).then(Splitter::default);
    let mut passage = Passage::begin(api.limits, Instant::now());
    let announced = request.headers().contains_key(header::TRAILER);
    let mut body = request.into_body();
    let mut failure = None;
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        // Broken off; the environment knows whether the process was killed, and reports it.
        let Ok(frame) = frame else {
            return empty(StatusCode::BAD_REQUEST);
        };
        let chunk = match frame.into_data() {
            Ok(chunk) => chunk,
            Err(frame) => {
                let trailers = frame.into_trailers().unwrap_or_default();
                match reported(&trailers).filter(|_| announced) {
                    Some(error) => failure = Some(error),
                    None => return refuse(&api, format!("{id}: trailers {trailers:?}")),
                }
                continue;
            }
        };
        let now = Instant::now();
        let (admitted, from) = passage.admit(chunk.len(), now);
        // A timer takes a millisecond even where it is due.
        if from > now {
            sleep_until(from).await;
        }
        let is_too_much = admitted < chunk.len() && api.mode == Mode::Streaming;
        let chunk = if is_too_much {
            chunk.slice(..admitted)
        } else {
            chunk
        };
        let parts = match &mut head {
            None => vec![Part::Data(chunk)],
            Some(splitter) => match splitter.feed(&chunk) {
                Ok(None) => continue,
                Ok(Some((status, headers, first))) => {
                    head = None;
                    vec![Part::Head(status, headers), Part::Data(first.into())]
                }
                Err(violation) => return refuse(&api, format!("{id}: {violation}")),
            },
        };
        for part in parts {
            let left = answer.send(part).await.is_err();
            if left && abandoned == Abandoned::Broken {
                // hyper closes a connection whose service panics.
                resume_unwind(Box::new("the client has left"));
            }
        }
        if is_too_much {
            let _ = answer.send(Part::Failed(Failure::AnswerTooLarge)).await;
            return too_large(body.into_data_stream()).await;
        }
    }
    if head.is_some() {
        return refuse(&api, format!("{id}: the answer has no prelude"));
    }
    let end = failure.map_or(Part::End, |error| Part::Failed(Failure::Reported(error)));
    let _ = answer.send(end).await;
    empty(StatusCode::ACCEPTED)
}

/// The error that an answer's trailers tell: its type, and the same with a message as JSON in base64.
/// <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-custom.html#runtimes-custom-response-streaming>
fn reported(trailers: &HeaderMap) -> Option<Value> {
    let text = |name: &str| trailers.get(name)?.to_str().ok();
    let body = BASE64_STANDARD.decode(text("lambda-runtime-function-error-body")?);
    let error: Value = serde_json::from_slice(&body.ok()?).ok()?;
    let error_type = text("lambda-runtime-function-error-type")?;
    (trailers.len() == 2 && error["errorType"] == error_type).then_some(error)
}

/// Lambda's response to a function whose answer it reads no further.
/// <https://github.com/aws/aws-lambda-runtime-interface-emulator/blob/develop/internal/lambda/core/directinvoke/directinvoke.go>
async fn too_large(mut rest: BodyDataStream) -> Response {
    let mut read = 0;
    while read < READ_IN_VAIN
        && let Some(Ok(chunk)) = rest.next().await
    {
        read += chunk.len();
    }
    tokio::spawn(async move {
        sleep(LINGER).await;
        drop(rest);
    });
    let mut response = Response::new(Body::from(
        r#"{"errorMessage":"Exceeded maximum allowed payload size (6291556 bytes).","errorType":"RequestEntityTooLarge"}"#,
    ));
    *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
}

fn check_headers(mode: Mode, headers: &HeaderMap) -> Result<(), String> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let content_type = text(header::CONTENT_TYPE.as_str());
    match mode {
        Mode::Buffered => Ok(()),
        _ if text("lambda-runtime-function-response-mode") != Some("streaming") => {
            Err("the response mode is not streaming".to_owned())
        }
        _ if content_type != Some("application/vnd.awslambda.http-integration-response") => {
            Err(format!("an answer of type {content_type:?}"))
        }
        Mode::Streaming => Ok(()),
    }
}

/// A function's own word that it failed.
async fn report(State(api): State<Arc<Api>>, Path(id): Path<String>, body: Bytes) -> Response {
    match api.begin_answer(&id) {
        Ok((answer, _)) => {
            let said = serde_json::from_slice(&body).unwrap_or_default();
            if api.mode == Mode::Streaming {
                api.violation(format!("{id} failed instead of answering: {said}"));
            }
            let _ = answer.send(Part::Failed(Failure::Reported(said))).await;
            empty(StatusCode::ACCEPTED)
        }
        Err(violation) => refuse(&api, violation),
    }
}

async fn init_error(State(api): State<Arc<Api>>, body: Bytes) -> Response {
    let said = String::from_utf8_lossy(&body).into_owned();
    let _ = api.words.send(Word::InitError(said));
    empty(StatusCode::ACCEPTED)
}

async fn unknown(State(api): State<Arc<Api>>, request: Request) -> Response {
    refuse(&api, format!("{} {}", request.method(), request.uri()))
}

fn refuse(api: &Api, violation: String) -> Response {
    api.violation(violation);
    empty(StatusCode::FORBIDDEN)
}

fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// The value of a mutex, also after a panic of another holder.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
