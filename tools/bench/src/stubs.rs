//! OpenRouter, the database and Secrets Manager in this process: they answer at once, and count.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use axum::{body::Body, response::Response};
use e2e::signer::{AUDIENCE, Signer};
use http::header;
use serde_json::{Value, json};
use shared::{
    identity::did::Did,
    vault::{
        keyset::{KeyMaterial, Keyset},
        secret::KeyId,
    },
};
use stack::{Env, lambda::lock};
use stub::{
    Received,
    load::Load,
    server::{ROOT, listen, serve},
};
use tokio::time::Instant;

/// The running stubs. They end with the runtime.
#[derive(Debug)]
pub struct Stubs {
    /// The calls of all of them.
    pub calls: Arc<Calls>,
    /// OpenRouter's base URL, `http://host:port/api/v1`.
    pub openrouter: String,
    storage: String,
    secrets: String,
}

/// The calls of the stubs.
#[derive(Debug, Default)]
pub struct Calls {
    /// The time of each call of the database, and its function.
    pub storage: Mutex<Vec<(Instant, String)>>,
    /// The argument of the last call that closed a request's books.
    pub outcome: Mutex<Value>,
    /// The time of each request to OpenRouter.
    pub upstream: Mutex<Vec<Instant>>,
    /// The time at which each event of the last paced stream was written.
    pub sent: Arc<Mutex<Vec<Instant>>>,
    /// The number of calls of Secrets Manager.
    pub secrets: AtomicUsize,
    /// The number of connections that any of them accepted.
    pub connections: Arc<AtomicUsize>,
}

/// The data of the stubs.
#[derive(Debug)]
struct State {
    calls: Arc<Calls>,
    keyset: String,
    /// The sealed key of each DID.
    sealed: HashMap<String, String>,
    /// The owner of every token.
    owner: String,
}

impl Stubs {
    /// Starts the stubs, with a key stored for `user`, who owns every token, and for the `others`.
    pub async fn start(user: &Signer, others: &[Did]) -> Result<Self> {
        let mut material = KeyMaterial::new([0; 64]);
        getrandom::fill(&mut material[..])?;
        let keyset = Keyset::generate(&material, KeyId(1));
        let opened = Keyset::parse(&keyset)?;
        let seal = |did: &Did| {
            let sealed = opened.seal(did.as_str(), &user.api_key);
            (did.as_str().to_owned(), sealed.to_column())
        };
        let calls = Arc::<Calls>::default();
        let state = Arc::new(State {
            calls: Arc::clone(&calls),
            keyset: keyset.to_string(),
            sealed: [&user.did].into_iter().chain(others).map(seal).collect(),
            owner: user.did.as_str().to_owned(),
        });
        let start = async |respond: fn(&State, &Received) -> Response| -> Result<String> {
            let (listener, url) = listen().await?;
            let (state, connections) = (Arc::clone(&state), Arc::clone(&calls.connections));
            serve(listener, connections, move |request| {
                std::future::ready(respond(&state, &request))
            });
            Ok(url)
        };
        Ok(Self {
            openrouter: start(openrouter).await? + ROOT.trim_end_matches('/'),
            storage: start(storage).await?,
            secrets: start(secrets).await?,
            calls,
        })
    }

    /// The environment of a function that uses them.
    #[must_use]
    pub fn env(&self) -> Env {
        vec![
            ("GATEWAY_AUDIENCES", AUDIENCE.to_owned()),
            ("SUPABASE_URL", self.storage.clone()),
            ("SUPABASE_SECRET_KEY", "sb_secret_benchmark".to_owned()),
            ("KEYSET_SECRET_NAME", "bench/keyset".to_owned()),
            ("GATEWAY_OPENROUTER_URL", self.openrouter.clone()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "bench".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "bench".to_owned()),
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", self.secrets.clone()),
            ("RUST_LOG", "info".to_owned()),
        ]
    }
}

impl Calls {
    /// Forgets everything but the counters.
    pub fn forget(&self) {
        lock(&self.storage).clear();
        lock(&self.upstream).clear();
        lock(&self.sent).clear();
    }
}

fn openrouter(state: &State, request: &Received) -> Response {
    lock(&state.calls.upstream).push(request.at);
    Load::requested(request).respond(Arc::clone(&state.calls.sent))
}

fn storage(state: &State, request: &Received) -> Response {
    let path = request.uri.path();
    let function = path.rsplit('/').next().unwrap_or_default();
    lock(&state.calls.storage).push((request.at, function.to_owned()));
    let value = match function {
        "begin_request" => {
            let begin = request.json()["request"].take();
            let did = begin["did"].as_str().unwrap_or(&state.owner);
            json!({
                "id": begin["id"],
                "did": did,
                "sealed_key": state.sealed.get(did),
                "key_name": "bench",
            })
        }
        "finish_request" => {
            *lock(&state.calls.outcome) = request.json()["outcome"].take();
            json!({"finished": true, "status": "completed"})
        }
        _ => json!({"noted": true}),
    };
    as_json("application/json", &value)
}

/// <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html>
fn secrets(state: &State, _request: &Received) -> Response {
    state.calls.secrets.fetch_add(1, Ordering::Relaxed);
    let value = json!({
        "ARN": "arn:aws:secretsmanager:us-east-1:123456789012:secret:bench/keyset-AbCdEf",
        "CreatedDate": 1_767_225_600.0,
        "Name": "bench/keyset",
        "SecretString": state.keyset,
        "VersionId": "a1b2c3d4-5678-90ab-cdef-000000000000",
        "VersionStages": ["AWSCURRENT"],
    });
    as_json("application/x-amz-json-1.1", &value)
}

fn as_json(media_type: &'static str, value: &Value) -> Response {
    let mut response = Response::new(Body::from(value.to_string()));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        http::HeaderValue::from_static(media_type),
    );
    response
}

/// Waits until `is_quiet` returns true, at most for a second.
pub(crate) async fn until_quiet(is_quiet: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(1);
    while !is_quiet() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
