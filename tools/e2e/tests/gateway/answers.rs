//! Successful requests: bytes in are bytes out, and the books tell the cost.

use std::time::Instant;

use e2e::world::with_world;
use http::Method;
use serde_json::{Value, json};
use stub::scripted::{COST_PLAIN, json_bytes, stream_bytes};

use crate::told::{Told, set};

#[test]
fn an_unstreamed_chat_is_unchanged_and_metered() {
    with_world(async |world| {
        let user = world.user().unwrap();
        let answer = user
            .chat("proxy", "stub/ok", false, "gen-json")
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        let headers = answer.headers().clone();
        assert_eq!(headers["content-type"], "application/json");
        assert_eq!(headers["x-gateway-upstream"], "openrouter");
        assert_eq!(headers["x-ratelimit-remaining"], "41");
        assert_eq!(headers["access-control-allow-origin"], "*");
        assert!(
            !headers.contains_key("set-cookie"),
            "a cookie for another domain was passed on"
        );
        assert_eq!(answer.bytes().await.unwrap(), json_bytes("gen-json"));

        let row = user.row().await.unwrap();
        assert_eq!(row["id"], headers["x-gateway-request-id"].to_str().unwrap());
        insta::assert_json_snapshot!(row, {
            ".id" => "[id]", ".did" => "[did]", ".created_at" => "[time]", ".request_time" => "[time]",
            ".response_time" => "[time]", ".first_byte_ms" => "[ms]",
        });
    });
}

#[test]
fn a_streamed_chat_is_unchanged_and_metered_to_the_last_digit() {
    with_world(async |world| {
        let user = world.user().unwrap();
        let answer = user
            .chat("proxy", "stub/ok", true, "gen-stream")
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        assert_eq!(answer.bytes().await.unwrap(), stream_bytes("gen-stream"));

        user.row().await.unwrap();
        let sql = format!(
            "SELECT status, cost_state, total_cost, input_tokens, output_tokens, cached_tokens, reasoning_tokens,
                    model, requested_model, generation_id, streamed
               FROM public.request_logs WHERE did = '{}'",
            user.did.as_str()
        );
        assert_eq!(
            world.sql(&sql).unwrap(),
            format!("completed|final|{COST_PLAIN}|11|7|3|2|stub/served-model|stub/ok|gen-stream|t")
        );
        let spent = format!(
            "SELECT spent, held FROM public.accounts WHERE did = '{}'",
            user.did.as_str()
        );
        assert_eq!(world.sql(&spent).unwrap(), format!("{COST_PLAIN}|0"));
    });
}

#[test]
fn chunks_are_passed_on_as_they_arrive() {
    with_world(async |world| {
        let user = world.user().unwrap();
        let mut answer = user
            .chat("proxy", "stub/slow", true, "gen-slow")
            .await
            .unwrap();
        let begun = Instant::now();
        let mut arrivals = Vec::new();
        let mut received = Vec::new();
        while let Some(chunk) = answer.chunk().await.unwrap() {
            arrivals.push(begun.elapsed());
            received.extend_from_slice(&chunk);
        }
        assert_eq!(received, stream_bytes("gen-slow"));
        // The stub pauses 50 ms between its chunks; a buffered answer would come all at once.
        let (first, last) = (arrivals[0], *arrivals.last().unwrap());
        assert!(
            arrivals.len() >= 5 && last > first + std::time::Duration::from_millis(200),
            "{arrivals:?}"
        );
    });
}

#[test]
fn usage_sums_what_the_rows_say() {
    with_world(async |world| {
        let user = world.user().unwrap();
        for stream in [true, false] {
            user.chat("proxy", "stub/ok", stream, "gen-usage")
                .await
                .unwrap()
                .bytes()
                .await
                .unwrap();
        }
        user.chat("proxy", "stub/429", false, "gen-usage")
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap();
        user.rows().await.unwrap();
        let answer = user
            .get(
                "usage",
                "/api/v1/usage?start_date=2026-01-01&percentiles=true",
            )
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        let text = answer.text().await.unwrap();
        assert!(text.contains(r#""total_cost":0.0000014868"#), "{text}");
        let mut body: Value = serde_json::from_str(&text).unwrap();
        for measured in ["duration_ms", "first_byte_ms"] {
            let of = body["data"][measured].take();
            let of = |percentile: &str| of[percentile].as_u64().unwrap();
            assert!(of("p50") <= of("p90") && of("p90") <= of("p99"));
        }
        assert_eq!(
            body,
            json!({"success": true, "data": {
                "total_requests": 3, "successful_requests": 2, "failed_requests": 1, "pending_requests": 0,
                "cost_pending_requests": 0, "cost_unknown_requests": 0,
                "total_input_tokens": 22, "total_output_tokens": 14, "total_cached_tokens": 6,
                "total_cache_write_tokens": 0, "total_reasoning_tokens": 4, "total_cost": 1.4868e-6,
                "limit": null, "spent": 1.4868e-6, "held": 0, "remaining": null,
                "duration_ms": null, "first_byte_ms": null,
                "requests_by_model": {"stub/served-model": 2, "stub/429": 1}, "models": 2,
            }})
        );
        let before = user
            .get("usage", "/api/v1/usage?end_date=2025-12-31")
            .await
            .unwrap();
        assert_eq!(before.json_value().await["data"]["total_requests"], 0);
    });
}

#[test]
fn someone_without_requests_has_used_nothing() {
    with_world(async |world| {
        let stranger = world.stranger().unwrap();
        let body = stranger
            .get("usage", "/api/v1/usage")
            .await
            .unwrap()
            .json_value()
            .await;
        assert_eq!(
            (&body["success"], &body["data"]["total_cost"]),
            (&json!(true), &json!(0))
        );
    });
}

#[test]
fn a_free_request_makes_no_row() {
    with_world(async |world| {
        let user = world.user().unwrap();
        let answer = user
            .get("proxy", "/api/v1/openrouter/models?b=2&a=x%20y")
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(
            answer.json_value().await,
            json!({"data": [{"id": "stub/ok"}]})
        );
        assert!(user.rows().await.unwrap().is_empty());
        let key = user.api_key.expose_secret();
        let received = world.upstream.received("/models?");
        let ours: Vec<_> = received
            .iter()
            .filter(|request| {
                request.headers["authorization"]
                    .to_str()
                    .unwrap()
                    .ends_with(key)
            })
            .collect();
        // The canonical query, which is what was signed: sorted, and encoded in one way.
        assert_eq!(ours.len(), 1);
        assert_eq!(ours[0].line(), "GET /api/v1/models?a=x%20y&b=2");
    });
}

#[test]
fn any_body_passes_byte_for_byte() {
    with_world(async |world| {
        let user = world.user().unwrap();
        let body: Vec<u8> = (0..=255_u8).cycle().take(4_000_000).collect();
        let answer = user
            .post(
                "proxy",
                "/api/v1/openrouter/v1/echo",
                "multipart/form-data; boundary=x",
                body.clone(),
            )
            .await
            .unwrap();
        assert_eq!(
            answer.headers()["content-type"],
            "multipart/form-data; boundary=x"
        );
        assert_eq!(answer.bytes().await.unwrap(), body);
        // An unknown POST is in the books, and without a usage it is free.
        let row = user.row().await.unwrap();
        assert_eq!(
            (&row["endpoint"], &row["status"], &row["cost_state"]),
            (&json!("other"), &json!("completed"), &json!("none"))
        );
    });
}

#[test]
fn a_json_body_that_curl_calls_a_form_works() {
    with_world(async |world| {
        let user = world.user().unwrap();
        let body = e2e::world::chat_body("stub/ok", false, "gen-form");
        let answer = user
            .post(
                "proxy",
                "/api/v1/openrouter/chat/completions",
                "application/x-www-form-urlencoded",
                body,
            )
            .await
            .unwrap();
        assert_eq!(answer.bytes().await.unwrap(), json_bytes("gen-form"));
        assert_eq!(
            world.upstream.received("gen-form")[0].headers["content-type"],
            "application/json"
        );
    });
}

#[test]
fn the_stand_in_of_dev_streams_and_is_metered() {
    with_world(async |world| {
        let user = world.user().unwrap();
        let answer = user
            .chat("proxy-demo", "openai/gpt-4o-mini", true, "x")
            .await
            .unwrap();
        let text = answer.text().await.unwrap();
        assert!(
            text.contains(": OPENROUTER PROCESSING") && text.trim_end().ends_with("data: [DONE]"),
            "{text}"
        );
        let row = user.row().await.unwrap();
        assert_eq!(
            (&row["status"], &row["cost_state"]),
            (&json!("completed"), &json!("final"))
        );
        assert_eq!(
            (&row["input_tokens"], &row["output_tokens"]),
            (&json!(11), &json!(29))
        );
        assert_eq!(row["total_cost"], json!(0.000_123_4));
    });
}

#[test]
fn health_tells_how_it_is() {
    with_world(async |world| {
        let get = async |function: &str, path: &str| {
            world
                .client
                .get(world.url(function, path))
                .send()
                .await
                .unwrap()
        };
        let banner = get("health", "/").await.json_value().await;
        assert_eq!(
            (&banner["service"], &banner["status"]),
            (&json!("LLM Gateway"), &json!("running"))
        );
        assert!(banner["version"].is_string() && banner["timestamp"].is_string());
        let shallow = get("health", "/api/v1/health").await.json_value().await;
        assert_eq!(
            (&shallow["success"], &shallow["data"]["status"]),
            (&json!(true), &json!("healthy"))
        );

        let deep = get("health", "/api/v1/health?deep=true").await;
        assert_eq!(deep.status(), 200);
        let deep = deep.json_value().await;
        assert_eq!(deep["data"]["checks"]["storage"]["status"], "up");
        assert!(deep["data"]["checks"]["openrouter"]["latency_ms"].is_u64());

        // That one has no key, so a database that refuses the gateway looks well to it.
        let path = "/api/v1/health/database";
        let database = get("usage", path).await;
        assert_eq!(database.status(), 200);
        let database = database.json_value().await;
        let check = &database["data"]["checks"]["database"];
        assert_eq!(check["status"], "up");
        assert_eq!(check["schema_version"], check["needed_version"]);
        for (function, status) in [("usage-dark", "down"), ("usage-stale", "down")] {
            let answer = get(function, path).await;
            assert_eq!(answer.status(), 503, "{function}");
            let answer = answer.json_value().await;
            assert_eq!(
                answer["error"]["metadata"]["checks"]["database"]["status"], status,
                "{function}"
            );
        }

        let dark = get("health-dark", "/api/v1/health?deep=true").await;
        assert_eq!(dark.status(), 503);
        let dark = dark.json_value().await;
        assert_eq!(dark["error"]["metadata"]["reason"], "unhealthy");
        assert_eq!(
            dark["error"]["metadata"]["checks"]["storage"]["status"],
            "down"
        );
        assert_eq!(
            dark["error"]["metadata"]["checks"]["openrouter"]["status"],
            "up"
        );
    });
}

/// Claude Code counts tokens before each of its requests.
#[test]
fn counting_tokens_leaves_no_row_and_no_hold_and_uses_up_no_rate() {
    with_world(async |world| {
        let user = world.user().unwrap();
        // Not even a limit that is reached refuses it: it costs nothing.
        set(world, &user, "requests_per_minute = 1, credit_limit = 0");
        let account = format!(
            "SELECT spent, held, rate_tat FROM public.accounts WHERE did = '{}'",
            user.did.as_str()
        );
        let before = world.sql(&account).unwrap();
        let count = async |path: &str, model: &str| {
            let body = json!({"model": model, "messages": [{"role": "user", "content": "Hi"}]});
            let path = format!("/api/v1/openrouter/{path}");
            let body = body.to_string().into_bytes();
            let answer = user.post("proxy", &path, "application/json", body).await;
            let answer = answer.unwrap();
            assert_eq!(answer.headers()["x-gateway-upstream"], "openrouter");
            (answer.status().as_u16(), answer.bytes().await.unwrap())
        };
        for path in [
            "messages/count_tokens",
            "v1/messages/count_tokens?beta=true",
            "v1/messages/count_tokens",
        ] {
            let (status, body) = count(path, "sdk/chat").await;
            assert_eq!(status, 200);
            assert_eq!(body, r#"{"input_tokens":11}"#);
        }
        // OpenRouter's refusal is its own, too.
        let (status, body) = count("v1/messages/count_tokens", "sdk/unpaid").await;
        assert_eq!(status, 402);
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            body["error"]["message"],
            "Insufficient credits, says the stub"
        );
        assert_eq!(world.sql(&account).unwrap(), before);
        assert_eq!(user.rows().await.unwrap(), Vec::<Value>::new());

        set(world, &user, "credit_limit = 1");
        let chat = async |id: &str| user.chat("proxy", "stub/ok", false, id).await.unwrap();
        assert_eq!(chat("gen-counted-1").await.status(), 200);
        assert_eq!(chat("gen-counted-2").await.status(), 429);
    });
}

/// SDKs send the id of a model as one segment (`models.retrieve`).
#[test]
fn an_encoded_slash_below_models_is_a_slash() {
    with_world(async |world| {
        let user = world.user().unwrap();
        for path in [
            "models/stub-author%2Fslash%3Afree",
            "v1/models/stub-author%2fslash:free",
            "models/stub-author/slash:free",
        ] {
            let path = format!("/api/v1/openrouter/{path}");
            let answer = user.get("proxy", &path).await.unwrap();
            assert_eq!(answer.status(), 200, "{path}");
            assert_eq!(answer.json_value().await["id"], "stub-author/slash:free");
            let (_, event) = user.event(&Method::GET, &path, b"").unwrap();
            let answer = world.invoke("proxy", event).await.unwrap();
            let answer = String::from_utf8_lossy(&answer);
            assert!(
                answer.contains(r#""id":"stub-author/slash:free""#),
                "{answer}"
            );
        }
        let received = world.upstream.received("stub-author");
        assert_eq!(received.len(), 6);
        for request in received {
            assert_eq!(request.path(), "models/stub-author/slash:free");
        }
        assert_eq!(user.rows().await.unwrap(), Vec::<Value>::new());
    });
}
