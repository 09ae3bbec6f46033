//! Every sample event, freshly signed and invoked as by `cargo lambda invoke --data-file`.

use e2e::{
    samples::{Sample, alone, samples},
    world::with_world,
};
use serde_json::Value;

#[test]
fn every_sample_event_gets_the_answer_it_says() {
    let _alone = alone();
    with_world(async |world| {
        let mut wrong = Vec::new();
        for Sample {
            file,
            function,
            event,
            status,
            reason,
        } in samples(world).unwrap()
        {
            let answer = world.invoke(&function, event).await.unwrap();
            let got = read(&answer);
            if got != (status, reason.clone()) {
                wrong.push(format!(
                    "{file}: {got:?} instead of {status} {reason}: {}",
                    String::from_utf8_lossy(&answer)
                ));
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    });
}

/// Status and reason of an answer. Of a streamed one the stand-in gives only the body, which for
/// the gateway's own errors holds both: in Anthropic's envelope by the error's type.
fn read(answer: &[u8]) -> (u64, Value) {
    let whole: Value = serde_json::from_slice(answer).unwrap_or_default();
    let body = match whole["body"].as_str() {
        Some(body) => serde_json::from_str(body).unwrap_or_default(),
        None => whole.clone(),
    };
    let status = whole["statusCode"]
        .as_u64()
        .or(body["error"]["code"].as_u64())
        .or_else(|| status_of(body["error"]["type"].as_str()?));
    (
        status.unwrap_or_default(),
        body["error"]["metadata"]["reason"].clone(),
    )
}

/// The status of an error of Anthropic's (<https://docs.anthropic.com/en/api/errors>).
fn status_of(error_type: &str) -> Option<u64> {
    Some(match error_type {
        "invalid_request_error" => 400,
        "authentication_error" => 401,
        "billing_error" => 402,
        "permission_error" => 403,
        "not_found_error" => 404,
        "request_too_large" => 413,
        "rate_limit_error" => 429,
        "api_error" => 500,
        _ => return None,
    })
}
