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
