//! Answers for SDKs, which accept nothing that OpenRouter would not send. They are whole files, so that
//! a test can compare them with what an SDK returns.
//!
//! The model chooses: `sdk/chat`, `sdk/tools`, `sdk/embeddings`, `sdk/transcription`; `sdk/unpaid` is
//! refused; `sdk/once-429` and `sdk/once-503` are refused at the first attempt. A stream of `sdk/slow` takes
//! more than a second, one of `sdk/cut` ends after its first words, one of `sdk/failed` tells then of an error,
//! and `sdk/silent` is never answered; whatever follows `--` in these names is the test's.

use std::{convert::Infallible, future::pending, time::Duration};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::StatusCode;
use serde_json::json;
use tokio::time::sleep;

use crate::{
    response::{json_response, refusal, typed},
    server::Received,
};

/// `POST /chat/completions` for `sdk/chat`.
pub const CHAT: &[u8] = include_bytes!("../answers/chat.json");
/// The same, streamed.
pub const CHAT_STREAM: &[u8] = include_bytes!("../answers/chat.sse");
/// `POST /messages` for `sdk/chat`.
pub const MESSAGE: &[u8] = include_bytes!("../answers/message.json");
/// The same, streamed.
pub const MESSAGE_STREAM: &[u8] = include_bytes!("../answers/message.sse");

/// `POST /responses` for `sdk/chat`.
const RESPONSE: &[u8] = include_bytes!("../answers/response.json");
/// The same, streamed.
const RESPONSE_STREAM: &[u8] = include_bytes!("../answers/response.sse");
/// An error in the middle of a stream, and what follows it.
const CHAT_FAILED: &[u8] = include_bytes!("../answers/chat_failed.sse");
const MESSAGE_FAILED: &[u8] = include_bytes!("../answers/message_failed.sse");
const RESPONSE_FAILED: &[u8] = include_bytes!("../answers/response_failed.sse");
/// The number of events and comments that come before a stream breaks.
const BEFORE_THE_BREAK: usize = 4;

const TOOLS: &[u8] = include_bytes!("../answers/tools.json");
const TOOL_USE: &[u8] = include_bytes!("../answers/tool_use.json");
const EMBEDDINGS: &[u8] = include_bytes!("../answers/embeddings.json");
const TRANSCRIPTION: &[u8] = include_bytes!("../answers/transcription.json");
const COUNT: &[u8] = br#"{"input_tokens":11}"#;
const ONCE: &[u8] = include_bytes!("../answers/once.json");
const UNPAID: &[u8] = include_bytes!("../answers/unpaid.json");

/// The name after `sdk/` in a body, whether JSON or a form.
pub(crate) fn script(body: &[u8]) -> Option<&str> {
    let start = memchr::memmem::find(body, b"sdk/")? + 4;
    let name = body.get(start..)?;
    let end = name
        .iter()
        .position(|&it| !(it.is_ascii_alphanumeric() || it == b'-'));
    std::str::from_utf8(name.get(..end.unwrap_or(name.len()))?).ok()
}

/// The answer of a script; `attempts` is the number of equal requests so far, this one included.
pub(crate) async fn answer(script: &str, request: &Received, attempts: usize) -> Response {
    let script = script.split_once("--").map_or(script, |(script, _)| script);
    match (script, attempts) {
        ("silent", _) => return pending().await,
        ("cut", _) => return broken(request.path(), |_| b""),
        ("failed", _) => return broken(request.path(), |failed| failed),
        ("unpaid", _) => return json_response(StatusCode::PAYMENT_REQUIRED, UNPAID),
        ("once-429", 1) => return json_response(StatusCode::TOO_MANY_REQUESTS, ONCE),
        ("once-503", 1) => return json_response(StatusCode::SERVICE_UNAVAILABLE, ONCE),
        (_, _) => {}
    }
    let json = |body: &'static [u8]| json_response(StatusCode::OK, body);
    let (streamed, tools) = (request.json()["stream"] == true, script == "tools");
    let pause = Duration::from_millis(if script == "slow" { 150 } else { 2 });
    match (request.path(), streamed, tools) {
        ("chat/completions", true, _) => events(CHAT_STREAM, pause),
        ("chat/completions", false, true) => json(TOOLS),
        ("chat/completions", false, false) => json(CHAT),
        ("messages", true, _) => events(MESSAGE_STREAM, pause),
        ("messages", false, true) => json(TOOL_USE),
        ("messages", false, false) => json(MESSAGE),
        ("responses", true, _) => events(RESPONSE_STREAM, pause),
        ("responses", false, _) => json(RESPONSE),
        ("embeddings", _, _) => json(EMBEDDINGS),
        ("messages/count_tokens", _, _) => json(COUNT),
        // A form arrives as it was sent, to the byte: with the file between its boundaries.
        ("audio/transcriptions", _, _) if is_whole_form(&request.body) => json(TRANSCRIPTION),
        (_, _, _) => refusal(StatusCode::NOT_FOUND, "no script for this path"),
    }
}

/// A stream that breaks; `end` makes its end of the error of its dialect.
fn broken(path: &str, end: fn(&'static [u8]) -> &'static [u8]) -> Response {
    let (whole, failed) = match path {
        "chat/completions" => (CHAT_STREAM, CHAT_FAILED),
        "messages" => (MESSAGE_STREAM, MESSAGE_FAILED),
        "responses" => (RESPONSE_STREAM, RESPONSE_FAILED),
        _ => return refusal(StatusCode::NOT_FOUND, "no script for this path"),
    };
    let mut ends = memchr::memmem::find_iter(whole, b"\n\n");
    let begins = ends.nth(BEFORE_THE_BREAK - 1).map_or(0, |at| at + 2);
    let begins = whole.get(..begins).unwrap_or_default();
    typed(
        "text/event-stream",
        Body::from([begins, end(failed)].concat()),
    )
}

/// The answer to `GET /models/{author}/{slug}`, in OpenAI's form and Anthropic's at once.
pub(crate) fn model(id: &str) -> Response {
    let model = json!({
        "id": id, "object": "model", "created": 1_735_689_600, "owned_by": "stub",
        "type": "model", "created_at": "2025-01-01T00:00:00Z", "display_name": "Stub",
    });
    json_response(StatusCode::OK, model.to_string())
}

/// Whether a form ends with the boundary that it begins with, and has a file.
fn is_whole_form(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body);
    let boundary = text.lines().next().unwrap_or_default();
    boundary.starts_with("--")
        && text.trim_end().ends_with(&format!("{boundary}--"))
        && text.contains("filename=\"hello.wav\"")
        && text.contains("RIFF\0")
}

/// A stream whose writes divide events and characters in their middle.
fn events(body: &'static [u8], pause: Duration) -> Response {
    let writes = stream::iter(body.chunks(97)).then(move |write| async move {
        sleep(pause).await;
        Ok::<_, Infallible>(Bytes::from_static(write))
    });
    typed("text/event-stream", Body::from_stream(writes))
}
