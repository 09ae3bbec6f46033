//! Keys: brought, made by the gateway, replaced, revoked; and what is left of them when something
//! fails on the way.

use std::{collections::BTreeSet, time::Duration};

use e2e::{
    user::User,
    world::{World, random_key, with_world},
};
use futures_util::future::join_all;
use http::Method;
use reqwest::Response;
use serde_json::{Value, json};
use stub::{
    management::CreatedKey,
    scripted::{CUT_COST_PLAIN, stream_bytes},
};

use crate::told::{Told, set};

const PATH: &str = "/api/v1/keys";

async fn send(user: &User<'_>, function: &str, method: Method, body: &str) -> Response {
    let request = user
        .request(function, method, PATH, body.as_bytes().to_vec())
        .unwrap();
    request.send().await.unwrap()
}

async fn put(user: &User<'_>, function: &str, key: &str) -> Response {
    let body = json!({"api_key": key, "key_name": "mine"}).to_string();
    send(user, function, Method::PUT, &body).await
}

async fn post(user: &User<'_>, function: &str) -> Response {
    send(user, function, Method::POST, "").await
}

/// The description in an answer that must be a success.
async fn described(answer: Response) -> Value {
    let status = answer.status();
    let body = answer.json_value().await;
    assert_eq!(status, 200, "{body}");
    body["data"].clone()
}

/// The keys that were made for `user` and that OpenRouter still takes.
fn live(world: &World, user: &User<'_>) -> Vec<CreatedKey> {
    let ids = world
        .sql(&format!(
            "SELECT coalesce(string_agg(id::text, ','), '') FROM public.key_provisionings WHERE did = '{}'",
            user.did.as_str()
        ))
        .unwrap();
    let names: BTreeSet<_> = ids
        .split(',')
        .map(|id| format!("llm-gateway-{id}"))
        .collect();
    let created = world.upstream.management().created();
    created
        .into_iter()
        .filter(|key| key.is_live && names.contains(&key.name))
        .collect()
}

/// Checks the invariant of settled keys: a provisioned key is live exactly if a row names it.
fn assert_settled(world: &World, user: &User<'_>) {
    let upstream: Vec<_> = live(world, user)
        .into_iter()
        .map(|made| made.hash)
        .collect();
    let rows = world
        .sql(&format!(
            "SELECT coalesce(json_agg(openrouter_key_hash), '[]') FROM public.user_api_keys
              WHERE did = '{}' AND provisioning_id IS NOT NULL",
            user.did.as_str()
        ))
        .unwrap();
    assert_eq!(
        json!(upstream),
        serde_json::from_str::<Value>(&rows).unwrap()
    );
    assert_eq!(unfinished(world, user), "0");
}

/// The number of this user's provisionings that have not ended.
fn unfinished(world: &World, user: &User<'_>) -> String {
    let sql = format!(
        "SELECT count(*) FROM public.key_provisionings
          WHERE did = '{}' AND state IN ('reserved', 'to_delete')",
        user.did.as_str()
    );
    world.sql(&sql).unwrap()
}

/// One run over this user's keys; what it answers about them.
async fn reconcile(world: &World, function: &str, user: &User<'_>) -> Value {
    let event = json!({"did": user.did.as_str()}).to_string();
    let answer = world.invoke(function, event.into_bytes()).await.unwrap();
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    match answer.get("keys") {
        Some(keys) => keys.clone(),
        None => answer,
    }
}

fn swept(deleted: u32, waiting: u32) -> Value {
    json!({"claimed": deleted + waiting, "deleted": deleted, "waiting": waiting, "failed": 0})
}

/// Lets eleven minutes pass for this user's provisionings: leases and backoffs are over.
fn let_time_pass(world: &World, user: &User<'_>) {
    world
        .sql(&format!(
            "UPDATE public.key_provisionings
                SET reserved_at = reserved_at - interval '11 minutes',
                    lease_until = lease_until - interval '11 minutes',
                    next_attempt_at = next_attempt_at - interval '11 minutes'
              WHERE did = '{}'",
            user.did.as_str()
        ))
        .unwrap();
}

/// Waits for a condition that a task after an answer fulfils.
async fn until(mut condition: impl FnMut() -> bool) {
    for _ in 0..100 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(condition(), "after 5 s");
}

fn events(world: &World, user: &User<'_>) -> String {
    world
        .sql(&format!(
            "SELECT coalesce(string_agg(actor || ' ' || action, ', ' ORDER BY id), '')
               FROM public.key_events WHERE did = '{}'",
            user.did.as_str()
        ))
        .unwrap()
}

/// The keys that are kept for this user's open costs.
fn kept(world: &World, user: &User<'_>) -> String {
    let did = user.did.as_str();
    world
        .sql(&format!(
            "SELECT count(*) FROM public.retired_keys WHERE did = '{did}'"
        ))
        .unwrap()
}

/// Leaves a cost behind that only reconciliation can find out.
async fn owe(user: &User<'_>, id: &str) {
    let answer = user.chat("proxy", "stub/cut-billed", true, id).await;
    answer.unwrap().bytes().await.unwrap();
    assert_eq!(user.row().await.unwrap()["cost_state"], "pending");
}

/// The books of this user's only request, which was sent with `key`.
async fn assert_paid(world: &World, user: &User<'_>, id: &str, key: &str) {
    let row = user.row().await.unwrap();
    assert_eq!(row["cost_state"], "final", "{row}");
    let sql = format!(
        "SELECT total_cost FROM public.request_logs WHERE did = '{}'",
        user.did.as_str()
    );
    assert_eq!(world.sql(&sql).unwrap(), CUT_COST_PLAIN);
    let asked = world.upstream.received(&format!("/generation?id={id}"));
    assert!(!asked.is_empty());
    let bearer = format!("Bearer {key}");
    assert!(asked.iter().all(|it| it.headers["authorization"] == bearer));
}

// ----------------------------------------------------------------------------------- one's own key

#[test]
fn a_cost_is_asked_for_with_the_key_that_made_it() {
    with_world(async |world| {
        for (replaces, id) in [(true, "gen-key-replaced"), (false, "gen-key-revoked")] {
            let user = world.user().unwrap();
            let first = user.api_key.expose_secret();
            let second = random_key("planted").unwrap();
            world.upstream.accept_key(&second);
            owe(&user, id).await;
            if replaces {
                described(put(&user, "keys", &second).await).await;
            } else {
                described(send(&user, "keys", Method::DELETE, "").await).await;
            }
            assert_eq!(kept(world, &user), "1");
            let done = reconcile(world, "reconcile", &user).await;
            assert_eq!((&done["settled"], &done["failed"]), (&json!(1), &json!(0)));
            assert_paid(world, &user, id, first).await;
            assert_eq!(kept(world, &user), "0");

            let key = described(put(&user, "keys", &second).await).await;
            assert_eq!(key["spent"], CUT_COST_PLAIN);
            assert_eq!(key["held"], "0");
        }
    });
}

#[test]
fn a_key_is_brought_used_replaced_in_mid_stream_and_revoked() {
    with_world(async |world| {
        let user = world.stranger().unwrap();
        let (first, second) = (user.api_key.expose_secret(), random_key("planted").unwrap());
        world.upstream.accept_key(first);
        world.upstream.accept_key(&second);
        let missing = (402, json!("no_key_for_did"));
        let get = async || send(&user, "keys", Method::GET, "").await;
        assert_eq!(get().await.verdict().await, missing);

        let key = described(put(&user, "keys", first).await).await;
        assert_eq!(key["hash"], user.api_key.hash());
        insta::assert_json_snapshot!(key, {
            ".hash" => "[hash]", ".created_at" => "[time]", ".updated_at" => "[time]",
        }, @r#"
        {
          "budgets": [],
          "created_at": "[time]",
          "disabled": false,
          "hash": "[hash]",
          "held": "0",
          "key_name": "mine",
          "limit": null,
          "openrouter_limit": null,
          "openrouter_limit_reset": null,
          "remaining": null,
          "seal_key_id": "1",
          "source": "own",
          "spent": "0",
          "updated_at": "[time]"
        }
        "#);

        let mut stream = user
            .chat("proxy", "stub/slow", true, "gen-key-1")
            .await
            .unwrap();
        let mut bytes = stream.chunk().await.unwrap().unwrap().to_vec();
        described(put(&user, "keys", &second).await).await;
        while let Some(chunk) = stream.chunk().await.unwrap() {
            bytes.extend_from_slice(&chunk);
        }
        assert_eq!(bytes, stream_bytes("gen-key-1"), "the stream went on");
        let answer = user
            .chat("proxy", "stub/ok", false, "gen-key-2")
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        for (id, key) in [("gen-key-1", first), ("gen-key-2", second.as_str())] {
            let sent = &world.upstream.received(id)[0].headers["authorization"];
            assert_eq!(sent, &format!("Bearer {key}"), "{id}");
        }

        user.rows().await.unwrap();
        let spent = described(get().await).await["spent"].clone();
        assert_eq!(
            spent, "0.0000014868",
            "both requests count, whichever key they had"
        );
        let revoked = described(send(&user, "keys", Method::DELETE, "").await).await;
        assert_eq!(revoked["revoked"], true);
        let refused = user
            .chat("proxy", "stub/ok", false, "gen-key-3")
            .await
            .unwrap();
        assert_eq!(refused.verdict().await, missing);
        assert_eq!(get().await.verdict().await, missing);
        let gone = send(&user, "keys", Method::DELETE, "").await;
        assert_eq!(gone.verdict().await, missing);

        let key = described(put(&user, "keys", first).await).await;
        assert_eq!(key["spent"], spent, "the account is the DID's");
        assert_eq!(
            events(world, &user),
            "user stored, gateway retired, user replaced, gateway forgotten, user revoked, user stored"
        );
    });
}

#[test]
fn a_key_that_is_not_good_is_not_stored() {
    with_world(async |world| {
        let user = world.stranger().unwrap();
        let unknown = random_key("planted").unwrap();
        let undecided = random_key("planted-undecided").unwrap();
        let good = user.api_key.expose_secret().to_owned();
        world.upstream.accept_key(&good);
        for (function, key, expected) in [
            ("keys", unknown.as_str(), (422, "key_refused")),
            ("keys", world.management_key(), (422, "key_refused")),
            ("keys", undecided.as_str(), (503, "key_not_checked")),
            ("keys-astray", good.as_str(), (503, "key_not_checked")),
            ("keys-dark", good.as_str(), (503, "storage_unavailable")),
            ("keys-keyless", good.as_str(), (503, "keyset_unavailable")),
        ] {
            let found = put(&user, function, key).await.verdict().await;
            assert_eq!(found, (expected.0, json!(expected.1)), "{function}");
        }
        assert_eq!(events(world, &user), "");

        let unchecked = json!({"api_key": unknown, "verify": false}).to_string();
        // Only where the operator allows it.
        let changes = [("ALLOW_UNVERIFIED_KEYS", String::new())];
        let strict = world.deploy(&["keys"], &changes).unwrap();
        let body = unchecked.clone().into_bytes();
        let refused = user.request_at(&strict.url("keys", PATH), Method::PUT, PATH, body);
        let refused = refused.unwrap().send().await.unwrap();
        let verdict = (403, json!("verification_required"));
        assert_eq!(refused.verdict().await, verdict);
        let key = described(send(&user, "keys-astray", Method::PUT, &unchecked).await).await;
        assert_eq!(key["key_name"], "default");
    });
}

#[test]
fn what_is_wrong_with_a_body_is_said_without_quoting_it() {
    with_world(async |world| {
        let user = world.stranger().unwrap();
        for (method, body, reason, parameter) in [
            (Method::PUT, "", "malformed_body", json!(null)),
            (
                Method::PUT,
                "sk-or-v1-planted-x",
                "malformed_body",
                json!(null),
            ),
            (Method::PUT, "{}", "invalid_parameter", json!("api_key")),
            (
                Method::PUT,
                r#"{"api_key":"sk-planted-of-another-provider"}"#,
                "invalid_parameter",
                json!("api_key"),
            ),
            (
                Method::PUT,
                r#"{"api_key":"sk-or-v1-planted-x","verify":"no"}"#,
                "invalid_parameter",
                json!("verify"),
            ),
            (
                Method::PUT,
                r#"{"apikey":"sk-or-v1-planted-x"}"#,
                "invalid_parameter",
                json!("apikey"),
            ),
            (
                Method::POST,
                r#"{"limit":1000}"#,
                "invalid_parameter",
                json!("limit"),
            ),
        ] {
            let answer = send(&user, "keys", method.clone(), body).await;
            assert_eq!(answer.status(), 400, "{body}");
            let answer = answer.json_value().await;
            let metadata = &answer["error"]["metadata"];
            assert_eq!(metadata["reason"], reason, "{body}");
            assert_eq!(metadata["parameter"], parameter, "{body}");
            assert!(!answer.to_string().contains("planted"), "{answer}");
        }
        let misplaced = user
            .request(
                "keys",
                Method::PUT,
                "/api/v1/keys?verify=false",
                b"{}".to_vec(),
            )
            .unwrap();
        let misplaced = misplaced.send().await.unwrap();
        assert_eq!(misplaced.verdict().await, (400, json!("invalid_parameter")));
        let patched = send(&user, "keys", Method::PATCH, "{}").await;
        assert_eq!(patched.headers()["allow"], "GET, PUT, POST, DELETE");
        assert_eq!(patched.verdict().await, (405, json!("method_not_allowed")));
    });
}

#[test]
fn a_signed_change_passes_once() {
    with_world(async |world| {
        let user = world.stranger().unwrap();
        world.upstream.accept_key(user.api_key.expose_secret());
        let body = json!({"api_key": user.api_key.expose_secret()}).to_string();
        for (function, method, body) in [
            ("keys", Method::PUT, body.as_str()),
            ("keys", Method::DELETE, ""),
            ("keys-giving", Method::POST, "{}"),
            ("keys-giving", Method::DELETE, ""),
        ] {
            let request = user
                .request(function, method.clone(), PATH, body.as_bytes().to_vec())
                .unwrap();
            let again = request.try_clone().unwrap();
            let first = request.send().await.unwrap();
            assert_eq!(first.status(), 200, "{method}");
            let second = again.send().await.unwrap().verdict().await;
            assert_eq!(second, (401, json!("replayed_request")), "{method}");
        }
        until(|| live(world, &user).is_empty()).await;
    });
}

#[test]
fn a_blocked_did_stays_blocked() {
    with_world(async |world| {
        let user = world.user().unwrap();
        set(world, &user, "disabled = true, credit_limit = 1");
        let blocked = (403, json!("key_disabled"));
        let key = user.api_key.expose_secret();
        assert_eq!(put(&user, "keys", key).await.verdict().await, blocked);
        described(send(&user, "keys", Method::DELETE, "").await).await;
        assert_eq!(put(&user, "keys", key).await.verdict().await, blocked);
        assert_eq!(post(&user, "keys-giving").await.verdict().await, blocked);
        assert_settled(world, &user);
    });
}

#[test]
fn nobody_rewrites_what_was_recorded() {
    with_world(async |world| {
        let may = "SELECT has_table_privilege('service_role', 'public.key_events', 'INSERT'),
                          has_table_privilege('service_role', 'public.key_events', 'UPDATE'),
                          has_table_privilege('service_role', 'public.key_events', 'DELETE')";
        assert_eq!(world.sql(may).unwrap(), "t|f|f");
    });
}

// ------------------------------------------------------------------------------------ provisioning

#[test]
fn keys_are_made_only_where_the_operator_says_so() {
    with_world(async |world| {
        let user = world.stranger().unwrap();
        let refused = (403, json!("provisioning_not_allowed"));
        assert_eq!(post(&user, "keys").await.verdict().await, refused);
        let chat = user.chat("proxy", "stub/ok", false, "x").await.unwrap();
        assert_eq!(chat.verdict().await, (402, json!("no_key_for_did")));
        assert!(live(world, &user).is_empty());
    });
}

#[test]
fn of_twenty_simultaneous_posts_one_makes_a_key() {
    with_world(async |world| {
        let user = world.stranger().unwrap();
        let answers = join_all((0..20).map(|_| post(&user, "keys-giving"))).await;
        let mut hashes = BTreeSet::new();
        for answer in answers {
            if answer.status() == 409 {
                assert!(answer.headers().contains_key("retry-after"));
                assert_eq!(
                    answer.verdict().await,
                    (409, json!("provisioning_in_progress"))
                );
            } else {
                hashes.insert(described(answer).await["hash"].to_string());
            }
        }
        assert_eq!(hashes.len(), 1);
        let again = described(post(&user, "keys-giving").await).await;
        assert_eq!(again["hash"].to_string(), *hashes.first().unwrap());
        assert_settled(world, &user);

        let made = &live(world, &user)[0];
        assert_eq!(made.order["limit"].to_string(), "0.5");
        assert_eq!(made.order["limit_reset"], "monthly");
        insta::assert_json_snapshot!(again, {
            ".hash" => "[hash]", ".created_at" => "[time]", ".updated_at" => "[time]",
        }, @r#"
        {
          "budgets": [],
          "created_at": "[time]",
          "disabled": false,
          "hash": "[hash]",
          "held": "0",
          "key_name": "default",
          "limit": null,
          "openrouter_limit": "0.5",
          "openrouter_limit_reset": "monthly",
          "remaining": null,
          "seal_key_id": "1",
          "source": "provisioned",
          "spent": "0",
          "updated_at": "[time]"
        }
        "#);
        let answer = user
            .chat("proxy", "stub/ok", false, "gen-made")
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        let sent = &world.upstream.received("gen-made")[0].headers["authorization"];
        assert_eq!(sent, &format!("Bearer {}", made.key));
        assert_eq!(events(world, &user), "gateway provisioned");
    });
}

#[test]
fn a_made_key_ends_with_its_row_and_is_not_given_twice_in_its_time() {
    with_world(async |world| {
        let user = world.stranger().unwrap();
        described(post(&user, "keys-giving").await).await;
        described(send(&user, "keys-giving", Method::DELETE, "").await).await;
        until(|| unfinished(world, &user) == "0").await;
        assert_settled(world, &user);
        let answer = post(&user, "keys-giving").await;
        assert_eq!(answer.status(), 403);
        let metadata = answer.json_value().await["error"]["metadata"].clone();
        assert_eq!(metadata["reason"], "provisioning_used_up");
        let at = metadata["available_at"].as_str().unwrap();
        assert!(at.ends_with("-01T00:00:00Z"), "{at}");

        // The same with the user's own key in its place.
        let user = world.stranger().unwrap();
        let key = user.api_key.expose_secret();
        world.upstream.accept_key(key);
        described(post(&user, "keys-giving").await).await;
        described(put(&user, "keys-giving", key).await).await;
        until(|| unfinished(world, &user) == "0").await;
        assert_settled(world, &user);
        let taken = post(&user, "keys-giving").await.verdict().await;
        assert_eq!(taken, (409, json!("key_exists")));
        let chat = user
            .chat("proxy", "stub/ok", false, "gen-own")
            .await
            .unwrap();
        assert_eq!(chat.status(), 200);
    });
}

/// Each step fails once; the user hears of it, nothing is left behind, and the next call succeeds.
#[test]
fn whatever_fails_on_the_way_leaves_neither_a_key_nor_a_row() {
    with_world(async |world| {
        join_all(
            [
                // The function, whether a key was made, and whether that is known at once.
                ("keys-refused", 0, true),
                ("keys-failed", 0, false),
                ("keys-failed-late", 1, false),
                ("keys-hung-up", 1, false),
                ("keys-silent", 1, false),
            ]
            .map(async |(function, made, is_certain)| {
                let user = world.stranger().unwrap();
                let failed = post(&user, function).await.verdict().await;
                assert_eq!(
                    failed,
                    (503, json!("provisioning_unavailable")),
                    "{function}"
                );
                assert_eq!(live(world, &user).len(), made, "{function}");

                // A retry does not wait for the cleaning.
                described(post(&user, "keys-giving").await).await;
                let left = u32::from(!is_certain);
                let found = reconcile(world, "reconcile-giving", &user).await;
                if made == 1 {
                    assert_eq!(found, swept(1, 0), "{function}");
                } else {
                    // The request may still be on its way.
                    assert_eq!(found, swept(0, left), "{function}");
                    let_time_pass(world, &user);
                    let found = reconcile(world, "reconcile-giving", &user).await;
                    assert_eq!(found, swept(left, 0), "{function}");
                }
                assert_eq!(live(world, &user).len(), 1, "{function}");
                assert_settled(world, &user);
            }),
        )
        .await;
    });
}

#[test]
fn a_storage_that_fails_after_the_key_was_made_leaves_nothing_in_doubt() {
    with_world(async |world| {
        let unstored = async {
            let user = world.stranger().unwrap();
            let failed = post(&user, "keys-unstored").await.verdict().await;
            assert_eq!(failed, (503, json!("storage_unavailable")));
            assert_eq!(live(world, &user).len(), 1);
            let waiting = post(&user, "keys-giving").await.verdict().await;
            assert_eq!(
                waiting,
                (409, json!("provisioning_in_progress")),
                "for two minutes"
            );
            let_time_pass(world, &user);
            assert_eq!(
                reconcile(world, "reconcile-giving", &user).await,
                swept(1, 0)
            );
            assert_settled(world, &user);
            described(post(&user, "keys-giving").await).await;
            assert_settled(world, &user);
        };
        let unconfirmed = async {
            let user = world.stranger().unwrap();
            let failed = post(&user, "keys-unconfirmed").await.verdict().await;
            assert_eq!(failed, (503, json!("storage_unavailable")));
            let_time_pass(world, &user);
            assert_eq!(
                reconcile(world, "reconcile-giving", &user).await,
                swept(0, 0)
            );
            assert_eq!(live(world, &user).len(), 1, "it is in use");
            assert_settled(world, &user);
            described(post(&user, "keys-giving").await).await;
        };
        tokio::join!(unstored, unconfirmed);
    });
}

#[test]
fn a_function_that_is_killed_leaves_nothing_behind() {
    with_world(async |world| {
        let user = world.stranger().unwrap();
        let request = user
            .request("keys-doomed", Method::POST, PATH, Vec::new())
            .unwrap();
        let waiting = tokio::spawn(request.send());
        until(|| live(world, &user).len() == 1).await;
        world.kill("keys-doomed").unwrap();
        waiting.abort();

        assert_eq!(
            reconcile(world, "reconcile-giving", &user).await,
            swept(0, 0)
        );
        let_time_pass(world, &user);
        assert_eq!(
            reconcile(world, "reconcile-giving", &user).await,
            swept(1, 0)
        );
        assert_settled(world, &user);
        described(post(&user, "keys-giving").await).await;
        assert_settled(world, &user);
    });
}

#[test]
fn a_made_key_is_not_deleted_before_its_costs_are_known() {
    with_world(async |world| {
        let user = world.stranger().unwrap();
        described(post(&user, "keys-giving").await).await;
        let made = live(world, &user)[0].key.clone();
        owe(&user, "gen-owing-made").await;
        described(send(&user, "keys-giving", Method::DELETE, "").await).await;
        // Cleans up and settles at the same time: the key is there until the cost is.
        let first = reconcile(world, "reconcile-giving", &user).await;
        assert_paid(world, &user, "gen-owing-made", &made).await;
        if first != swept(1, 0) {
            assert_eq!(first, swept(0, 0));
            assert_eq!(live(world, &user).len(), 1);
            assert_eq!(
                reconcile(world, "reconcile-giving", &user).await,
                swept(1, 0)
            );
        }
        assert_settled(world, &user);
        assert_eq!(
            events(world, &user),
            "gateway provisioned, gateway retired, user revoked, gateway forgotten, \
             gateway deleted_upstream"
        );
    });
}

#[test]
fn a_key_that_cannot_be_deleted_now_is_deleted_later() {
    with_world(async |world| {
        let user = world.stranger().unwrap();
        described(post(&user, "keys-undeleting").await).await;
        described(send(&user, "keys-undeleting", Method::DELETE, "").await).await;
        let failed = reconcile(world, "reconcile-undeleting", &user).await;
        assert_eq!(failed["errorType"], "run_failed", "{failed}");
        assert_eq!(live(world, &user).len(), 1);
        // The backoff is not over.
        assert_eq!(
            reconcile(world, "reconcile-giving", &user).await,
            swept(0, 0)
        );
        let_time_pass(world, &user);
        let runs = join_all((0..4).map(|_| reconcile(world, "reconcile-giving", &user))).await;
        let deleted: u64 = runs
            .iter()
            .map(|run| run["deleted"].as_u64().unwrap())
            .sum();
        assert_eq!(deleted, 1, "{runs:?}");
        assert_settled(world, &user);
        assert_eq!(
            events(world, &user),
            "gateway provisioned, user revoked, gateway deleted_upstream"
        );
    });
}

#[test]
fn the_first_request_has_a_key_made_where_the_operator_wants_it() {
    with_world(async |world| {
        let user = world.stranger().unwrap();
        let answers =
            join_all((0..6).map(|_| user.chat("proxy-giving", "stub/ok", false, "gen-first")))
                .await;
        let mut passed = 0;
        for answer in answers {
            let answer = answer.unwrap();
            if answer.status() == 200 {
                passed += 1;
            } else {
                assert_eq!(
                    answer.verdict().await,
                    (409, json!("provisioning_in_progress"))
                );
            }
        }
        assert!(passed > 0);
        let answer = user
            .chat("proxy-giving", "stub/ok", false, "gen-second")
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(user.rows().await.unwrap().len(), passed + 1);
        assert_settled(world, &user);
        assert_eq!(live(world, &user).len(), 1);
    });
}
