//! What the migrations and the client promise, against a real `PostgREST`-compatible backend.
//!
//! - `STORAGE_URL`: the REST base, e.g. `http://127.0.0.1:24321/rest/v1`
//! - `STORAGE_KEY`: the secret key
//! - `STORAGE_ANON_KEY`: the publishable key
//!
//! Every test makes DIDs of its own and deletes their rows, so a shared database does no harm.
//!
//! `the_public_is_refused_at_the_door` fails on `@supabase/lite` with `PGlite`, which logs in as the
//! owner and gives everything back to `anon`: skip it there by name. The second lock holds
//! (`the_public_sees_and_changes_nothing`).

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the helpers of a test fail as the test does"
)]

use std::{
    num::NonZeroU32,
    panic::{AssertUnwindSafe, resume_unwind},
    sync::Mutex,
    time::Duration,
};

use futures_util::{FutureExt, future::join_all};
use jiff::{SignedDuration, Timestamp};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use shared::{
    clock::Clock,
    storage::{
        Begin, Begun, Books, Claim, Cost, CostState, Dimension, Failure, Finding, Finish, Finished,
        LocalOffset, NoteGeneration, Period, Place, Refusal, ReplayGuard, ReportQuery,
        RequestEntry, RequestFilter, RequestPage, RequestsQuery, Settle, SettleJob, Settled,
        Status, Storage, StorageError, StorageKey, Tokens, Unavailable, Unsettled, UsageQuery,
        UsageReport,
    },
};
use tokio::time::Instant;
use url::Url;
use uuid::Uuid;

// ---------------------------------------------------------------------------- begin and finish

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
        assert_eq!(user.rows("request_logs").await, Vec::<Value>::new());
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
            status: Status::Failed,
            model: None,
            tokens: Tokens::default(),
            cost: Cost {
                state: CostState::Pending,
                openrouter: None,
                ..cost("0")
            },
            error: Some(Failure {
                reason: "upstream_cut",
                message: "a NUL\0 in between",
            }),
            ..completed(begin.id, "0")
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
            let settled = json!({"cost_state": state}).to_string();
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

        user.delete("user_api_keys", "did", &user.did).await;
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

// ------------------------------------------------------------------------------------- refusals

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_stranger_has_no_key() {
    with_user(json!({}), async |user| {
        for begin in [user.look_up(), user.billable("0")] {
            let stranger = Begin {
                did: "did:key:z6MkStranger",
                ..begin
            };
            assert_eq!(refusal(user.begin(&stranger).await), Refusal::NoKeyForDid);
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_disabled_key_is_not_handed_out() {
    with_user(json!({"disabled": true}), async |user| {
        for begin in [user.look_up(), user.billable("0")] {
            assert_eq!(refusal(user.begin(&begin).await), Refusal::KeyDisabled);
        }
        assert_eq!(user.rows("request_logs").await, Vec::<Value>::new());
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn of_equal_requests_one_passes() {
    with_user(json!({"credit_limit": "100"}), async |user| {
        for first in [user.billable("0.01"), user.look_up()] {
            let same: Vec<_> = (0..20)
                .map(|_| Begin {
                    id: user.id(),
                    ..first.clone()
                })
                .collect();
            let answers = join_all(same.iter().map(|begin| user.begin(begin))).await;
            let (passed, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
            assert_eq!(passed.len(), 1);
            for answer in refused {
                assert_eq!(refusal(answer), Refusal::Replayed);
            }
        }
        assert_eq!(user.rows("request_logs").await.len(), 1);
        assert_eq!(user.account().await, ("0".into(), "0.01".into()));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_repeated_begin_changes_nothing() {
    with_user(json!({"credit_limit": "0.5"}), async |user| {
        let begin = user.billable("0.3");
        let answer = user.begin(&begin).await.unwrap();
        let answers = join_all((0..5).map(|_| user.begin(&begin))).await;
        for repeated in answers {
            assert_eq!(repeated.unwrap(), answer);
        }
        assert_eq!(user.rows("request_logs").await.len(), 1);
        assert_eq!(user.account().await, ("0".into(), "0.3".into()));

        let look_up = user.look_up();
        user.begin(&look_up).await.unwrap();
        user.begin(&look_up).await.unwrap();

        // Once finished, the same begin would be a free ride.
        user.finish(&completed(begin.id, "0.1")).await.unwrap();
        assert_eq!(refusal(user.begin(&begin).await), Refusal::Replayed);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_repeated_begin_is_bound_to_its_did() {
    with_user(json!({}), async |user| {
        with_user(json!({}), async |other| {
            let begin = user.billable("0");
            user.begin(&begin).await.unwrap();
            let stolen = Begin {
                did: &other.did,
                ..begin
            };
            assert_eq!(refusal(user.begin(&stolen).await), Refusal::Replayed);
        })
        .await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn the_storage_insists_on_ids_and_fingerprints() {
    with_user(json!({}), async |user| {
        let bare = Begin {
            fingerprint: None,
            ..user.billable("0")
        };
        assert!(matches!(
            user.begin(&bare).await,
            Err(StorageError::Protocol(_))
        ));

        let begin = user.billable("0");
        user.begin(&begin).await.unwrap();
        let same_id = Begin {
            id: begin.id,
            ..user.billable("0")
        };
        assert!(matches!(
            user.begin(&same_id).await,
            Err(StorageError::Protocol(_))
        ));
        assert_eq!(user.rows("request_logs").await.len(), 1);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_refused_request_leaves_no_trace() {
    with_user(json!({"credit_limit": "1"}), async |user| {
        let begin = user.billable("1.01");
        assert!(matches!(
            refusal(user.begin(&begin).await),
            Refusal::CreditLimitReached { .. }
        ));
        assert_eq!(user.rows("request_logs").await, Vec::<Value>::new());
        let affordable = Begin {
            books: Some(books("1")),
            ..begin
        };
        user.begin(&affordable).await.unwrap();
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn expired_fingerprints_are_cleared_away() {
    with_user(json!({}), async |user| {
        let live = user.look_up();
        user.begin(&live).await.unwrap();
        let mut old = user.look_up();
        if let Some(fingerprint) = &mut old.fingerprint {
            fingerprint.expires_at = old.request_time - SignedDuration::from_secs(60);
        }
        user.begin(&old).await.unwrap();

        // Each call clears at most 20, of everybody's.
        for _ in 0..50 {
            if user.fingerprints(old.id).await == 0 {
                break;
            }
            user.begin(&user.look_up()).await.unwrap();
        }
        assert_eq!(user.fingerprints(old.id).await, 0);
        assert_eq!(user.fingerprints(live.id).await, 1);
    })
    .await;
}

// ---------------------------------------------------------------------------- money and limits

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn the_limit_counts_what_is_spent_and_held() {
    with_user(json!({"credit_limit": "1"}), async |user| {
        let (first, second) = (user.billable("0.4"), user.billable("0.6"));
        user.begin(&first).await.unwrap();
        user.begin(&second).await.unwrap();
        let limit = |spent: &str, held: &str, hold: &str| Refusal::CreditLimitReached {
            limit: "1".into(),
            spent: spent.into(),
            held: held.into(),
            hold: hold.into(),
        };
        assert_eq!(
            refusal(user.begin(&user.billable("0.000001")).await),
            limit("0", "1", "0.000001")
        );
        user.begin(&user.billable("0")).await.unwrap();

        user.finish(&completed(first.id, "7.434e-07"))
            .await
            .unwrap();
        assert_eq!(
            refusal(user.begin(&user.billable("0.4")).await),
            limit("0.0000007434", "0.6", "0.4")
        );
        user.finish(&completed(second.id, "1.5")).await.unwrap();
        assert_eq!(
            refusal(user.begin(&user.billable("0")).await),
            limit("1.5000007434", "0", "1.5")
        );
        user.begin(&user.look_up()).await.unwrap();
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn parallel_requests_do_not_pass_the_limit_together() {
    with_user(json!({"credit_limit": "1"}), async |user| {
        let begins: Vec<_> = (0..20).map(|_| user.billable("0.3")).collect();
        let answers = join_all(begins.iter().map(|begin| user.begin(begin))).await;
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 3);
        assert_eq!(user.account().await, ("0".into(), "0.9".into()));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_hundred_requests_on_every_endpoint_stay_within_the_bound() {
    // Each costs more than the least hold, so the first ones overshoot; then the hold has learned.
    const LEAST: &str = "0.01";
    let endpoints = [
        ("chat", "/chat/completions"),
        ("completions", "/completions"),
        ("messages", "/messages"),
        ("responses", "/responses"),
        ("other", "/brand/new"),
    ];
    with_user(json!({"credit_limit": "0.2"}), async |user| {
        let begins: Vec<_> = (0..100)
            .zip(endpoints.into_iter().cycle())
            .map(|(_, (endpoint, path))| Begin {
                books: Some(Books {
                    endpoint,
                    path,
                    ..books(LEAST)
                }),
                ..user.billable(LEAST)
            })
            .collect();
        let answers = join_all(begins.iter().map(|begin| user.begin(begin))).await;
        let begun: Vec<_> = begins
            .iter()
            .zip(&answers)
            .filter(|(_, answer)| answer.is_ok())
            .map(|(begin, _)| begin.id)
            .collect();
        // 0.2 has room for exactly 20 holds of 0.01, whichever endpoints win.
        assert_eq!(begun.len(), 20);
        assert_eq!(user.account().await, ("0".into(), "0.2".into()));
        for answer in answers.into_iter().filter(Result::is_err) {
            assert!(matches!(
                refusal(answer),
                Refusal::CreditLimitReached { .. }
            ));
        }

        let finishes: Vec<_> = begun.iter().map(|id| completed(*id, "0.013")).collect();
        for answer in join_all(finishes.iter().map(|finish| user.finish(finish))).await {
            assert!(answer.unwrap().by_this_call);
        }
        // The documented bound: 20 in flight, each 0.003 above its hold.
        assert_eq!(user.account().await, ("0.26".into(), "0".into()));
        assert!(matches!(
            refusal(user.begin(&user.billable("0")).await),
            Refusal::CreditLimitReached { .. }
        ));

        // With more room, the same burst now overshoots by nothing: 0.26 + 18 × 0.013 <= 0.5.
        user.change_key(json!({"credit_limit": "0.5"})).await;
        let begins: Vec<_> = (0..100).map(|_| user.billable(LEAST)).collect();
        let through = begins.iter().map(async |begin| {
            user.begin(begin).await.ok()?;
            user.finish(&completed(begin.id, "0.013")).await.ok()
        });
        let passed = join_all(through).await.into_iter().flatten().count();
        assert_eq!(passed, 18);
        assert_eq!(user.account().await, ("0.494".into(), "0".into()));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn the_hold_is_the_most_that_the_last_twenty_such_requests_cost() {
    with_user(json!({"credit_limit": "100"}), async |user| {
        with_user(json!({"credit_limit": "100"}), async |other| {
            let spend = async |model: Option<&'static str>, cost: &'static str| {
                let begin = Begin {
                    books: Some(Books {
                        model,
                        ..books("0")
                    }),
                    ..user.billable("0")
                };
                user.begin(&begin).await.unwrap();
                user.finish(&completed(begin.id, cost)).await.unwrap();
            };
            let hold = async |of: &User, model: Option<&'static str>| {
                let begin = Begin {
                    books: Some(Books {
                        model,
                        ..books("0.01")
                    }),
                    ..of.billable("0")
                };
                of.begin(&begin).await.unwrap();
                let hold = amount(&of.row(begin.id).await["hold"]);
                let failed = Finish {
                    cost: Cost {
                        state: CostState::None,
                        openrouter: None,
                        ..cost("0")
                    },
                    ..completed(begin.id, "0")
                };
                of.finish(&failed).await.unwrap();
                assert_eq!(amount(&of.row(begin.id).await["hold"]), "0");
                hold
            };
            spend(Some("m/dear"), "0.7").await;
            spend(Some("m/dear"), "0.3").await;
            spend(Some("m/cheap"), "0.000001").await;
            spend(None, "0.2").await;
            assert_eq!(hold(user, Some("m/dear")).await, "0.7");
            assert_eq!(hold(user, Some("m/cheap")).await, "0.01");
            assert_eq!(hold(user, Some("m/new")).await, "0.01");
            assert_eq!(hold(user, None).await, "0.2");
            assert_eq!(hold(other, Some("m/dear")).await, "0.01");

            for _ in 0..19 {
                spend(Some("m/dear"), "0.05").await;
            }
            assert_eq!(hold(user, Some("m/dear")).await, "0.3");
            spend(Some("m/dear"), "0.05").await;
            assert_eq!(hold(user, Some("m/dear")).await, "0.05");
        })
        .await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn without_a_limit_nothing_is_held() {
    with_user(json!({}), async |user| {
        let begin = user.billable("0.5");
        user.begin(&begin).await.unwrap();
        assert_eq!(user.account().await, ("0".into(), "0".into()));
        user.finish(&completed(begin.id, "3")).await.unwrap();
        user.begin(&user.billable("0.5")).await.unwrap();
        assert_eq!(user.account().await, ("3".into(), "0".into()));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn another_key_keeps_what_is_spent_and_held() {
    with_user(json!({"credit_limit": "1"}), async |user| {
        let (done, running) = (user.billable("0.25"), user.billable("0.25"));
        user.begin(&done).await.unwrap();
        user.begin(&running).await.unwrap();
        user.finish(&completed(done.id, "0.6")).await.unwrap();
        let account = ("0.6".into(), "0.25".into());

        user.change_key(json!({"encrypted_api_key": "v1.replaced", "seal_key_id": 7}))
            .await;
        assert_eq!(user.account().await, account);
        assert_eq!(
            user.begin(&user.look_up()).await.unwrap().sealed_key,
            "v1.replaced"
        );

        user.delete("user_api_keys", "did", &user.did).await;
        user.insert_key(json!({"credit_limit": "1"})).await;
        assert_eq!(user.account().await, account);
        assert!(matches!(
            refusal(user.begin(&user.billable("0.25")).await),
            Refusal::CreditLimitReached { .. }
        ));
        user.finish(&completed(running.id, "0.4")).await.unwrap();
        assert_eq!(user.account().await, ("1".into(), "0".into()));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn of_parallel_requests_as_many_pass_as_a_minute_allows() {
    with_user(json!({}), async |user| {
        // Slow enough that no request falls due while the test runs.
        let rate = NonZeroU32::new(3);
        let begins: Vec<_> = (0..12)
            .map(|i| Begin {
                requests_per_minute: rate,
                ..if i % 2 == 0 {
                    user.look_up()
                } else {
                    user.billable("0")
                }
            })
            .collect();
        let answers = join_all(begins.iter().map(|begin| user.begin(begin))).await;
        let (passed, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        assert_eq!(passed.len(), 3);
        for answer in refused {
            let refusal = refusal(answer);
            assert!(
                matches!(
                    refusal,
                    Refusal::RateLimited {
                        requests_per_minute: 3,
                        retry_after: 1..=20
                    }
                ),
                "{refusal:?}"
            );
        }

        // A rate of the key's own wins; repeating a begin counts once.
        user.change_key(json!({"requests_per_minute": 1000, "rate_tat": null}))
            .await;
        let again = Begin {
            requests_per_minute: rate,
            ..user.billable("0")
        };
        for _ in 0..3 {
            user.begin(&again).await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_refused_request_may_come_again_after_its_time() {
    with_user(json!({"requests_per_minute": 60}), async |user| {
        // One falls due each second, so at some point in the second minute's worth one is early.
        let mut refused = None;
        for _ in 0..120 {
            let begin = user.look_up();
            if let Err(StorageError::Refused(refusal)) = user.begin(&begin).await {
                refused = Some((begin, refusal));
                break;
            }
        }
        let (early, refusal) = refused.expect("a refusal");
        assert_eq!(
            refusal,
            Refusal::RateLimited {
                requests_per_minute: 60,
                retry_after: 1
            }
        );
        tokio::time::sleep(Duration::from_secs(1)).await;
        user.begin(&early).await.unwrap();
    })
    .await;
}

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

// ---------------------------------------------------------------------------------------- usage

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn usage_is_summed_over_a_half_open_range() {
    with_user(json!({}), async |user| {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let (start, end) = (at("2026-03-29T00:00:00Z"), at("2026-03-30T00:00:00Z"));
        let requests = [
            (
                "2026-03-28T23:59:59.999Z",
                Some((Status::Completed, "m/before")),
            ),
            ("2026-03-29T00:00:00Z", Some((Status::Completed, "m/a"))),
            ("2026-03-29T12:00:00Z", Some((Status::Failed, "m/\"ü\""))),
            ("2026-03-29T12:00:00.001Z", None),
            ("2026-03-29T23:59:59.999Z", Some((Status::Completed, "m/a"))),
            ("2026-03-30T00:00:00Z", Some((Status::Completed, "m/after"))),
        ];
        for (time, outcome) in requests {
            let begin = Begin {
                request_time: at(time),
                ..user.billable("0")
            };
            user.begin(&begin).await.unwrap();
            if let Some((status, model)) = outcome {
                let tokens = Tokens {
                    input: Some(2_000_000_000),
                    output: None,
                    ..Tokens::default()
                };
                let finish = Finish {
                    status,
                    model: Some(model),
                    tokens,
                    ..completed(begin.id, "0.0076509169000000005")
                };
                user.finish(&finish).await.unwrap();
            }
        }

        let day = user.usage(Some(start), Some(end)).await;
        assert_eq!(
            day,
            json!({
                "total_requests": 4, "successful_requests": 2, "failed_requests": 1,
                "total_input_tokens": 6_000_000_000_u64, "total_output_tokens": 0,
                "total_cost": "0.0229527507000000015",
                "requests_by_model": {"m/a": 2, "m/\"ü\"": 1, "anthropic/claude-sonnet-4.6": 1},
            })
        );
        // What the release before asks still answers.
        let request = json!({"request": {"did": user.did, "start": start, "end": end}}).to_string();
        let before = user
            .rest(Method::POST, "rpc/usage_summary", Some(&request))
            .await;
        let before: Value = serde_json::from_str(&before).unwrap();
        assert_eq!(
            (&before["total_requests"], &before["total_cost"]),
            (&json!("4"), &day["total_cost"])
        );
        assert_eq!(
            user.usage(None, Some(start)).await["requests_by_model"],
            json!({"m/before": 1})
        );
        assert_eq!(
            user.usage(Some(end), None).await["requests_by_model"],
            json!({"m/after": 1})
        );
        assert_eq!(user.usage(None, None).await["total_requests"], 6);
        assert_eq!(
            user.usage(Some(end), Some(start)).await,
            json!({
                "total_requests": 0, "successful_requests": 0, "failed_requests": 0,
                "total_input_tokens": 0, "total_output_tokens": 0, "total_cost": "0",
                "requests_by_model": {},
            })
        );
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn usage_is_grouped_by_what_is_asked_for() {
    with_user(json!({}), async |user| {
        user.log(&[
            json!({"request_time": "2026-01-01T00:00:00Z", "model": "m/b", "endpoint": "chat", "total_cost": "0.1"}),
            json!({"request_time": "2026-01-01T23:59:59Z", "model": "m/a", "endpoint": "messages", "input_tokens": 3,
                   "cached_tokens": 2, "reasoning_tokens": 1, "output_tokens": 4}),
            json!({"request_time": "2026-01-02T00:00:00Z", "model": "m/b", "endpoint": null, "status": "failed"}),
            json!({"request_time": "2026-01-02T00:00:01Z", "model": "m/b", "status": "pending"}),
            json!({"request_time": "2026-01-02T00:00:02Z", "model": "m/b", "endpoint": "chat", "total_cost": "0.2",
                   "cost_state": "final"}),
            json!({"request_time": "2026-01-02T00:00:03Z", "model": "m/b", "endpoint": "chat", "cost_state": "pending"}),
            json!({"request_time": "2026-01-02T00:00:04Z", "model": "m/b", "endpoint": "chat", "cost_state": "unknown"}),
        ])
        .await;

        let by_model = user.report(&[Dimension::Model], &[], 10).await;
        assert_eq!(keys(&by_model), ["m/a 1", "m/b 6"]);
        let [a, b] = by_model.groups.as_slice() else {
            panic!("{by_model:?}")
        };
        assert_eq!(
            (a.input_tokens, a.output_tokens, a.cached_tokens, a.reasoning_tokens),
            (3, 4, 2, 1)
        );
        assert_eq!(b.cost.to_string(), "0.3");
        assert_eq!(
            (b.successful_requests, b.failed_requests, b.pending_requests),
            (4, 1, 1)
        );
        assert_eq!((b.cost_pending_requests, b.cost_unknown_requests), (1, 1));
        assert_eq!((by_model.cost_pending_requests, by_model.pending_requests), (1, 1));
        assert_eq!((by_model.total_cached_tokens, by_model.total_reasoning_tokens), (2, 1));

        let utc = [LocalOffset { from: None, seconds: 0 }];
        let by_both = user.report(&[Dimension::Day, Dimension::Model], &utc, 10).await;
        assert_eq!(
            keys(&by_both),
            ["2026-01-01 m/a 1", "2026-01-01 m/b 1", "2026-01-02 m/b 5"]
        );
        let model_first = user.report(&[Dimension::Model, Dimension::Day], &utc, 10).await;
        assert_eq!(
            keys(&model_first),
            ["m/a 2026-01-01 1", "m/b 2026-01-01 1", "m/b 2026-01-02 5"]
        );
        // What is not known is a group, too; it comes last.
        let by_endpoint = user.report(&[Dimension::Endpoint], &[], 10).await;
        assert_eq!(keys(&by_endpoint), ["chat 4", "messages 1", "- 2"]);

        // All groups or none.
        let few = user.report(&[Dimension::Day, Dimension::Model], &utc, 2).await;
        assert_eq!((few.groups.len(), few.group_count, few.total_requests), (0, 3, 7));
        let one = user.report(&[], &[], 1).await;
        assert_eq!((one.models, one.requests_by_model.into_iter().collect::<Vec<_>>()), (2, vec![("m/b".into(), 6)]));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn days_and_hours_are_those_of_the_local_clock() {
    with_user(json!({}), async |user| {
        let at = |text: &str| Some(text.parse::<Timestamp>().unwrap());
        // Berlin in October 2026, when 02:00 to 03:00 comes twice.
        let berlin = [
            LocalOffset {
                from: None,
                seconds: 7200,
            },
            LocalOffset {
                from: at("2026-10-25T01:00:00Z"),
                seconds: 3600,
            },
        ];
        let times = [
            "2026-10-24T21:59:59.999999Z",
            "2026-10-24T22:00:00Z",
            "2026-10-25T00:30:00Z",
            "2026-10-25T00:59:59.999999Z",
            "2026-10-25T01:00:00Z",
            "2026-10-25T02:00:00Z",
            "2026-10-25T22:59:59.999999Z",
            "2026-10-25T23:00:00Z",
        ];
        user.log(&times.map(|time| json!({"request_time": time})))
            .await;
        assert_eq!(
            keys(&user.report(&[Dimension::Day], &berlin, 10).await),
            ["2026-10-24 1", "2026-10-25 6", "2026-10-26 1"]
        );
        assert_eq!(
            keys(&user.report(&[Dimension::Hour], &berlin, 10).await),
            [
                "2026-10-24T23:00:00+02:00 1",
                "2026-10-25T00:00:00+02:00 1",
                "2026-10-25T02:00:00+02:00 2",
                "2026-10-25T02:00:00+01:00 1",
                "2026-10-25T03:00:00+01:00 1",
                "2026-10-25T23:00:00+01:00 1",
                "2026-10-26T00:00:00+01:00 1",
            ]
        );
        // West of Greenwich, and not by whole hours.
        let st_johns = [LocalOffset {
            from: None,
            seconds: -9000,
        }];
        assert_eq!(
            keys(&user.report(&[Dimension::Day], &st_johns, 10).await),
            ["2026-10-24 6", "2026-10-25 2"]
        );
        assert_eq!(
            keys(&user.report(&[Dimension::Hour], &st_johns, 10).await)[0],
            "2026-10-24T19:00:00-02:30 2"
        );
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn percentiles_are_exact() {
    with_user(json!({}), async |user| {
        let none = user.report(&[], &[], 1).await;
        assert_eq!((none.duration_ms.p50, none.first_byte_ms.p99), (None, None));

        // 1 to 200 ms, each once, and some without an end or a first byte.
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut rows: Vec<_> = (1..=200_i64)
            .map(|n| {
                let end = start + SignedDuration::from_millis(n * 7 % 200 + 1);
                json!({"request_time": start, "response_time": end, "first_byte_ms": n * 10})
            })
            .collect();
        rows.extend((0..50).map(|_| json!({"request_time": start, "status": "pending"})));
        user.log(&rows).await;
        let report = user.report(&[], &[], 1).await;
        let of = report.duration_ms;
        assert_eq!((of.p50, of.p90, of.p99), (Some(100), Some(180), Some(198)));
        let of = report.first_byte_ms;
        assert_eq!(
            (of.p50, of.p90, of.p99),
            (Some(1000), Some(1800), Some(1980))
        );
        // Not asked for.
        let asked = question(&user.did, Period::default(), None);
        let report = user
            .storage
            .usage_report(&sums(asked), soon())
            .await
            .unwrap();
        assert_eq!((report.duration_ms.p50, report.total_requests), (None, 250));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_report_tells_the_account() {
    let account = |report: UsageReport| {
        [report.limit, report.spent, report.held, report.remaining]
            .map(|it| it.map(|amount| amount.to_string()))
    };
    let some = |text: &str| Some(text.to_owned());
    with_user(json!({"credit_limit": "10"}), async |user| {
        let (done, running) = (user.billable("0.5"), user.billable("0.5"));
        user.begin(&done).await.unwrap();
        user.finish(&completed(done.id, "2.25")).await.unwrap();
        user.begin(&running).await.unwrap();
        // What a request to this model has cost is what the next one holds.
        assert_eq!(
            account(user.report(&[], &[], 1).await),
            [some("10"), some("2.25"), some("2.25"), some("5.5")]
        );
        user.change_key(json!({"credit_limit": "2"})).await;
        assert_eq!(account(user.report(&[], &[], 1).await)[3], some("0"));
        user.change_key(json!({"credit_limit": null})).await;
        assert_eq!(
            account(user.report(&[], &[], 1).await),
            [None, some("2.25"), some("2.25"), None]
        );
        user.delete("user_api_keys", "did", &user.did).await;
        assert_eq!(
            account(user.report(&[], &[], 1).await),
            [None, None, None, None]
        );
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn pages_name_each_request_once_while_others_arrive() {
    with_user(json!({}), async |user| {
        with_user(json!({}), async |other| {
            other
                .log(&[json!({}), json!({"request_time": "2026-01-01T00:00:00Z"})])
                .await;
            // Many in the same millisecond: the id decides.
            let time = |n: i64| format!("2026-01-01T00:00:00.{:03}Z", n / 5);
            let rows: Vec<_> = (0..43).map(|n| json!({"request_time": time(n)})).collect();
            let mut expected = user.log(&rows).await;
            expected.sort();

            let mut seen = Vec::new();
            let mut before = None;
            loop {
                let page = user.page(&RequestFilter::default(), 7, before).await;
                seen.extend(page.requests.iter().map(RequestEntry::place));
                before = page.requests.last().map(RequestEntry::place);
                if !page.more {
                    break;
                }
                assert_eq!(page.requests.len(), 7);
                user.log(&[json!({"request_time": "2026-01-02T00:00:00Z"})])
                    .await;
            }
            assert!(seen.is_sorted_by_key(|it| std::cmp::Reverse((it.request_time, it.id))));
            let mut ids: Vec<_> = seen.into_iter().map(|place| place.id).collect();
            ids.sort();
            assert_eq!(ids, expected);
        })
        .await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn requests_are_listed_with_all_that_a_user_may_see() {
    with_user(json!({"credit_limit": "10"}), async |user| {
        let begin = user.billable("0.25");
        user.begin(&begin).await.unwrap();
        let finish = Finish {
            response_time: begin.request_time + SignedDuration::from_millis(1234),
            cost: Cost {
                upstream_inference: Some("0.5"),
                is_byok: Some(true),
                ..cost("7.434e-07")
            },
            ..completed(begin.id, "0")
        };
        user.finish(&finish).await.unwrap();
        let page = user.page(&RequestFilter::default(), 1, None).await;
        assert!(!page.more);
        let mut json = serde_json::to_value(&page.requests[0]).unwrap();
        // As a number with all its digits, which a `Value` does not keep.
        assert!(
            serde_json::to_string(&page.requests[0])
                .unwrap()
                .contains(r#""total_cost":0.5000007434,"openrouter_cost":0.0000007434,"upstream_inference_cost":0.5"#)
        );
        for cost in ["total_cost", "openrouter_cost", "upstream_inference_cost"] {
            json.as_object_mut().unwrap().remove(cost);
        }
        let milliseconds = |at: Timestamp| Timestamp::from_millisecond(at.as_millisecond()).unwrap();
        assert_eq!(
            json,
            json!({
                "id": begin.id, "request_time": milliseconds(begin.request_time),
                "response_time": milliseconds(finish.response_time), "duration_ms": 1234, "first_byte_ms": 321,
                "method": "POST", "path": "/chat/completions", "endpoint": "chat",
                "requested_model": "anthropic/claude-sonnet-4.6", "model": "anthropic/claude-4.6-sonnet-20260217",
                "generation_id": "gen-1", "streamed": true, "status": "completed", "http_status": 200,
                "error_reason": null, "error_message": null, "input_tokens": 12, "output_tokens": 34,
                "cached_tokens": 5, "reasoning_tokens": null, "cost_state": "final",
                "unknown_cost_reason": null, "is_byok": true,
            })
        );
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn requests_are_filtered() {
    with_user(json!({}), async |user| {
        let ids = user
            .log(&[
                json!({"request_time": "2026-01-01T00:00:00Z", "model": "m/a", "endpoint": "chat", "total_cost": "0.01"}),
                json!({"request_time": "2026-01-02T00:00:00Z", "status": "failed", "cost_state": "pending"}),
                json!({"request_time": "2026-01-03T00:00:00Z", "status": "pending", "total_cost": null}),
                json!({"request_time": "2026-01-04T00:00:00Z", "model": "m/a\"ü", "total_cost": "0.0099"}),
            ])
            .await;
        let none = RequestFilter::default;
        let filters = [
            (RequestFilter { model: Some("m/a".into()), ..none() }, 0),
            (RequestFilter { endpoint: Some("chat".into()), ..none() }, 0),
            (RequestFilter { status: Some("failed"), ..none() }, 1),
            (RequestFilter { cost_state: Some("pending"), ..none() }, 1),
            (RequestFilter { status: Some("pending"), ..none() }, 2),
            (RequestFilter { model: Some("m/a\"ü".into()), ..none() }, 3),
            (RequestFilter { min_cost: Some("0.01".parse().unwrap()), ..none() }, 0),
        ];
        for (filter, expected) in filters {
            let page = user.page(&filter, 10, None).await;
            let found: Vec<_> = page.requests.iter().map(|request| request.id).collect();
            assert_eq!(found, [ids[expected]], "{filter:?}");
        }
        let period = Period {
            start: Some("2026-01-02T00:00:00Z".parse().unwrap()),
            end: Some("2026-01-03T00:00:00Z".parse().unwrap()),
        };
        let asked = RequestsQuery {
            asked: question(&user.did, period, None),
            filter: &none(),
            limit: 10,
            before: None,
        };
        let page = user.storage.usage_requests(&asked, soon()).await.unwrap();
        assert_eq!(page.requests.len(), 1);
        assert_eq!(page.requests[0].id, ids[1]);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_page_of_long_rows_is_shorter() {
    with_user(json!({}), async |user| {
        // 2,000 characters of four bytes each, as long as a message can be.
        let row = json!({"error_message": "\u{1f980}".repeat(2000), "status": "failed"});
        for _ in 0..3 {
            user.log(&vec![row.clone(); 100]).await;
        }
        let first = user.page(&RequestFilter::default(), 1000, None).await;
        assert!(
            first.more && (200..250).contains(&first.requests.len()),
            "{}",
            first.requests.len()
        );
        let last = first.requests.last().map(RequestEntry::place);
        let second = user.page(&RequestFilter::default(), 1000, last).await;
        assert!(!second.more);
        assert_eq!(first.requests.len() + second.requests.len(), 300);
    })
    .await;
}

// ------------------------------------------------------------------------------- reconciliation

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

        user.delete("user_api_keys", "did", &user.did).await;
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
            let (status, text) = send(
                &user.client,
                Some(&key),
                Method::POST,
                &format!("rpc/{function}"),
                Some(&arguments.to_string()),
            )
            .await;
            assert_eq!(status, 400, "{arguments}: {text}");
        }
        let answer = user.storage.settle(&unknown(user.id()), soon()).await;
        assert!(matches!(answer, Err(StorageError::NoSuchRequest)));
        assert_eq!(user.account().await, ("0".into(), "0.5".into()));
    })
    .await;
}

/// Later than any lease.
fn far_future() -> Timestamp {
    Clock::system().now() + SignedDuration::from_hours(48)
}

/// A request whose cost nobody told.
fn cut(id: Uuid) -> Finish<'static> {
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

fn unknown(id: Uuid) -> Settle<'static> {
    Settle {
        id,
        time: Clock::system().now(),
        finding: Finding::Unknown {
            reason: "no_generation_id",
            attempts: None,
        },
    }
}

fn billed(usd: &str, is_byok: Option<bool>) -> Finding<'static> {
    Finding::Final {
        openrouter: usd.parse().unwrap(),
        upstream_inference: "0.0076509169000000005".parse().ok(),
        is_byok,
        tokens: Tokens {
            input: Some(9),
            ..Tokens::default()
        },
        model: None,
    }
}

// --------------------------------------------------------------------------------------- access

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn the_public_is_refused_at_the_door() {
    with_user(json!({}), async |user| {
        let anon = env("STORAGE_ANON_KEY");
        for (method, path, body) in doors(user) {
            for key in [Some(anon.as_str()), None] {
                let (status, text) =
                    send(&user.client, key, method.clone(), &path, body.as_deref()).await;
                assert!(
                    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN),
                    "{method} {path} with {key:?}: {status} {text}"
                );
            }
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn the_public_sees_and_changes_nothing() {
    with_user(json!({}), async |user| {
        let begin = user.billable("0.5");
        user.begin(&begin).await.unwrap();
        let tables = ["user_api_keys", "request_logs"];
        let before = [user.rows(tables[0]).await, user.rows(tables[1]).await];

        let anon = env("STORAGE_ANON_KEY");
        for (method, path, body) in doors(user) {
            let (_, text) = send(
                &user.client,
                Some(&anon),
                method.clone(),
                &path,
                body.as_deref(),
            )
            .await;
            assert!(
                !text.contains("v1.sealed") && !text.contains(&begin.id.to_string()),
                "{method} {path}"
            );
        }
        let after = [user.rows(tables[0]).await, user.rows(tables[1]).await];
        assert_eq!(after, before);
        assert_eq!(user.fingerprints(begin.id).await, 1);
    })
    .await;
}

/// Every way to the user's rows: each table with each verb, each function.
fn doors(user: &User) -> Vec<(Method, String, Option<String>)> {
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
            json!({"disabled": true}),
        ),
        (
            "request_logs",
            format!("did=eq.{}", user.did),
            json!({"status": "failed"}),
        ),
        (
            "request_fingerprints",
            format!("request_id=eq.{id}"),
            json!({"expires_at": "2020-01-01T00:00:00Z"}),
        ),
    ];
    let mut doors = Vec::new();
    for (table, filter, change) in tables {
        let path = format!("{table}?{filter}");
        let change = Some(change.to_string());
        doors.push((Method::GET, path.clone(), None));
        doors.push((Method::POST, table.to_owned(), change.clone()));
        doors.push((Method::PATCH, path.clone(), change));
        doors.push((Method::DELETE, path, None));
    }
    for (function, arguments) in functions {
        doors.push((
            Method::POST,
            format!("rpc/{function}"),
            Some(arguments.to_string()),
        ));
    }
    doors
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

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_guarded_question_passes_once() {
    with_user(json!({}), async |user| {
        let mut asked = question(&user.did, Period::default(), user.look_up().fingerprint);
        asked.id = user.id();
        user.storage
            .usage_report(&sums(asked), soon())
            .await
            .unwrap();
        // A retry of the same request, whose answer was lost.
        user.storage
            .usage_report(&sums(asked), soon())
            .await
            .unwrap();
        asked.id = user.id();
        assert!(matches!(
            user.storage.usage_report(&sums(asked), soon()).await,
            Err(StorageError::Refused(Refusal::Replayed))
        ));

        let filter = RequestFilter::default();
        let requests = |asked| RequestsQuery {
            asked,
            filter: &filter,
            limit: 1,
            before: None,
        };
        assert!(matches!(
            user.storage.usage_requests(&requests(asked), soon()).await,
            Err(StorageError::Refused(Refusal::Replayed))
        ));
        asked.fingerprint = user.look_up().fingerprint;
        user.storage
            .usage_requests(&requests(asked), soon())
            .await
            .unwrap();
    })
    .await;
}

/// The question for totals alone.
fn sums(asked: UsageQuery<'_>) -> ReportQuery<'_> {
    ReportQuery {
        asked,
        group_by: &[],
        offsets: &[],
        max_groups: 100,
        percentiles: false,
    }
}

/// The keys of each group, and how many requests it has.
fn keys(report: &UsageReport) -> Vec<String> {
    let line = |group: &shared::storage::UsageGroup| {
        let keys = group.keys.iter().map(|key| key.as_deref().unwrap_or("-"));
        let keys: Vec<_> = keys.collect();
        format!("{} {}", keys.join(" "), group.requests)
    };
    report.groups.iter().map(line).collect()
}

fn question(did: &str, period: Period, fingerprint: Option<ReplayGuard>) -> UsageQuery<'_> {
    UsageQuery {
        id: Uuid::nil(),
        did,
        request_time: Timestamp::UNIX_EPOCH,
        fingerprint,
        period,
    }
}

// -------------------------------------------------------------------------------------- the user

/// A DID with a key, and the means to look at its rows.
struct User {
    did: String,
    storage: Storage,
    client: Client,
    ids: Mutex<Vec<Uuid>>,
}

/// Runs a test with a fresh user, and deletes the user's rows however it ends.
async fn with_user(key: Value, test: impl AsyncFnOnce(&User)) {
    let client = client();
    let user = User {
        did: format!("did:key:contract-{}", random_id()),
        storage: Storage::new(client.clone(), &url(), self::key())
            // PGlite has one connection, on which twenty parallel calls queue up.
            .with_attempt_timeout(Duration::from_secs(20)),
        client,
        ids: Mutex::default(),
    };
    user.insert_key(key).await;
    let result = AssertUnwindSafe(test(&user)).catch_unwind().await;
    user.clean_up().await;
    if let Err(panic) = result {
        resume_unwind(panic);
    }
}

impl User {
    async fn begin(&self, begin: &Begin<'_>) -> Result<Begun, StorageError> {
        self.storage.begin(begin, soon()).await
    }

    async fn finish(&self, finish: &Finish<'_>) -> Result<Finished, StorageError> {
        self.storage.finish(finish, soon()).await
    }

    /// This user's open rows, with leases of one and of ten minutes.
    async fn claim(&self, now: Timestamp, limit: u16) -> Vec<Unsettled> {
        let claim = Claim {
            now,
            limit,
            leases: &[Duration::from_mins(1), Duration::from_mins(10)],
            abandoned_after: Some(Duration::from_mins(20)),
            did: Some(&self.did),
        };
        self.storage.claim_unsettled(&claim, soon()).await.unwrap()
    }

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

    async fn settle(&self, settle: &Settle<'_>) -> Settled {
        self.storage.settle(settle, soon()).await.unwrap()
    }

    /// A usage report as JSON, for comparison, but for account, percentiles and groups.
    async fn usage(&self, start: Option<Timestamp>, end: Option<Timestamp>) -> Value {
        let asked = question(&self.did, Period { start, end }, None);
        let usage = self
            .storage
            .usage_report(&sums(asked), soon())
            .await
            .unwrap();
        json!({
            "total_requests": usage.total_requests,
            "successful_requests": usage.successful_requests,
            "failed_requests": usage.failed_requests,
            "total_input_tokens": usage.total_input_tokens,
            "total_output_tokens": usage.total_output_tokens,
            "total_cost": usage.total_cost.to_string(),
            "requests_by_model": usage.requests_by_model,
        })
    }

    /// The usage of all time, in groups.
    async fn report(
        &self,
        group_by: &[Dimension],
        offsets: &[LocalOffset],
        max_groups: u32,
    ) -> UsageReport {
        let query = ReportQuery {
            asked: question(&self.did, Period::default(), None),
            group_by,
            offsets,
            max_groups,
            percentiles: true,
        };
        self.storage.usage_report(&query, soon()).await.unwrap()
    }

    async fn page(&self, filter: &RequestFilter, limit: u16, before: Option<Place>) -> RequestPage {
        let query = RequestsQuery {
            asked: question(&self.did, Period::default(), None),
            filter,
            limit,
            before,
        };
        self.storage.usage_requests(&query, soon()).await.unwrap()
    }

    /// Puts rows into the books, as they stand; returns their ids.
    async fn log(&self, rows: &[Value]) -> Vec<Uuid> {
        let ids: Vec<_> = rows.iter().map(|_| random_id()).collect();
        let rows: Vec<_> = std::iter::zip(&ids, rows)
            .map(|(id, row)| {
                // A bulk insert wants the same members in each.
                let mut whole = json!({
                    "id": id, "did": self.did, "model": "m", "endpoint": null, "status": "completed",
                    "cost_state": "none", "total_cost": null, "request_time": "2026-01-01T00:00:00Z",
                    "response_time": null, "first_byte_ms": null, "input_tokens": null, "output_tokens": null,
                    "cached_tokens": null, "reasoning_tokens": null, "error_message": null,
                });
                for (name, value) in row.as_object().unwrap() {
                    whole[name] = value.clone();
                }
                whole
            })
            .collect();
        self.rest(
            Method::POST,
            "request_logs",
            Some(&Value::from(rows).to_string()),
        )
        .await;
        ids
    }

    fn id(&self) -> Uuid {
        let id = random_id();
        self.ids.lock().unwrap().push(id);
        id
    }

    /// A request that costs nothing, signed anew.
    fn look_up(&self) -> Begin<'_> {
        let now = Clock::system().now();
        let mut digest = [0; 32];
        getrandom::fill(&mut digest).unwrap();
        Begin {
            id: self.id(),
            did: &self.did,
            request_time: now,
            fingerprint: Some(ReplayGuard {
                digest,
                expires_at: now + SignedDuration::from_mins(6),
            }),
            requests_per_minute: None,
            books: None,
        }
    }

    /// A request that costs something, signed anew.
    fn billable(&self, hold: &'static str) -> Begin<'_> {
        Begin {
            books: Some(books(hold)),
            ..self.look_up()
        }
    }

    /// (spent, reserved)
    async fn account(&self) -> (String, String) {
        let rows = self.rows("user_api_keys").await;
        let [row] = rows.as_slice() else {
            panic!("{} keys", rows.len())
        };
        (amount(&row["spent"]), amount(&row["reserved"]))
    }

    /// The row of one request, numbers as text.
    async fn row(&self, id: Uuid) -> Value {
        let rows = self.rows("request_logs").await;
        rows.into_iter()
            .find(|row| row["id"] == id.to_string())
            .expect("a row")
    }

    async fn rows(&self, table: &str) -> Vec<Value> {
        let select = match table {
            "user_api_keys" => "id,spent::text,reserved::text",
            _ => {
                "id,did,status,cost_state,method,path,endpoint,model,requested_model,streamed,\
                 generation_id,http_status::text,input_tokens::text,output_tokens::text,\
                 cached_tokens::text,reasoning_tokens::text,first_byte_ms::text,is_byok,\
                 total_cost::text,openrouter_cost::text,upstream_inference_cost::text,\
                 error_reason,error_message,unknown_cost_reason,hold::text,job_id,settled_at"
            }
        };
        let path = format!("{table}?select={select}&did=eq.{}", self.did);
        serde_json::from_str(&self.rest(Method::GET, &path, None).await).unwrap()
    }

    async fn fingerprints(&self, id: Uuid) -> usize {
        let path = format!("request_fingerprints?select=request_id&request_id=eq.{id}");
        let rows = self.rest(Method::GET, &path, None).await;
        serde_json::from_str::<Vec<Value>>(&rows).unwrap().len()
    }

    async fn insert_key(&self, more: Value) {
        let mut row = json!({
            "did": self.did, "openrouter_key_hash": "hash", "encrypted_api_key": "v1.sealed",
            "key_name": "contract test",
        });
        for (name, value) in more.as_object().unwrap() {
            row[name] = value.clone();
        }
        self.rest(Method::POST, "user_api_keys", Some(&row.to_string()))
            .await;
    }

    async fn change_key(&self, change: Value) {
        let path = format!("user_api_keys?did=eq.{}", self.did);
        self.rest(Method::PATCH, &path, Some(&change.to_string()))
            .await;
    }

    async fn delete(&self, table: &str, column: &str, value: &str) {
        self.rest(
            Method::DELETE,
            &format!("{table}?{column}=eq.{value}"),
            None,
        )
        .await;
    }

    async fn clean_up(&self) {
        let ids = self.ids.lock().unwrap().clone();
        for id in ids {
            self.delete("request_fingerprints", "request_id", &id.to_string())
                .await;
        }
        self.delete("request_logs", "did", &self.did).await;
        self.delete("user_api_keys", "did", &self.did).await;
        self.delete("key_settings", "did", &self.did).await;
    }

    /// One exchange with the tables, as the service.
    async fn rest(&self, method: Method, path: &str, body: Option<&str>) -> String {
        let key = env("STORAGE_KEY");
        let (status, text) = send(&self.client, Some(&key), method, path, body).await;
        assert!(status.is_success(), "{path}: {status} {text}");
        text
    }
}

async fn send(
    client: &Client,
    key: Option<&str>,
    method: Method,
    path: &str,
    body: Option<&str>,
) -> (StatusCode, String) {
    let mut request = client.request(method, format!("{}/{path}", env("STORAGE_URL")));
    if let Some(key) = key {
        request = request.header("apikey", key);
        if key.starts_with("eyJ") {
            request = request.header("authorization", format!("Bearer {key}"));
        }
    }
    if let Some(body) = body {
        request = request
            .header("content-type", "application/json")
            .body(body.to_owned());
    }
    let answer = request.send().await.unwrap();
    (answer.status(), answer.text().await.unwrap())
}

fn books(hold: &str) -> Books<'static> {
    Books {
        method: "POST",
        path: "/chat/completions",
        endpoint: "chat",
        model: Some("anthropic/claude-sonnet-4.6"),
        streamed: true,
        hold: hold.parse().unwrap(),
    }
}

fn completed(id: Uuid, usd: &str) -> Finish<'_> {
    Finish {
        id,
        status: Status::Completed,
        response_time: Clock::system().now(),
        first_byte: Some(Duration::from_millis(321)),
        http_status: Some(200),
        model: Some("anthropic/claude-4.6-sonnet-20260217"),
        generation_id: Some("gen-1"),
        job_id: None,
        tokens: Tokens {
            input: Some(12),
            output: Some(34),
            cached: Some(5),
            reasoning: None,
        },
        cost: cost(usd),
        error: None,
    }
}

fn cost(usd: &str) -> Cost<'_> {
    Cost {
        state: CostState::Final,
        openrouter: Some(usd),
        upstream_inference: None,
        is_byok: Some(false),
    }
}

fn refusal(answer: Result<Begun, StorageError>) -> Refusal {
    match answer {
        Err(StorageError::Refused(refusal)) => refusal,
        other => panic!("not a refusal: {other:?}"),
    }
}

/// A `numeric` without the trailing zeros that its arithmetic leaves.
fn amount(value: &Value) -> String {
    let text = value.as_str().expect("text");
    match text.split_once('.') {
        Some(_) => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        None => text.to_owned(),
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

fn random_id() -> Uuid {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).unwrap();
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

fn client() -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().build().unwrap()
}

fn url() -> Url {
    env("STORAGE_URL").parse().unwrap()
}

fn key() -> StorageKey {
    StorageKey::parse(&env("STORAGE_KEY")).unwrap()
}

#[expect(
    clippy::disallowed_methods,
    reason = "tests get their backend from the environment"
)]
fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}
