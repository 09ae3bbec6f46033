//! Answers for SDKs, which take nothing that OpenRouter would not say. They are whole files, so that
//! a test can hold what comes out of an SDK against them.
//!
//! The model chooses: `sdk/chat`, `sdk/tools`, `sdk/embeddings`, `sdk/transcription`; `sdk/unpaid` is
//! refused, `sdk/once-429` and `sdk/once-503` are, too, but only at the first attempt.

use axum::response::Response;
use http::StatusCode;
use serde_json::Value;

use super::reply::{json_response, raw_body, refusal};

/// `POST /chat/completions` for `sdk/chat`.
pub const CHAT: &[u8] = include_bytes!("../../clients/answers/chat.json");
/// The same, streamed.
pub const CHAT_STREAM: &[u8] = include_bytes!("../../clients/answers/chat.sse");
/// `POST /messages` for `sdk/chat`.
pub const MESSAGE: &[u8] = include_bytes!("../../clients/answers/message.json");
/// The same, streamed.
pub const MESSAGE_STREAM: &[u8] = include_bytes!("../../clients/answers/message.sse");

const TOOLS: &[u8] = include_bytes!("../../clients/answers/tools.json");
const TOOL_USE: &[u8] = include_bytes!("../../clients/answers/tool_use.json");
const EMBEDDINGS: &[u8] = include_bytes!("../../clients/answers/embeddings.json");
const TRANSCRIPTION: &[u8] = include_bytes!("../../clients/answers/transcription.json");
const ONCE: &[u8] = include_bytes!("../../clients/answers/once.json");
const UNPAID: &[u8] = include_bytes!("../../clients/answers/unpaid.json");

/// What follows `sdk/` in a body, be it JSON or a form.
pub(super) fn script(body: &[u8]) -> Option<&str> {
    let start = body.windows(4).position(|it| it == b"sdk/")? + 4;
    let name = body.get(start..)?;
    let end = name
        .iter()
        .position(|&it| !(it.is_ascii_alphanumeric() || it == b'-'));
    std::str::from_utf8(name.get(..end.unwrap_or(name.len()))?).ok()
}

/// The answer of a script; `attempts` counts the requests like this one, with it.
pub(super) fn answer(script: &str, path: &str, body: &[u8], attempts: usize) -> Response {
    let request: Value = serde_json::from_slice(body).unwrap_or_default();
    match script {
        "unpaid" => return json_response(StatusCode::PAYMENT_REQUIRED, UNPAID.to_vec()),
        "once-429" if attempts == 1 => {
            return json_response(StatusCode::TOO_MANY_REQUESTS, ONCE.to_vec());
        }
        "once-503" if attempts == 1 => {
            return json_response(StatusCode::SERVICE_UNAVAILABLE, ONCE.to_vec());
        }
        _ => {}
    }
    let json = |body: &[u8]| json_response(StatusCode::OK, body.to_vec());
    let streamed = request["stream"] == true;
    match path {
        "/api/v1/chat/completions" if streamed => events(CHAT_STREAM),
        "/api/v1/chat/completions" if script == "tools" => json(TOOLS),
        "/api/v1/chat/completions" => json(CHAT),
        "/api/v1/messages" if streamed => events(MESSAGE_STREAM),
        "/api/v1/messages" if script == "tools" => json(TOOL_USE),
        "/api/v1/messages" => json(MESSAGE),
        "/api/v1/embeddings" => json(EMBEDDINGS),
        // A form arrives as it was sent, to the byte: with the file between its boundaries.
        "/api/v1/audio/transcriptions" if is_whole_form(body) => json(TRANSCRIPTION),
        _ => refusal(StatusCode::NOT_FOUND, "no script for this path"),
    }
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

/// In pieces whose borders fall in the middle of events and of characters.
fn events(body: &[u8]) -> Response {
    let pieces = body.chunks(97).map(|piece| Ok(piece.to_vec())).collect();
    raw_body("text/event-stream", pieces)
}
