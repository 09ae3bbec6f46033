//! Keys never leak: everything that the functions emit is searched for what must not be there.

use std::fmt::Write;

use e2e::world::with_world;
use http::Method;

#[test]
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
        // A row whose key was damaged, too.
        world
            .sql(&format!(
                "UPDATE public.user_api_keys SET encrypted_api_key = left(encrypted_api_key, -2) || 'AA' WHERE did = '{}'",
                user.did.as_str()
            ))
            .unwrap();
        let broken = user.chat("proxy", "stub/ok", true, "x").await.unwrap();
        emitted.push_str(&broken.text().await.unwrap());
        user.rows().await.unwrap();
        emitted.push_str(
            &world
                .sql("SELECT json_agg(r) FROM public.request_logs r")
                .unwrap(),
        );
        emitted.push_str(
            &world
                .sql("SELECT json_agg(k) FROM public.user_api_keys k")
                .unwrap(),
        );
        let log = world.logged().unwrap();
        assert!(
            log.contains("\"books.recorded\":true") && log.contains("Connection refused"),
            "the log is not what this test thinks it is"
        );
        emitted.push_str(&log);

        let mut secrets = world.planted_secrets();
        secrets.extend(signatures);
        secrets.push(user.api_key.expose_secret().to_owned());
        secrets.extend(["planted-bearer", "planted-cookie", "sk-or-v1-planted"].map(str::to_owned));
        for secret in secrets {
            let place = emitted.find(&secret);
            assert!(!secret.is_empty());
            assert!(
                place.is_none(),
                "a planted secret shows: …{}…",
                &emitted[place.unwrap().saturating_sub(200)..place.unwrap()]
            );
        }
        // What users say is theirs: prompts and queries are neither logged nor kept.
        let rows = world
            .sql("SELECT json_agg(r) FROM public.request_logs r")
            .unwrap();
        for text in [log, rows] {
            assert!(!text.contains("planted-prompt") && !text.contains("planted-query"));
        }
    });
}
