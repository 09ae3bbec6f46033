//! The artifacts that are deployed, under AWS's own runtime interface emulator.

use std::{
    collections::BTreeMap,
    process::Command,
    time::{Duration, Instant},
};

use e2e::{
    samples::{Sample, alone, samples},
    world::{World, with_world},
};
use serde_json::{Value, json};
use stack::{Emulator, RunDir};
use stub::scripted::json_bytes;

/// As long as a sample may take; much shorter than in the template, for the tests' sake.
const TIMEOUT: Duration = Duration::from_secs(20);
/// The separator between the head and the body of a streamed answer.
const DELIMITER: &[u8] = &[0; 8];

fn start(world: &World, run: &RunDir, function: &str, timeout: Duration) -> Emulator {
    let artifact = world.artifact(function).unwrap();
    Emulator::start(&world.tools, run, function, &artifact, timeout, world.env()).unwrap()
}

/// Head and body of an answer: whole as JSON, or streamed as the runtime writes it.
fn answer(bytes: &[u8]) -> (Value, Vec<u8>) {
    let streamed = bytes
        .windows(DELIMITER.len())
        .position(|window| window == DELIMITER);
    if let Some(at) = streamed {
        let head = serde_json::from_slice(&bytes[..at]).unwrap();
        return (head, bytes[at + DELIMITER.len()..].to_vec());
    }
    let whole: Value = serde_json::from_slice(bytes).unwrap();
    let body = whole["body"]
        .as_str()
        .unwrap_or_default()
        .as_bytes()
        .to_vec();
    (whole, body)
}

async fn invoke(world: &World, emulator: &Emulator, event: Vec<u8>) -> Vec<u8> {
    let request = world.client.post(emulator.invocations()).body(event);
    request
        .send()
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap()
        .to_vec()
}

#[test]
#[ignore = "needs ARTIFACTS"]
fn every_sample_event_gets_the_answer_it_says_from_the_artifacts() {
    let _alone = alone();
    with_world(async |world| {
        let run = world.run("emulator").unwrap();
        let mut emulators: BTreeMap<String, Emulator> = BTreeMap::new();
        let mut wrong = Vec::new();
        for Sample {
            file,
            function,
            event,
            status,
            reason,
        } in samples(world).unwrap()
        {
            // One environment answers them all: the second invocation finds what the first left.
            let emulator = emulators
                .entry(function.clone())
                .or_insert_with(|| start(world, &run, &function, TIMEOUT));
            let bytes = invoke(world, emulator, event).await;
            let (head, body) = answer(&bytes);
            let body: Value = serde_json::from_slice(&body).unwrap_or_default();
            let got = (
                head["statusCode"].as_u64().unwrap_or_default(),
                &body["error"]["metadata"]["reason"],
            );
            if got != (status, &reason) {
                wrong.push(format!(
                    "{file}: {got:?} instead of {status} {reason}: {}",
                    String::from_utf8_lossy(&bytes)
                ));
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    });
}

#[test]
#[ignore = "needs ARTIFACTS"]
fn the_scheduled_event_runs_the_artifact() {
    with_world(async |world| {
        let run = world.run("emulator-reconcile").unwrap();
        let emulator = start(world, &run, "reconcile", TIMEOUT);
        let event = crate::reconciliation::event(world, &world.user().unwrap());
        for _ in 0..2 {
            let answer = invoke(world, &emulator, event.clone()).await;
            let summary: Value = serde_json::from_slice(&answer).unwrap();
            assert!(summary["claimed"].is_u64(), "{summary}");
        }
    });
}

#[test]
#[ignore = "needs ARTIFACTS"]
fn a_request_through_the_artifact_is_unchanged_and_metered() {
    with_world(async |world| {
        let run = world.run("emulator-chat").unwrap();
        let emulator = start(world, &run, "proxy", TIMEOUT);
        let user = world.user().unwrap();
        for id in ["gen-first", "gen-second"] {
            let event = user.chat_event("stub/ok", false, id).unwrap();
            let (head, body) = answer(&invoke(world, &emulator, event).await);
            assert_eq!(head["statusCode"], 200, "{head}");
            assert_eq!(body, json_bytes(id));
        }
        let rows = user.rows().await.unwrap();
        let costs: Vec<&Value> = rows.iter().map(|row| &row["cost_state"]).collect();
        assert_eq!(costs, [&json!("final"), &json!("final")]);
    });
}

#[test]
#[ignore = "needs ARTIFACTS"]
fn time_that_runs_out_is_told_and_booked_before_the_platform_kills() {
    with_world(async |world| {
        let run = world.run("emulator-timeout").unwrap();
        let timeout = Duration::from_secs(6);
        let emulator = start(world, &run, "proxy", timeout);
        let user = world.user().unwrap();
        let event = user.chat_event("stub/stall", true, "gen-late").unwrap();
        let begun = Instant::now();
        let (head, body) = answer(&invoke(world, &emulator, event).await);
        assert!(begun.elapsed() < timeout, "{:?}", begun.elapsed());
        assert_eq!(head["statusCode"], 200);
        let body = String::from_utf8(body).unwrap();
        assert!(body.contains("deadline_reached"), "{body}");
        let row = user.row().await.unwrap();
        assert_eq!(
            (&row["status"], &row["error_reason"], &row["cost_state"]),
            (
                &json!("failed"),
                &json!("deadline_reached"),
                &json!("pending")
            )
        );

        // The same environment serves the next invocation.
        let event = user.chat_event("stub/ok", false, "gen-after").unwrap();
        let (head, body) = answer(&invoke(world, &emulator, event).await);
        assert_eq!(
            (&head["statusCode"], body),
            (&json!(200), json_bytes("gen-after"))
        );
    });
}

#[test]
#[ignore = "needs ARTIFACTS"]
fn told_to_end_it_ends_with_its_books_closed() {
    with_world(async |world| {
        let run = world.run("emulator-end").unwrap();
        let mut emulator = start(world, &run, "proxy", TIMEOUT);
        let user = world.user().unwrap();
        let event = user.chat_event("stub/ok", true, "gen-last").unwrap();
        let (head, _) = answer(&invoke(world, &emulator, event).await);
        assert_eq!(head["statusCode"], 200);

        // As the platform ends an environment: the emulator and the function that it started.
        let group = format!("-{}", emulator.process().id());
        let sent = Command::new("kill")
            .args(["-s", "TERM", "--", &group])
            .status();
        assert!(sent.unwrap().success());
        let patience = Instant::now() + TIMEOUT;
        while emulator.process_mut().exit_status().is_none() {
            assert!(Instant::now() < patience, "it goes on");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(user.row().await.unwrap()["status"], "completed");
    });
}
