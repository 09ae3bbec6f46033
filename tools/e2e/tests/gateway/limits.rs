//! Limits that hold when many requests come at once, whichever way they take.

use e2e::{
    user::User,
    world::{chat_body, with_world},
};
use futures_util::future::join_all;
use reqwest::Response;
use serde_json::{Value, json};
use stub::scripted::COST_PLAIN;

use crate::told::{Told, set};

/// Every way to something that costs money and that the stub answers.
const WAYS: [&str; 6] = [
    "chat/completions",
    "v1/chat/completions",
    "completions",
    "v1/completions",
    "messages",
    "v1/messages",
];

#[test]
fn a_hundred_parallel_requests_do_not_pass_the_limit() {
    with_world(async |world| {
        let user = world.user().unwrap();
        // Room for ten such requests; `proxy` holds far more than one costs, so it would let none
        // pass, and `proxy-frugal` holds less than half of what one costs.
        set(world, &user, &format!("credit_limit = 10 * {COST_PLAIN}"));
        let answers = join_all((0..100).zip(WAYS.into_iter().cycle()).map(
            async |(number, way)| {
                let id = format!("gen-limit-{number}");
                post(&user, "proxy-frugal", way, &id).await
            },
        ))
        .await;

        let mut passed = 0;
        for answer in answers {
            if answer.status() == 200 {
                answer.bytes().await.unwrap();
                passed += 1;
            } else {
                assert_eq!(answer.status(), 402);
                let metadata = answer.json_value().await["error"]["metadata"].clone();
                assert_eq!(metadata["reason"], "credit_limit_reached");
                assert_eq!(metadata["limit"], "0.000007434");
                assert!(metadata["spent"].is_string() && metadata["held"].is_string());
            }
        }
        let rows = user.rows().await.unwrap();
        assert_eq!(rows.len(), passed);
        // The excess of the six functions together with holds of 0.0000003, before the first
        // cost is known: less than four such costs.
        assert!((10..14).contains(&passed), "{passed} passed");
        let account = format!(
            "SELECT spent = {passed} * {COST_PLAIN}, held = 0 FROM public.accounts WHERE did = '{}'",
            user.did.as_str()
        );
        assert_eq!(world.sql(&account).unwrap(), "t|t");
    });
}

#[test]
fn a_rate_is_refused_with_the_time_to_wait() {
    with_world(async |world| {
        let user = world.user().unwrap();
        set(world, &user, "requests_per_minute = 2");
        let mut answers = Vec::new();
        for (number, way) in WAYS.into_iter().take(3).enumerate() {
            let id = format!("gen-rate-{number}");
            answers.push(post(&user, "proxy", way, &id).await);
        }
        let refused = answers.pop().unwrap();
        assert!(answers.iter().all(|answer| answer.status() == 200));
        assert_eq!(refused.status(), 429);
        let wait: u64 = refused.headers()["retry-after"]
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        assert!((1..=30).contains(&wait), "{wait}");
        let body: Value = refused.json_value().await;
        assert_eq!(
            body["error"]["metadata"],
            json!({"reason": "rate_limited", "requests_per_minute": 2, "retry_after": wait})
        );
        assert_eq!(world.upstream.received("gen-rate-2").len(), 0);
        assert_eq!(user.rows().await.unwrap().len(), 2);
    });
}

async fn post(user: &User<'_>, function: &str, way: &str, id: &str) -> Response {
    let path = format!("/api/v1/openrouter/{way}");
    let body = chat_body("stub/slow", true, id);
    user.post(function, &path, "application/json", body)
        .await
        .unwrap()
}
