//! A request is begun, and finished once.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use shared::storage::{
    Begin, Books, Failure, Finish, Finished, Refusal, Status, StorageError, Tokens,
};

use crate::user::{books, completed, cut, refusal, with_user};

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_request_begins_and_finishes() {
    with_user(json!({"credit_limit": "10"}), async |user| {
        let begin = user.billable("0.25");
        let answer = user.begin(&begin).await.unwrap();
        assert_eq!(answer.sealed_key, "v1.sealed");
        assert_eq!(answer.key_name, "contract test");
        assert_eq!(user.account().await, ("0".into(), "0.25".into()));

        let row = user.row(begin.id).await;
        assert_eq!(row["did"], user.did);
        assert_eq!(row["status"], "pending");
        assert_eq!(row["cost_state"], "none");
        assert_eq!(row["model"], "anthropic/claude-sonnet-4.6");
        assert_eq!(row["requested_model"], "anthropic/claude-sonnet-4.6");
        assert_eq!(row["method"], "POST");
        assert_eq!(row["path"], "/chat/completions");
        assert_eq!(row["endpoint"], "chat");
        assert_eq!(row["streamed"], true);

        let finished = user
            .finish(&completed(begin.id, "0.0076509169000000005"))
            .await;
        assert_eq!(
            finished.unwrap(),
            Finished {
                by_this_call: true,
                status: Status::Completed
            }
        );
        assert_eq!(
            user.account().await,
            ("0.0076509169000000005".into(), "0".into())
        );

        let row = user.row(begin.id).await;
        assert_eq!(row["status"], "completed");
        assert_eq!(row["cost_state"], "final");
        assert_eq!(row["model"], "anthropic/claude-4.6-sonnet-20260217");
        assert_eq!(row["requested_model"], "anthropic/claude-sonnet-4.6");
        assert_eq!(row["generation_id"], "gen-1");
        assert_eq!(row["http_status"], "200");
        assert_eq!(row["input_tokens"], "12");
        assert_eq!(row["output_tokens"], "34");
        assert_eq!(row["cached_tokens"], "5");
        assert_eq!(row["reasoning_tokens"], Value::Null);
        assert_eq!(row["first_byte_ms"], "321");
        assert_eq!(row["total_cost"], "0.0076509169000000005");
        assert_eq!(row["openrouter_cost"], "0.0076509169000000005");
        assert_eq!(row["upstream_inference_cost"], Value::Null);
        assert_eq!(row["is_byok"], false);
        assert_eq!(row["error_reason"], Value::Null);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_look_up_leaves_no_books() {
    with_user(json!({"credit_limit": "0"}), async |user| {
        let begin = user.look_up();
        assert_eq!(user.begin(&begin).await.unwrap().sealed_key, "v1.sealed");
        assert_eq!(user.requests().await, Vec::<Value>::new());
        assert_eq!(user.account().await, ("0".into(), "0".into()));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_cut_stream_is_not_free() {
    with_user(json!({"credit_limit": "0.15"}), async |user| {
        let begin = Begin {
            books: Some(Books {
                model: None,
                ..books("0.1")
            }),
            ..user.billable("0")
        };
        user.begin(&begin).await.unwrap();
        assert_eq!(user.row(begin.id).await["model"], "unknown");
        let cut = Finish {
            model: None,
            tokens: Tokens::default(),
            error: Some(Failure {
                reason: "upstream_cut",
                message: "a NUL\0 in between",
            }),
            ..cut(begin.id)
        };
        user.finish(&cut).await.unwrap();

        let row = user.row(begin.id).await;
        assert_eq!(row["status"], "failed");
        assert_eq!(row["cost_state"], "pending");
        assert_eq!(row["total_cost"], Value::Null);
        assert_eq!(row["model"], "unknown");
        assert_eq!(row["error_reason"], "upstream_cut");
        assert_eq!(row["error_message"], "a NUL\u{fffd} in between");

        // What it may have cost stays reserved until somebody settles it, and is then released once.
        assert_eq!(user.account().await, ("0".into(), "0.1".into()));
        assert!(matches!(
            refusal(user.begin(&user.billable("0.1")).await),
            Refusal::CreditLimitReached { .. }
        ));
        let path = format!("request_logs?id=eq.{}", begin.id);
        for state in ["final", "pending", "final"] {
            let settled = json!({"cost_state": state});
            user.rest(Method::PATCH, &path, Some(&settled)).await;
            assert_eq!(user.account().await, ("0".into(), "0".into()));
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn finishing_twice_changes_nothing() {
    with_user(json!({"credit_limit": "100"}), async |user| {
        let begin = user.billable("0.5");
        user.begin(&begin).await.unwrap();
        user.finish(&completed(begin.id, "0.1")).await.unwrap();
        let row = user.row(begin.id).await;

        let again = Finish {
            status: Status::Failed,
            ..completed(begin.id, "99")
        };
        let answers = join_all((0..5).map(|_| user.finish(&again))).await;
        for answer in answers {
            assert_eq!(
                answer.unwrap(),
                Finished {
                    by_this_call: false,
                    status: Status::Completed
                }
            );
        }
        assert_eq!(user.row(begin.id).await, row);
        assert_eq!(user.account().await, ("0.1".into(), "0".into()));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn finishing_at_once_counts_once() {
    with_user(json!({"credit_limit": "100"}), async |user| {
        let begin = user.billable("0.5");
        user.begin(&begin).await.unwrap();
        let outcome = completed(begin.id, "0.1");
        let answers = join_all((0..10).map(|_| user.finish(&outcome))).await;
        let first = answers
            .into_iter()
            .filter(|answer| answer.as_ref().unwrap().by_this_call);
        assert_eq!(first.count(), 1);
        assert_eq!(user.account().await, ("0.1".into(), "0".into()));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn what_never_began_cannot_finish() {
    with_user(json!({}), async |user| {
        let answer = user.finish(&completed(user.id(), "1")).await;
        assert!(matches!(answer, Err(StorageError::NoSuchRequest)));
        assert_eq!(user.account().await, ("0".into(), "0".into()));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_key_deleted_meanwhile_loses_neither_cost_nor_hold() {
    with_user(json!({"credit_limit": "100"}), async |user| {
        let (gone, renewed) = (user.billable("0.5"), user.billable("0.5"));
        user.begin(&gone).await.unwrap();
        user.begin(&renewed).await.unwrap();

        user.delete("user_api_keys").await;
        assert!(
            user.finish(&completed(gone.id, "0.1"))
                .await
                .unwrap()
                .by_this_call
        );
        assert_eq!(user.row(gone.id).await["total_cost"], "0.1");

        user.insert_key(json!({"credit_limit": "100"})).await;
        assert_eq!(user.account().await, ("0.1".into(), "0.5".into()));
        let later = user.billable("0.25");
        user.begin(&later).await.unwrap();
        user.finish(&completed(renewed.id, "0.2")).await.unwrap();
        assert_eq!(user.account().await, ("0.3".into(), "0.25".into()));
    })
    .await;
}
