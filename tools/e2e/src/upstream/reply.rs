//! What the stub's answers are made of.

use std::{convert::Infallible, time::Duration};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{StatusCode, header};
use serde_json::json;

pub(crate) fn refusal(status: StatusCode, message: &str) -> Response {
    let body = json!({"error": {"code": status.as_u16(), "message": message}, "user_id": "user_x"});
    json_response(status, body.to_string().into_bytes())
}

pub(crate) fn json_response(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = typed("application/json", Body::from(body));
    *response.status_mut() = status;
    response
}

pub(super) fn typed(content_type: &str, body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    if let Ok(value) = content_type.parse() {
        headers.insert(header::CONTENT_TYPE, value);
    }
    headers.insert(
        header::SET_COOKIE,
        header::HeaderValue::from_static("__cf_bm=planted-cookie; Secure"),
    );
    headers.insert(
        "x-ratelimit-remaining",
        header::HeaderValue::from_static("41"),
    );
    response
}

/// Sends the chunks; an `Err` waits and then breaks the connection.
pub(super) fn raw_body(content_type: &str, steps: Vec<Result<Vec<u8>, Duration>>) -> Response {
    let stream = stream::iter(steps).then(|step| async move {
        // Separate writes, so that the client sees separate chunks.
        tokio::time::sleep(Duration::from_millis(2)).await;
        match step {
            Ok(chunk) => Ok(Bytes::from(chunk)),
            Err(wait) => {
                tokio::time::sleep(wait).await;
                Err(std::io::Error::other("scripted"))
            }
        }
    });
    typed(content_type, Body::from_stream(stream))
}

pub(super) fn paced(chunks: Vec<Vec<u8>>, pause: Duration) -> Response {
    let stream = stream::iter(chunks).then(move |chunk| async move {
        tokio::time::sleep(pause).await;
        Ok::<_, Infallible>(Bytes::from(chunk))
    });
    typed("text/event-stream", Body::from_stream(stream))
}

pub(super) fn naming(mut response: Response, id: &str) -> Response {
    if let Ok(id) = id.parse() {
        response.headers_mut().insert("x-generation-id", id);
    }
    response
}
