//! Between the Lambda runtime and the handlers: events in, streams out, and no invocation that
//! ends before its books are closed.
//!
//! A handler is `async fn(Arc<State>, Incoming, Invocation) -> Response<Body>`, or for a schedule
//! `async fn(Arc<State>, Value, Invocation) -> Result<Answer, Error>`; it knows nothing of Lambda.
//! This crate is the only one that does.

mod drain;
mod event;
/// Exposed to the fuzz targets alone: functions get requests, not events.
#[cfg(fuzzing)]
pub mod fuzzing;
mod log;
mod respond;

use std::{
    convert::Infallible,
    fmt::Display,
    future::Future,
    panic::AssertUnwindSafe,
    process::ExitCode,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::FutureExt;
use http::Response;
use http_body::Body;
use lambda_http::{
    LambdaEvent,
    aws_lambda_events::{
        apigw::{ApiGatewayProxyResponse, ApiGatewayV2httpResponse},
        encodings::Body as EventBody,
    },
    request::{LambdaRequest, RequestOrigin},
};
use lambda_runtime::{Diagnostic, Error, Runtime, service_fn};
use serde::{Serialize, de::IgnoredAny};
use serde_json::Value;
use shared::{
    clock::Clock,
    config::Env,
    observe,
    request::{Incoming, Invocation},
};
use tokio::time::Instant;

use crate::{
    drain::DrainLayer,
    event::EventError,
    respond::{RespondLayer, RuntimeApi},
};

/// Assumed where the platform's deadline makes no sense: `cargo lambda watch` sends one in 1970.
const DEFAULT_TIME: Duration = Duration::from_mins(15);

/// Runs a function whose answers are streamed. Its integration must be a streaming one.
pub fn run_streaming<S, E, B, F>(
    load: impl FnOnce(Env<'static>) -> Result<S, E>,
    handler: impl Fn(Arc<S>, Incoming, Invocation) -> F + Copy + Send + Sync + 'static,
) -> ExitCode
where
    S: Send + Sync + 'static,
    E: Display,
    B: Body<Data = Bytes, Error = Infallible> + Unpin + Send + From<Bytes> + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
{
    start(load, |state| async move {
        let api = RuntimeApi::from_env(&Env::process())?;
        let answering = move |payload, context| answer(state.clone(), handler, payload, context);
        // The runtime insists on a handler; the layer above it is what answers.
        let unused = service_fn(async |_: LambdaEvent<IgnoredAny>| Ok::<(), Infallible>(()));
        Runtime::new(unused)
            .layer(RespondLayer::new(api, answering))
            .layer(DrainLayer)
            .run_concurrent()
            .await
    })
}

/// Runs a function whose answers are small and sent whole.
pub fn run_buffered<S, E, F>(
    load: impl FnOnce(Env<'static>) -> Result<S, E>,
    handler: impl Fn(Arc<S>, Incoming, Invocation) -> F + Copy + Send + Sync + 'static,
) -> ExitCode
where
    S: Send + Sync + 'static,
    E: Display,
    F: Future<Output = Response<Bytes>> + Send + 'static,
{
    start(load, |state| async move {
        let service = service_fn(move |event: LambdaEvent<LambdaRequest>| {
            let LambdaEvent { payload, context } = event;
            let (state, origin) = (state.clone(), payload.request_origin());
            async move {
                let response = answer(state, handler, Ok(payload), context).await;
                Ok::<_, Infallible>(Whole::answer_to(&origin, response))
            }
        });
        Runtime::new(service)
            .layer(DrainLayer)
            .run_concurrent()
            .await
    })
}

/// Runs a function that no client calls: a schedule does, or an operator. It takes any JSON, answers
/// with JSON, and its failures are the platform's to count.
pub fn run_scheduled<S, E, T, F, R>(
    load: impl FnOnce(Env<'static>) -> Result<S, E>,
    handler: impl Fn(Arc<S>, Value, Invocation) -> F + Copy + Send + Sync + 'static,
) -> ExitCode
where
    S: Send + Sync + 'static,
    E: Display,
    T: Serialize + Send + 'static,
    R: std::error::Error + 'static,
    F: Future<Output = Result<T, R>> + Send + 'static,
{
    start(load, |state| async move {
        let service = service_fn(move |event: LambdaEvent<Value>| {
            let LambdaEvent { payload, context } = event;
            let running = handler(state.clone(), payload, invocation(&context));
            async move { running.await.map_err(|error| diagnostic(&error)) }
        });
        Runtime::new(service)
            .layer(DrainLayer)
            .run_concurrent()
            .await
    })
}

/// The platform's record of a failed run, without type names.
fn diagnostic(error: &(dyn std::error::Error + 'static)) -> Diagnostic {
    let error_message = shared::causes::causes(error);
    tracing::error!(error = error_message, "the run failed");
    Diagnostic {
        error_type: "run_failed".to_owned(),
        error_message,
    }
}

/// Reads the configuration and serves until the platform ends the process.
fn start<S, E, R>(
    load: impl FnOnce(Env<'static>) -> Result<S, E>,
    serve: impl FnOnce(Arc<S>) -> R,
) -> ExitCode
where
    E: Display,
    R: Future<Output = Result<(), Error>>,
{
    log::init();
    // One request at a time needs one thread, and starts faster with it; an environment that
    // serves many (Managed Instances) wants all its cores.
    let concurrent = Env::process().is_set("AWS_LAMBDA_MAX_CONCURRENCY");
    let mut builder = if concurrent {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    let served = builder
        .enable_all()
        .build()
        .map_err(Error::from)
        .and_then(|runtime| {
            runtime.block_on(async {
                let state =
                    load(Env::process()).map_err(|faults| Error::from(faults.to_string()))?;
                serve(Arc::new(state)).await
            })
        });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = %error, "the function stops");
            ExitCode::FAILURE
        }
    }
}

/// One invocation: event in, response out. Nothing that goes wrong reaches the runtime, whose own
/// error path tells the client type names.
async fn answer<S, B, F>(
    state: Arc<S>,
    handler: impl Fn(Arc<S>, Incoming, Invocation) -> F,
    payload: Result<LambdaRequest, serde_json::Error>,
    context: lambda_runtime::Context,
) -> Response<B>
where
    B: From<Bytes>,
    F: Future<Output = Response<B>>,
{
    let invocation = invocation(&context);
    let id = invocation.id;
    // serde's message may quote the event.
    let response = match payload
        .map_err(|_| EventError::NotAnEvent)
        .and_then(event::request)
    {
        Ok(request) => {
            observe::asked(&request);
            AssertUnwindSafe(handler(state, request, invocation))
                .catch_unwind()
                .await
                .unwrap_or_else(|_panic| {
                    shared::respond::failure(&shared::error::Error::Panicked, id).map(B::from)
                })
        }
        Err(error) => {
            tracing::error!(request.id = %id, error = shared::causes::causes(&error), "not a request");
            shared::respond::failure(&shared::error::Error::MalformedEvent, id).map(B::from)
        }
    };
    observe::record("http.status", response.status().as_u16());
    response
}

fn invocation(context: &lambda_runtime::Context) -> Invocation {
    Invocation {
        id: shared::request::invocation_id(&context.request_id),
        deadline: deadline(context.deadline()),
        tasks: drain::tasks(),
    }
}

fn deadline(platform: SystemTime) -> Instant {
    let now = SystemTime::from(Clock::system().now());
    let left = platform.duration_since(now).unwrap_or(DEFAULT_TIME);
    Instant::now() + left
}

/// A buffered answer in the format of the event it answers: REST APIs refuse members that they do
/// not know, and HTTP APIs miss those that REST APIs do not have.
#[derive(Serialize)]
#[serde(untagged)]
enum Whole {
    Rest(ApiGatewayProxyResponse),
    Http(ApiGatewayV2httpResponse),
}

impl Whole {
    fn answer_to(origin: &RequestOrigin, response: Response<Bytes>) -> Self {
        let (head, body) = response.into_parts();
        let status = i64::from(head.status.as_u16());
        let body = Some(EventBody::Text(String::from_utf8_lossy(&body).into_owned()));
        if let RequestOrigin::ApiGatewayV1 = origin {
            let mut answer = ApiGatewayProxyResponse::default();
            (answer.status_code, answer.headers, answer.body) = (status, head.headers, body);
            Self::Rest(answer)
        } else {
            let mut answer = ApiGatewayV2httpResponse::default();
            (answer.status_code, answer.headers, answer.body) = (status, head.headers, body);
            Self::Http(answer)
        }
    }
}
