//! Every sample event, freshly signed, through the same door as `cargo lambda invoke --data-file`.

use std::{fs, process::Command};

use e2e::world::{AUDIENCE, with_world};
use serde_json::Value;

#[test]
fn every_sample_event_gets_the_answer_it_says() {
    with_world(async |world| {
        let fresh = world.logs.join("events");
        let signed = Command::new(world.tools.python())
            .arg(world.project("tools/events.py"))
            .args(["--now", "--audience", AUDIENCE, "--out"])
            .arg(&fresh)
            .output()
            .unwrap();
        assert!(
            signed.status.success(),
            "{}",
            String::from_utf8_lossy(&signed.stderr)
        );

        let expected: Value =
            serde_json::from_slice(&fs::read(world.project("events/expected.json")).unwrap())
                .unwrap();
        let expected = expected.as_object().unwrap();
        assert!(expected.len() > 20, "the samples are gone");
        let mut wrong = Vec::new();
        // Those about keys first, from storing one to revoking it.
        let mut in_order: Vec<_> = expected.iter().collect();
        in_order.sort_by_key(|(file, _)| match file.as_str() {
            put if put.starts_with("keys-put") => 0,
            delete if delete.starts_with("keys-delete") => 2,
            keys if keys.starts_with("keys-") => 1,
            _ => 3,
        });
        for (file, expected) in in_order {
            let function = expected["function"].as_str().unwrap();
            let event = fs::read(fresh.join(file)).unwrap();
            let answer = world.invoke(function, event).await.unwrap();
            let (status, reason) = read(&answer);
            // The samples' identity has no key here: what would be passed on stops there.
            let keyless = expected["status"] == 200 && function == "proxy";
            let (want_status, want_reason) = if keyless {
                (404, Value::from("no_key_for_did"))
            } else {
                (
                    expected["status"].as_u64().unwrap(),
                    expected["reason"].clone(),
                )
            };
            if (status, &reason) != (want_status, &want_reason) {
                wrong.push(format!(
                    "{file}: {status} {reason} instead of {want_status} {want_reason}: {}",
                    String::from_utf8_lossy(&answer)
                ));
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    });
}

/// Status and reason of an answer. Of a streamed one the stand-in gives only the body, which for
/// the gateway's own errors holds both.
fn read(answer: &[u8]) -> (u64, Value) {
    let whole: Value = serde_json::from_slice(answer).unwrap_or_default();
    let body = match whole["body"].as_str() {
        Some(body) => serde_json::from_str(body).unwrap_or_default(),
        None => whole.clone(),
    };
    let status = whole["statusCode"]
        .as_u64()
        .or(body["error"]["code"].as_u64());
    (
        status.unwrap_or_default(),
        body["error"]["metadata"]["reason"].clone(),
    )
}
