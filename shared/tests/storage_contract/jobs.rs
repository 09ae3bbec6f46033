//! What OpenRouter calls a request and its work: generations and jobs.

use futures_util::future::join_all;
use serde_json::json;
use shared::{
    clock::Clock,
    storage::{Finish, NoteGeneration, Settle, SettleJob},
};
use uuid::Uuid;

use crate::user::{User, billed, cut, far_future, soon, unknown, with_user};

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_generation_is_noted_once_and_only_while_the_request_runs() {
    with_user(json!({}), async |user| {
        let begin = user.billable("0");
        assert!(!user.note(begin.id, "gen-early").await, "it never began");
        user.begin(&begin).await.unwrap();
        let notes = join_all((0..10).map(|_| user.note(begin.id, "gen-noted"))).await;
        assert_eq!(notes.into_iter().filter(|noted| *noted).count(), 1);
        assert!(!user.note(begin.id, "gen-other").await);
        assert_eq!(user.row(begin.id).await["generation_id"], "gen-noted");
        let abandoned = user.claim(far_future(), 9).await;
        assert_eq!(abandoned[0].generation_id.as_deref(), Some("gen-noted"));

        // Finishing keeps it where it knows none, and knows better where it does.
        for (finished, expected) in [(None, "gen-noted"), (Some("gen-1"), "gen-1")] {
            let begin = user.billable("0");
            user.begin(&begin).await.unwrap();
            assert!(user.note(begin.id, "gen-noted").await);
            let finish = Finish {
                generation_id: finished,
                ..cut(begin.id)
            };
            user.finish(&finish).await.unwrap();
            assert_eq!(user.row(begin.id).await["generation_id"], expected);
            assert!(!user.note(begin.id, "gen-late").await);
            assert_eq!(user.row(begin.id).await["generation_id"], expected);
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_job_is_paid_for_once_by_the_request_that_created_it() {
    with_user(json!({"credit_limit": "10"}), async |user| {
        let (first, second) = (user.billable("0.5"), user.billable("0.5"));
        for begin in [&first, &second] {
            user.begin(begin).await.unwrap();
        }
        assert!(
            !user.settle_job("job-1", "0.1").await,
            "nobody knows it yet"
        );
        // Both were answered with the same job: one of them carries it.
        for begin in [&first, &second] {
            let finish = Finish {
                job_id: Some("job-1"),
                ..cut(begin.id)
            };
            user.finish(&finish).await.unwrap();
        }
        assert_eq!(user.row(second.id).await["cost_state"], "none");
        assert_eq!(user.account().await, ("0".into(), "0.5".into()));
        let rows = user.claim(Clock::system().now(), 9).await;
        assert_eq!(
            (rows.len(), rows[0].id, rows[0].job_id.as_deref()),
            (1, first.id, Some("job-1"))
        );

        // Another user's job of the same name is not this one.
        with_user(json!({}), async |stranger| {
            assert!(!stranger.settle_job("job-1", "9").await);
        })
        .await;
        assert!(!user.settle_job("job-2", "9").await);
        let answers = join_all((0..20).map(|_| user.settle_job("job-1", "0.1"))).await;
        assert_eq!(answers.into_iter().filter(|settled| *settled).count(), 1);
        // Reconciliation, which had claimed it before, comes too late.
        let late = Settle {
            finding: billed("0.2", None),
            ..unknown(first.id)
        };
        assert!(!user.settle(&late).await.by_this_call);
        assert_eq!(user.account().await, ("0.1".into(), "0".into()));
        let row = user.row(first.id).await;
        assert_eq!(
            (&row["cost_state"], &row["job_id"]),
            (&json!("final"), &json!("job-1"))
        );
    })
    .await;
}

impl User {
    async fn note(&self, id: Uuid, generation_id: &str) -> bool {
        let note = NoteGeneration { id, generation_id };
        let noted = self.storage.note_generation(&note, soon()).await;
        noted.unwrap().by_this_call
    }

    /// Settles the row of a job of the endpoint `chat`.
    async fn settle_job(&self, job_id: &str, usd: &str) -> bool {
        let settle = SettleJob {
            did: &self.did,
            endpoint: "chat",
            job_id,
            time: Clock::system().now(),
            finding: billed(usd, None),
        };
        let settled = self.storage.settle_job(&settle, soon()).await;
        settled.unwrap().by_this_call
    }
}
