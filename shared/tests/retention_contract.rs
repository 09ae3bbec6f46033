//! What `migrations/20260111000000_retention.sql` and the client promise of old requests, against a real
//! `PostgREST`-compatible backend: see `storage_contract.rs` for the environment.
//!
//! Expiry knows no users, so these tests work on requests from before there were any others, and one
//! after the other.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the helpers of a test fail as the test does"
)]

use std::{
    panic::{AssertUnwindSafe, resume_unwind},
    time::Duration,
};

use futures_util::{FutureExt, future::join_all};
use jiff::{SignedDuration, Timestamp};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use shared::{
    clock::Clock,
    storage::{
        Dimension, LocalOffset, Period, ReportQuery, Retention, Storage, StorageKey, UsageQuery,
        UsageReport,
    },
};
use tokio::{sync::Mutex, time::Instant};
use url::Url;
use uuid::Uuid;

static ALONE: Mutex<()> = Mutex::const_new(());

const ONE_BY_ONE: [Dimension; 3] = [Dimension::Day, Dimension::Model, Dimension::Endpoint];

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn settled_requests_expire_into_sums() {
    with_user(async |user| {
        let open = [
            json!({"request_time": "1990-01-01T00:00:01Z", "status": "pending"}),
            json!({"request_time": "1990-01-01T00:00:02Z", "cost_state": "pending", "status": "failed"}),
            json!({"request_time": "1990-01-01T00:00:03Z", "cost_state": "unknown", "status": "failed"}),
            json!({"request_time": "1990-01-05T00:00:00Z"}),
        ];
        let settled = [
            json!({"request_time": "1990-01-01T00:00:00Z", "model": "m/b", "endpoint": "chat", "total_cost": "0.1"}),
            json!({"request_time": "1990-01-01T23:59:59.999Z", "model": "m/b", "endpoint": "chat",
                   "total_cost": "0.0000000000000000005", "input_tokens": 3, "output_tokens": 4,
                   "cached_tokens": 1, "reasoning_tokens": 2}),
            json!({"request_time": "1990-01-02T00:00:00Z", "model": "m/b", "endpoint": null, "status": "failed",
                   "cost_state": "none", "total_cost": null}),
            json!({"request_time": "1990-01-02T00:00:01Z", "model": "m/a", "endpoint": "messages",
                   "total_cost": "7.434e-07", "input_tokens": 2_147_483_647}),
            json!({"request_time": "1990-01-03T00:00:00Z", "model": "m/a", "endpoint": "messages",
                   "total_cost": "2", "input_tokens": 2_147_483_647}),
        ];
        user.log(&open).await;
        user.log(&settled).await;
        let before = user.report(&ONE_BY_ONE, ALL).await;

        // Not yet.
        assert_eq!(user.expire("1990-01-01T00:00:00Z", 10).await, (0, false));
        // Piece by piece, which are added up.
        assert_eq!(user.expire("1990-01-04T00:00:00Z", 2).await, (2, true));
        assert_eq!(user.expire("1990-01-04T00:00:00Z", 2).await, (2, true));
        assert_eq!(user.expire("1990-01-04T00:00:00Z", 2).await, (1, false));
        assert_eq!(user.expire("1990-01-04T00:00:00Z", 2).await, (0, false));

        assert_eq!(user.kept().await, open.len());
        assert_eq!(user.history().await, 4);
        let after = user.report(&ONE_BY_ONE, ALL).await;
        assert_eq!(texts(&after), texts(&before));
        assert_eq!(after.total_input_tokens, 2 * 2_147_483_647 + 3);
        assert_eq!(after.total_cost.to_string(), "2.1000007434000000005");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn an_unknown_cost_is_kept_90_days_longer() {
    with_user(async |user| {
        user.log(&[json!({
            "request_time": "1990-01-01T00:00:00Z", "status": "failed", "cost_state": "unknown", "total_cost": null,
        })])
        .await;
        let before = user.report(&ONE_BY_ONE, ALL).await;
        assert_eq!(user.expire("1990-04-01T00:00:00Z", 10).await, (0, false));
        assert_eq!(user.expire("1990-04-01T00:00:01Z", 10).await, (1, false));
        let after = user.report(&ONE_BY_ONE, ALL).await;
        assert_eq!(texts(&after), texts(&before));
        assert_eq!(after.cost_unknown_requests, 1);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_key_that_is_stored_anew_gets_what_has_expired() {
    with_user(async |user| {
        let spent = |cost: &str, day: u32| json!({"request_time": format!("1990-01-{day:02}T00:00:00Z"), "total_cost": cost});
        user.log(&[spent("0.25", 1), spent("0.5", 2), spent("1", 3)])
            .await;
        // The original system's, which counts as nothing.
        user.log(&[json!({"request_time": "1990-01-01T00:00:00Z", "total_cost": "NaN"})])
            .await;
        assert_eq!(user.expire("1990-01-03T00:00:00Z", 10).await, (3, false));
        user.store_key().await;
        assert_eq!(user.spent().await, "1.75");
        assert_eq!(user.expire("1990-01-04T00:00:00Z", 10).await, (1, false));
        assert_eq!(user.spent().await, "1.75");
        user.forget_key().await;
        user.store_key().await;
        assert_eq!(user.spent().await, "1.75");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn expiring_at_once_loses_nothing_and_counts_nothing_twice() {
    with_user(async |user| {
        let rows: Vec<_> = (0..60)
            .map(|n| {
                json!({
                    "request_time": format!("1990-01-{:02}T00:00:00Z", 1 + n % 3),
                    "model": format!("m/{}", n % 2), "total_cost": "0.1",
                })
            })
            .collect();
        user.log(&rows).await;
        let before = user.report(&ONE_BY_ONE, ALL).await;
        // While keys are stored, which read what is being moved.
        let expiries = join_all((0..8).map(|_| user.expire("1990-01-04T00:00:00Z", 5)));
        let (expiries, ()) = tokio::join!(expiries, async {
            for _ in 0..5 {
                user.store_key().await;
                assert_eq!(user.spent().await, "6");
                user.forget_key().await;
            }
        });
        let expired: u32 = expiries.into_iter().map(|(expired, _)| expired).sum();
        assert!(expired > 0);
        let mut left = 60 - expired;
        while left > 0 {
            left -= user.expire("1990-01-04T00:00:00Z", 7).await.0;
        }
        assert_eq!((user.kept().await, user.history().await), (0, 6));
        let after = user.report(&ONE_BY_ONE, ALL).await;
        assert_eq!(texts(&after), texts(&before));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn of_two_periods_one_has_an_expired_day() {
    with_user(async |user| {
        user.log(&[json!({"request_time": "1990-01-02T23:30:00Z", "total_cost": "1"})])
            .await;
        user.expire("1990-01-04T00:00:00Z", 10).await;
        let requests = async |start: &str, end: &str| {
            let period = Period {
                start: start.parse().ok(),
                end: end.parse().ok(),
            };
            user.report(&[], period).await.total_requests
        };
        // Midnights of far-away time zones.
        for (start, middle, end) in [
            (
                "1990-01-01T00:00:00Z",
                "1990-01-02T00:00:00Z",
                "1990-01-03T00:00:00Z",
            ),
            (
                "1990-01-01T10:00:00Z",
                "1990-01-02T10:00:00Z",
                "1990-01-03T10:00:00Z",
            ),
            (
                "1990-01-01T15:00:00Z",
                "1990-01-02T15:00:00Z",
                "1990-01-03T15:00:00Z",
            ),
        ] {
            let both = requests(start, middle).await + requests(middle, end).await;
            assert_eq!(both, 1, "{middle}");
        }
        // Nobody knows its hour.
        let hours = user.report(&[Dimension::Hour], ALL).await;
        assert_eq!((hours.total_requests, hours.groups.len()), (0, 0));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn nothing_younger_than_35_days_expires() {
    with_user(async |user| {
        let now = Clock::system().now();
        let young = now - SignedDuration::from_hours(34 * 24);
        user.log(&[json!({"request_time": young.to_string()})])
            .await;
        for request in [
            json!({"before": young.as_millisecond(), "limit": 10}),
            json!({"limit": 10}),
            json!({"before": 0}),
            json!({"before": 0, "limit": 0}),
            json!({"before": 0, "limit": 10_001}),
        ] {
            let (status, text) = user
                .send(
                    Method::POST,
                    "rpc/expire_requests",
                    Some(&json!({"request": request})),
                )
                .await;
            assert_eq!(status, 400, "{request}: {text}");
        }
        // The least that can be configured is accepted.
        let least: Retention = "35".parse().unwrap();
        user.storage
            .expire(least.before(now), 1, soon())
            .await
            .unwrap();
        assert_eq!(user.kept().await, 1);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn the_public_sees_no_sums_and_expires_nothing() {
    with_user(async |user| {
        user.log(&[
            json!({"request_time": "1990-01-01T00:00:00Z", "total_cost": "1"}),
            json!({"request_time": "1990-01-02T00:00:00Z", "total_cost": "1"}),
        ])
        .await;
        user.expire("1990-01-02T00:00:00Z", 10).await;
        let before = 631_400_000_000_u64;
        for (method, path, body) in [
            (Method::GET, "usage_history", None),
            (Method::DELETE, "usage_history?day=lt.2000-01-01", None),
            (
                Method::PATCH,
                "usage_history?day=lt.2000-01-01",
                Some(json!({"cost": 0})),
            ),
            (
                Method::POST,
                "rpc/expire_requests",
                Some(json!({"request": {"before": before, "limit": 10}})),
            ),
        ] {
            let (_, text) = exchange(
                &user.client,
                "STORAGE_ANON_KEY",
                method,
                path,
                body.as_ref(),
            )
            .await;
            assert!(!text.contains(&user.did), "{path}: {text}");
        }
        assert_eq!((user.kept().await, user.history().await), (1, 1));
        let report = user.report(&[], ALL).await;
        assert_eq!(report.total_cost.to_string(), "2");
    })
    .await;
}

// -------------------------------------------------------------------------------------- helpers

const ALL: Period = Period {
    start: None,
    end: None,
};

struct User {
    did: String,
    storage: Storage,
    client: Client,
}

/// Runs a test with a DID of its own, and removes what it left.
async fn with_user(test: impl AsyncFnOnce(&User)) {
    let _alone = ALONE.lock().await;
    let client = shared::http_client::without_tls(Duration::from_secs(5)).unwrap();
    let url: Url = env("STORAGE_URL").parse().unwrap();
    let key = StorageKey::parse(&env("STORAGE_KEY")).unwrap();
    let user = User {
        did: format!("did:key:z6MkRetention{}", random_id().simple()),
        storage: Storage::new(client.clone(), &url, key)
            .with_attempt_timeout(Duration::from_secs(20)),
        client,
    };
    let result = AssertUnwindSafe(test(&user)).catch_unwind().await;
    for table in ["request_logs", "usage_history"] {
        user.delete(table).await;
    }
    user.forget_key().await;
    if let Err(panic) = result {
        resume_unwind(panic);
    }
}

impl User {
    async fn expire(&self, before: &str, limit: u16) -> (u32, bool) {
        let before: Timestamp = before.parse().unwrap();
        let answer = self.storage.expire(before, limit, soon()).await.unwrap();
        (answer.expired, answer.more)
    }

    async fn report(&self, group_by: &[Dimension], period: Period) -> UsageReport {
        let query = ReportQuery {
            asked: UsageQuery {
                id: random_id(),
                did: &self.did,
                request_time: Clock::system().now(),
                period,
                fingerprint: None,
            },
            group_by,
            offsets: &[LocalOffset {
                from: None,
                seconds: 0,
            }],
            max_groups: 100,
            percentiles: false,
        };
        self.storage.usage_report(&query, soon()).await.unwrap()
    }

    /// Puts settled requests into the books, but for what `rows` say.
    async fn log(&self, rows: &[Value]) {
        let rows: Vec<_> = rows
            .iter()
            .map(|row| {
                let mut whole = json!({
                    "id": random_id(), "did": self.did, "model": "m", "endpoint": null,
                    "status": "completed", "cost_state": "final", "total_cost": null,
                    "input_tokens": null, "output_tokens": null, "cached_tokens": null,
                    "reasoning_tokens": null,
                });
                for (name, value) in row.as_object().unwrap() {
                    whole[name] = value.clone();
                }
                whole
            })
            .collect();
        self.must(Method::POST, "request_logs", Some(&Value::from(rows)))
            .await;
    }

    /// How many of its requests are still there one by one.
    async fn kept(&self) -> usize {
        self.count("request_logs", "id").await
    }

    /// How many rows of sums it has.
    async fn history(&self) -> usize {
        self.count("usage_history", "day").await
    }

    async fn count(&self, table: &str, column: &str) -> usize {
        let path = format!("{table}?select={column}&did=eq.{}", self.did);
        let rows = self.must(Method::GET, &path, None).await;
        serde_json::from_str::<Vec<Value>>(&rows).unwrap().len()
    }

    async fn store_key(&self) {
        let row = json!({
            "did": self.did, "openrouter_key_hash": "hash", "encrypted_api_key": "v1.sealed",
            "key_name": "contract test",
        });
        self.must(Method::POST, "user_api_keys", Some(&row)).await;
    }

    /// Also what the next key would take over from this one.
    async fn forget_key(&self) {
        self.delete("user_api_keys").await;
        self.delete("key_settings").await;
    }

    async fn spent(&self) -> String {
        let path = format!("user_api_keys?select=spent::text&did=eq.{}", self.did);
        let rows = self.must(Method::GET, &path, None).await;
        let rows: Value = serde_json::from_str(&rows).unwrap();
        let spent = rows[0]["spent"].as_str().unwrap();
        spent.trim_end_matches('0').trim_end_matches('.').to_owned()
    }

    async fn delete(&self, table: &str) {
        let path = format!("{table}?did=eq.{}", self.did);
        self.must(Method::DELETE, &path, None).await;
    }

    async fn must(&self, method: Method, path: &str, body: Option<&Value>) -> String {
        let (status, text) = self.send(method, path, body).await;
        assert!(status.is_success(), "{path}: {status} {text}");
        text
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> (StatusCode, String) {
        exchange(&self.client, "STORAGE_KEY", method, path, body).await
    }
}

async fn exchange(
    client: &Client,
    key: &str,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> (StatusCode, String) {
    let mut request = client
        .request(method, format!("{}/{path}", env("STORAGE_URL")))
        .header("apikey", env(key));
    if let Some(body) = body {
        request = request
            .header("content-type", "application/json")
            .body(body.to_string());
    }
    let answer = request.send().await.unwrap();
    (answer.status(), answer.text().await.unwrap())
}

/// A report but for its percentiles, for comparison.
fn texts(report: &UsageReport) -> Vec<String> {
    let mut texts = vec![
        report.total_requests.to_string(),
        report.successful_requests.to_string(),
        report.failed_requests.to_string(),
        report.pending_requests.to_string(),
        report.cost_pending_requests.to_string(),
        report.cost_unknown_requests.to_string(),
        report.total_input_tokens.to_string(),
        report.total_output_tokens.to_string(),
        report.total_cached_tokens.to_string(),
        report.total_reasoning_tokens.to_string(),
        report.total_cost.to_string(),
        format!("{:?}", report.requests_by_model),
    ];
    texts.extend(report.groups.iter().map(|group| format!("{group:?}")));
    texts
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn random_id() -> Uuid {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).unwrap();
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

#[expect(
    clippy::disallowed_methods,
    reason = "tests are told by their environment where things are"
)]
fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}
