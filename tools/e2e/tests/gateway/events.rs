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
        for (file, expected) in expected {
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
                    "{file}: {status} {reason} instead of {want_status} {want_reason}"
                ));
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    });
}

/// Status and reason of a buffered or a streamed answer.
fn read(answer: &[u8]) -> (u64, Value) {
    let text = String::from_utf8_lossy(answer);
    // A streamed answer is its prelude, eight NULs and the body.
    let (head, body) = match text.split_once("\0\0\0\0\0\0\0\0") {
        Some((prelude, body)) => (
            serde_json::from_str::<Value>(prelude).unwrap(),
            body.to_owned(),
        ),
        None => {
            let whole: Value =
                serde_json::from_str(&text).unwrap_or_else(|_| panic!("not an answer: {text}"));
            let body = whole["body"].as_str().unwrap_or_default().to_owned();
            (whole, body)
        }
    };
    let body: Value = serde_json::from_str(&body).unwrap_or_default();
    (
        head["statusCode"].as_u64().unwrap_or_default(),
        body["error"]["metadata"]["reason"].clone(),
    )
}
