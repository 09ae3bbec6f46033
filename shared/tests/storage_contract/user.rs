//! A DID with the means to look at its rows, and what the tests send for it.

use std::{
    panic::{AssertUnwindSafe, resume_unwind},
    sync::Mutex,
    time::Duration,
};

use futures_util::FutureExt;
use jiff::{SignedDuration, Timestamp};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use shared::{
    clock::Clock,
    storage::{
        Begin, BeginSender, Begun, Books, Claim, Cost, CostState, Failure, Finding, Finish,
        Finished, Refusal, ReplayGuard, Settle, Settled, Status, Storage, StorageError, StorageKey,
        Tokens, Unsettled,
    },
};
use tokio::time::Instant;
use url::Url;
use uuid::Uuid;

/// What has rows of a DID; deleting from one may leave something in a later one.
const TABLES: [&str; 10] = [
    "request_logs",
    "access_tokens",
    "budgets",
    "budget_events",
    "usage_series",
    "user_api_keys",
    "retired_keys",
    "accounts",
    "recent_costs",
    "key_provisionings",
];

pub(crate) struct User {
    pub(crate) did: String,
    pub(crate) storage: Storage,
    pub(crate) client: Client,
    /// Of its requests.
    pub(crate) ids: Mutex<Vec<Uuid>>,
}

/// Runs a test with a fresh user, whose key's row is as `key` says, and deletes the user's rows
/// however it ends.
pub(crate) async fn with_user(key: Value, test: impl AsyncFnOnce(&User)) {
    with_newcomer(async |user| {
        user.insert_key(key).await;
        test(user).await;
    })
    .await;
}

/// The same with a user who has no key.
pub(crate) async fn with_newcomer(test: impl AsyncFnOnce(&User)) {
    let client = client();
    let user = User {
        did: format!("did:key:contract-{}", random_id()),
        storage: Storage::new(client.clone(), &url(), key())
            // PGlite has one connection, on which twenty parallel calls queue up.
            .with_attempt_timeout(Duration::from_secs(20)),
        client,
        ids: Mutex::default(),
    };
    let run = async {
        test(&user).await;
        assert_eq!(user.check().await.untracked, 0, "open_requests");
    };
    let result = AssertUnwindSafe(run).catch_unwind().await;
    user.clean_up().await;
    if let Err(panic) = result {
        resume_unwind(panic);
    }
}

/// Calls of the storage.
impl User {
    pub(crate) async fn begin(&self, begin: &Begin<'_>) -> Result<Begun, StorageError> {
        self.storage.begin(begin, soon()).await
    }

    pub(crate) async fn finish(&self, finish: &Finish<'_>) -> Result<Finished, StorageError> {
        self.storage.finish(finish, soon()).await
    }

    /// This user's open rows, with leases of one and of ten minutes.
    pub(crate) async fn claim(&self, now: Timestamp, limit: u16) -> Vec<Unsettled> {
        let claim = Claim {
            now,
            limit,
            leases: &[Duration::from_mins(1), Duration::from_mins(10)],
            abandoned_after: Some(Duration::from_mins(20)),
            did: Some(&self.did),
        };
        self.storage.claim_unsettled(&claim, soon()).await.unwrap()
    }

    pub(crate) async fn settle(&self, settle: &Settle<'_>) -> Settled {
        self.storage.settle(settle, soon()).await.unwrap()
    }

    pub(crate) fn id(&self) -> Uuid {
        let id = random_id();
        self.ids.lock().unwrap().push(id);
        id
    }

    /// A request that costs nothing, signed anew.
    pub(crate) fn look_up(&self) -> Begin<'_> {
        let request_time = Clock::system().now();
        Begin {
            id: self.id(),
            sender: signed(&self.did, Some(fingerprint(request_time))),
            request_time,
            requests_per_minute: None,
            is_counted: true,
            requires_own_key: false,
            books: None,
        }
    }

    /// A request that costs something, signed anew.
    pub(crate) fn billable(&self, hold: &'static str) -> Begin<'_> {
        Begin {
            books: Some(books(hold)),
            ..self.look_up()
        }
    }
}

/// Its rows.
impl User {
    /// (spent, held)
    pub(crate) async fn account(&self) -> (String, String) {
        let rows = self.rows("accounts", "spent::text,held::text").await;
        let [row] = rows.as_slice() else {
            panic!("{} accounts", rows.len())
        };
        (amount(&row["spent"]), amount(&row["held"]))
    }

    /// The row of one request, numbers as text.
    pub(crate) async fn row(&self, id: Uuid) -> Value {
        let rows = self.requests().await;
        rows.into_iter()
            .find(|row| row["id"] == id.to_string())
            .expect("a row")
    }

    /// The rows of its requests, numbers as text.
    pub(crate) async fn requests(&self) -> Vec<Value> {
        let select = "id,did,status,cost_state,method,path,endpoint,model,requested_model,streamed,\
            generation_id,http_status::text,input_tokens::text,output_tokens::text,\
            cached_tokens::text,reasoning_tokens::text,first_byte_ms::text,is_byok,\
            total_cost::text,openrouter_cost::text,upstream_inference_cost::text,\
            error_reason,error_message,unknown_cost_reason,hold::text,job_id,settled_at";
        self.rows("request_logs", select).await
    }

    pub(crate) async fn rows(&self, table: &str, select: &str) -> Vec<Value> {
        let path = format!("{table}?did=eq.{}&select={select}", self.did);
        serde_json::from_str(&self.rest(Method::GET, &path, None).await).unwrap()
    }

    pub(crate) async fn fingerprints(&self, id: Uuid) -> usize {
        let path = format!("request_fingerprints?select=request_id&request_id=eq.{id}");
        let rows = self.rest(Method::GET, &path, None).await;
        serde_json::from_str::<Vec<Value>>(&rows).unwrap().len()
    }

    /// Puts requests into the books, settled but for what `rows` say; returns their ids.
    pub(crate) async fn log(&self, rows: &[Value]) -> Vec<Uuid> {
        let ids: Vec<_> = rows.iter().map(|_| random_id()).collect();
        let rows: Vec<_> = std::iter::zip(&ids, rows)
            .map(|(id, row)| {
                // A bulk insert wants the same members in each.
                let whole = json!({
                    "id": id, "did": self.did, "model": "m", "endpoint": null, "status": "completed",
                    "cost_state": "final", "total_cost": null, "request_time": "2026-01-01T00:00:00Z",
                    "response_time": null, "first_byte_ms": null, "input_tokens": null, "output_tokens": null,
                    "cached_tokens": null, "cache_write_tokens": null, "reasoning_tokens": null, "error_message": null,
                });
                with_members(whole, row)
            })
            .collect();
        self.rest(Method::POST, "request_logs", Some(&rows.into()))
            .await;
        ids
    }

    pub(crate) async fn insert_key(&self, more: Value) {
        let row = json!({
            "did": self.did, "openrouter_key_hash": "hash", "encrypted_api_key": "v1.sealed",
            "key_name": "contract test",
        });
        let row = with_members(row, &more);
        self.rest(Method::POST, "user_api_keys", Some(&row)).await;
    }

    pub(crate) async fn change_key(&self, change: Value) {
        let path = format!("user_api_keys?did=eq.{}", self.did);
        self.rest(Method::PATCH, &path, Some(&change)).await;
    }

    pub(crate) async fn change_account(&self, change: Value) {
        let path = format!("accounts?did=eq.{}", self.did);
        self.rest(Method::PATCH, &path, Some(&change)).await;
    }

    pub(crate) async fn delete(&self, table: &str) {
        let path = format!("{table}?did=eq.{}", self.did);
        self.rest(Method::DELETE, &path, None).await;
    }

    async fn clean_up(&self) {
        for table in TABLES {
            self.delete(table).await;
        }
        let ids = self.ids.lock().unwrap().clone();
        for id in ids {
            let path = format!("request_fingerprints?request_id=eq.{id}");
            self.rest(Method::DELETE, &path, None).await;
        }
    }

    /// One exchange with the tables, as the service.
    pub(crate) async fn rest(&self, method: Method, path: &str, body: Option<&Value>) -> String {
        let key = env("STORAGE_KEY");
        let (status, text) = self.send(Some(&key), method, path, body).await;
        assert!(status.is_success(), "{path}: {status} {text}");
        text
    }

    /// One exchange with the tables, as whoever has `key`.
    pub(crate) async fn send(
        &self,
        key: Option<&str>,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> (StatusCode, String) {
        let url = format!("{}/{path}", env("STORAGE_URL"));
        let mut request = self.client.request(method, url);
        if let Some(key) = key {
            request = request.header("apikey", key);
            if key.starts_with("eyJ") {
                request = request.header("authorization", format!("Bearer {key}"));
            }
        }
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body.to_string());
        }
        let answer = request.send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    }
}

/// A DID, which needs no approval.
pub(crate) fn signed(did: &str, fingerprint: Option<ReplayGuard>) -> BeginSender<'_> {
    BeginSender::Signed {
        did,
        fingerprint,
        requires_approval: false,
    }
}

pub(crate) fn books(hold: &str) -> Books<'static> {
    Books {
        method: "POST",
        path: "/chat/completions",
        endpoint: "chat",
        model: Some("anthropic/claude-sonnet-4.6"),
        app: None,
        tag: None,
        streamed: true,
        is_free: false,
        several_generations: false,
        max_open_requests: None,
        jobs: None,
        hold: hold.parse().unwrap(),
    }
}

pub(crate) fn completed(id: Uuid, usd: &str) -> Finish<'_> {
    Finish {
        status: Status::Completed,
        first_byte: Some(Duration::from_millis(321)),
        http_status: Some(200),
        model: Some("anthropic/claude-4.6-sonnet-20260217"),
        generation_id: Some("gen-1"),
        tokens: Tokens {
            input: Some(12),
            output: Some(34),
            cached: Some(5),
            cache_write: Some(3),
            reasoning: None,
        },
        service_tier: Some("default"),
        cost: cost(usd),
        ..Finish::failed(id, Clock::system().now() + SignedDuration::from_secs(1))
    }
}

/// A request whose cost nobody told.
pub(crate) fn cut(id: Uuid) -> Finish<'static> {
    Finish {
        status: Status::Failed,
        cost: Cost {
            state: CostState::Pending,
            openrouter: None,
            ..cost("0")
        },
        error: Some(Failure {
            reason: "upstream_cut",
            message: "cut",
        }),
        ..completed(id, "0")
    }
}

pub(crate) fn cost(usd: &str) -> Cost<'_> {
    Cost {
        state: CostState::Final,
        openrouter: Some(usd),
        server_tool: None,
        upstream_inference: None,
        is_byok: Some(false),
    }
}

pub(crate) fn unknown(id: Uuid) -> Settle<'static> {
    Settle {
        id,
        time: Clock::system().now(),
        finding: Finding::Unknown {
            reason: "no_generation_id",
            attempts: None,
            known: None,
        },
    }
}

pub(crate) fn billed(usd: &str, is_byok: Option<bool>) -> Finding<'static> {
    Finding::Final {
        openrouter: usd.parse().unwrap(),
        upstream_inference: "0.0076509169000000005".parse().ok(),
        is_byok,
        server_tool: None,
        service_tier: None,
        tokens: Tokens {
            input: Some(9),
            ..Tokens::default()
        },
        model: None,
    }
}

/// Of a request made now.
pub(crate) fn guard() -> ReplayGuard {
    fingerprint(Clock::system().now())
}

/// Of a request made at `time`.
pub(crate) fn fingerprint(time: Timestamp) -> ReplayGuard {
    let mut digest = [0; 32];
    getrandom::fill(&mut digest).unwrap();
    ReplayGuard {
        digest,
        expires_at: time + SignedDuration::from_mins(6),
    }
}

pub(crate) fn refusal<T: std::fmt::Debug>(answer: Result<T, StorageError>) -> Refusal {
    match answer {
        Err(StorageError::Refused(refusal)) => refusal,
        other => panic!("not a refusal: {other:?}"),
    }
}

/// A `numeric` without the trailing zeros that its arithmetic leaves.
pub(crate) fn amount(value: &Value) -> String {
    let text = value.as_str().expect("text");
    match text.split_once('.') {
        Some(_) => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        None => text.to_owned(),
    }
}

/// Later than any lease.
pub(crate) fn far_future() -> Timestamp {
    Clock::system().now() + SignedDuration::from_hours(48)
}

pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

pub(crate) fn random_id() -> Uuid {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).unwrap();
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

pub(crate) fn client() -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().build().unwrap()
}

pub(crate) fn url() -> Url {
    env("STORAGE_URL").parse().unwrap()
}

pub(crate) fn key() -> StorageKey {
    StorageKey::parse(&env("STORAGE_KEY")).unwrap()
}

#[expect(
    clippy::disallowed_methods,
    reason = "tests get their backend from the environment"
)]
pub(crate) fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}

/// `row`, some of whose members are those of `changes`.
fn with_members(mut row: Value, changes: &Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        row[name] = value.clone();
    }
    row
}
