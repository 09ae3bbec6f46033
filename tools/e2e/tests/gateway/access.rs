//! Restrictions of who may use the gateway, and of how much at once: they refuse before anything is stored, or
//! asked of OpenRouter.

use e2e::{
    deployments::Deployed,
    user::User,
    world::{World, chat_body, with_world},
};
use reqwest::{
    Method, Response,
    header::{HeaderMap, HeaderName},
};
use serde_json::{Value, json};

use crate::told::{Told, set};

const CHAT: &str = "/api/v1/openrouter/chat/completions";
const USAGE: &str = "/api/v1/usage";
const KEYS: &str = "/api/v1/keys";
const TOKENS: &str = "/api/v1/tokens";
const FUNCTIONS: [&str; 4] = ["proxy", "usage", "keys", "tokens"];

async fn send(
    user: &User<'_>,
    functions: &Deployed,
    method: Method,
    path: &str,
    body: &str,
) -> Response {
    let function = match path {
        USAGE => "usage",
        KEYS => "keys",
        _ => "proxy",
    };
    let url = functions.url(function, path);
    let body = body.as_bytes().to_vec();
    let request = user.request_at(&url, method, path, body).unwrap();
    request
        .header("content-type", "application/json")
        .send()
        .await
        .unwrap()
}

/// The verdicts on a chat, a question about usage, one about the key, and a new key.
async fn verdicts(user: &User<'_>, functions: &Deployed) -> [(u16, Value); 4] {
    let chat = String::from_utf8(chat_body("stub/ok", false, "gen-access")).unwrap();
    let key = json!({"api_key": user.api_key.expose_secret()}).to_string();
    let verdict = async |method, path, body: &str| {
        let answer = send(user, functions, method, path, body).await;
        if answer.status() == 200 {
            (200, Value::Null)
        } else {
            answer.verdict().await
        }
    };
    [
        verdict(Method::POST, CHAT, &chat).await,
        verdict(Method::GET, USAGE, "").await,
        verdict(Method::GET, KEYS, "").await,
        verdict(Method::PUT, KEYS, &key).await,
    ]
}

fn deploy(world: &World, variable: &'static str, value: &str) -> Deployed {
    let changes = [(variable, value.to_owned())];
    world.deploy(&FUNCTIONS, &changes).unwrap()
}

fn rows_of(world: &World, user: &User<'_>) -> String {
    let did = user.did.as_str();
    world
        .sql(&format!(
            "SELECT (SELECT count(*) FROM public.request_logs WHERE did = '{did}')
                  + (SELECT count(*) FROM public.key_events WHERE did = '{did}')
                  + (SELECT count(*) FROM public.accounts WHERE did = '{did}' AND account_rate_tat IS NOT NULL)"
        ))
        .unwrap()
}

#[test]
fn only_listed_or_approved_dids_may_use_the_gateway() {
    with_world(async |world| {
        let (user, other) = (world.user().unwrap(), world.user().unwrap());
        for user in [&user, &other] {
            world.upstream.accept_key(user.api_key.expose_secret());
        }
        let refused = || (403, json!("did_not_allowed"));
        let passed = || (200, Value::Null);

        let listed = format!("did:web:example.com:*,{}", user.did.as_str());
        let functions = deploy(world, "ALLOWED_DIDS", &listed);
        assert_eq!(
            verdicts(&user, &functions).await,
            [(); 4].map(|()| passed())
        );
        assert_eq!(
            verdicts(&other, &functions).await,
            [(); 4].map(|()| refused())
        );
        assert_eq!(rows_of(world, &other), "0");

        let functions = deploy(world, "ALLOWED_DIDS", "approved");
        assert_eq!(
            verdicts(&other, &functions).await,
            [(); 4].map(|()| refused())
        );
        assert_eq!(rows_of(world, &other), "0");
        for (command, expected) in [("approve", passed()), ("withdraw-approval", refused())] {
            let did = other.did.as_str();
            let mut operator = world.operator(&[]).unwrap();
            let output = operator
                .args(["admin", "did", command, did])
                .output()
                .unwrap();
            assert!(output.status.success(), "{output:?}");
            let found = verdicts(&other, &functions).await;
            assert_eq!(found, [(); 4].map(|()| expected.clone()), "{command}");
        }
    });
}

#[test]
fn requests_to_the_gateways_own_routes_count_against_a_rate() {
    with_world(async |world| {
        let user = world.user().unwrap();
        world.upstream.accept_key(user.api_key.expose_secret());
        let functions = deploy(world, "ACCOUNT_REQUESTS_PER_MINUTE", "2");
        let found = verdicts(&user, &functions).await;
        let limited = || (429, json!("rate_limited"));
        let passed = || (200, Value::Null);
        assert_eq!(found, [passed(), passed(), passed(), limited()]);
        let answer = send(&user, &functions, Method::GET, USAGE, "").await;
        let wait: u64 = answer.headers()["retry-after"]
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        assert!((1..=30).contains(&wait), "{wait}");
    });
}

#[test]
fn a_did_has_so_many_requests_in_flight_at_most() {
    with_world(async |world| {
        let user = world.user().unwrap();
        // A function serves one request at a time, so two.
        let functions = deploy(world, "MAX_OPEN_REQUESTS", "1");
        let others = deploy(world, "MAX_OPEN_REQUESTS", "1");
        let slow = String::from_utf8(chat_body("stub/slow", true, "gen-slow")).unwrap();
        let mut first = send(&user, &functions, Method::POST, CHAT, &slow).await;
        first.chunk().await.unwrap().unwrap();
        let more = String::from_utf8(chat_body("stub/ok", false, "gen-more")).unwrap();
        let refused = send(&user, &others, Method::POST, CHAT, &more).await;
        assert_eq!(refused.headers()["retry-after"], "5");
        assert_eq!(
            refused.verdict().await,
            (429, json!("too_many_open_requests"))
        );
        while first.chunk().await.unwrap().is_some() {}
    });
}

#[test]
fn with_a_provisioned_key_what_all_such_keys_share_is_out_of_reach() {
    with_world(async |world| {
        let user = world.user().unwrap();
        let files = "/api/v1/openrouter/files";
        let did = user.did.as_str();
        let before = user.get("proxy", files).await.unwrap();
        assert_ne!(before.status(), 403);
        world
            .sql(&format!(
                "UPDATE public.user_api_keys SET provisioning_id = gen_random_uuid() WHERE did = '{did}'"
            ))
            .unwrap();
        for (method, path) in [
            (Method::GET, files),
            (Method::GET, "/api/v1/openrouter/Files/file_1/content"),
            (Method::DELETE, "/api/v1/openrouter/v1/files/file_1"),
            (Method::POST, "/api/v1/openrouter/batches"),
            (Method::POST, "/api/v1/openrouter/presets/mine/messages"),
        ] {
            let request = user.request("proxy", method, path, b"{}".to_vec()).unwrap();
            let answer = request.send().await.unwrap();
            assert_eq!(
                answer.verdict().await,
                (403, json!("path_needs_own_key")),
                "{path}"
            );
        }
        set(world, &user, "credit_limit = NULL");
        assert_eq!(user.rows().await.unwrap().len(), 0);
        let chat = user
            .chat("proxy", "stub/ok", false, "gen-provisioned")
            .await;
        assert_eq!(chat.unwrap().status(), 200);
    });
}

/// The functions refuse `did:web` unless its host is listed, and connect to no host that is not public.
#[test]
fn did_web_is_for_listed_hosts_with_public_addresses() {
    with_world(async |world| {
        let user = world.user().unwrap();
        world.upstream.accept_key(user.api_key.expose_secret());
        for (hosts, cases) in [
            (
                "id.example.com",
                &[("did:web:evil.example#k", 403, "did_host_not_allowed")][..],
            ),
            // RFC 6761: names that lead nowhere, and to this machine.
            (
                "*",
                &[
                    (
                        "did:web:id.example.invalid#k",
                        503,
                        "did_document_unavailable",
                    ),
                    ("did:web:id.localhost#k", 503, "did_document_unavailable"),
                    ("did:web:127.0.0.1#k", 401, "malformed_did"),
                ],
            ),
            (
                "",
                &[("did:web:id.example.com#k", 401, "unsupported_did_method")],
            ),
        ] {
            let functions = deploy(world, "DID_WEB_HOSTS", hosts);
            let verdict = async |(function, method, path), did: &str| {
                let url = functions.url(function, path);
                let request = user.request_at(&url, method, path, Vec::new()).unwrap();
                // Replaces the header that is there.
                let name = HeaderName::from_static("x-did");
                let other = HeaderMap::from_iter([(name, did.parse().unwrap())]);
                request.headers(other).send().await.unwrap().verdict().await
            };
            for (did, status, reason) in cases {
                let found = [
                    verdict(("proxy", Method::POST, CHAT), did).await,
                    verdict(("usage", Method::GET, USAGE), did).await,
                    verdict(("keys", Method::GET, KEYS), did).await,
                    verdict(("tokens", Method::GET, TOKENS), did).await,
                ];
                assert_eq!(found, [(); 4].map(|()| (*status, json!(reason))), "{did}");
            }
        }
        assert_eq!(rows_of(world, &user), "0");
    });
}
