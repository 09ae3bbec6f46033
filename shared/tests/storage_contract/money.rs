//! What is spent, to the last digit.

use futures_util::future::join_all;
use serde_json::{Value, json};
use shared::storage::{Cost, CostState, Finish, StorageError};

use crate::user::{completed, with_user};

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn the_books_balance_under_load() {
    with_user(json!({"credit_limit": "100"}), async |user| {
        let begins: Vec<_> = (0..40).map(|_| user.billable("0.3")).collect();
        let through = begins.iter().map(async |begin| {
            user.begin(begin).await?;
            user.finish(&completed(begin.id, "0.0000000000000000001"))
                .await
        });
        for answer in join_all(through).await {
            assert!(answer.unwrap().by_this_call);
        }
        assert_eq!(
            user.account().await,
            ("0.000000000000000004".into(), "0".into())
        );
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn every_digit_is_kept() {
    with_user(json!({}), async |user| {
        for (cost, stored) in [
            ("0.0076509169000000005", "0.0076509169000000005"),
            ("7.434e-07", "0.0000007434"),
            (
                "1.7976931348623157e-300",
                &format!("0.{}17976931348623157", "0".repeat(299)),
            ),
            (
                "123456789.123456789012345678901",
                "123456789.123456789012345678901",
            ),
        ] {
            let begin = user.billable("0");
            user.begin(&begin).await.unwrap();
            user.finish(&completed(begin.id, cost)).await.unwrap();
            assert_eq!(user.row(begin.id).await["total_cost"], *stored);
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn the_upstream_cost_counts_with_byok_only() {
    with_user(json!({}), async |user| {
        for (openrouter, upstream, is_byok, total) in [
            (
                Some("7.434e-07"),
                Some("0.0076509169000000005"),
                Some(true),
                json!("0.0076516603000000005"),
            ),
            (Some("0.5"), Some("0.25"), Some(false), json!("0.5")),
            (Some("0.5"), Some("0.25"), None, json!("0.5")),
            (None, Some("0.25"), Some(true), json!("0.25")),
            (Some("0.5"), None, Some(true), json!("0.5")),
            (None, Some("0.25"), Some(false), Value::Null),
        ] {
            let begin = user.billable("0");
            user.begin(&begin).await.unwrap();
            let cost = Cost {
                state: CostState::Final,
                openrouter,
                server_tool: None,
                upstream_inference: upstream,
                is_byok,
            };
            user.finish(&Finish {
                cost,
                ..completed(begin.id, "0")
            })
            .await
            .unwrap();
            assert_eq!(user.row(begin.id).await["total_cost"], total);
        }
        assert_eq!(user.account().await.0, "1.7576516603000000005");

        // A part of a cost that is still to be asked for is neither a total nor spent.
        let begin = user.billable("0");
        user.begin(&begin).await.unwrap();
        let cost = Cost {
            state: CostState::Pending,
            openrouter: Some("0.5"),
            server_tool: None,
            upstream_inference: None,
            is_byok: Some(true),
        };
        user.finish(&Finish {
            cost,
            ..completed(begin.id, "0")
        })
        .await
        .unwrap();
        assert_eq!(user.row(begin.id).await["total_cost"], Value::Null);
        assert_eq!(user.account().await.0, "1.7576516603000000005");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_cost_that_is_no_amount_is_refused() {
    with_user(json!({"credit_limit": "100"}), async |user| {
        let begin = user.billable("0.5");
        user.begin(&begin).await.unwrap();
        for cost in ["-1", "NaN", "Infinity", "-Infinity"] {
            let answer = user.finish(&completed(begin.id, cost)).await;
            assert!(
                matches!(answer, Err(StorageError::Protocol(_))),
                "{cost}: {answer:?}"
            );
        }
        assert_eq!(user.row(begin.id).await["status"], "pending");
        assert_eq!(user.account().await, ("0".into(), "0.5".into()));
    })
    .await;
}
