//! Approved DIDs, the cap of open requests, keys of one's own, and the rate of the gateway's own routes.

use std::num::NonZeroU32;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use shared::storage::{Begin, BeginSender, Books, Refusal};

use crate::user::{User, books, completed, cut, env, fingerprint, refusal, unknown, with_user};

fn capped(user: &User, max_open_requests: u32) -> Begin<'_> {
    Begin {
        books: Some(Books {
            max_open_requests: NonZeroU32::new(max_open_requests),
            ..books("0.01")
        }),
        ..user.look_up()
    }
}

async fn admit(user: &User, request: Value) -> (StatusCode, Value) {
    let key = env("STORAGE_KEY");
    let body = json!({"request": request});
    let (status, text) = user
        .send(Some(&key), Method::POST, "rpc/admit_caller", Some(&body))
        .await;
    (status, serde_json::from_str(&text).unwrap())
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_did_has_so_many_open_requests_at_most() {
    with_user(json!({"credit_limit": "10"}), async |user| {
        let (first, second) = (capped(user, 2), capped(user, 2));
        user.begin(&first).await.unwrap();
        user.begin(&second).await.unwrap();
        let refused = capped(user, 2);
        assert_eq!(
            refusal(user.begin(&refused).await),
            Refusal::TooManyOpenRequests {
                open_requests: 2,
                max_open_requests: 2
            }
        );
        // It leaves no trace, and neither look-ups nor repetitions count.
        assert_eq!(user.fingerprints(refused.id).await, 0);
        assert_eq!(user.account().await, ("0".into(), "0.02".into()));
        user.begin(&user.look_up()).await.unwrap();
        user.begin(&second).await.unwrap();
        // One that has ended is open no more, whether or not its cost is known.
        user.finish(&cut(first.id)).await.unwrap();
        user.begin(&refused).await.unwrap();
        user.finish(&completed(second.id, "0.01")).await.unwrap();
        user.settle(&unknown(first.id)).await;
        user.begin(&capped(user, 2)).await.unwrap();
        assert!(matches!(
            refusal(user.begin(&capped(user, 2)).await),
            Refusal::TooManyOpenRequests { .. }
        ));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn of_a_hundred_parallel_requests_so_many_are_open_at_most() {
    with_user(json!({}), async |user| {
        let begins: Vec<_> = (0..100).map(|_| capped(user, 7)).collect();
        let answers = futures_util::future::join_all(begins.iter().map(|it| user.begin(it))).await;
        assert_eq!(answers.iter().filter(|it| it.is_ok()).count(), 7);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn the_gateways_own_routes_have_a_rate() {
    with_user(json!({}), async |user| {
        let request = json!({"did": user.did, "requests_per_minute": 3});
        for _ in 0..3 {
            assert_eq!(admit(user, request.clone()).await.0, StatusCode::OK);
        }
        let (status, refused) = admit(user, request.clone()).await;
        assert_eq!(
            (status, &refused["details"]),
            (StatusCode::TOO_MANY_REQUESTS, &json!("rate_limited"))
        );
        let hint: Value = serde_json::from_str(refused["hint"].as_str().unwrap()).unwrap();
        assert_eq!(hint["requests_per_minute"], 3);
        assert!(
            (1..=20).contains(&hint["retry_after"].as_u64().unwrap()),
            "{hint}"
        );
        // It is none of the requests that are passed on, whose rate is another.
        user.begin(&Begin {
            requests_per_minute: NonZeroU32::new(1),
            ..user.look_up()
        })
        .await
        .unwrap();
        // Nobody without an account gets one by asking.
        let stranger = format!("{}stranger", user.did);
        let request = json!({"did": stranger, "requests_per_minute": 1});
        for _ in 0..3 {
            assert_eq!(admit(user, request.clone()).await.0, StatusCode::OK);
        }
        let rows = user
            .rest(Method::GET, &format!("accounts?did=eq.{stranger}"), None)
            .await;
        assert_eq!(rows, "[]");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn where_it_is_required_only_the_approved_pass() {
    with_user(json!({}), async |user| {
        let begin = || {
            let begin = user.billable("0");
            Begin {
                sender: BeginSender::Signed {
                    did: &user.did,
                    fingerprint: Some(fingerprint(begin.request_time)),
                    requires_approval: true,
                },
                ..begin
            }
        };
        let request = json!({"did": user.did, "requests_per_minute": 60, "approved_only": true});
        let refused = begin();
        assert_eq!(refusal(user.begin(&refused).await), Refusal::DidNotAllowed);
        assert_eq!(user.fingerprints(refused.id).await, 0);
        let (status, answer) = admit(user, request.clone()).await;
        assert_eq!(
            (status, &answer["details"]),
            (StatusCode::FORBIDDEN, &json!("did_not_allowed"))
        );
        // Neither does anybody learn whether a key is stored.
        user.delete("user_api_keys").await;
        assert_eq!(refusal(user.begin(&begin()).await), Refusal::DidNotAllowed);
        user.change_account(json!({"approved": true})).await;
        assert_eq!(refusal(user.begin(&begin()).await), Refusal::NoKeyForDid);
        user.insert_key(json!({})).await;
        user.begin(&begin()).await.unwrap();
        assert_eq!(admit(user, request).await.0, StatusCode::OK);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_shared_path_takes_a_key_of_ones_own() {
    with_user(json!({}), async |user| {
        let shared = |begin| Begin {
            requires_own_key: true,
            ..begin
        };
        user.begin(&shared(user.look_up())).await.unwrap();
        user.begin(&shared(user.billable("0"))).await.unwrap();
        let provisioning = "b2d3b9a5-9d0a-4c39-8f1a-000000000000";
        user.change_key(json!({"provisioning_id": provisioning}))
            .await;
        for begin in [shared(user.look_up()), shared(user.billable("0"))] {
            assert_eq!(refusal(user.begin(&begin).await), Refusal::PathNeedsOwnKey);
            assert_eq!(user.fingerprints(begin.id).await, 0);
        }
        user.begin(&user.billable("0")).await.unwrap();
        user.change_key(json!({"provisioning_id": null})).await;
    })
    .await;
}
