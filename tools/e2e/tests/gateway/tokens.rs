//! Access tokens: clients that know a base URL and a key.

use std::process::Command;

use e2e::{
    user::User,
    world::{CHAT, World, chat_body, with_world},
};
use http::{Method, StatusCode};
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};
use shared::identity::access_token::AccessToken;

use crate::clients::{report, sdks};

const TOKENS: &str = "/api/v1/tokens";
const KEY: &str = "/api/v1/openrouter/key";
const CREDITS: &str = "/api/v1/openrouter/credits";

#[test]
fn a_token_lives_until_it_is_revoked() {
    with_world(async |world| {
        let user = world.user().unwrap();
        let answer = manage(&user, Method::POST, TOKENS, &settings("demo")).await;
        assert_eq!(answer.status(), StatusCode::CREATED);
        assert_eq!(answer.headers()["cache-control"], "no-store");
        let made: Value = answer.json().await.unwrap();
        let (id, token) = (text(&made["data"]["id"]), text(&made["token"]));
        assert_eq!(
            token.parse::<AccessToken>().unwrap().label(),
            made["data"]["label"]
        );
        assert_eq!(
            (&made["data"]["name"], &made["data"]["state"]),
            (&json!("demo"), &json!("live"))
        );

        let chat = chat_with(world, &token, "stub/ok").await;
        assert_eq!(chat.status(), StatusCode::OK);
        assert_eq!(chat.headers()["x-gateway-upstream"], "openrouter");
        let row = user.row().await.unwrap();
        assert_eq!(
            (&row["token_id"], &row["app"], &row["tag"]),
            (&json!(id), &json!("My App"), &json!("nightly"))
        );

        let listed = json_of(manage(&user, Method::GET, TOKENS, &Value::Null).await).await;
        let [shown] = listed["data"].as_array().unwrap().as_slice() else {
            panic!("{listed}")
        };
        assert_eq!(
            (&shown["id"], &shown["requests"]),
            (&json!(id), &json!("1"))
        );
        assert_eq!(shown["cost"], shown["budgets"][0]["spent"]);
        assert_ne!(shown["cost"], "0");
        assert!(!listed.to_string().contains(&token));

        // Rotated with an overlap, both pass; without, the old ones are gone.
        let rotate = format!("{TOKENS}/{id}/rotate");
        let rotated = manage(
            &user,
            Method::POST,
            &rotate,
            &json!({"overlap_seconds": 600}),
        )
        .await;
        assert_eq!(
            (rotated.status(), &rotated.headers()["cache-control"]),
            (StatusCode::OK, &"no-store".parse().unwrap())
        );
        let second = text(&json_of(rotated).await["token"]);
        for token in [&token, &second] {
            assert_eq!(
                chat_with(world, token, "stub/ok").await.status(),
                StatusCode::OK
            );
        }
        let third =
            text(&json_of(manage(&user, Method::POST, &rotate, &Value::Null).await).await["token"]);
        assert_eq!(
            refusal(chat_with(world, &second, "stub/ok").await).await,
            (401, "token_revoked".to_owned())
        );
        assert_eq!(
            chat_with(world, &third, "stub/ok").await.status(),
            StatusCode::OK
        );

        let path = format!("{TOKENS}/{id}");
        let disabled = manage(&user, Method::PATCH, &path, &json!({"disabled": true})).await;
        assert_eq!(json_of(disabled).await["data"]["state"], "disabled");
        assert_eq!(
            refusal(chat_with(world, &third, "stub/ok").await).await,
            (403, "token_disabled".to_owned())
        );
        manage(&user, Method::PATCH, &path, &json!({"disabled": false})).await;
        let revoked = manage(&user, Method::DELETE, &path, &Value::Null).await;
        assert_eq!(json_of(revoked).await["data"]["state"], "revoked");
        assert_eq!(
            refusal(chat_with(world, &third, "stub/ok").await).await,
            (401, "token_revoked".to_owned())
        );
        let listed = json_of(manage(&user, Method::GET, TOKENS, &Value::Null).await).await;
        assert_eq!(listed["data"], json!([]));
        let listed = user
            .get("tokens", &format!("{TOKENS}?all=true"))
            .await
            .unwrap();
        assert_eq!(json_of(listed).await["data"][0]["id"], json!(id));
        assert_eq!(user.rows().await.unwrap().len(), 4);
    });
}

#[test]
fn a_token_manages_nothing() {
    with_world(async |world| {
        let user = world.user().unwrap();
        let (id, token) = make(&user, settings("demo")).await;
        let body = settings("another");
        for (function, method, path) in [
            ("keys", Method::GET, "/api/v1/keys".to_owned()),
            ("keys", Method::PUT, "/api/v1/keys".to_owned()),
            ("keys", Method::DELETE, "/api/v1/keys".to_owned()),
            ("tokens", Method::GET, TOKENS.to_owned()),
            ("tokens", Method::POST, TOKENS.to_owned()),
            ("tokens", Method::PATCH, format!("{TOKENS}/{id}")),
            ("tokens", Method::DELETE, format!("{TOKENS}/{id}")),
            ("tokens", Method::POST, format!("{TOKENS}/{id}/rotate")),
        ] {
            for header in ["authorization", "x-api-key"] {
                let request = world
                    .client
                    .request(method.clone(), world.url(function, &path));
                let answer = request
                    .header(header, bearer(header, &token))
                    .json(&body)
                    .send();
                let answer = refusal(answer.await.unwrap()).await;
                assert_eq!(
                    answer,
                    (403, "signature_required".to_owned()),
                    "{method} {path}"
                );
            }
        }
        assert_eq!(
            chat_with(world, &token, "stub/ok").await.status(),
            StatusCode::OK
        );
    });
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table of places")]
fn a_token_is_read_from_two_headers_and_nothing_else() {
    with_world(async |world| {
        let user = world.user().unwrap();
        let (_, token) = make(&user, settings("demo")).await;
        let (_, other) = make(&user, settings("other")).await;
        let body = chat_body("stub/ok", false, "x");
        let signed = || {
            user.request("proxy", Method::POST, CHAT, body.clone())
                .unwrap()
        };
        let bare = |path: &str| {
            let request = world
                .client
                .post(world.url("proxy", path))
                .body(body.clone());
            request.header("content-type", "application/json")
        };
        let in_query = format!("{CHAT}?api_key={token}&key={token}&access_token={token}");
        let in_path = format!("/api/v1/openrouter/{token}/chat/completions");
        let both = bare(CHAT).bearer_auth(&token);
        for (what, request, status, reason) in [
            ("bearer", bare(CHAT).bearer_auth(&token), 200, ""),
            ("x-api-key", bare(CHAT).header("x-api-key", &token), 200, ""),
            (
                "the same in both",
                both.try_clone().unwrap().header("x-api-key", &token),
                200,
                "",
            ),
            (
                "another scheme's case",
                bare(CHAT).header("authorization", format!("bEARER  {token} ")),
                200,
                "",
            ),
            (
                "two tokens",
                both.header("x-api-key", &other),
                400,
                "ambiguous_credentials",
            ),
            (
                "beside a signature",
                signed().bearer_auth(&token),
                400,
                "ambiguous_credentials",
            ),
            (
                "beside a signature",
                signed().header("x-api-key", &token),
                400,
                "ambiguous_credentials",
            ),
            (
                "no scheme",
                bare(CHAT).header("authorization", &token),
                401,
                "missing_credentials",
            ),
            (
                "basic",
                bare(CHAT).basic_auth(&token, Some("")),
                401,
                "missing_credentials",
            ),
            (
                "cookie",
                bare(CHAT).header("cookie", format!("authorization={token}")),
                401,
                "missing_credentials",
            ),
            ("query", bare(&in_query), 401, "missing_credentials"),
            ("path", bare(&in_path), 401, "missing_credentials"),
            (
                "upper case",
                bare(CHAT).bearer_auth(token.to_uppercase()),
                401,
                "malformed_token",
            ),
            (
                "mistyped",
                bare(CHAT).bearer_auth(mistyped(&token)),
                401,
                "malformed_token",
            ),
            (
                "OpenRouter's",
                bare(CHAT).bearer_auth("sk-or-v1-pasted0123456789"),
                401,
                "missing_credentials",
            ),
        ] {
            let answer = request.send().await.unwrap();
            if status == 200 {
                assert_eq!(
                    answer.status(),
                    StatusCode::OK,
                    "{what}: {}",
                    answer.text().await.unwrap()
                );
                continue;
            }
            let text = answer.text().await.unwrap();
            assert!(
                !text.contains(&token) && !text.contains("pasted0123"),
                "{what}: {text}"
            );
            let answer: Value = serde_json::from_str(&text).unwrap();
            let seen = (
                &answer["error"]["code"],
                &answer["error"]["metadata"]["reason"],
            );
            assert_eq!(seen, (&json!(status), &json!(reason)), "{what}: {text}");
        }
        assert_eq!(user.rows().await.unwrap().len(), 4);
    });
}

#[test]
fn a_token_is_told_its_own_quota_and_usage() {
    with_world(async |world| {
        let user = world.user().unwrap();
        let (id, token) = make(&user, settings("demo")).await;
        let (other_id, other) = make(&user, settings("other")).await;
        let unread =
            json!({"name": "unread", "expires_at": "2199-01-01T00:00:00Z", "read_usage": false});
        let (_, unread) = make(&user, unread).await;
        for (token, times) in [(&token, 1), (&other, 2)] {
            for _ in 0..times {
                assert_eq!(
                    chat_with(world, token, "stub/ok").await.status(),
                    StatusCode::OK
                );
            }
        }
        user.chat("proxy", "stub/ok", false, "x")
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap();
        let rows = user.rows().await.unwrap();
        let cost = rows[0]["total_cost"].as_f64().unwrap();
        assert_eq!(rows.len(), 4);

        let get = async |function: &str, path: &str, token: &str| {
            let request = world
                .client
                .get(world.url(function, path))
                .bearer_auth(token);
            request.send().await.unwrap()
        };
        let near =
            |value: &Value, expected: f64| (value.as_f64().unwrap() - expected).abs() < 1e-12;
        let key = json_of(get("proxy", KEY, &token).await).await;
        assert!(
            near(&key["data"]["usage"], cost) && near(&key["data"]["usage_daily"], cost),
            "{key}"
        );
        assert!(near(&key["data"]["limit_remaining"], 5.0 - cost), "{key}");
        assert_eq!(
            (
                &key["data"]["limit"],
                &key["data"]["limit_reset"],
                &key["data"]["is_free_tier"]
            ),
            (&json!(5), &json!("daily"), &json!(false))
        );
        let credits = json_of(get("proxy", CREDITS, &token).await).await;
        assert!(near(&credits["data"]["total_usage"], cost), "{credits}");

        let usage = json_of(get("usage", "/api/v1/usage?group_by=token", &token).await).await;
        assert_eq!(usage["data"]["total_requests"], 1);
        assert_eq!(usage["data"]["groups"].as_array().unwrap().len(), 1);
        assert!(
            usage["data"].get("spent").is_none_or(Value::is_null),
            "{usage}"
        );
        let listed = json_of(get("usage", "/api/v1/usage/requests", &other).await).await;
        let listed = listed["data"]["requests"].as_array().unwrap();
        assert_eq!(listed.len(), 2);
        assert!(listed.iter().all(|it| it["token_id"] == json!(other_id)));
        let foreign = format!("/api/v1/usage?token={other_id}");
        assert_eq!(
            refusal(get("usage", &foreign, &token).await).await,
            (400, "invalid_parameter".to_owned())
        );
        let own = format!("/api/v1/usage/requests?token={id}");
        assert_eq!(get("usage", &own, &token).await.status(), StatusCode::OK);
        for path in ["/api/v1/usage", "/api/v1/usage/requests"] {
            assert_eq!(
                refusal(get("usage", path, &unread).await).await,
                (403, "usage_not_allowed".to_owned())
            );
        }
        // Its owner sees all, token by token.
        let all = json_of(
            user.get("usage", "/api/v1/usage?group_by=token")
                .await
                .unwrap(),
        )
        .await;
        assert_eq!(all["data"]["total_requests"], 4);
        assert_eq!(all["data"]["groups"].as_array().unwrap().len(), 3);
    });
}

#[test]
fn a_token_stays_within_its_limits() {
    with_world(async |world| {
        let user = world.user().unwrap();
        let limited = |more: Value| {
            let mut settings =
                json!({"name": more.to_string(), "expires_at": "2199-01-01T00:00:00Z"});
            settings
                .as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            settings
        };
        let (_, spent) = make(
            &user,
            limited(json!({"budgets": [{"period": "total", "amount": "0.0000001"}]})),
        )
        .await;
        let answer = chat_with(world, &spent, "stub/ok").await;
        assert_eq!(answer.headers()["x-should-retry"], "false");
        let answer = json_of(answer).await;
        let told = &answer["error"]["metadata"];
        assert_eq!(
            (
                &answer["error"]["code"],
                &told["reason"],
                &told["of"],
                &told["period"]
            ),
            (
                &json!(402),
                &json!("budget_reached"),
                &json!("token"),
                &json!("total")
            )
        );
        assert_eq!(
            (&told["amount"], &told["spent"], &told["held"]),
            (&json!("0.0000001"), &json!("0"), &json!("0"))
        );

        let (_, narrow) = make(&user, limited(json!({"models": ["stub/o*"]}))).await;
        assert_eq!(
            chat_with(world, &narrow, "stub/ok").await.status(),
            StatusCode::OK
        );
        let answer = json_of(chat_with(world, &narrow, "sdk/chat").await).await;
        let told = &answer["error"]["metadata"];
        assert_eq!(
            (
                &answer["error"]["code"],
                &told["reason"],
                &told["model"],
                &told["pointer"]
            ),
            (
                &json!(403),
                &json!("model_not_allowed"),
                &json!("sdk/chat"),
                &json!("/model")
            )
        );

        let (_, elsewhere) = make(&user, limited(json!({"endpoints": ["embeddings"]}))).await;
        assert_eq!(
            refusal(chat_with(world, &elsewhere, "stub/ok").await).await,
            (403, "endpoint_not_allowed".to_owned())
        );

        let (_, slow) = make(&user, limited(json!({"requests_per_minute": 1}))).await;
        assert_eq!(
            chat_with(world, &slow, "stub/ok").await.status(),
            StatusCode::OK
        );
        let answer = chat_with(world, &slow, "stub/ok").await;
        assert!(answer.headers().contains_key("retry-after"));
        assert_eq!(refusal(answer).await, (429, "rate_limited".to_owned()));
    });
}

#[test]
fn openai_python_2() {
    with_world(async |world| {
        let program = sdks().python("openai-2", "token_openai.py");
        insta::assert_snapshot!(transcript(world, program).await);
    });
}

#[test]
fn openai_python_3() {
    with_world(async |world| {
        let program = sdks().python("openai-3", "token_openai.py");
        insta::assert_snapshot!(transcript(world, program).await);
    });
}

#[test]
fn anthropic_python() {
    with_world(async |world| {
        let program = sdks().python("programs", "token_anthropic.py");
        insta::assert_snapshot!(transcript(world, program).await);
    });
}

/// Tokens that are refused: a revoked one, one whose budget is reached, one for models of one author, and, from its
/// second request on, one with a rate.
pub(crate) struct Refused {
    pub(crate) revoked: String,
    pub(crate) spent: String,
    pub(crate) narrow: String,
    pub(crate) slow: String,
}

impl Refused {
    pub(crate) async fn make(user: &User<'_>) -> Self {
        let with = async |name: &str, more: Value| {
            let mut settings = settings(name);
            settings
                .as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            make(user, settings).await
        };
        let (revoked_id, revoked) = with("revoked", json!({})).await;
        let path = format!("{TOKENS}/{revoked_id}");
        manage(user, Method::DELETE, &path, &Value::Null).await;
        let of_a_budget = json!({"budgets": [{"period": "day", "amount": "0.0000001"}]});
        let (_, spent) = with("spent", of_a_budget).await;
        let (_, narrow) = with("narrow", json!({"models": ["openai/*"]})).await;
        let (_, slow) = with("slow", json!({"requests_per_minute": 1})).await;
        Self {
            revoked,
            spent,
            narrow,
            slow,
        }
    }
}

/// The report of a program that knows a base URL and a token, and the books.
async fn transcript(world: &World, mut program: Command) -> String {
    let user = world.user().unwrap();
    let (_, token) = make(&user, settings("program")).await;
    let Refused {
        revoked,
        spent,
        narrow,
        slow,
    } = Refused::make(&user).await;
    chat_with(world, &slow, "sdk/chat").await;
    let refused = json!({
        "mistyped": mistyped(&token),
        "revoked": revoked,
        "unknown": &**AccessToken::from_randomness([9; 32]).expose(),
        "of a budget that is reached": spent,
        "for other models": narrow,
        "too often": slow,
    });
    let base = world.url("proxy", "/api/v1/openrouter");
    program
        .env("OPENAI_BASE_URL", format!("{base}/v1"))
        .env("OPENAI_API_KEY", &token)
        .env("ANTHROPIC_BASE_URL", base)
        .env("ANTHROPIC_API_KEY", &token)
        .env("REFUSED", refused.to_string());
    report(&user, program).await
}

/// Makes a token; its id and its text.
pub(crate) async fn make(user: &User<'_>, settings: Value) -> (String, String) {
    let answer = manage(user, Method::POST, TOKENS, &settings).await;
    let made = json_of(answer).await;
    (text(&made["data"]["id"]), text(&made["token"]))
}

/// A signed request about tokens.
pub(crate) async fn manage(user: &User<'_>, method: Method, path: &str, body: &Value) -> Response {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let request = user.request("tokens", method, path, body.into_bytes());
    request.unwrap().send().await.unwrap()
}

/// A chat that comes with a token, and is whole when this returns.
async fn chat_with(world: &World, token: &str, model: &str) -> Response {
    labelled(world.client.post(world.url("proxy", CHAT)))
        .bearer_auth(token)
        .header("content-type", "application/json")
        .body(chat_body(model, false, "x"))
        .send()
        .await
        .unwrap()
}

fn labelled(request: RequestBuilder) -> RequestBuilder {
    request
        .header("x-title", "My App")
        .header("x-gateway-tag", "nightly")
}

fn settings(name: &str) -> Value {
    json!({"name": name, "budgets": [{"period": "day", "amount": "5", "time_zone": "Europe/Berlin"}]})
}

fn bearer(header: &str, token: &str) -> String {
    if header == "authorization" {
        format!("Bearer {token}")
    } else {
        token.to_owned()
    }
}

/// The token with another last character.
pub(crate) fn mistyped(token: &str) -> String {
    let (start, end) = token.split_at(token.len() - 1);
    let last = if end == "x" { "y" } else { "x" };
    format!("{start}{last}")
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

async fn json_of(answer: Response) -> Value {
    answer.json().await.unwrap()
}

/// Status and reason of a refusal.
async fn refusal(answer: Response) -> (u16, String) {
    let status = answer.status().as_u16();
    let body = json_of(answer).await;
    (status, text(&body["error"]["metadata"]["reason"]))
}
