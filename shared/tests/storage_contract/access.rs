//! Who gets in: the service with its key, and nobody else.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use shared::storage::{Period, Storage, StorageError, StorageKey, Unavailable};
use url::Url;
use uuid::Uuid;

use crate::{
    usage::{question, sums},
    user::{User, client, env, key, soon, url, with_user},
};

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn the_public_is_refused_at_the_door() {
    with_user(json!({}), async |user| {
        refused_at(user, doors_of_requests(user)).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn the_public_sees_and_changes_nothing() {
    with_user(json!({}), async |user| {
        let begin = user.billable("0.5");
        user.begin(&begin).await.unwrap();
        let rows = async || {
            let key = user.rows("user_api_keys", "id").await;
            let account = user.rows("accounts", "spent::text,held::text").await;
            (key, account, user.requests().await)
        };
        let before = rows().await;

        try_all(user, doors_of_requests(user), |text| {
            !text.contains("v1.sealed") && !text.contains(&begin.id.to_string())
        })
        .await;
        assert_eq!(rows().await, before);
        assert_eq!(user.fingerprints(begin.id).await, 1);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_wrong_key_is_a_fault_of_the_configuration() {
    with_user(json!({}), async |user| {
        for key in ["sb_secret_wrong", &env("STORAGE_ANON_KEY")] {
            let storage =
                Storage::new(user.client.clone(), &url(), StorageKey::parse(key).unwrap());
            let answer = storage.begin(&user.look_up(), soon()).await;
            assert!(
                matches!(answer, Err(StorageError::Unauthorized { .. })),
                "{answer:?}"
            );
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn an_unreachable_storage_is_not_an_empty_one() {
    let nobody: Url = "http://127.0.0.1:9/rest/v1".parse().unwrap();
    let storage = Storage::new(client(), &nobody, key());
    let answer = storage
        .usage_report(
            &sums(question("did:key:z", Period::default(), None)),
            soon(),
        )
        .await;
    assert!(matches!(
        answer,
        Err(StorageError::Unavailable(Unavailable::Transport(_)))
    ));

    shared::storage::ping(&client(), &url(), Duration::from_secs(5))
        .await
        .unwrap();
    shared::storage::ping(&client(), &nobody, Duration::from_secs(5))
        .await
        .unwrap_err();
}

/// A way to rows, and a body for it.
pub(crate) type Door = (Method, String, Option<Value>);

/// Nobody gets through `doors` with the publishable key or with none.
pub(crate) async fn refused_at(user: &User, doors: Vec<Door>) {
    let anon = env("STORAGE_ANON_KEY");
    for (method, path, body) in doors {
        for key in [Some(anon.as_str()), None] {
            let (status, text) = user.send(key, method.clone(), &path, body.as_ref()).await;
            assert!(
                matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN),
                "{method} {path} with {key:?}: {status} {text}"
            );
        }
    }
}

/// Goes through `doors` with the publishable key; what is answered has to be `harmless`.
pub(crate) async fn try_all(user: &User, doors: Vec<Door>, harmless: impl Fn(&str) -> bool) {
    let anon = env("STORAGE_ANON_KEY");
    for (method, path, body) in doors {
        let (_, text) = user
            .send(Some(&anon), method.clone(), &path, body.as_ref())
            .await;
        assert!(harmless(&text), "{method} {path}: {text}");
    }
}

/// Each verb on a table, whose rows are selected by `filter`.
pub(crate) fn doors_of_table(table: &str, filter: &str, change: &Value) -> [Door; 4] {
    let path = format!("{table}?{filter}");
    [
        (Method::GET, path.clone(), None),
        (Method::POST, table.to_owned(), Some(change.clone())),
        (Method::PATCH, path.clone(), Some(change.clone())),
        (Method::DELETE, path, None),
    ]
}

pub(crate) fn door_of_function(name: &str, arguments: Value) -> Door {
    (Method::POST, format!("rpc/{name}"), Some(arguments))
}

/// Every way to the user's requests: each table with each verb, each function.
fn doors_of_requests(user: &User) -> Vec<Door> {
    let id = user
        .ids
        .lock()
        .unwrap()
        .first()
        .copied()
        .unwrap_or_default();
    let functions = [
        (
            "begin_request",
            json!({"request": {
                "id": Uuid::nil().to_string(), "did": user.did, "billable": false, "request_time": 0,
            }}),
        ),
        (
            "finish_request",
            json!({"outcome": {
                "id": id.to_string(), "status": "completed", "cost_state": "none", "response_time": 0,
            }}),
        ),
        (
            "admit_caller",
            json!({"request": {"did": user.did, "requests_per_minute": 1}}),
        ),
        ("usage_summary", json!({"request": {"did": user.did}})),
        (
            "usage_report",
            json!({"request": {"did": user.did, "max_groups": 1}}),
        ),
        (
            "usage_requests",
            json!({"request": {"did": user.did, "limit": 9}}),
        ),
        (
            "claim_unsettled",
            json!({"request": {"did": user.did, "now": 4_000_000_000_000_u64, "limit": 9, "leases": [60]}}),
        ),
        (
            "settle_request",
            json!({"outcome": {
                "id": id.to_string(), "settled_at": 0, "cost_state": "unknown", "unknown_cost_reason": "x",
            }}),
        ),
        (
            "note_generation",
            json!({"request": {"id": id.to_string(), "generation_id": "gen-forged"}}),
        ),
        (
            "settle_job",
            json!({"outcome": {
                "did": user.did, "endpoint": "chat", "job_id": "job-1",
                "settled_at": 0, "cost_state": "final", "openrouter_cost": "0",
            }}),
        ),
        (
            "use_fingerprint",
            json!({"request": {
                "id": id.to_string(), "request_time": 0,
                "fingerprint": "00".repeat(32), "fingerprint_expires_at": 0,
            }}),
        ),
    ];
    let tables = [
        (
            "user_api_keys",
            format!("did=eq.{}", user.did),
            json!({"key_name": "forged"}),
        ),
        (
            "accounts",
            format!("did=eq.{}", user.did),
            json!({"disabled": true}),
        ),
        (
            "request_logs",
            format!("did=eq.{}", user.did),
            json!({"status": "failed"}),
        ),
        (
            "open_requests",
            format!("did=eq.{}", user.did),
            json!({"abandoned": true}),
        ),
        (
            "request_fingerprints",
            format!("request_id=eq.{id}"),
            json!({"expires_at": "2020-01-01T00:00:00Z"}),
        ),
    ];
    let tables = tables
        .iter()
        .flat_map(|(table, filter, change)| doors_of_table(table, filter, change));
    let functions = functions
        .into_iter()
        .map(|(name, arguments)| door_of_function(name, arguments));
    tables.chain(functions).collect()
}
