//! What the requested model makes the stub do.

use std::time::Duration;

use axum::response::Response;
use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};

use super::{
    COST,
    reply::{json_response, naming, paced, raw_body, refusal},
};

/// What the stub does with a request, by the last segment of the model's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Script {
    /// Answers well; in a stream with comments and multi-byte text.
    Ok,
    /// As [`Script::Ok`], with 50 ms between chunks.
    Slow,
    /// Streams two events and half of a third, then breaks the connection.
    Cut,
    /// As [`Script::Cut`], and billed: `GET /generation` tells it, but not at the first question.
    CutBilled {
        /// Billed by the provider, to the user's own key.
        byok: bool,
    },
    /// Ends a stream politely, but in the middle.
    PoliteCut,
    /// Streams two events, then says nothing more.
    Stall,
    /// As [`Script::Stall`], and billed as [`Script::CutBilled`].
    StallBilled,
    /// Billed as [`Script::CutBilled`], names the generation in the head, and then breaks the
    /// connection, or says nothing more, before the body's first byte.
    HeadOnly {
        /// It says nothing more.
        silent: bool,
    },
    /// Accepts the request and never answers.
    Silent,
    /// Closes the connection without an answer.
    Hangup,
    /// An error event in the middle of a stream.
    ErrorEvent,
    /// A 200 whose body is an error.
    ErrorBody,
    /// Refuses the key and quotes it.
    EchoKey,
    /// 402, 429 (with `Retry-After`) or 503 (with `Retry-After`).
    Status(u16),
}

impl Script {
    pub(super) fn of(model: &str) -> Option<Self> {
        Some(match model.strip_prefix("stub/")? {
            "ok" => Self::Ok,
            "slow" => Self::Slow,
            "cut" => Self::Cut,
            "cut-billed" => Self::CutBilled { byok: false },
            "cut-billed-byok" => Self::CutBilled { byok: true },
            "polite-cut" => Self::PoliteCut,
            "stall" => Self::Stall,
            "stall-billed" => Self::StallBilled,
            "head-only" => Self::HeadOnly { silent: false },
            "head-silent" => Self::HeadOnly { silent: true },
            "silent" => Self::Silent,
            "hangup" => Self::Hangup,
            "error-event" => Self::ErrorEvent,
            "echo-key" => Self::EchoKey,
            "error-body" => Self::ErrorBody,
            status => Self::Status(status.parse().ok()?),
        })
    }
}

pub(super) async fn chat(path: &str, headers: &HeaderMap, body: &[u8]) -> Response {
    if headers
        .get(header::CONTENT_TYPE)
        .is_none_or(|value| !value.as_bytes().starts_with(b"application/json"))
    {
        return refusal(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "content-type must be application/json",
        );
    }
    let Ok(request) = serde_json::from_slice::<Value>(body) else {
        return refusal(StatusCode::BAD_REQUEST, "the body is not JSON");
    };
    let Some(script) = request["model"].as_str().and_then(Script::of) else {
        return refusal(StatusCode::BAD_REQUEST, "not a valid model ID");
    };
    let id = request["user"].as_str().unwrap_or("gen-stub").to_owned();
    match script {
        Script::Silent => std::future::pending().await,
        // hyper closes a connection whose service panics, without an answer.
        Script::Hangup => std::panic::resume_unwind(Box::new("scripted")),
        Script::EchoKey => refusal(StatusCode::UNAUTHORIZED, &echoed_key(headers)),
        Script::HeadOnly { silent } => head_only(&id, silent),
        Script::PoliteCut if path.ends_with("/messages") => message_start(&id),
        _ if request["stream"] == true => streamed(script, &id),
        _ => whole(script, &id),
    }
}

/// The bytes of a streamed answer of [`Script::Ok`], which the client must receive unchanged.
#[must_use]
pub fn stream_bytes(id: &str) -> Vec<u8> {
    stream_chunks(id).concat()
}

/// The bytes of an unstreamed answer of [`Script::Ok`].
#[must_use]
pub fn json_bytes(id: &str) -> Vec<u8> {
    format!(
        r#"{{"id":"{id}","object":"chat.completion","created":1735689600,"model":"stub/served-model",  "choices":[{{"index":0,"message":{{"role":"assistant","content":"Grüezi, 世界"}},"finish_reason":"stop"}}],"usage":{}}}"#,
        usage()
    )
    .into_bytes()
}

fn usage() -> String {
    format!(
        r#"{{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18,"cost":{COST},"is_byok":false,"prompt_tokens_details":{{"cached_tokens":3}},"completion_tokens_details":{{"reasoning_tokens":2}},"cost_details":{{"upstream_inference_cost":null}}}}"#
    )
}

/// Chunks whose borders fall in the middle of events and of a character.
fn stream_chunks(id: &str) -> Vec<Vec<u8>> {
    let event = |delta: &str, more: &str| {
        format!(
            "data: {{\"id\":\"{id}\",\"object\":\"chat.completion.chunk\",\"model\":\"stub/served-model\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{delta}\"}},\"finish_reason\":null}}]{more}}}\n\n"
        )
    };
    let text = [
        ": OPENROUTER PROCESSING\n\n: OPENROUTER PROCESSING\n\n".to_owned(),
        event("Grüezi", ""),
        event(", 世界", ""),
        event("!", &format!(",\"usage\":{}", usage())),
        "data: [DONE]\n\n".to_owned(),
    ]
    .concat();
    // 97 is no multiple of anything in there.
    text.as_bytes().chunks(97).map(<[u8]>::to_vec).collect()
}

fn echoed_key(headers: &HeaderMap) -> String {
    let key = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    format!("Incorrect API key provided: {}.", key.unwrap_or_default())
}

/// The beginning of a Messages stream, which tells tokens, and nothing more.
fn message_start(id: &str) -> Response {
    let event = json!({"type": "message_start", "message": {"id": id, "model": "stub/served-model", "usage": {"input_tokens": 5, "output_tokens": 1}}});
    raw_body(
        "text/event-stream",
        vec![Ok(
            format!("event: message_start\ndata: {event}\n\n").into_bytes()
        )],
    )
}

fn head_only(id: &str, silent: bool) -> Response {
    let wait = if silent {
        Duration::from_mins(2)
    } else {
        Duration::from_millis(200)
    };
    naming(raw_body("application/json", vec![Err(wait)]), id)
}

fn whole(script: Script, id: &str) -> Response {
    match script {
        Script::Cut | Script::CutBilled { .. } => raw_body(
            "application/json",
            vec![Ok(json_bytes(id)[..40].to_vec()), Err(Duration::ZERO)],
        ),
        Script::ErrorBody => json_response(
            StatusCode::OK,
            r#"{"error":{"code":502,"message":"Provider returned error"},"user_id":"user_x"}"#
                .into(),
        ),
        Script::Status(status) => status_response(status),
        _ => json_response(StatusCode::OK, json_bytes(id)),
    }
}

fn streamed(script: Script, id: &str) -> Response {
    let chunks = stream_chunks(id);
    let part: Vec<_> = chunks.iter().take(4).cloned().map(Ok).collect();
    let steps = match script {
        Script::Status(status) => return status_response(status),
        Script::Cut | Script::CutBilled { .. } => [part, vec![Err(Duration::ZERO)]].concat(),
        Script::PoliteCut => part,
        Script::Stall | Script::StallBilled => [part, vec![Err(Duration::from_mins(2))]].concat(),
        Script::ErrorEvent => {
            let event = json!({"id": id, "error": {"code": 502, "message": "Provider disconnected"}, "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}]});
            vec![
                Ok(chunks[0].clone()),
                Ok(b"\n\n".to_vec()),
                Ok(format!("data: {event}\n\ndata: [DONE]\n\n").into_bytes()),
            ]
        }
        Script::Slow => {
            let pause = Duration::from_millis(50);
            return paced(chunks, pause);
        }
        Script::Ok
        | Script::ErrorBody
        | Script::Silent
        | Script::Hangup
        | Script::HeadOnly { .. }
        | Script::EchoKey => chunks.into_iter().map(Ok).collect(),
    };
    raw_body("text/event-stream", steps)
}

fn status_response(status: u16) -> Response {
    let code = StatusCode::from_u16(status).unwrap_or(StatusCode::IM_A_TEAPOT);
    let mut response = refusal(code, "scripted refusal");
    if matches!(status, 429 | 503) {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, header::HeaderValue::from_static("17"));
    }
    response
}
