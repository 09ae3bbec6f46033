//! Keys never leak: everything that the functions emit is searched for what must not be there.

use std::fmt::Write;

use e2e::{
    user::User,
    world::{World, random_key, with_world},
};
use http::Method;

use crate::tokens::{make, manage};

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one search through everything that is emitted"
)]
fn planted_secrets_are_in_no_answer_no_log_and_no_row() {
    with_world(async |world| {
        let user = world.user().unwrap();
        let mut emitted = String::new();
        let mut signatures = Vec::new();
        for (function, model) in [
            ("proxy", "stub/ok"),
            ("proxy", "stub/402"),
            ("proxy", "stub/cut"),
            ("proxy", "stub/hangup"),
            ("proxy", "no-such-model"),
            ("proxy-hasty", "stub/silent"),
            ("proxy-astray", "stub/ok"),
            ("proxy-dark", "stub/ok"),
            ("proxy-keyless", "stub/ok"),
        ] {
            let path = "/api/v1/openrouter/chat/completions?trace=planted-query";
            let body = serde_json::json!({
                "model": model,
                "stream": true,
                "messages": [{"role": "user", "content": "planted-prompt"}],
            });
            let body = body.to_string().into_bytes();
            let headers = user.headers(&Method::POST, path, &body).unwrap();
            signatures.push(headers["x-did-signature"].to_str().unwrap().to_owned());
            let request = world
                .client
                .post(world.url(function, path))
                .headers(headers);
            let answer = request
                .header("content-type", "application/json")
                .header("authorization", "Bearer planted-bearer")
                .header("cookie", "planted-cookie=1")
                .body(body)
                .send()
                .await
                .unwrap();
            write!(emitted, "{:?}", answer.headers()).unwrap();
            emitted.push_str(&String::from_utf8_lossy(&answer.bytes().await.unwrap()));
        }
        paste_a_key(world, &user).await;
        // A row whose key was damaged, too.
        world
            .sql(&format!(
                "UPDATE public.user_api_keys SET encrypted_api_key = left(encrypted_api_key, -2) || 'AA' WHERE did = '{}'",
                user.did.as_str()
            ))
            .unwrap();
        let broken = user.chat("proxy", "stub/ok", true, "x").await.unwrap();
        emitted.push_str(&broken.text().await.unwrap());
        emitted.push_str(&key_changes(world).await);
        let (tokens, seen) = used_tokens(world).await;
        emitted.push_str(&seen);
        user.rows().await.unwrap();
        for table in [
            "request_logs",
            "user_api_keys",
            "key_events",
            "key_provisionings",
            "accounts",
            "access_tokens",
            "token_digests",
            "budget_events",
            "usage_series",
        ] {
            let rows = format!("SELECT json_agg(r) FROM public.{table} r");
            emitted.push_str(&world.sql(&rows).unwrap());
        }
        let log = world.logged().unwrap();
        assert!(
            log.contains("\"books.recorded\":true") && log.contains("Connection refused"),
            "the log is not what this test thinks it is"
        );
        emitted.push_str(&log);

        let mut secrets = world.planted_secrets();
        secrets.extend(signatures);
        secrets.extend(tokens);
        secrets.push(user.api_key.expose_secret().to_owned());
        secrets.extend(
            [
                "planted-bearer",
                "planted-cookie",
                "sk-or-v1-planted",
                "sk-v1-planted",
                PASTED,
            ]
            .map(str::to_owned),
        );
        for secret in secrets {
            let place = emitted.find(&secret);
            assert!(!secret.is_empty());
            assert!(
                place.is_none(),
                "a planted secret shows: …{}…",
                &emitted[place.unwrap().saturating_sub(200)..place.unwrap()]
            );
        }
        // Prompts and queries are neither logged nor stored.
        let rows = world
            .sql("SELECT json_agg(r) FROM public.request_logs r")
            .unwrap();
        for text in [log, rows] {
            assert!(!text.contains("planted-prompt") && !text.contains("planted-query"));
        }
    });
}

/// Tokens that were made, rotated and used well or badly, and all that was answered but the one answer that
/// shows each of them.
async fn used_tokens(world: &World) -> (Vec<String>, String) {
    let user = world.user().unwrap();
    let settings =
        serde_json::json!({"name": "planted", "budgets": [{"period": "day", "amount": "1"}]});
    let (id, first) = make(&user, settings).await;
    let rotation = format!("/api/v1/tokens/{id}/rotate");
    let overlap = serde_json::json!({"overlap_seconds": 600});
    let rotated = manage(&user, Method::POST, &rotation, &overlap).await;
    let rotated: serde_json::Value = rotated.json().await.unwrap();
    let second = rotated["token"].as_str().unwrap().to_owned();
    let mistyped = format!(
        "{}{}",
        &first[..first.len() - 1],
        if first.ends_with('x') { 'y' } else { 'x' }
    );
    let mut emitted = String::new();
    for token in [&first, &second, &mistyped] {
        for (function, model) in [
            ("proxy", "stub/ok"),
            ("proxy", "stub/402"),
            ("proxy", "stub/cut"),
            ("proxy", token),
            ("proxy-astray", "stub/ok"),
            ("proxy-dark", "stub/ok"),
            ("proxy-keyless", "stub/ok"),
        ] {
            for header in ["authorization", "x-api-key"] {
                let value = if header == "authorization" {
                    format!("Bearer {token}")
                } else {
                    token.clone()
                };
                let body = serde_json::json!({"model": model, "stream": true, "messages": []});
                let path = "/api/v1/openrouter/chat/completions";
                let request = world
                    .client
                    .post(world.url(function, path))
                    .header(header, value);
                let answer = request.json(&body).send().await.unwrap();
                write!(emitted, "{:?}", answer.headers()).unwrap();
                emitted.push_str(&String::from_utf8_lossy(&answer.bytes().await.unwrap()));
            }
        }
        for (function, path) in [
            ("usage", "/api/v1/usage".to_owned()),
            ("keys", "/api/v1/keys".to_owned()),
            ("tokens", "/api/v1/tokens".to_owned()),
            ("health", format!("/{token}")),
            ("proxy", "/api/v1/openrouter/key".to_owned()),
            ("proxy", format!("/api/v1/openrouter/models?key={token}")),
        ] {
            let request = world
                .client
                .get(world.url(function, &path))
                .bearer_auth(token);
            emitted.push_str(&request.send().await.unwrap().text().await.unwrap());
        }
        // Pasted where its name and its id belong.
        let pasted = serde_json::json!({"name": token, "expires_at": "2199-01-01T00:00:00Z"});
        let answer = manage(&user, Method::POST, "/api/v1/tokens", &pasted).await;
        emitted.push_str(&answer.text().await.unwrap());
        let path = format!("/api/v1/tokens/{token}");
        let answer = manage(&user, Method::DELETE, &path, &serde_json::Value::Null).await;
        emitted.push_str(&answer.text().await.unwrap());
    }
    let path = "/api/v1/tokens?all=true";
    let listed = manage(&user, Method::GET, path, &serde_json::Value::Null).await;
    emitted.push_str(&listed.text().await.unwrap());
    assert!(emitted.contains("malformed_token") && emitted.contains("signature_required"));
    (vec![first, second, mistyped], emitted)
}

/// A key that stands where it does not belong.
const PASTED: &str = "sk-or-v1-pasted0123456789";

/// Sends it as the model, and in paths.
async fn paste_a_key(world: &World, user: &User<'_>) {
    for (path, model) in [
        ("/api/v1/openrouter/chat/completions".to_owned(), PASTED),
        (format!("/api/v1/openrouter/{PASTED}/x"), "stub/ok"),
        (format!("/api/v1/{PASTED}"), "stub/ok"),
    ] {
        let body = serde_json::json!({"model": model, "messages": []}).to_string();
        let body = body.into_bytes();
        let headers = user.headers(&Method::POST, &path, &body).unwrap();
        let request = world
            .client
            .post(world.url("proxy", &path))
            .headers(headers);
        let request = request
            .header("content-type", "application/json")
            .body(body);
        request.send().await.unwrap();
    }
}

/// All that is answered to keys that are brought, well or badly, and made, well or badly.
async fn key_changes(world: &World) -> String {
    let user = world.stranger().unwrap();
    let good = user.api_key.expose_secret().to_owned();
    world.upstream.accept_key(&good);
    let unknown = random_key("planted").unwrap();
    let brought = |key: &str| serde_json::json!({"api_key": key, "key_name": "n"}).to_string();
    let mut emitted = String::new();
    for (function, method, body) in [
        // OpenRouter's refusal quotes it.
        ("keys", Method::PUT, brought(&unknown)),
        ("keys", Method::PUT, format!("{unknown}\n")),
        ("keys", Method::PUT, format!(r#"{{"{unknown}":true}}"#)),
        (
            "keys",
            Method::PUT,
            format!(r#"{{"api_key":["{unknown}"]}}"#),
        ),
        ("keys", Method::PUT, brought(&format!(" {unknown}"))),
        ("keys", Method::PUT, brought(&unknown.replace("-or-", "-"))),
        (
            "keys",
            Method::PUT,
            format!(r#"{{"api_key":"{good}","key_name":"{unknown}"}}"#),
        ),
        (
            "keys",
            Method::PUT,
            format!(r#"{{"api_key":"{good}","verify":"{unknown}"}}"#),
        ),
        ("keys", Method::PUT, brought(world.management_key())),
        ("keys-astray", Method::PUT, brought(&good)),
        ("keys-dark", Method::PUT, brought(&good)),
        ("keys", Method::PUT, brought(&good)),
        ("keys", Method::GET, String::new()),
        ("keys", Method::DELETE, String::new()),
        ("keys-failed-late", Method::POST, String::new()),
        ("keys-hung-up", Method::POST, String::new()),
        ("keys-giving", Method::POST, String::new()),
        ("keys-giving", Method::GET, String::new()),
        ("keys-giving", Method::DELETE, String::new()),
    ] {
        let request = user
            .request(function, method, "/api/v1/keys", body.into_bytes())
            .unwrap();
        let answer = request.send().await.unwrap();
        write!(emitted, "{:?}", answer.headers()).unwrap();
        emitted.push_str(&answer.text().await.unwrap());
    }
    assert!(emitted.contains("key_refused") && emitted.contains("provisioned"));
    let event = serde_json::json!({"did": user.did.as_str()}).to_string();
    let swept = world.invoke("reconcile-giving", event.into_bytes()).await;
    emitted.push_str(&String::from_utf8_lossy(&swept.unwrap()));
    emitted
}
