//! OpenRouter, the database and Secrets Manager, in this process: they answer at once and count.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    response::Response,
    serve::ListenerExt,
};
use e2e::signer::{AUDIENCE, Signer};
use http::header;
use serde_json::{Value, json};
use shared::vault::{
    keyset::{KeyMaterial, Keyset},
    secret::KeyId,
};
use stack::Env;
use tokio::{net::TcpListener, time::Instant};

use crate::answers::Answer;

/// A running set. The tasks end with the runtime.
#[derive(Debug)]
pub struct Stubs {
    /// The counters.
    pub seen: Arc<Seen>,
    /// `http://host:port/api/v1` of OpenRouter's stub.
    pub openrouter: String,
    storage: String,
    secrets: String,
}

/// What the stubs have seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// Calls of the database: when, and of which function.
    pub storage: Mutex<Vec<(Instant, String)>>,
    /// The argument of the last call that closed a request's books.
    pub outcome: Mutex<Value>,
    /// When OpenRouter was asked.
    pub upstream: Mutex<Vec<Instant>>,
    /// When each event of the last paced stream was written.
    pub sent: Arc<Mutex<Vec<Instant>>>,
    /// Calls of Secrets Manager.
    pub secrets: AtomicUsize,
    /// Connections that were accepted, to any of them.
    pub connections: AtomicUsize,
}

/// What the stubs know.
#[derive(Debug)]
struct Knows {
    seen: Arc<Seen>,
    keyset: String,
    sealed: String,
}

impl Stubs {
    /// Starts them, with a key stored for `user`.
    pub async fn start(user: &Signer) -> Result<Self> {
        let mut material = KeyMaterial::new([0; 64]);
        getrandom::fill(&mut material[..])?;
        let keyset = Keyset::generate(&material, KeyId(1));
        let sealed = Keyset::parse(&keyset)?.seal(user.did.as_str(), &user.api_key);
        let seen = Arc::<Seen>::default();
        let knows = Arc::new(Knows {
            seen: Arc::clone(&seen),
            keyset: keyset.to_string(),
            sealed: sealed.to_column(),
        });
        let serve = async |handler: Router| listen(handler, Arc::clone(&seen)).await;
        let openrouter = serve(
            Router::new()
                .fallback(openrouter)
                .with_state(Arc::clone(&knows)),
        )
        .await?;
        let storage = serve(
            Router::new()
                .fallback(storage)
                .with_state(Arc::clone(&knows)),
        )
        .await?;
        let secrets = serve(Router::new().fallback(secrets).with_state(knows)).await?;
        Ok(Self {
            seen,
            openrouter: format!("{openrouter}/api/v1"),
            storage,
            secrets,
        })
    }

    /// The environment of a function that stands on them.
    #[must_use]
    pub fn env(&self) -> Env {
        vec![
            ("GATEWAY_AUDIENCES", AUDIENCE.to_owned()),
            ("SUPABASE_URL", self.storage.clone()),
            ("SUPABASE_SECRET_KEY", "sb_secret_benchmark".to_owned()),
            ("KEYSET_SECRET_NAME", "bench/keyset".to_owned()),
            ("OPENROUTER_BASE_URL", self.openrouter.clone()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "bench".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "bench".to_owned()),
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", self.secrets.clone()),
            ("RUST_LOG", "info".to_owned()),
        ]
    }
}

impl Seen {
    /// Forgets everything but the counters.
    pub fn forget(&self) {
        lock(&self.storage).clear();
        lock(&self.upstream).clear();
        lock(&self.sent).clear();
    }
}

async fn listen(router: Router, seen: Arc<Seen>) -> Result<String> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let listener = listener.tap_io(move |io| {
        seen.connections.fetch_add(1, Ordering::Relaxed);
        drop(io.set_nodelay(true));
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(format!("http://{address}"))
}

async fn openrouter(State(knows): State<Arc<Knows>>, request: Request) -> Response {
    lock(&knows.seen.upstream).push(Instant::now());
    let path = request.uri().path().to_owned();
    let Ok(body) = axum::body::to_bytes(request.into_body(), usize::MAX).await else {
        return Response::default();
    };
    let wanted = if body.is_empty() {
        Answer::named_in(path.as_bytes())
    } else {
        Answer::named_in(&body)
    };
    wanted.respond(Arc::clone(&knows.seen.sent))
}

async fn storage(State(knows): State<Arc<Knows>>, request: Request) -> Response {
    let function = request
        .uri()
        .path()
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .to_owned();
    lock(&knows.seen.storage).push((Instant::now(), function.clone()));
    let body = axum::body::to_bytes(request.into_body(), usize::MAX)
        .await
        .unwrap_or_default();
    let argument = |name: &str| {
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        body[name].clone()
    };
    let said = match function.as_str() {
        "begin_request" => json!({
            "id": argument("request")["id"],
            "sealed_key": knows.sealed,
            "key_name": "bench",
        }),
        "finish_request" => {
            *lock(&knows.seen.outcome) = argument("outcome");
            json!({"finished": true, "status": "completed"})
        }
        _ => json!({"noted": true}),
    };
    as_json("application/json", &said)
}

/// <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html>
async fn secrets(State(knows): State<Arc<Knows>>, _body: Bytes) -> Response {
    knows.seen.secrets.fetch_add(1, Ordering::Relaxed);
    let said = json!({
        "ARN": "arn:aws:secretsmanager:us-east-1:123456789012:secret:bench/keyset-AbCdEf",
        "CreatedDate": 1_767_225_600.0,
        "Name": "bench/keyset",
        "SecretString": knows.keyset,
        "VersionId": "a1b2c3d4-5678-90ab-cdef-000000000000",
        "VersionStages": ["AWSCURRENT"],
    });
    as_json("application/x-amz-json-1.1", &said)
}

fn as_json(media_type: &'static str, said: &Value) -> Response {
    let mut response = Response::new(Body::from(said.to_string()));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        http::HeaderValue::from_static(media_type),
    );
    response
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until the database has been told how everything ended, or for a second.
pub(crate) async fn until_quiet(quiet: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(1);
    while !quiet() && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
