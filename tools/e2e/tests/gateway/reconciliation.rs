//! Open rows are closed later, with the cost that OpenRouter billed.

use std::{fs, process::Command};

use e2e::{
    user::User,
    world::{World, with_world},
};
use futures_util::future::join_all;
use serde_json::{Value, json};
use stub::scripted::{CUT_BYOK_TOTAL, CUT_COST_PLAIN};

/// The scheduled event, for one user's rows: tests that run at the same time have open rows, too.
pub(crate) fn event(world: &World, user: &User<'_>) -> Vec<u8> {
    let sample = fs::read(world.project("events/reconcile-scheduled.json")).unwrap();
    let mut event: Value = serde_json::from_slice(&sample).unwrap();
    event["did"] = json!(user.did.as_str());
    event.to_string().into_bytes()
}

pub(crate) async fn run(world: &World, function: &str, user: &User<'_>) -> Value {
    let answer = world.invoke(function, event(world, user)).await.unwrap();
    serde_json::from_slice(&answer)
        .map_err(|_| String::from_utf8_lossy(&answer).into_owned())
        .unwrap()
}

pub(crate) fn summary(claimed: u32, settled: u32, given_up: u32, retried: u32) -> Value {
    json!({"claimed": claimed, "settled": settled, "given_up": given_up, "retried": retried, "failed": 0})
}

/// The user's only row, as it is in the books.
pub(crate) fn books(world: &World, user: &User<'_>) -> String {
    let sql = format!(
        "SELECT l.status, l.cost_state, l.total_cost, l.input_tokens, l.output_tokens, l.error_reason,
                l.unknown_cost_reason, a.spent, a.held
           FROM public.request_logs l JOIN public.accounts a USING (did) WHERE l.did = '{}'",
        user.did.as_str()
    );
    world.sql(&sql).unwrap()
}

async fn cut(user: &User<'_>, model: &str, id: &str) {
    let answer = user.chat("proxy", model, true, id).await.unwrap();
    answer.bytes().await.unwrap();
    assert_eq!(user.row().await.unwrap()["cost_state"], "pending");
}

/// A row whose function was killed, `age` ago.
fn abandon(world: &World, user: &User<'_>, age: &str) {
    world
        .sql(&format!(
            "UPDATE public.accounts SET held = 0.5 WHERE did = '{0}';
             INSERT INTO public.request_logs (did, model, hold, request_time, status)
             VALUES ('{0}', 'stub/ok', 0.5, now() - interval '{age}', 'pending')",
            user.did.as_str()
        ))
        .unwrap();
}

#[test]
fn a_cut_stream_is_settled_with_exactly_what_was_billed() {
    with_world(async |world| {
        for (model, id, total) in [
            ("stub/cut-billed", "gen-billed", CUT_COST_PLAIN),
            ("stub/cut-billed-byok", "gen-billed-byok", CUT_BYOK_TOTAL),
        ] {
            let user = world.user().unwrap();
            cut(&user, model, id).await;
            assert_eq!(
                run(world, "reconcile", &user).await,
                summary(1, 1, 0, 0),
                "{model}"
            );
            let settled = format!("failed|final|{total}|11|21|upstream_cut||{total}|0");
            assert_eq!(books(world, &user), settled, "{model}");
            // The first answer was 404, so it was asked twice, with the user's own key.
            let asked = world.upstream.received(&format!("/generation?id={id}"));
            assert_eq!(asked.len(), 2, "{model}");
            let key = format!("Bearer {}", user.api_key.expose_secret());
            assert!(asked.iter().all(|it| it.headers["authorization"] == key));

            assert_eq!(
                run(world, "reconcile", &user).await,
                summary(0, 0, 0, 0),
                "{model}"
            );
            assert_eq!(books(world, &user), settled, "{model}");
        }
    });
}

#[test]
fn runs_at_the_same_time_settle_once() {
    with_world(async |world| {
        let user = world.user().unwrap();
        cut(&user, "stub/cut-billed", "gen-raced").await;
        let runs = join_all((0..6).map(|_| run(world, "reconcile", &user))).await;
        let settled = runs.iter().filter(|run| run["settled"] == 1).count();
        let claimed = runs.iter().filter(|run| run["claimed"] == 1).count();
        assert_eq!((settled, claimed), (1, 1), "{runs:?}");
        assert_eq!(world.upstream.received("id=gen-raced").len(), 2);
        let total = CUT_COST_PLAIN;
        assert_eq!(
            books(world, &user),
            format!("failed|final|{total}|11|21|upstream_cut||{total}|0")
        );
    });
}

#[test]
fn what_openrouter_does_not_know_is_left_for_later_and_given_up_after_a_day() {
    with_world(async |world| {
        let user = world.user().unwrap();
        cut(&user, "stub/cut", "gen-forgotten").await;
        assert_eq!(run(world, "reconcile", &user).await, summary(1, 0, 0, 1));
        // The lease is not over.
        assert_eq!(run(world, "reconcile", &user).await, summary(0, 0, 0, 0));
        assert_eq!(
            books(world, &user),
            "failed|pending||||upstream_cut||0|0",
            "not free, not closed"
        );

        let did = user.did.as_str();
        world
            .sql(&format!(
                "UPDATE public.request_logs SET next_reconcile_at = now(), request_time = now() - interval '24 hours'
                  WHERE did = '{did}'"
            ))
            .unwrap();
        assert_eq!(run(world, "reconcile", &user).await, summary(1, 0, 1, 0));
        assert_eq!(
            books(world, &user),
            "failed|unknown||||upstream_cut|generation_not_found|0|0"
        );
        assert_eq!(run(world, "reconcile", &user).await, summary(0, 0, 0, 0));
    });
}

#[test]
fn a_row_whose_function_was_killed_is_closed_and_its_hold_released() {
    with_world(async |world| {
        let running = world.user().unwrap();
        abandon(world, &running, "19 minutes");
        assert_eq!(run(world, "reconcile", &running).await, summary(0, 0, 0, 0));
        assert_eq!(books(world, &running), "pending|none||||||0|0.5");

        let user = world.user().unwrap();
        abandon(world, &user, "21 minutes");
        assert_eq!(run(world, "reconcile", &user).await, summary(1, 0, 1, 0));
        let closed = "failed|unknown||||abandoned|no_generation_id|0|0.0";
        assert_eq!(books(world, &user), closed);
        assert_eq!(run(world, "reconcile", &user).await, summary(0, 0, 0, 0));
        assert_eq!(books(world, &user), closed);
    });
}

#[test]
fn a_run_that_cannot_work_fails_visibly_and_writes_nothing_off() {
    with_world(async |world| {
        let user = world.user().unwrap();
        let dark = run(world, "reconcile-dark", &user).await;
        assert_eq!(dark["errorType"], "run_failed", "{dark}");

        cut(&user, "stub/cut-billed", "gen-keyset-gone").await;
        let did = user.did.as_str();
        world
            .sql(&format!(
                "UPDATE public.request_logs SET request_time = now() - interval '3 days' WHERE did = '{did}'"
            ))
            .unwrap();
        let keyless = run(world, "reconcile-keyless", &user).await;
        assert_eq!(keyless["errorType"], "run_failed", "{keyless}");
        assert_eq!(
            books(world, &user),
            "failed|pending||||upstream_cut||0|0",
            "{keyless}"
        );
    });
}

#[test]
fn cargo_lambda_invoke_runs_it_by_hand() {
    with_world(async |world| {
        let user = world.user().unwrap();
        let event = String::from_utf8(event(world, &user)).unwrap();
        let gateway = world.gateway("reconcile");
        let (host, port) = gateway
            .strip_prefix("http://")
            .unwrap()
            .split_once(':')
            .unwrap();
        let output = Command::new(world.tools.python_program("cargo-lambda"))
            .args(["lambda", "invoke", "reconcile"])
            .args(["--invoke-address", host])
            .args(["--invoke-port", port])
            .args(["--data-ascii", &event])
            .output()
            .unwrap();
        let answer = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{answer}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer, summary(0, 0, 0, 0));
    });
}
