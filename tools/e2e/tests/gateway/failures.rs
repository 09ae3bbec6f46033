//! Failures: the client is told of each, and the row says what happened.

use std::time::Duration;

use e2e::{user::User, world::with_world};
use serde_json::{Value, json};
use stub::scripted::{COST_PLAIN, json_bytes, stream_bytes};

use crate::told::{Told, set};

/// Status, reason and cost state of the user's only row.
async fn verdict(user: &User<'_>) -> (Value, Value, Value) {
    let row = user.row().await.unwrap();
    (
        row["status"].clone(),
        row["error_reason"].clone(),
        row["cost_state"].clone(),
    )
}

fn failed(reason: &str, cost: &str) -> (Value, Value, Value) {
    (json!("failed"), json!(reason), json!(cost))
}

#[test]
fn a_broken_stream_ends_with_an_error_event_and_is_never_free() {
    with_world(async |world| {
        for (function, model, reason) in [
            ("proxy", "stub/cut", "upstream_cut"),
            ("proxy", "stub/polite-cut", "upstream_cut"),
            ("proxy-hasty", "stub/stall", "upstream_stalled"),
        ] {
            let user = world.user().unwrap();
            let answer = user
                .chat(function, model, true, "gen-broken")
                .await
                .unwrap();
            assert_eq!(answer.status(), 200, "{model}");
            let text = answer.text().await.unwrap();
            let sent = String::from_utf8_lossy(&stream_bytes("gen-broken")).into_owned();
            let event = text.rsplit("data: ").next().unwrap();
            let event: Value =
                serde_json::from_str(event.trim()).unwrap_or_else(|_| panic!("{model}: {text}"));
            assert_eq!(event["error"]["metadata"]["reason"], reason, "{model}");
            assert!(
                text.ends_with("\n\n") && !text.contains("[DONE]"),
                "{model}: {text}"
            );
            // The bytes before it are OpenRouter's.
            let (before, _) = text.split_once("\n\ndata: {\"choices\":[],").unwrap();
            assert!(sent.starts_with(before), "{model}: {text}");

            assert_eq!(verdict(&user).await, failed(reason, "pending"), "{model}");
            assert_eq!(user.row().await.unwrap()["generation_id"], "gen-broken");
        }
    });
}

#[test]
fn an_error_event_passes_and_fails_the_row() {
    with_world(async |world| {
        let user = world.user().unwrap();
        let text = user
            .chat("proxy", "stub/error-event", true, "gen-event")
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        assert_eq!(
            text.matches("\"error\"").count(),
            2,
            "nothing of ours is added: {text}"
        );
        assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
        assert_eq!(verdict(&user).await, failed("upstream_error", "pending"));
        assert_eq!(
            user.row().await.unwrap()["error_message"],
            "Provider disconnected"
        );
    });
}

#[test]
fn a_200_with_an_error_is_a_failure_in_the_books() {
    with_world(async |world| {
        let user = world.user().unwrap();
        let answer = user
            .chat("proxy", "stub/error-body", false, "x")
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(
            answer.json_value().await["error"]["message"],
            "Provider returned error"
        );
        assert_eq!(verdict(&user).await, failed("upstream_error", "none"));
    });
}

#[test]
fn openrouters_refusals_pass_untouched() {
    with_world(async |world| {
        for stream in [false, true] {
            for (status, retry_after) in [(402, None), (429, Some("17")), (503, Some("17"))] {
                let user = world.user().unwrap();
                let answer = user
                    .chat("proxy", &format!("stub/{status}"), stream, "x")
                    .await
                    .unwrap();
                assert_eq!(answer.status(), status);
                assert_eq!(answer.headers()["x-gateway-upstream"], "openrouter");
                assert_eq!(
                    answer
                        .headers()
                        .get("retry-after")
                        .map(|value| value.to_str().unwrap()),
                    retry_after
                );
                assert_eq!(
                    answer.text().await.unwrap(),
                    json!({"error": {"code": status, "message": "scripted refusal"}, "user_id": "user_x"}).to_string()
                );
                assert_eq!(verdict(&user).await, failed("upstream_status", "none"));
                let row = user.row().await.unwrap();
                assert_eq!(
                    (&row["http_status"], &row["error_message"]),
                    (&json!(status), &json!("scripted refusal"))
                );
            }
        }
    });
}

#[test]
fn an_upstream_that_does_not_answer_has_a_status_and_a_row() {
    with_world(async |world| {
        for (function, model, status, reason, cost) in [
            (
                "proxy-astray",
                "stub/ok",
                502,
                "upstream_unreachable",
                "none",
            ),
            (
                "proxy",
                "stub/hangup",
                502,
                "upstream_unreachable",
                "pending",
            ),
            (
                "proxy-hasty",
                "stub/silent",
                504,
                "upstream_timeout",
                "pending",
            ),
        ] {
            for stream in [false, true] {
                let user = world.user().unwrap();
                let answer = user.chat(function, model, stream, "x").await.unwrap();
                assert!(
                    !answer.headers().contains_key("x-gateway-upstream"),
                    "{model}"
                );
                assert_eq!(answer.verdict().await, (status, json!(reason)), "{model}");
                assert_eq!(verdict(&user).await, failed(reason, cost), "{model}");
            }
        }
    });
}

#[test]
fn a_cut_json_answer_stays_cut() {
    with_world(async |world| {
        let user = world.user().unwrap();
        let answer = user
            .chat("proxy", "stub/cut", false, "gen-cut")
            .await
            .unwrap();
        let body = answer.bytes().await.unwrap();
        assert_eq!(body, json_bytes("gen-cut")[..40]);
        assert_eq!(verdict(&user).await, failed("upstream_cut", "pending"));
    });
}

#[test]
fn a_client_that_leaves_is_still_charged() {
    with_world(async |world| {
        let user = world.user().unwrap();
        let mut answer = user
            .chat("proxy", "stub/slow", true, "gen-left")
            .await
            .unwrap();
        answer.chunk().await.unwrap().unwrap();
        drop(answer);
        let row = user.row().await.unwrap();
        assert_eq!(
            (&row["status"], &row["cost_state"]),
            (&json!("completed"), &json!("final")),
            "{row}"
        );
        let spent = format!(
            "SELECT spent FROM public.accounts WHERE did = '{}'",
            user.did.as_str()
        );
        assert_eq!(world.sql(&spent).unwrap(), COST_PLAIN);
    });
}

#[test]
fn a_storage_outage_is_a_503_and_nothing_goes_upstream() {
    with_world(async |world| {
        let user = world.user().unwrap();
        let answer = user
            .chat("proxy-dark", "stub/ok", true, "gen-never-sent")
            .await
            .unwrap();
        assert!(answer.headers().contains_key("retry-after"));
        assert_eq!(answer.verdict().await, (503, json!("storage_unavailable")));
        assert!(world.upstream.received("gen-never-sent").is_empty());

        let usage = user.get("usage-dark", "/api/v1/usage").await.unwrap();
        assert_eq!(usage.verdict().await, (503, json!("storage_unavailable")));
    });
}

#[test]
fn a_missing_keyset_is_a_503_and_closes_the_row() {
    with_world(async |world| {
        let user = world.user().unwrap();
        let answer = user
            .chat("proxy-keyless", "stub/ok", false, "gen-keyless")
            .await
            .unwrap();
        assert_eq!(answer.verdict().await, (503, json!("keyset_unavailable")));
        assert_eq!(verdict(&user).await, failed("keyset_unavailable", "none"));
        assert!(world.upstream.received("gen-keyless").is_empty());
    });
}

#[test]
fn a_sealed_key_that_was_moved_to_another_did_does_not_open() {
    with_world(async |world| {
        let (victim, thief) = (world.user().unwrap(), world.user().unwrap());
        world
            .sql(&format!(
                "UPDATE public.user_api_keys SET encrypted_api_key = (
                     SELECT encrypted_api_key FROM public.user_api_keys WHERE did = '{}') WHERE did = '{}'",
                victim.did.as_str(),
                thief.did.as_str()
            ))
            .unwrap();
        let answer = thief
            .chat("proxy", "stub/ok", false, "gen-thief")
            .await
            .unwrap();
        assert_eq!(answer.status(), 500);
        assert!(world.upstream.received("gen-thief").is_empty());
        assert_eq!(verdict(&thief).await, failed("internal", "none"));
    });
}

#[test]
fn limits_hold_before_anything_is_sent() {
    with_world(async |world| {
        let user = world.user().unwrap();
        set(world, &user, "credit_limit = 0.01");
        user.chat("proxy", "stub/ok", false, "gen-limit-1")
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap();
        user.rows().await.unwrap();
        let answer = user
            .chat("proxy", "stub/ok", false, "gen-limit-2")
            .await
            .unwrap();
        assert_eq!(answer.status(), 402);
        let metadata = answer.json_value().await["error"]["metadata"].clone();
        assert_eq!(
            metadata,
            json!({
                "reason": "credit_limit_reached",
                "limit": "0.01", "spent": COST_PLAIN, "held": "0", "hold": "0.01",
            })
        );
        assert!(world.upstream.received("gen-limit-2").is_empty());

        set(world, &user, "disabled = true");
        let answer = user
            .chat("proxy", "stub/ok", false, "gen-limit-3")
            .await
            .unwrap();
        assert_eq!(answer.verdict().await, (403, json!("key_disabled")));
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(user.rows().await.unwrap().len(), 1);
    });
}

#[test]
fn a_messages_stream_that_is_cut_politely_does_not_look_complete() {
    with_world(async |world| {
        let user = world.user().unwrap();
        let body = e2e::world::chat_body("stub/polite-cut", true, "msg-cut");
        let answer = user
            .post(
                "proxy",
                "/api/v1/openrouter/v1/messages",
                "application/json",
                body,
            )
            .await
            .unwrap();
        let text = answer.text().await.unwrap();
        assert!(
            text.contains("\n\nevent: error\ndata: {\"error\""),
            "{text}"
        );
        assert_eq!(verdict(&user).await, failed("upstream_cut", "pending"));
        assert_eq!(user.row().await.unwrap()["endpoint"], "messages");
    });
}

#[test]
fn a_key_that_an_upstream_quotes_stays_out_of_the_books() {
    with_world(async |world| {
        let user = world.user().unwrap();
        let answer = user
            .chat("proxy", "stub/echo-key", false, "x")
            .await
            .unwrap();
        assert_eq!(answer.status(), 401);
        assert!(
            answer
                .text()
                .await
                .unwrap()
                .contains(user.api_key.expose_secret()),
            "the stub does not echo"
        );
        let message = user.row().await.unwrap()["error_message"].clone();
        assert_eq!(message, "Incorrect API key provided: Bearer sk-….");
    });
}
