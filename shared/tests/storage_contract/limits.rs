//! How much a key may spend, and how often it may ask.

use std::{num::NonZeroU32, time::Duration};

use futures_util::future::join_all;
use serde_json::json;
use shared::storage::{Begin, Books, Cost, CostState, Finish, Refusal, StorageError};

use crate::user::{User, amount, books, completed, cost, refusal, with_user};

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
            // What its endpoint has cost.
            assert_eq!(hold(user, Some("m/new")).await, "0.7");
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

        user.delete("user_api_keys").await;
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
        user.change_account(json!({"requests_per_minute": 1000, "rate_tat": null}))
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
    with_user(json!({}), async |user| {
        user.change_account(json!({"requests_per_minute": 60}))
            .await;
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
