//! Concurrent invocations of one environment, as on Lambda Managed Instances
//! (`AWS_LAMBDA_MAX_CONCURRENCY`): a Runtime API that answers every `/next`.

use std::{
    collections::HashMap,
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use axum::{
    Router,
    body::{Body, Bytes},
    extract::{self, State},
    response::Response,
    routing::{get, post},
    serve::ListenerExt,
};
use http::StatusCode;
use rustix::process::Pid;
use shared::clock::Clock;
use stack::{Env, lambda::lock, process::Guard};
use tokio::{
    net::TcpListener,
    process::{Child, Command},
    sync::{mpsc, oneshot},
    time::timeout,
};
use uuid::Uuid;

/// A process that serves concurrent invocations.
#[derive(Debug)]
pub struct Crowd {
    /// The process.
    pub process: Pid,
    api: Arc<Api>,
    assign: mpsc::UnboundedSender<(Uuid, Vec<u8>)>,
    _child: Child,
    _guard: Guard,
}

#[derive(Debug)]
struct Api {
    waiting: tokio::sync::Mutex<mpsc::UnboundedReceiver<(Uuid, Vec<u8>)>>,
    answers: Mutex<HashMap<String, oneshot::Sender<Bytes>>>,
}

impl Crowd {
    /// Starts a process for `concurrency` invocations.
    pub async fn start(
        binary: &Path,
        env: &Env,
        folder: &Path,
        concurrency: usize,
    ) -> Result<Self> {
        let (assign, waiting) = mpsc::unbounded_channel();
        let api = Arc::new(Api {
            waiting: tokio::sync::Mutex::new(waiting),
            answers: Mutex::default(),
        });
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?.to_string();
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(answer))
            .with_state(Arc::clone(&api));
        let listener = listener.tap_io(|io| drop(io.set_nodelay(true)));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let child = Command::new(binary)
            .env_clear()
            .env("AWS_LAMBDA_FUNCTION_NAME", "crowd")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "2048")
            .env("AWS_LAMBDA_MAX_CONCURRENCY", concurrency.to_string())
            .env("AWS_LAMBDA_RUNTIME_API", address)
            .envs(env.iter().map(|(name, value)| (name, value)))
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let process = child
            .id()
            .and_then(|id| Pid::from_raw(id.try_into().ok()?))
            .context("the process has no id")?;
        Ok(Self {
            process,
            api,
            assign,
            _guard: Guard::of(process)?,
            _child: child,
        })
    }

    /// Invokes it, and returns the length of the whole answer in bytes, prelude included.
    pub async fn invoke(&self, id: Uuid, event: Vec<u8>) -> Result<usize> {
        let (send, receive) = oneshot::channel();
        lock(&self.api.answers).insert(id.to_string(), send);
        self.assign.send((id, event))?;
        let answer = timeout(Duration::from_secs(10), receive).await??;
        ensure!(
            answer.starts_with(br#"{"statusCode":200"#),
            "it answered {}",
            String::from_utf8_lossy(&answer)
        );
        Ok(answer.len())
    }
}

async fn next(State(api): State<Arc<Api>>) -> Response {
    let Some((id, event)) = api.waiting.lock().await.recv().await else {
        return std::future::pending().await;
    };
    let deadline = Clock::system().now().as_millisecond() + 60_000;
    let mut response = Response::new(Body::from(event));
    for (name, value) in [
        ("lambda-runtime-aws-request-id", id.to_string()),
        ("lambda-runtime-deadline-ms", deadline.to_string()),
        (
            "lambda-runtime-invoked-function-arn",
            "arn:aws:lambda:us-east-1:123456789012:function:crowd".to_owned(),
        ),
    ] {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

async fn answer(
    State(api): State<Arc<Api>>,
    extract::Path(id): extract::Path<String>,
    body: Bytes,
) -> Response {
    if let Some(waiting) = lock(&api.answers).remove(&id) {
        // After a timeout nobody waits any more.
        let _ = waiting.send(body);
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}
