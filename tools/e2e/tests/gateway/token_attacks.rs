//! Access tokens in the hands of those who may not use them: guessed, ended, borrowed, misplaced.

use e2e::{
    chaos_proxy::SwitchedProxy,
    user::User,
    world::{CHAT, World, chat_body, with_world},
};
use futures_util::{StreamExt, stream};
use http::{Method, StatusCode};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use shared::identity::access_token::AccessToken;

use crate::tokens::{make, manage};

const TOKENS: &str = "/api/v1/tokens";
/// Every route that takes a token: function, method and path.
const ROUTES: [(&str, Method, &str); 6] = [
    ("proxy", Method::POST, CHAT),
    ("proxy", Method::GET, "/api/v1/openrouter/models/user"),
    ("proxy", Method::GET, "/api/v1/openrouter/key"),
    ("proxy", Method::GET, "/api/v1/openrouter/credits"),
    ("usage", Method::GET, "/api/v1/usage"),
    ("usage", Method::GET, "/api/v1/usage/requests"),
];

#[test]
fn a_token_that_has_ended_opens_nothing() {
    with_world(async |world| {
        let user = world.user().unwrap();
        let [expired, revoked, disabled, live] = make_four(&user).await;
        let past = format!(
            "UPDATE public.access_tokens SET expires_at = now() - interval '1 second' WHERE id = '{}'",
            expired.0
        );
        world.sql(&past).unwrap();
        let path = format!("{TOKENS}/{}", revoked.0);
        manage(&user, Method::DELETE, &path, &Value::Null).await;
        let path = format!("{TOKENS}/{}", disabled.0);
        manage(&user, Method::PATCH, &path, &json!({"disabled": true})).await;
        let refused = [
            (expired.1, 401, "token_expired"),
            (revoked.1, 401, "token_revoked"),
            (disabled.1, 403, "token_disabled"),
            (guess(), 401, "unknown_token"),
            (mistyped(&live.1), 401, "malformed_token"),
        ];
        for (token, status, reason) in &refused {
            everywhere(world, token, *status, reason).await;
        }
        // And when its DID is blocked, or may not use the gateway, the live one.
        set_account(world, &user, "disabled = true");
        everywhere(world, &live.1, 403, "key_disabled").await;
        set_account(world, &user, "disabled = false");
        let others = [("ALLOWED_DIDS", "did:web:example.com:*".to_owned())];
        let strict = world.deploy(&["proxy", "usage"], &others).unwrap();
        for (function, method, path) in ROUTES {
            let request = world.client.request(method, strict.url(function, path));
            let seen = answer(chat(request).bearer_auth(&live.1)).await;
            assert_eq!(seen, (403, "did_not_allowed".to_owned()), "{path}");
        }
        assert_eq!(user.rows().await.unwrap(), Vec::<Value>::new());
        let request = world.client.post(world.url("proxy", CHAT));
        let answer = chat(request).bearer_auth(&live.1).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
    });
}

#[test]
fn a_token_of_another_did_is_out_of_reach() {
    with_world(async |world| {
        let (owner, thief) = (world.user().unwrap(), world.user().unwrap());
        let (id, token) = make(&owner, settings("theirs")).await;
        let path = format!("{TOKENS}/{id}");
        let rotate = format!("{path}/rotate");
        for (method, path, body) in [
            (Method::GET, &path, Value::Null),
            (
                Method::PATCH,
                &path,
                json!({"budgets": [], "expires_at": "2199-01-01T00:00:00Z"}),
            ),
            (Method::POST, &rotate, Value::Null),
            (Method::DELETE, &path, Value::Null),
        ] {
            let seen = manage(&thief, method.clone(), path, &body).await;
            assert_eq!(
                refusal(seen).await,
                (404, "no_such_token".to_owned()),
                "{method}"
            );
        }
        // It spends for its owner, whatever its holder claims to be.
        let request = chat(world.client.post(world.url("proxy", CHAT)));
        let claimed = request
            .bearer_auth(&token)
            .header("x-did", thief.did.as_str());
        assert_eq!(
            answer(claimed).await,
            (400, "ambiguous_credentials".to_owned())
        );
        let request = chat(world.client.post(world.url("proxy", CHAT)));
        let used = request.bearer_auth(&token).send().await.unwrap();
        assert_eq!(used.status(), StatusCode::OK);
        assert_eq!(thief.rows().await.unwrap(), Vec::<Value>::new());
        assert_eq!(owner.row().await.unwrap()["token_id"], json!(id));
    });
}

#[test]
fn variants_of_a_token_are_no_tokens() {
    with_world(async |world| {
        let user = world.user().unwrap();
        let (_, token) = make(&user, settings("demo")).await;
        let (_, other) = make(&user, settings("other")).await;
        let swapped: String = token
            .chars()
            .map(|it| {
                if it.is_lowercase() {
                    it.to_ascii_uppercase()
                } else {
                    it.to_ascii_lowercase()
                }
            })
            .collect();
        let bearer = |text: &str| vec![("authorization", format!("Bearer {text}"))];
        let key = |text: &str| vec![("x-api-key", text.to_owned())];
        for (what, headers, reason) in [
            (
                "quotes",
                bearer(&format!("\"{token}\"")),
                "missing_credentials",
            ),
            (
                "a full stop",
                bearer(&format!("{token}.")),
                "malformed_token",
            ),
            (
                "a blank within",
                bearer(&token.replacen('-', "- ", 1)),
                "missing_credentials",
            ),
            ("upper case", key(&token.to_uppercase()), "malformed_token"),
            ("lower case", key(&token.to_lowercase()), "malformed_token"),
            ("the other case", key(&swapped), "malformed_token"),
            ("cut", key(&token[..55]), "malformed_token"),
            ("longer", key(&format!("{token}0")), "malformed_token"),
            (
                "two in one",
                bearer(&format!("{token},{token}")),
                "ambiguous_credentials",
            ),
            (
                "another prefix",
                key(&token.replacen("lgw", "or", 1)),
                "missing_credentials",
            ),
            (
                "the id",
                bearer("00000000-0000-4000-8000-000000000000"),
                "missing_credentials",
            ),
            (
                "another scheme",
                vec![("authorization", format!("Token {token}"))],
                "missing_credentials",
            ),
            (
                "another header",
                vec![("x-token", token.clone())],
                "missing_credentials",
            ),
            (
                "a proxy's header",
                vec![("proxy-authorization", format!("Bearer {token}"))],
                "missing_credentials",
            ),
            (
                "one of each",
                [bearer(&token), key(&other)].concat(),
                "ambiguous_credentials",
            ),
        ] {
            let mut request = chat(world.client.post(world.url("proxy", CHAT)));
            for (name, value) in headers {
                request = request.header(name, value);
            }
            let answer = request.send().await.unwrap();
            let body = answer.text().await.unwrap();
            assert!(
                !body.contains(&token[7..50]) && !body.contains(&other),
                "{what}: {body}"
            );
            let body: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(
                body["error"]["metadata"]["reason"], reason,
                "{what}: {body}"
            );
        }
        assert_eq!(user.rows().await.unwrap(), Vec::<Value>::new());
    });
}

/// What is no token by its form reaches no database; each other guess is one call.
#[test]
fn guesses_are_told_by_their_form() {
    with_world(async |world| {
        let storage = SwitchedProxy::passing(&world.storage_url()).await.unwrap();
        let proxy = world
            .deploy(&["proxy"], &[("SUPABASE_URL", storage.url())])
            .unwrap();
        let url = proxy.url("proxy", CHAT);
        let send = async |tokens: Vec<String>, reason: &str| {
            let answers = stream::iter(tokens)
                .map(async |token| answer(chat(world.client.post(&url)).bearer_auth(token)).await);
            let answers: Vec<_> = answers.buffer_unordered(16).collect().await;
            let expected = (401, reason.to_owned());
            assert!(answers.iter().all(|it| *it == expected), "{answers:?}");
        };
        send(
            (0..200).map(|_| mistyped(&guess())).collect(),
            "malformed_token",
        )
        .await;
        assert_eq!(storage.calls(), Vec::<String>::new());
        send((0..100).map(|_| guess()).collect(), "unknown_token").await;
        assert_eq!(storage.calls(), vec!["begin_request"; 100]);
    });
}

/// 10,000 digests that nobody has, beside as many tokens: of each one entry of one index is looked at, no lock is
/// taken and nothing is written.
#[test]
fn a_guess_is_one_look_into_an_index() {
    with_world(async |world| {
        let seen = world
            .sql(
                "BEGIN;
                 INSERT INTO public.access_tokens (id, did, label, name, created_at)
                 SELECT gen_random_uuid(), 'did:key:crowd', 'l', 'n' || n, now() FROM generate_series(1, 10000) AS n;
                 INSERT INTO public.token_digests (digest, token_id)
                 SELECT sha256(id::text::bytea), id FROM public.access_tokens WHERE did = 'did:key:crowd';
                 ANALYZE public.access_tokens, public.token_digests;
                 -- The first few are planned one by one, which looks into the indexes, too.
                 DO $$
                 BEGIN
                   FOR n IN 1..20 LOOP
                     BEGIN
                       PERFORM public.begin_request(jsonb_build_object(
                         'id', gen_random_uuid(), 'request_time', 0,
                         'token_digest', encode(sha256(('guess' || n)::bytea), 'hex')));
                       RAISE EXCEPTION 'a guess passed';
                     EXCEPTION WHEN SQLSTATE 'PT401' THEN NULL;
                     END;
                   END LOOP;
                 END $$;
                 CREATE TEMP TABLE before ON COMMIT DROP AS
                 SELECT relname, seq_scan, idx_scan, n_tup_ins, n_tup_upd FROM pg_stat_xact_user_tables;
                 DO $$
                 BEGIN
                   FOR n IN 1..10000 LOOP
                     BEGIN
                       PERFORM public.begin_request(jsonb_build_object(
                         'id', gen_random_uuid(), 'request_time', 0,
                         'token_digest', encode(sha256(('guess' || n)::bytea), 'hex')));
                       RAISE EXCEPTION 'a guess passed';
                     EXCEPTION WHEN SQLSTATE 'PT401' THEN NULL;
                     END;
                   END LOOP;
                 END $$;
                 SELECT jsonb_agg(t ORDER BY t.relname) FROM (
                   SELECT s.relname, s.seq_scan - coalesce(b.seq_scan, 0) AS seq_scan, s.idx_scan - coalesce(b.idx_scan, 0) AS idx_scan,
                          s.n_tup_ins - coalesce(b.n_tup_ins, 0) + s.n_tup_upd - coalesce(b.n_tup_upd, 0) AS written
                     FROM pg_stat_xact_user_tables AS s LEFT JOIN before AS b USING (relname)
                    WHERE s.schemaname = 'public') AS t
                  WHERE t.seq_scan > 0 OR t.idx_scan > 0 OR t.written > 0;
                 ROLLBACK;",
            )
            .unwrap();
        let seen = seen
            .lines()
            .find(|line| line.starts_with('['))
            .unwrap_or(&seen);
        let seen: Value = serde_json::from_str(seen).unwrap();
        let rows = seen.as_array().unwrap();
        assert!(
            rows.iter()
                .all(|it| it["seq_scan"] == 0 && it["written"] == 0),
            "{seen}"
        );
        let looked = |table| {
            let row = rows.iter().find(|it| it["relname"] == table);
            row.map_or(0, |it| it["idx_scan"].as_i64().unwrap())
        };
        // A new plan looks into an index once or twice.
        assert!(
            (10_000..10_020).contains(&looked("token_digests")),
            "{seen}"
        );
        assert!(looked("access_tokens") < 20 && rows.len() <= 2, "{seen}");
    });
}

/// Tokens of one user, each an id and a text.
async fn make_four(user: &User<'_>) -> [(String, String); 4] {
    let names = ["expired", "revoked", "disabled", "live"];
    let mut made = Vec::new();
    for name in names {
        made.push(make(user, settings(name)).await);
    }
    made.try_into().unwrap()
}

/// Sends a token on every route that takes one.
async fn everywhere(world: &World, token: &str, status: u16, reason: &str) {
    for (function, method, path) in ROUTES {
        for header in ["authorization", "x-api-key"] {
            let request = world
                .client
                .request(method.clone(), world.url(function, path));
            let request = if header == "authorization" {
                request.bearer_auth(token)
            } else {
                request.header(header, token)
            };
            let seen = answer(chat(request)).await;
            assert_eq!(
                seen,
                (status, reason.to_owned()),
                "{method} {path} {header}"
            );
        }
    }
}

fn set_account(world: &World, user: &User<'_>, change: &str) {
    let did = user.did.as_str();
    let sql = format!("UPDATE public.accounts SET {change} WHERE did = '{did}'");
    world.sql(&sql).unwrap();
}

fn settings(name: &str) -> Value {
    json!({"name": name, "budgets": [{"period": "day", "amount": "5", "time_zone": "UTC"}]})
}

/// A text of the form of a token, which was never made.
fn guess() -> String {
    let mut random = [0; 32];
    getrandom::fill(&mut random).unwrap();
    AccessToken::from_randomness(random).expose().to_string()
}

/// The token with another last character.
fn mistyped(token: &str) -> String {
    let (start, end) = token.split_at(token.len() - 1);
    format!("{start}{}", if end == "x" { "y" } else { "x" })
}

fn chat(request: RequestBuilder) -> RequestBuilder {
    request
        .header("content-type", "application/json")
        .body(chat_body("stub/ok", false, "x"))
}

async fn answer(request: RequestBuilder) -> (u16, String) {
    refusal(request.send().await.unwrap()).await
}

/// Status and reason of a refusal.
async fn refusal(answer: reqwest::Response) -> (u16, String) {
    let status = answer.status().as_u16();
    let body: Value = answer.json().await.unwrap();
    let reason = &body["error"]["metadata"]["reason"];
    (status, reason.as_str().unwrap_or_default().to_owned())
}
