//! The books balance to the last digit, whatever fails: what the stub billed is what they say.

use std::time::Duration;

use e2e::{
    chaos_proxy::{Mode, SwitchedProxy},
    user::User,
    world::{CHAT, Deployed, World, chat_body, with_world},
};
use http::Method;
use reqwest::Response;
use serde_json::{Value, json};
use stub::scripted::{COST_PLAIN, CUT_COST_PLAIN};

use crate::{
    reconciliation::{books, run, summary},
    told::{logged, set},
};

const RECORD: &str = "emergency_record";

/// A chat through a proxy of the test's own.
async fn chat(user: &User<'_>, proxy: &Deployed, model: &str, stream: bool, id: &str) -> Response {
    let body = chat_body(model, stream, id);
    let request = user.request_at(&proxy.url("proxy", CHAT), Method::POST, CHAT, body);
    let request = request.unwrap().header("content-type", "application/json");
    request.send().await.unwrap()
}

/// Waits until `sql` answers `expected`.
async fn until(world: &World, sql: &str, expected: &str) {
    let mut last = String::new();
    for _ in 0..300 {
        last = world.sql(sql).unwrap();
        if last == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{sql}: {last} instead of {expected}");
}

fn column(user: &User<'_>, column: &str) -> String {
    let did = user.did.as_str();
    format!("SELECT {column} FROM public.request_logs WHERE did = '{did}'")
}

#[test]
fn a_process_killed_in_the_middle_of_a_stream_leaves_exact_books() {
    with_world(async |world| {
        for (model, id) in [
            // The body names the generation, or the head does, before anything else comes.
            ("stub/stall-billed", "gen-killed"),
            ("stub/head-silent", "gen-killed-early"),
        ] {
            let user = world.user().unwrap();
            set(world, &user, "credit_limit = 10");
            let proxy = world.deploy(&["proxy"], &[]).unwrap();
            let impatient = [("ABANDONED_AFTER_SECONDS", "1".to_owned())];
            let reconcile = world.deploy(&["reconcile"], &impatient).unwrap();
            let noted = column(&user, "generation_id");
            let asking = async {
                let mut answer = chat(&user, &proxy, model, true, id).await;
                while let Ok(Some(_)) = answer.chunk().await {}
            };
            tokio::select! {
                () = asking => panic!("{model} ended by itself"),
                () = until(world, &noted, id) => {}
            }
            assert_eq!(
                books(world, &user),
                "pending|none||||||0|0.01",
                "the entry is open"
            );
            proxy.kill().unwrap();
            tokio::time::sleep(Duration::from_millis(1100)).await;
            // A function with the production configuration does not touch it.
            assert_eq!(run(world, "reconcile", &user).await, summary(0, 0, 0, 0));

            let event = json!({"did": user.did.as_str()}).to_string().into_bytes();
            let answer = world.invoke_at(&reconcile, "reconcile", event).await;
            let answer: Value = serde_json::from_slice(&answer.unwrap()).unwrap();
            assert_eq!(answer, summary(1, 1, 0, 0), "{model}");
            let total = CUT_COST_PLAIN;
            let closed = format!("failed|final|{total}|11|21|abandoned||{total}|0.00");
            assert_eq!(books(world, &user), closed, "{model}");
        }
    });
}

#[test]
fn a_head_without_a_body_is_paid_for() {
    with_world(async |world| {
        let user = world.user().unwrap();
        let answer = user
            .chat("proxy", "stub/head-only", false, "gen-head-only")
            .await
            .unwrap();
        assert_eq!(answer.status(), 502);
        let row = user.row().await.unwrap();
        assert_eq!(
            (&row["cost_state"], &row["generation_id"]),
            (&json!("pending"), &json!("gen-head-only"))
        );
        assert_eq!(run(world, "reconcile", &user).await, summary(1, 1, 0, 0));
        let total = CUT_COST_PLAIN;
        let closed = format!("failed|final|{total}|11|21|upstream_unreachable||{total}|0");
        assert_eq!(books(world, &user), closed);
    });
}

#[test]
fn a_short_answer_needs_no_note_and_a_long_one_gets_it() {
    with_world(async |world| {
        let storage = SwitchedProxy::passing(&world.storage_url()).await.unwrap();
        let proxy = world
            .deploy(&["proxy"], &[("SUPABASE_URL", storage.url())])
            .unwrap();
        for (model, stream, calls) in [
            ("stub/ok", false, ["begin_request", "finish_request", ""]),
            (
                "stub/slow",
                true,
                ["begin_request", "note_generation", "finish_request"],
            ),
        ] {
            let user = world.user().unwrap();
            let before = storage.calls().len();
            let answer = chat(&user, &proxy, model, stream, "gen-noted").await;
            answer.bytes().await.unwrap();
            user.rows().await.unwrap();
            let calls: Vec<_> = calls.into_iter().filter(|call| !call.is_empty()).collect();
            assert_eq!(storage.calls().split_off(before), calls, "{model}");
        }
    });
}

#[test]
fn a_note_that_fails_is_made_up_for_by_the_end() {
    with_world(async |world| {
        let storage = SwitchedProxy::passing(&world.storage_url()).await.unwrap();
        let proxy = world
            .deploy(&["proxy"], &[("SUPABASE_URL", storage.url())])
            .unwrap();
        let user = world.user().unwrap();
        let mut answer = chat(&user, &proxy, "stub/slow", true, "gen-unnoted").await;
        storage.set(Mode::Reset).await.unwrap();
        answer.chunk().await.unwrap().unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        storage.set(Mode::Pass).await.unwrap();
        while answer.chunk().await.unwrap().is_some() {}
        let row = user.row().await.unwrap();
        assert_eq!(row["generation_id"], "gen-unnoted");
        assert_eq!(
            books(world, &user),
            format!("completed|final|{COST_PLAIN}|11|7|||{COST_PLAIN}|0")
        );
    });
}

#[test]
fn an_answer_of_the_storage_that_is_lost_counts_once() {
    with_world(async |world| {
        let storage = SwitchedProxy::passing(&world.storage_url()).await.unwrap();
        let proxy = world
            .deploy(&["proxy"], &[("SUPABASE_URL", storage.url())])
            .unwrap();
        for mode in [
            Mode::HoldResponses,
            Mode::Reset,
            Mode::Refuse,
            Mode::Answer500,
            Mode::Slow(Duration::from_millis(300)),
        ] {
            let user = world.user().unwrap();
            set(world, &user, "credit_limit = 10");
            let mut answer = chat(&user, &proxy, "stub/slow", true, "gen-lost").await;
            answer.chunk().await.unwrap().unwrap();
            storage.set(mode).await.unwrap();
            while answer.chunk().await.unwrap().is_some() {}
            tokio::time::sleep(Duration::from_millis(400)).await;
            storage.set(Mode::Pass).await.unwrap();
            user.rows().await.unwrap();
            assert_eq!(
                books(world, &user),
                format!("completed|final|{COST_PLAIN}|11|7|||{COST_PLAIN}|0.00"),
                "{mode:?}"
            );
        }
        assert!(!proxy.log("proxy").unwrap().contains(RECORD));
    });
}

/// Waits for the emergency record in a proxy's log.
pub(crate) async fn emergency_record(proxy: &Deployed) -> String {
    let log = || proxy.log("proxy").unwrap();
    logged("emergency record", log, |log| {
        let line = log.lines().find(|line| line.contains(RECORD))?;
        let line: Value = serde_json::from_str(line).unwrap();
        Some(line[RECORD].as_str().unwrap().to_owned())
    })
    .await
}

/// A request whose end could not be written: the proxy that has logged it.
pub(crate) async fn unwritten(world: &World, user: &User<'_>, mode: Mode) -> Deployed {
    let storage = SwitchedProxy::passing(&world.storage_url()).await.unwrap();
    let changes = [
        ("SUPABASE_URL", storage.url()),
        ("LEDGER_TIMEOUT_MS", "700".to_owned()),
    ];
    let proxy = world.deploy(&["proxy"], &changes).unwrap();
    set(world, user, "credit_limit = 10");
    let mut answer = chat(user, &proxy, "stub/slow", true, "gen-emergency").await;
    answer.chunk().await.unwrap().unwrap();
    storage.set(mode).await.unwrap();
    while answer.chunk().await.unwrap().is_some() {}
    emergency_record(&proxy).await;
    proxy
}

#[test]
fn what_the_storage_did_not_hear_is_in_the_log_and_closes_the_books() {
    with_world(async |world| {
        for mode in [Mode::Refuse, Mode::Answer500] {
            let user = world.user().unwrap();
            let proxy = unwritten(world, &user, mode).await;
            assert_eq!(books(world, &user), "pending|none||||||0|0.01", "{mode:?}");

            let record = emergency_record(&proxy).await;
            assert!(!record.contains(user.api_key.expose_secret()));
            let record: Value = serde_json::from_str(&record).unwrap();
            let body = json!({"outcome": record}).to_string();
            for finished in [true, false] {
                let answer = world
                    .client
                    .post(format!(
                        "{}/rest/v1/rpc/finish_request",
                        world.storage_url()
                    ))
                    .header("apikey", world.storage_key())
                    .header("content-type", "application/json")
                    .body(body.clone())
                    .send()
                    .await
                    .unwrap();
                let answer: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
                assert_eq!(answer["finished"], finished);
                assert_eq!(
                    books(world, &user),
                    format!("completed|final|{COST_PLAIN}|11|7|||{COST_PLAIN}|0.00"),
                    "{mode:?}"
                );
            }
        }
    });
}

#[test]
fn speech_is_paid_for_by_its_generation() {
    with_world(async |world| {
        let user = world.user().unwrap();
        let answer = user
            .post(
                "proxy",
                "/api/v1/openrouter/audio/speech",
                "application/json",
                chat_body("stub/cut-billed", false, "gen-speech"),
            )
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["x-generation-id"], "gen-speech");
        let audio = answer.bytes().await.unwrap();
        let expected = [b"ID3\x04".repeat(9_000), vec![0xff, 0xfb, 0x00], vec![0; 7]].concat();
        assert_eq!(audio, expected);
        let row = user.row().await.unwrap();
        assert_eq!(
            (&row["status"], &row["cost_state"], &row["generation_id"]),
            (&json!("completed"), &json!("pending"), &json!("gen-speech"))
        );
        assert_eq!(run(world, "reconcile", &user).await, summary(1, 1, 0, 0));
        let total = CUT_COST_PLAIN;
        assert_eq!(
            books(world, &user),
            format!("completed|final|{total}|11|21|||{total}|0")
        );
    });
}
