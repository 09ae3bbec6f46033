//! Holds of jobs and of models that are free or new, requests that no rate counts, and costs of which only a
//! part is known.

use std::num::NonZeroU32;

use jiff::SignedDuration;
use serde_json::json;
use shared::{
    clock::Clock,
    storage::{Begin, Books, Finding, Finish, JobLimit, Refusal, Settle},
};

use crate::user::{User, amount, billed, books, completed, cut, refusal, unknown, with_user};

fn of(user: &User, change: impl FnOnce(&mut Books<'static>)) -> Begin<'_> {
    let mut books = books("0.01");
    change(&mut books);
    Begin {
        books: Some(books),
        ..user.look_up()
    }
}

fn video(user: &User, max_open_jobs: u32) -> Begin<'_> {
    of(user, |books| {
        books.endpoint = "videos";
        books.model = Some("v/one");
        books.jobs = NonZeroU32::new(max_open_jobs).map(|max_open| JobLimit {
            max_open,
            endpoints: vec!["videos", "batches"],
        });
    })
}

fn created<'a>(begin: &Begin<'_>, job: &'a str) -> Finish<'a> {
    Finish {
        job_id: Some(job),
        ..cut(begin.id)
    }
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_free_model_passes_a_limit_that_is_reached() {
    with_user(json!({"credit_limit": "1"}), async |user| {
        let dear = user.billable("0.01");
        user.begin(&dear).await.unwrap();
        user.finish(&completed(dear.id, "1.5")).await.unwrap();
        let free = || {
            of(user, |books| {
                books.is_free = true;
                books.model = Some("m:free");
            })
        };
        let begin = free();
        user.begin(&begin).await.unwrap();
        assert_eq!(amount(&user.row(begin.id).await["hold"]), "0");
        assert_eq!(user.account().await, ("1.5".into(), "0".into()));
        // A bill that comes all the same is booked.
        user.finish(&completed(begin.id, "0.25")).await.unwrap();
        assert_eq!(user.account().await, ("1.75".into(), "0".into()));
        user.begin(&free()).await.unwrap();
        assert!(matches!(
            refusal(user.begin(&user.billable("0")).await),
            Refusal::CreditLimitReached { .. }
        ));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_new_model_holds_what_its_endpoint_has_cost() {
    with_user(json!({"credit_limit": "100"}), async |user| {
        let chat = user.billable("0.01");
        user.begin(&chat).await.unwrap();
        user.finish(&completed(chat.id, "0.5")).await.unwrap();
        let first = video(user, 10);
        user.begin(&first).await.unwrap();
        assert_eq!(amount(&user.row(first.id).await["hold"]), "0.01");
        user.finish(&created(&first, "job-1")).await.unwrap();
        let settle = Settle {
            finding: billed("3", Some(false)),
            ..unknown(first.id)
        };
        user.settle(&settle).await;
        for (endpoint, model, hold) in [
            ("videos", "v/one", "3"),
            ("videos", "v/two", "3"),
            ("chat", "m/new", "0.5"),
            ("embeddings", "m/other", "0.01"),
        ] {
            let begin = of(user, |books| {
                books.endpoint = endpoint;
                books.model = Some(model);
            });
            user.begin(&begin).await.unwrap();
            let held = amount(&user.row(begin.id).await["hold"]);
            assert_eq!(held, hold, "{endpoint} {model}");
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_did_has_so_many_open_jobs_at_most() {
    with_user(json!({}), async |user| {
        let (first, second) = (video(user, 2), video(user, 2));
        user.begin(&first).await.unwrap();
        user.finish(&created(&first, "job-1")).await.unwrap();
        user.begin(&second).await.unwrap();
        assert_eq!(
            refusal(user.begin(&video(user, 2)).await),
            Refusal::TooManyOpenJobs {
                open_jobs: 2,
                max_open_jobs: 2
            }
        );
        // Others pass, and so does the next job when one of them is settled.
        user.begin(&user.billable("0")).await.unwrap();
        user.settle(&unknown(first.id)).await;
        user.begin(&video(user, 2)).await.unwrap();
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn what_is_not_counted_passes_a_rate() {
    with_user(json!({}), async |user| {
        user.change_account(json!({"requests_per_minute": 1})).await;
        let uncounted = || Begin {
            is_counted: false,
            requests_per_minute: NonZeroU32::new(1),
            ..user.look_up()
        };
        for _ in 0..3 {
            user.begin(&uncounted()).await.unwrap();
        }
        user.begin(&user.look_up()).await.unwrap();
        assert!(matches!(
            refusal(user.begin(&user.look_up()).await),
            Refusal::RateLimited { .. }
        ));
        user.begin(&uncounted()).await.unwrap();
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn an_unknown_cost_keeps_the_part_that_is_known() {
    with_user(json!({}), async |user| {
        let begin = of(user, |books| books.several_generations = true);
        user.begin(&begin).await.unwrap();
        user.finish(&cut(begin.id)).await.unwrap();
        let now = Clock::system().now() + SignedDuration::from_secs(5);
        let rows = user.claim(now, 1).await;
        assert!(rows[0].several_generations);
        let settle = Settle {
            finding: Finding::Unknown {
                reason: "other_generations_not_told",
                attempts: Some(1),
                known: "0.0000007434".parse().ok(),
            },
            ..unknown(begin.id)
        };
        assert!(user.settle(&settle).await.by_this_call);
        let row = user.row(begin.id).await;
        assert_eq!(row["cost_state"], "unknown");
        let known = user.rows("request_logs", "known_cost::text").await;
        assert_eq!(amount(&known[0]["known_cost"]), "0.0000007434");
        assert!(row["total_cost"].is_null());
        assert_eq!(user.account().await, ("0".into(), "0".into()));
        // The whole, entered later, leaves no part.
        let settle = Settle {
            finding: billed("1", Some(false)),
            ..unknown(begin.id)
        };
        assert!(user.settle(&settle).await.by_this_call);
        let known = user.rows("request_logs", "known_cost").await;
        assert_eq!(known, [json!({"known_cost": null})]);
        assert_eq!(user.account().await, ("1".into(), "0".into()));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn tokens_written_to_a_cache_have_a_column() {
    with_user(json!({}), async |user| {
        let begin = user.billable("0");
        user.begin(&begin).await.unwrap();
        user.finish(&completed(begin.id, "1")).await.unwrap();
        let rows = user.rows("request_logs", "cache_write_tokens::text").await;
        assert_eq!(rows, [json!({"cache_write_tokens": "3"})]);
    })
    .await;
}
