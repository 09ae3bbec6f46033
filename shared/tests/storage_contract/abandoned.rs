//! Requests whose function died, or only seemed to.

use std::time::Duration;

use futures_util::future::join_all;
use jiff::SignedDuration;
use serde_json::{Value, json};
use shared::{
    clock::Clock,
    storage::{Claim, Finding, Finish, Settle},
};
use uuid::Uuid;

use crate::user::{billed, completed, cut, far_future, soon, unknown, with_user};

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn an_abandoned_request_gives_its_hold_back() {
    with_user(json!({"credit_limit": "10"}), async |user| {
        let (lost, other) = (user.billable("0.5"), user.billable("0.25"));
        user.begin(&lost).await.unwrap();
        user.begin(&other).await.unwrap();
        let answers =
            join_all((0..20).map(|_| async { user.settle(&unknown(lost.id)).await.by_this_call }))
                .await;
        assert_eq!(answers.into_iter().filter(|first| *first).count(), 1);
        assert_eq!(user.account().await, ("0".into(), "0.25".into()));

        let row = user.row(lost.id).await;
        assert_eq!(row["status"], "failed");
        assert_eq!(row["error_reason"], "abandoned");
        assert_eq!(row["cost_state"], "unknown");
        assert_eq!(row["unknown_cost_reason"], "no_generation_id");
        assert_eq!(row["total_cost"], Value::Null);
        assert_eq!(
            user.claim(far_future(), 100).await.len(),
            1,
            "the other one"
        );

        // The cost can still be entered, once.
        let entered = Settle {
            finding: billed("0.1", None),
            ..unknown(lost.id)
        };
        assert!(user.settle(&entered).await.by_this_call);
        assert!(!user.settle(&entered).await.by_this_call);
        assert_eq!(user.account().await, ("0.1".into(), "0.25".into()));
        let row = user.row(lost.id).await;
        assert_eq!(row["cost_state"], "final");
        assert_eq!(row["unknown_cost_reason"], Value::Null);
        // Its function was not dead after all: too late.
        let late = user.finish(&completed(lost.id, "0.1")).await.unwrap();
        assert!(!late.by_this_call);
        assert_eq!(user.account().await, ("0.1".into(), "0.25".into()));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_late_record_takes_an_abandoned_row_back_once() {
    with_user(json!({"credit_limit": "10"}), async |user| {
        for (outcome, spent) in [
            (
                completed as fn(Uuid, &'static str) -> Finish<'static>,
                "0.1",
            ),
            (|id, _| cut(id), "0.1"),
        ] {
            let begin = user.billable("0.5");
            user.begin(&begin).await.unwrap();
            user.settle(&unknown(begin.id)).await;
            assert_eq!(user.account().await.1, "0");

            let record = outcome(begin.id, "0.1");
            let answers = join_all(
                (0..10).map(|_| async { user.finish(&record).await.unwrap().by_this_call }),
            )
            .await;
            assert_eq!(answers.into_iter().filter(|first| *first).count(), 1);
            // What was released stays released.
            assert_eq!(user.account().await, (spent.into(), "0".into()));
            let row = user.row(begin.id).await;
            assert_eq!(row["status"], record.status.as_str());
            assert_eq!(row["cost_state"], record.cost.state.as_str());
            assert_eq!(
                (&row["unknown_cost_reason"], &row["settled_at"]),
                (&Value::Null, &Value::Null)
            );
        }
        // A cost that is asked for once more.
        let rows = user.claim(far_future(), 9).await;
        assert_eq!((rows.len(), rows[0].abandoned), (1, false));
        assert_eq!(rows[0].generation_id.as_deref(), Some("gen-1"));

        // What was given up for other reasons has been finished before.
        user.settle(&unknown(rows[0].id)).await;
        let late = user.finish(&completed(rows[0].id, "0.1")).await.unwrap();
        assert!(!late.by_this_call);
        assert_eq!(user.account().await, ("0.1".into(), "0".into()));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_row_that_was_restored_is_not_given_up_by_an_earlier_claim() {
    with_user(json!({"credit_limit": "10"}), async |user| {
        let begin = user.billable("0.5");
        user.begin(&begin).await.unwrap();
        let claimed = user.claim(far_future(), 9).await;
        let given_up = |attempts| Settle {
            finding: Finding::Unknown {
                reason: "no_generation_id",
                attempts,
                known: None,
            },
            ..unknown(begin.id)
        };
        // Its record comes out of the log, and names the generation.
        user.finish(&cut(begin.id)).await.unwrap();
        let stale = given_up(Some(claimed[0].attempts));
        assert!(!user.settle(&stale).await.by_this_call);
        assert_eq!(user.row(begin.id).await["cost_state"], "pending");
        assert_eq!(user.account().await, ("0".into(), "0.5".into()));

        let again = user.claim(far_future(), 9).await;
        let fresh = given_up(Some(again[0].attempts));
        assert!(!user.settle(&given_up(Some(7))).await.by_this_call);
        assert!(user.settle(&fresh).await.by_this_call);
        assert_eq!(user.row(begin.id).await["cost_state"], "unknown");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_row_is_abandoned_when_the_caller_says_so() {
    with_user(json!({}), async |user| {
        let begin = user.billable("0");
        user.begin(&begin).await.unwrap();
        for (seconds, claimed) in [(61, 0), (59, 1)] {
            let claim = Claim {
                now: Clock::system().now() + SignedDuration::from_mins(1),
                limit: 9,
                leases: &[Duration::from_mins(1)],
                abandoned_after: Some(Duration::from_secs(seconds)),
                did: Some(&user.did),
            };
            let rows = user.storage.claim_unsettled(&claim, soon()).await.unwrap();
            assert_eq!(rows.len(), claimed, "{seconds}");
        }
    })
    .await;
}
