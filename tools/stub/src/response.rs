//! The parts of responses.

use axum::{body::Body, response::Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::json;

const GENERATION_ID: HeaderName = HeaderName::from_static("x-generation-id");

/// OpenRouter's error object.
#[must_use]
pub fn error_body(status: StatusCode, message: &str) -> Vec<u8> {
    json!({"error": {"code": status.as_u16(), "message": message}, "user_id": "user_x"})
        .to_string()
        .into_bytes()
}

/// An error status with OpenRouter's error object.
#[must_use]
pub fn refusal(status: StatusCode, message: &str) -> Response {
    json_response(status, error_body(status, message))
}

/// A body of JSON.
#[must_use]
pub fn json_response(status: StatusCode, body: impl Into<Body>) -> Response {
    let mut response = typed("application/json", body.into());
    *response.status_mut() = status;
    response
}

/// A body of any type, with headers that the gateway has to drop, and one that it has to keep.
#[must_use]
pub fn typed(content_type: &str, body: Body) -> Response {
    let mut response = Response::new(body);
    set(&mut response, header::CONTENT_TYPE, content_type);
    set(
        &mut response,
        header::SET_COOKIE,
        "__cf_bm=planted-cookie; Secure",
    );
    let remaining = HeaderName::from_static("x-ratelimit-remaining");
    set(&mut response, remaining, "41");
    response
}

/// Names the generation in the head.
#[must_use]
pub fn with_generation_id(mut response: Response, id: &str) -> Response {
    set(&mut response, GENERATION_ID, id);
    response
}

/// Sets a header, unless `value` cannot be one.
pub fn set(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}
