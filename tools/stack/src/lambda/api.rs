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

/// What Lambda, which is written in Go, still reads of an answer after it has read enough of it, and how
/// long it listens after its own answer, so that this is not lost (`maxPostHandlerReadBytes` and
/// `rstAvoidanceDelay` in <https://github.com/golang/go/blob/master/src/net/http/server.go>).
const READ_IN_VAIN: usize = 256 * 1024;
const LINGER: Duration = Duration::from_millis(500);

/// What an environment learns from its process.
#[derive(Debug)]
pub(super) enum Word {
    /// It asks for an invocation, the last one being over; it is frozen.
    Next,
    /// It could not be initialised.
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
    /// From now on the API freezes and thaws this process.
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
        // Broken off: its environment knows whether it was killed, and says so.
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

/// What Lambda tells the function whose answer it reads no further.
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

/// What a mutex holds, also after a panic of whoever held it.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{
        process::{Child, Command},
        time::Duration,
    };

    use shared::http_client::without_tls;

    use super::*;

    /// An API whose function is the test itself.
    struct Bench {
        server: Server,
        assign: mpsc::Sender<Assigned>,
        words: mpsc::UnboundedReceiver<Word>,
        violations: Arc<Mutex<Vec<String>>>,
        client: reqwest::Client,
    }

    impl Bench {
        async fn start() -> Self {
            Self::with(Limits::LAMBDA).await
        }

        async fn with(limits: Limits) -> Self {
            let (assign, assignments) = mpsc::channel(1);
            let (say, words) = mpsc::unbounded_channel();
            let violations = Arc::default();
            let server = Server::start(
                Mode::Streaming,
                limits,
                assignments,
                say,
                Arc::clone(&violations),
            )
            .await
            .unwrap();
            Self {
                server,
                assign,
                words,
                violations,
                client: without_tls(Duration::from_secs(5)).unwrap(),
            }
        }

        /// An invocation that the function has taken.
        async fn invoke(&mut self, time: Duration) -> (Uuid, mpsc::Receiver<Part>) {
            let id = uuid::Builder::from_random_bytes(fastrand::u128(..).to_be_bytes()).into_uuid();
            let (answer, parts) = mpsc::channel(8);
            let assigned = Assigned {
                id,
                event: b"{}".to_vec(),
                deadline: Instant::now() + time,
                deadline_ms: 0,
                abandoned: Abandoned::Drained,
                answer,
            };
            self.assign.send(assigned).await.unwrap();
            let answer = self.client.get(self.url("next")).send().await.unwrap();
            assert_eq!(
                answer.headers()["lambda-runtime-aws-request-id"],
                id.to_string()
            );
            assert!(matches!(self.words.recv().await, Some(Word::Next)));
            (id, parts)
        }

        async fn answer(&self, id: Uuid, body: &'static [u8]) -> StatusCode {
            self.answer_as(
                id,
                body,
                "application/vnd.awslambda.http-integration-response",
            )
            .await
        }

        async fn answer_as(&self, id: Uuid, body: &'static [u8], content_type: &str) -> StatusCode {
            self.client
                .post(self.url(&format!("{id}/response")))
                .header("lambda-runtime-function-response-mode", "streaming")
                .header("content-type", content_type)
                .body(body)
                .send()
                .await
                .unwrap()
                .status()
        }

        fn url(&self, what: &str) -> String {
            format!(
                "http://{}/2018-06-01/runtime/invocation/{what}",
                self.server.address
            )
        }

        fn violations(&self) -> usize {
            lock(&self.violations).len()
        }
    }

    const ANSWER: &[u8] =
        b"{\"statusCode\":200,\"headers\":{},\"cookies\":[]}\0\0\0\0\0\0\0\0hello";
    const LONG: Duration = Duration::from_mins(1);

    #[tokio::test]
    async fn an_answer_reaches_its_client_once() {
        let mut bench = Bench::start().await;
        let (id, mut parts) = bench.invoke(LONG).await;
        assert_eq!(bench.answer(id, ANSWER).await, 202);
        assert!(matches!(
            parts.recv().await,
            Some(Part::Head(StatusCode::OK, _))
        ));
        assert!(matches!(parts.recv().await, Some(Part::Data(bytes)) if bytes == "hello"));
        assert!(matches!(parts.recv().await, Some(Part::End)));
        assert_eq!(bench.violations(), 0);

        assert_eq!(bench.answer(id, ANSWER).await, 403, "a second one");
        assert_eq!(bench.answer(Uuid::nil(), ANSWER).await, 403, "to nobody");
        assert_eq!(bench.violations(), 2);
    }

    #[tokio::test]
    async fn an_answer_that_is_too_long_ends_where_it_may() {
        let longest = u64::try_from(ANSWER.len()).unwrap();
        for (answer, seen, status) in [(longest, "hello", 202), (longest - 2, "hel", 413)] {
            let mut bench = Bench::with(Limits {
                answer,
                ..Limits::NONE
            })
            .await;
            let (id, mut parts) = bench.invoke(LONG).await;
            assert_eq!(bench.answer(id, ANSWER).await, status);
            assert!(matches!(parts.recv().await, Some(Part::Head(..))));
            assert!(matches!(parts.recv().await, Some(Part::Data(bytes)) if bytes == seen));
            match parts.recv().await {
                Some(Part::End) => assert_eq!(status, 202),
                Some(Part::Failed(Failure::AnswerTooLarge)) => assert_eq!(status, 413),
                other => panic!("{other:?}"),
            }
            assert_eq!(bench.violations(), 0, "it is no fault of the function's");
        }
    }

    #[tokio::test]
    async fn what_lambda_may_not_take_is_a_violation() {
        let mut bench = Bench::start().await;
        let (late, _late) = bench.invoke(Duration::ZERO).await;
        assert_eq!(bench.answer(late, ANSWER).await, 403);
        let (typed, _typed) = bench.invoke(LONG).await;
        assert_eq!(
            bench.answer_as(typed, ANSWER, "application/json").await,
            403
        );
        let (headless, _headless) = bench.invoke(LONG).await;
        assert_eq!(bench.answer(headless, b"{\"statusCode\":200}").await, 403);
        assert_eq!(bench.violations(), 3);

        let (_, mut parts) = bench.invoke(LONG).await;
        bench.invoke(LONG).await;
        assert!(matches!(
            parts.recv().await,
            Some(Part::Failed(Failure::NotAnswered))
        ));
        assert_eq!(bench.violations(), 4);
    }

    fn state(process: &Child) -> String {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.id())).unwrap();
        stat.split_whitespace().nth(2).unwrap().to_owned()
    }

    async fn becomes(process: &Child, frozen: bool) {
        while (state(process) == "T") != frozen {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn a_process_is_frozen_while_it_waits_for_an_invocation() {
        let mut bench = Bench::start().await;
        let mut process = Command::new("sleep").arg("60").spawn().unwrap();
        bench.server.api.attach(Pid::from_child(&process));
        bench.invoke(LONG).await;
        becomes(&process, false).await;
        let asking = tokio::spawn(bench.client.get(bench.url("next")).send());
        becomes(&process, true).await;
        asking.abort();
        process.kill().unwrap();
        process.wait().unwrap();
    }
}
