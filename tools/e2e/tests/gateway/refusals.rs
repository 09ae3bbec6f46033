//! Requests that the gateway refuses.

use e2e::world::{chat_body, with_world};
use http::Method;
use serde_json::{Value, json};

use crate::told::Told;

#[test]
fn of_twenty_equal_requests_one_passes() {
    with_world(async |world| {
        let user = world.user().unwrap();
        let path = "/api/v1/openrouter/chat/completions";
        let body = chat_body("stub/ok", false, "gen-replay");
        let headers = user.headers(&Method::POST, path, &body).unwrap();
        let send = || {
            let request = world
                .client
                .post(world.url("proxy", path))
                .headers(headers.clone());
            request
                .header("content-type", "application/json")
                .body(body.clone())
                .send()
        };
        let answers = futures_util::future::join_all((0..20).map(|_| send())).await;
        let mut passed = 0;
        for answer in answers {
            let answer = answer.unwrap();
            if answer.status() == 200 {
                passed += 1;
            } else {
                assert_eq!(answer.verdict().await, (401, json!("replayed_request")));
            }
        }
        assert_eq!(passed, 1);
        assert_eq!(world.upstream.received("gen-replay").len(), 1);
        assert_eq!(user.rows().await.unwrap().len(), 1);
    });
}

#[test]
fn a_safe_request_with_a_nonce_passes_once_too() {
    with_world(async |world| {
        let user = world.user().unwrap();
        for (function, path) in [
            ("usage", "/api/v1/usage"),
            ("proxy", "/api/v1/openrouter/models"),
        ] {
            let headers = user.headers(&Method::GET, path, b"").unwrap();
            for expected in [200, 401] {
                let answer = world
                    .client
                    .get(world.url(function, path))
                    .headers(headers.clone())
                    .send()
                    .await
                    .unwrap();
                assert_eq!(answer.status(), expected, "{path}");
            }
        }
    });
}

#[test]
fn refusals_say_what_to_do() {
    with_world(async |world| {
        let user = world.user().unwrap();
        let stranger = world.stranger().unwrap();
        let refused = async |answer: reqwest::Response| -> Value {
            assert!(!answer.headers().contains_key("x-gateway-upstream"));
            let id = answer.headers()["x-gateway-request-id"]
                .to_str()
                .unwrap()
                .to_owned();
            let status = answer.status().as_u16();
            let mut body = answer.json_value().await;
            assert_eq!(
                (
                    &body["success"],
                    &body["error"]["code"],
                    &body["request_id"]
                ),
                (&json!(false), &json!(status), &json!(id))
            );
            body["error"].take()
        };

        let unsigned = world
            .client
            .get(world.url("proxy", "/api/v1/openrouter/models"))
            .send()
            .await
            .unwrap();
        let management = user.get("proxy", "/api/v1/openrouter/keys").await.unwrap();
        let nothing = user.get("proxy", "/api/v1/openrouter/").await.unwrap();
        let keyless = stranger.chat("proxy", "stub/ok", false, "x").await.unwrap();
        let bad_date = user
            .get("usage", "/api/v1/usage?start_date=yesterday")
            .await
            .unwrap();
        let method = user
            .request("usage", Method::DELETE, "/api/v1/usage", Vec::new())
            .unwrap()
            .send()
            .await
            .unwrap();
        assert_eq!(method.headers()["allow"], "GET");
        let compressed = user
            .request(
                "proxy",
                Method::POST,
                "/api/v1/openrouter/chat/completions",
                vec![1],
            )
            .unwrap()
            .header("content-encoding", "gzip")
            .send()
            .await
            .unwrap();
        let errors = [
            refused(unsigned).await,
            refused(management).await,
            refused(nothing).await,
            refused(keyless).await,
            refused(bad_date).await,
            refused(method).await,
            refused(compressed).await,
        ];
        insta::assert_json_snapshot!(errors);
        assert!(user.rows().await.unwrap().is_empty());
    });
}

#[test]
fn a_tampered_request_is_told_what_should_have_been_signed() {
    with_world(async |world| {
        let user = world.user().unwrap();
        let path = "/api/v1/openrouter/chat/completions";
        let headers = user.headers(&Method::POST, path, b"{}").unwrap();
        let answer = world
            .client
            .post(world.url("proxy", path))
            .headers(headers.clone())
            .body("{ }")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 401);
        let metadata = answer.json_value().await["error"]["metadata"].clone();
        assert_eq!(metadata["reason"], "invalid_signature");
        let signing_string = metadata["signing_string"].as_str().unwrap();
        let expected = format!(
            "x-did-v1\n{}\n{}\n",
            e2e::world::AUDIENCE,
            user.did.as_str()
        );
        assert!(signing_string.starts_with(&expected), "{signing_string}");
        assert!(!signing_string.contains(headers["x-did-signature"].to_str().unwrap()));
    });
}

#[test]
fn a_function_without_configuration_names_every_fault_and_stops() {
    with_world(async |world| {
        for (function, named) in [
            (
                "proxy",
                &[
                    "GATEWAY_AUDIENCES",
                    "SUPABASE_URL",
                    "SUPABASE_SECRET_KEY",
                    "KEYSET_SECRET_NAME",
                    "AWS_REGION",
                ][..],
            ),
            (
                "usage",
                &["GATEWAY_AUDIENCES", "SUPABASE_URL", "SUPABASE_SECRET_KEY"],
            ),
            ("health", &["SUPABASE_URL"]),
        ] {
            let output = std::process::Command::new(world.functions.binary(function).unwrap())
                .env_clear()
                .env("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9")
                .output()
                .unwrap();
            let log = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(!output.status.success(), "{function}");
            assert!(
                named.iter().all(|variable| log.contains(variable)),
                "{function}: {log}"
            );
        }
    });
}

#[test]
fn messages_are_refused_in_anthropics_envelope() {
    with_world(async |world| {
        let user = world.user().unwrap();
        let stranger = world.stranger().unwrap();
        let path = "/api/v1/openrouter/v1/messages";
        let body = || chat_body("stub/ok", false, "gen-envelope");
        let pasted = world
            .client
            .post(world.url("proxy", path))
            .header("authorization", "Bearer sk-or-v1-planted-elsewhere")
            .body(body());
        let encoded = user
            .request("proxy", Method::POST, path, body())
            .unwrap()
            .header("content-encoding", "gzip");
        let keyless = stranger
            .request("proxy", Method::POST, path, body())
            .unwrap();
        let silent = user
            .request(
                "proxy-hasty",
                Method::POST,
                path,
                chat_body("stub/silent", false, "gen-envelope"),
            )
            .unwrap();
        for (request, status, kind, reason, should_retry) in [
            (
                pasted,
                401,
                "authentication_error",
                "missing_credentials",
                None,
            ),
            (
                encoded,
                415,
                "invalid_request_error",
                "content_encoding_not_supported",
                None,
            ),
            (keyless, 402, "billing_error", "no_key_for_did", None),
            (silent, 504, "api_error", "upstream_timeout", Some("false")),
        ] {
            let answer = request.send().await.unwrap();
            let header = |name: &str| {
                let value = answer.headers().get(name)?;
                Some(value.to_str().unwrap().to_owned())
            };
            assert_eq!(
                header("x-should-retry").as_deref(),
                should_retry,
                "{reason}"
            );
            assert_eq!(header("retry-after"), None, "{reason}");
            let id = header("x-gateway-request-id").unwrap();
            assert_eq!(answer.status(), status);
            let body = answer.json_value().await;
            let (error, told) = (&body["error"], body["error"]["message"].as_str().unwrap());
            assert_eq!(
                (&body["type"], &body["request_id"], &error["type"]),
                (&json!("error"), &json!(id), &json!(kind))
            );
            assert_eq!(error["metadata"]["reason"], reason);
            assert!(!body.to_string().contains("planted"), "{body}");
            if reason == "missing_credentials" {
                assert!(told.contains("authorization was sent"), "{told}");
                assert_eq!(error["metadata"]["unread"], json!(["authorization"]));
            }
        }
    });
}
