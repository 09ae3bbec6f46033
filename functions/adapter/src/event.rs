//! From an API Gateway or Function URL event to a request.
//!
//! The raw path and query of the event are kept: `lambda_http`'s own `uri()` loses the difference
//! between an encoded `?` and a real one, strips a stage that is only a prefix of the first
//! segment, and orders v1 parameters at random, so nothing that was signed may pass through it.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use lambda_http::{
    aws_lambda_events::{
        apigw::{ApiGatewayProxyRequest, ApiGatewayV2httpRequest},
        query_map::QueryMap,
    },
    request::LambdaRequest,
};
use shared::request::{Incoming, RawQuery};

/// Why an event is not a request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EventError {
    #[error("the event is not of a format that the gateway knows")]
    NotAnEvent,
    #[error("the event comes from a service that the gateway is not behind")]
    UnknownOrigin,
    #[error("the event's body is not the base64 it says it is")]
    Body,
}

/// The request that `event` carries.
pub(crate) fn request(event: LambdaRequest) -> Result<Incoming, EventError> {
    match event {
        LambdaRequest::ApiGatewayV1(event) => rest(event),
        LambdaRequest::ApiGatewayV2(event) => http(event),
        _ => Err(EventError::UnknownOrigin),
    }
}

fn rest(event: ApiGatewayProxyRequest) -> Result<Incoming, EventError> {
    Ok(Incoming {
        method: event.http_method,
        raw_path: event.path.unwrap_or_default(),
        stage: event.request_context.stage.and_then(real_stage),
        query: RawQuery::Decoded(pairs(
            &event.multi_value_query_string_parameters,
            &event.query_string_parameters,
        )),
        // The multi-value headers hold every value, the plain ones only the last of each.
        headers: if event.multi_value_headers.is_empty() {
            event.headers
        } else {
            event.multi_value_headers
        },
        body: body(event.body, event.is_base64_encoded)?,
    })
}

fn http(event: ApiGatewayV2httpRequest) -> Result<Incoming, EventError> {
    let mut headers: HeaderMap = event.headers;
    if let Some(cookies) = event.cookies.filter(|cookies| !cookies.is_empty())
        && let Ok(cookies) = HeaderValue::from_str(&cookies.join("; "))
    {
        headers.insert(http::header::COOKIE, cookies);
    }
    Ok(Incoming {
        method: event.request_context.http.method,
        raw_path: event.raw_path.unwrap_or_default(),
        stage: event.request_context.stage.and_then(real_stage),
        query: RawQuery::Encoded(event.raw_query_string.unwrap_or_default()),
        headers,
        body: body(event.body, event.is_base64_encoded)?,
    })
}

fn real_stage(stage: String) -> Option<String> {
    (!stage.is_empty() && stage != "$default").then_some(stage)
}

fn pairs(multi: &QueryMap, single: &QueryMap) -> Vec<(String, String)> {
    let map = if multi.is_empty() { single } else { multi };
    map.iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn body(text: Option<String>, is_base64: bool) -> Result<Bytes, EventError> {
    let text = text.unwrap_or_default();
    if is_base64 {
        STANDARD
            .decode(text)
            .map(Bytes::from)
            .map_err(|_| EventError::Body)
    } else {
        Ok(Bytes::from(text))
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs, path::PathBuf};

    use jiff::Timestamp;
    use serde::Deserialize;
    use shared::{
        identity::auth::{Audience, Audiences, AuthError, Authenticated, authenticate, identify},
        routes::Route,
    };

    use super::*;

    #[derive(Deserialize)]
    struct Expected {
        function: String,
        status: u16,
        reason: Option<String>,
    }

    /// The time at which the samples are signed.
    const SIGNED_AT: Timestamp = Timestamp::constant(1_735_689_600, 0);

    fn samples() -> BTreeMap<String, (Expected, Incoming)> {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../events");
        let expected = fs::read(folder.join("expected.json")).unwrap();
        let expected: BTreeMap<String, Expected> = serde_json::from_slice(&expected).unwrap();
        let load = |(file, expected): (String, Expected)| {
            let event = fs::read(folder.join(&file)).unwrap();
            let incoming = request(serde_json::from_slice(&event).unwrap()).unwrap();
            (file, (expected, incoming))
        };
        expected.into_iter().map(load).collect()
    }

    fn audiences() -> Audiences {
        let audience = Audience::parse("https://gw.example.com").unwrap();
        Audiences::new(vec![audience]).unwrap()
    }

    fn verdict(request: &Incoming) -> Result<Authenticated, AuthError> {
        authenticate(request, &audiences(), shared::request::MAX_BODY, SIGNED_AT)
    }

    fn identified(request: &Incoming) -> Result<(), AuthError> {
        let max = shared::request::MAX_BODY;
        identify(request, &audiences(), max, SIGNED_AT).map(drop)
    }

    #[test]
    fn every_sample_has_the_verdict_that_it_names() {
        let samples = samples();
        assert!(samples.len() > 30, "the samples are gone");
        for (file, (expected, request)) in &samples {
            // Nobody signs a question about the gateway's health.
            if expected.function == "health" || request.raw_path == Route::DatabaseHealth.path() {
                continue;
            }
            // Where a token passes, only the database knows it.
            let verdict = match &*expected.function {
                "proxy" | "usage" => identified(request),
                _ => verdict(request).map(drop),
            };
            match (verdict, expected.reason.as_deref()) {
                // Refused for another cause, by a later stage.
                (
                    Ok(()),
                    None
                    | Some(
                        "path_not_allowed"
                        | "invalid_parameter"
                        | "malformed_body"
                        | "method_not_allowed"
                        | "no_such_token"
                        | "provisioning_not_allowed"
                        | "unknown_token",
                    ),
                ) => {}
                (Err(error), Some(reason)) => assert_eq!(error.reason(), reason, "{file}"),
                (verdict, _) => panic!("{file}: {} {verdict:?}", expected.status),
            }
        }
    }

    #[test]
    fn one_request_is_the_same_from_a_rest_api_an_http_api_and_a_function_url() {
        let samples = samples();
        let rest = &samples["proxy-chat-stream-v1.json"].1;
        let http = &samples["proxy-chat-stream-v2.json"].1;
        let seen = |request: &Incoming| {
            let Authenticated {
                path,
                query,
                caller,
            } = verdict(request).unwrap();
            (caller.did().clone(), path, query, request.body.clone())
        };
        assert_eq!(seen(rest), seen(http));
        // The credentials of one, in the other's event.
        for (credentials, carrier) in [(rest, http), (http, rest)] {
            let mut moved = carrier.clone();
            moved.headers.clone_from(&credentials.headers);
            assert_eq!(
                verdict(&moved).unwrap().caller.fingerprint(),
                verdict(credentials).unwrap().caller.fingerprint()
            );
        }
    }

    #[test]
    fn a_stage_in_the_path_changes_nothing() {
        let mut staged = samples().remove("proxy-chat-stream-v2.json").unwrap().1;
        let plain = verdict(&staged).unwrap().caller.fingerprint();
        staged.raw_path = format!("/Prod{}", staged.raw_path);
        assert!(
            verdict(&staged).is_err(),
            "a prefix that is no stage was stripped"
        );
        staged.stage = Some("Prod".to_owned());
        assert_eq!(verdict(&staged).unwrap().caller.fingerprint(), plain);
    }

    #[test]
    fn base64_is_undone_and_broken_base64_is_an_error() {
        assert_eq!(body(Some("AP8=".to_owned()), true).unwrap(), [0, 255][..]);
        assert_eq!(body(Some("AP8=".to_owned()), false).unwrap(), "AP8=");
        assert_eq!(body(None, true).unwrap(), "");
        assert!(body(Some("*".to_owned()), true).is_err());
    }
}
