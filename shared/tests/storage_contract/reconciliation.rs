//! Costs that are asked for later: claimed, and settled once.

use futures_util::future::join_all;
use jiff::SignedDuration;
use reqwest::Method;
use serde_json::json;
use shared::{
    clock::Clock,
    storage::{Finding, Settle, StorageError, Tokens},
};

use crate::user::{amount, billed, completed, cut, env, far_future, soon, unknown, with_user};

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn claims_at_once_share_the_rows() {
    with_user(json!({}), async |user| {
        let ids: Vec<_> = (0..20).map(|_| user.billable("0")).collect();
        for begin in &ids {
            user.begin(begin).await.unwrap();
            user.finish(&cut(begin.id)).await.unwrap();
        }
        let now = Clock::system().now();
        let claims = join_all((0..8).map(|_| user.claim(now, 4))).await;
        assert!(claims.iter().all(|rows| rows.len() <= 4));
        let mut claimed: Vec<_> = claims.into_iter().flatten().map(|row| row.id).collect();
        let count = claimed.len();
        claimed.sort();
        claimed.dedup();
        assert_eq!(claimed.len(), count, "a row was claimed twice");
        // Claims that met may have found the others' rows locked; nothing is lost by it.
        claimed.extend(user.claim(now, 100).await.into_iter().map(|row| row.id));
        claimed.sort();
        let mut all: Vec<_> = ids.iter().map(|begin| begin.id).collect();
        all.sort();
        assert_eq!(claimed, all);
        assert_eq!(user.claim(now, 100).await, []);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_claimed_row_is_due_again_when_its_lease_is_over() {
    with_user(json!({}), async |user| {
        let begin = user.billable("0");
        user.begin(&begin).await.unwrap();
        user.finish(&cut(begin.id)).await.unwrap();
        let mut now = Clock::system().now() + SignedDuration::from_secs(5);
        // The leases are 60 and 600 s; the last one repeats.
        for (attempts, lease) in [(1, 60), (2, 600), (3, 600)] {
            let rows = user.claim(now, 1).await;
            let [row] = rows.as_slice() else {
                panic!("{rows:?}")
            };
            assert_eq!((row.id, row.attempts), (begin.id, attempts));
            assert_eq!(row.did, user.did);
            assert_eq!(row.generation_id.as_deref(), Some("gen-1"));
            assert_eq!(row.sealed_key.as_deref(), Some("v1.sealed"));
            assert_eq!(row.endpoint.as_deref(), Some("chat"));
            assert!(!row.abandoned);
            now += SignedDuration::from_secs(lease - 1);
            assert_eq!(user.claim(now, 1).await, []);
            now += SignedDuration::from_secs(1);
        }
        let rows = user.claim(now, 1).await;
        let age = rows[0].age.as_secs();
        assert!((1262..1292).contains(&age), "{age} s old");

        user.delete("user_api_keys").await;
        now += SignedDuration::from_secs(600);
        assert_eq!(user.claim(now, 1).await[0].sealed_key, None);
        user.insert_key(json!({})).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn only_what_is_open_is_claimed() {
    with_user(json!({}), async |user| {
        let (done, running) = (user.billable("0"), user.billable("0.25"));
        user.begin(&done).await.unwrap();
        user.finish(&completed(done.id, "0.1")).await.unwrap();
        user.begin(&running).await.unwrap();
        let now = Clock::system().now();
        assert_eq!(
            user.claim(now + SignedDuration::from_mins(19), 9).await,
            [],
            "its function may still live"
        );
        let rows = user.claim(now + SignedDuration::from_mins(21), 9).await;
        let [row] = rows.as_slice() else {
            panic!("{rows:?}")
        };
        assert_eq!((row.id, row.abandoned), (running.id, true));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn settling_at_once_counts_once() {
    with_user(json!({"credit_limit": "10"}), async |user| {
        for (is_byok, spent) in [
            (Some(false), "0.0000123"),
            (None, "0.0000246"),
            (Some(true), "0.0076878169000000005"),
        ] {
            let begin = user.billable("0.5");
            user.begin(&begin).await.unwrap();
            user.finish(&cut(begin.id)).await.unwrap();
            // What a cut request may cost stays reserved until that is known.
            assert_eq!(user.account().await.1, "0.5");
            let settle = Settle {
                finding: billed("1.23e-05", is_byok),
                ..unknown(begin.id)
            };
            let answers = join_all((0..20).map(|_| user.settle(&settle))).await;
            let first = answers.iter().filter(|answer| answer.by_this_call);
            assert_eq!(first.count(), 1);
            assert_eq!(user.account().await, (spent.into(), "0".into()));

            let row = user.row(begin.id).await;
            assert_eq!(row["cost_state"], "final");
            assert_eq!(row["status"], "failed");
            assert_eq!(row["error_reason"], "upstream_cut");
            assert_eq!(amount(&row["openrouter_cost"]), "0.0000123");
            assert_eq!(
                (&row["input_tokens"], &row["cached_tokens"]),
                (&json!("9"), &json!("5"))
            );
            // What is final stays final.
            for settle in [
                unknown(begin.id),
                Settle {
                    finding: billed("99", None),
                    ..settle
                },
            ] {
                assert!(!user.settle(&settle).await.by_this_call);
            }
            assert_eq!(user.row(begin.id).await, row);
            assert_eq!(user.claim(far_future(), 100).await, []);
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn settling_and_finishing_at_once_count_once() {
    with_user(json!({}), async |user| {
        for _ in 0..5 {
            let begin = user.billable("0.5");
            user.begin(&begin).await.unwrap();
            let outcome = completed(begin.id, "0.1");
            let settle = Settle {
                finding: billed("0.1", None),
                ..unknown(begin.id)
            };
            let (finished, settled) = futures_util::join!(
                join_all(
                    (0..5).map(|_| async { user.finish(&outcome).await.unwrap().by_this_call })
                ),
                join_all((0..5).map(|_| async { user.settle(&settle).await.by_this_call })),
            );
            let firsts = finished.into_iter().chain(settled).filter(|first| *first);
            assert_eq!(firsts.count(), 1);
        }
        assert_eq!(user.account().await, ("0.5".into(), "0".into()));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn what_a_row_knows_belongs_to_its_total() {
    with_user(json!({}), async |user| {
        let begin = user.billable("0");
        user.begin(&begin).await.unwrap();
        let mut partly = cut(begin.id);
        (partly.cost.is_byok, partly.cost.upstream_inference) = (Some(true), Some("0.25"));
        user.finish(&partly).await.unwrap();
        let silent = Finding::Final {
            openrouter: "0.0125".parse().unwrap(),
            upstream_inference: None,
            is_byok: None,
            server_tool: None,
            service_tier: None,
            tokens: Tokens::default(),
            model: None,
        };
        let settle = Settle {
            finding: silent,
            ..unknown(begin.id)
        };
        assert!(user.settle(&settle).await.by_this_call);
        assert_eq!(user.row(begin.id).await["is_byok"], true);
        assert_eq!(user.account().await.0, "0.2625");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn reconciliation_insists_on_its_members() {
    with_user(json!({"credit_limit": "10"}), async |user| {
        let begin = user.billable("0.5");
        user.begin(&begin).await.unwrap();
        let key = env("STORAGE_KEY");
        let id = begin.id.to_string();
        for (function, arguments) in [
            ("claim_unsettled", json!({"request": {"now": 0, "limit": 5, "leases": []}})),
            ("claim_unsettled", json!({"request": {"now": 0, "limit": 0, "leases": [60]}})),
            ("claim_unsettled", json!({"request": {"limit": 5, "leases": [60]}})),
            (
                "claim_unsettled",
                json!({"request": {"now": 0, "limit": 5, "leases": [60], "abandoned_after": 0}}),
            ),
            ("note_generation", json!({"request": {"id": id}})),
            ("note_generation", json!({"request": {"id": id, "generation_id": ""}})),
            (
                "settle_job",
                json!({"outcome": {"did": user.did, "settled_at": 0, "cost_state": "final", "openrouter_cost": "1"}}),
            ),
            ("settle_request", json!({"outcome": {"id": id, "settled_at": 0, "cost_state": "final"}})),
            ("settle_request", json!({"outcome": {"id": id, "settled_at": 0, "cost_state": "unknown"}})),
            (
                "settle_request",
                json!({"outcome": {"id": id, "settled_at": 0, "cost_state": "final", "openrouter_cost": "NaN"}}),
            ),
            (
                "settle_request",
                json!({"outcome": {"id": id, "settled_at": 0, "cost_state": "none", "openrouter_cost": "1"}}),
            ),
        ] {
            let (status, text) = user.send(Some(&key), Method::POST, &format!("rpc/{function}"), Some(&arguments))
            .await;
            assert_eq!(status, 400, "{arguments}: {text}");
        }
        let answer = user.storage.settle(&unknown(user.id()), soon()).await;
        assert!(matches!(answer, Err(StorageError::NoSuchRequest)));
        assert_eq!(user.account().await, ("0".into(), "0.5".into()));
    })
    .await;
}
