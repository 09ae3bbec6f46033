//! Writers of the original system, which know only its columns.

use reqwest::Method;
use serde_json::{Value, json};
use shared::storage::{ATTEMPTS_IN_FRONT, Argument, Refusal};

use crate::user::{amount, refusal, soon, with_newcomer, with_user};

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn the_limit_is_read_and_set_beside_the_key() {
    with_newcomer(async |user| {
        let limits = async || {
            let key = user.rows("user_api_keys", "credit_limit::text").await;
            let account = user.rows("accounts", "credit_limit::text").await;
            assert_eq!(key, account);
            let limit = &key[0]["credit_limit"];
            limit.as_str().map(|_| amount(limit))
        };
        user.insert_key(json!({"credit_limit": "2.50"})).await;
        assert_eq!(limits().await.as_deref(), Some("2.5"));
        user.change_key(json!({"credit_limit": "0.5"})).await;
        assert_eq!(limits().await.as_deref(), Some("0.5"));
        assert!(matches!(
            refusal(user.begin(&user.billable("0.6")).await),
            Refusal::CreditLimitReached { .. }
        ));
        user.change_key(json!({"credit_limit": null})).await;
        assert_eq!(limits().await, None);
        user.begin(&user.billable("0.6")).await.unwrap();

        let set = async |limit: &str| {
            let change = Argument::Request(json!({"did": user.did, "credit_limit": limit}));
            let _: Value = user
                .storage
                .call("set_account", &change, ATTEMPTS_IN_FRONT, soon())
                .await
                .unwrap();
        };
        set("7").await;
        assert_eq!(limits().await.as_deref(), Some("7"));
        // A key that names no limit does not lift one; a key that names one sets it.
        user.delete("user_api_keys").await;
        user.insert_key(json!({})).await;
        assert_eq!(limits().await.as_deref(), Some("7"));
        user.delete("user_api_keys").await;
        user.insert_key(json!({"credit_limit": "8"})).await;
        assert_eq!(limits().await.as_deref(), Some("8"));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn its_costs_count_once() {
    with_user(json!({"credit_limit": "1"}), async |user| {
        let row = json!({
            "did": user.did, "model": "m", "request_time": "2026-01-01T00:00:00Z", "status": "pending",
        });
        user.rest(Method::POST, "request_logs", Some(&row)).await;
        let change = async |change| {
            let path = format!("request_logs?did=eq.{}&status=neq.failed", user.did);
            user.rest(Method::PATCH, &path, Some(&change)).await;
        };
        let answered = json!({"status": "completed", "input_tokens": 3, "output_tokens": 4, "total_cost": "0.75"});
        for _ in 0..2 {
            change(answered.clone()).await;
            assert_eq!(user.account().await.0, "0.75");
        }
        let mut whole = answered;
        for (name, value) in row.as_object().unwrap() {
            whole[name] = value.clone();
        }
        whole["status"] = json!("failed");
        for (cost, spent) in [("NaN", "0.75"), ("0", "0.75"), ("0.25", "1")] {
            whole["total_cost"] = json!(cost);
            user.rest(Method::POST, "request_logs", Some(&whole)).await;
            assert_eq!(user.account().await.0, spent, "{cost}");
        }
        assert!(user.requests().await.iter().all(|it| it["cost_state"] == "final"));
        assert!(matches!(
            refusal(user.begin(&user.billable("0")).await),
            Refusal::CreditLimitReached { .. }
        ));
    })
    .await;
}
