//! Answers to any model on any endpoint, for `cargo xtask dev`: the same short text, streamed at a
//! reading pace.

use std::{sync::atomic::AtomicU64, sync::atomic::Ordering, time::Duration};

use axum::{body::Body, response::Response};
use http::StatusCode;
use serde_json::{Value, json};

use crate::{
    answer::{Answer, COMMENT, Charge, End, Tokens},
    billing::{Bill, Bills},
    endpoint::Endpoint,
    response::{json_response, typed, with_generation_id},
    script::{self, Behaviour, Prepared, Script, Split},
    server::Received,
};

/// A prompt (a part of it is enough) whose answer is slow enough to watch, and costs exactly 0.0001234
/// credits.
pub const PROMPT: &str = "Say hello";
/// A prompt that is refused with 429 and `Retry-After`.
const RATE_LIMITED: &str = "rate limit me";

const HELLO: Reply = Reply {
    text: "Hello! This answer came through the gateway a few words at a time, and its price was written to the books once the stream had ended.",
    tokens: (11, 29),
    cost: "0.0001234",
    first_token: Duration::from_millis(300),
    pace: Duration::from_millis(50),
    piece: 6,
};
const DEFAULT: Reply = Reply {
    text: "This stand-in for OpenRouter gives the same answer to every other prompt.",
    tokens: (9, 19),
    cost: "7.434e-7",
    first_token: Duration::from_millis(100),
    pace: Duration::from_millis(25),
    piece: 8,
};

struct Reply {
    text: &'static str,
    /// Tokens of the prompt and of the answer.
    tokens: (u64, u64),
    cost: &'static str,
    first_token: Duration,
    /// The time between two events.
    pace: Duration,
    /// Characters in an event.
    piece: usize,
}

/// The number of the next generation.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// Answers a request to `endpoint`, and bills it.
pub(crate) async fn answer(
    endpoint: Endpoint,
    request: &Received,
    key: &str,
    bills: &Bills,
) -> Response {
    let prompt = String::from_utf8_lossy(&request.body);
    let refuse = Behaviour::Refuse {
        status: 429,
        retry_after: Some(7),
    };
    if prompt.contains(RATE_LIMITED)
        && let Some(refused) = script::refused(refuse).await
    {
        return refused.into_response();
    }
    let reply = if prompt.contains(PROMPT) {
        HELLO
    } else {
        DEFAULT
    };
    let body = request.json();
    let charge = Charge {
        cost: reply.cost.to_owned(),
        upstream: None,
        byok: false,
    };
    let answer = Answer {
        endpoint,
        id: generation_id(),
        // A form is not read for its model.
        model: body["model"]
            .as_str()
            .unwrap_or("openai/gpt-4o-mini")
            .to_owned(),
        tokens: Tokens {
            input: reply.tokens.0,
            output: reply.tokens.1,
            cached: None,
            reasoning: None,
        },
        charge: Some(charge.clone()),
    };
    bills.add(Bill {
        key: key.to_owned(),
        generation_id: answer.id.clone(),
        model: answer.model.clone(),
        charge,
        tokens: answer.tokens,
        hidden_for: 0,
    });
    let response = if endpoint == Endpoint::Speech {
        typed("audio/mpeg", Body::from(b"ID3\x04".repeat(1_000)))
    } else if endpoint.streams() && body["stream"] == true {
        typed("text/event-stream", stream(&reply, &answer))
    } else {
        json_response(StatusCode::OK, answer.body(reply.text))
    };
    with_generation_id(response, &answer.id)
}

fn stream(reply: &Reply, answer: &Answer) -> Body {
    let letters: Vec<char> = reply.text.chars().collect();
    let tokens: String = letters
        .chunks(reply.piece)
        .map(|piece| answer.delta(&String::from_iter(piece)))
        .collect();
    let head = COMMENT.to_owned() + &answer.head();
    let prepared = Prepared::stream(&head, &tokens, &answer.end(End::Complete, reply.text));
    let script = Script {
        behaviour: Behaviour::Answer,
        kill: None,
        first_token: reply.first_token,
        comments: false,
        split: Split::Events { pause: reply.pace },
    };
    Body::from_stream(script::body(&script, &prepared, ()))
}

/// A new id, in OpenRouter's form.
fn generation_id() -> String {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("gen-1735689600-stub{number:016}")
}

/// Answers `GET /models`.
pub(crate) fn models() -> Response {
    let list: Vec<Value> = [
        ("openai/gpt-4o-mini", "OpenAI: GPT-4o-mini", 128_000),
        (
            "anthropic/claude-sonnet-4.6",
            "Anthropic: Claude Sonnet 4.6",
            1_000_000,
        ),
        (
            "google/gemini-2.5-flash",
            "Google: Gemini 2.5 Flash",
            1_048_576,
        ),
        ("deepseek/deepseek-r1:free", "DeepSeek: R1 (free)", 163_840),
    ]
    .into_iter()
    .map(|(id, name, context)| {
        let price = |price: &'static str| if id.ends_with(":free") { "0" } else { price };
        json!({
            "id": id, "canonical_slug": id, "name": name, "created": 1_735_689_600,
            "description": "A model of the stand-in.", "context_length": context,
            "architecture": {"modality": "text->text", "input_modalities": ["text"],
                "output_modalities": ["text"], "tokenizer": "Other", "instruct_type": null},
            "pricing": {"prompt": price("0.00000015"), "completion": price("0.0000006"),
                "request": "0", "image": "0"},
            "top_provider": {"context_length": context, "max_completion_tokens": 16_384,
                "is_moderated": false},
            "per_request_limits": null, "supported_parameters": ["max_tokens", "temperature"],
            "default_parameters": null, "supported_voices": null,
            "links": {"details": format!("/api/v1/models/{id}/endpoints")},
        })
    })
    .collect();
    let count = list.len();
    let body = json!({"data": list, "total_count": count, "links": {"next": null}});
    json_response(StatusCode::OK, body.to_string())
}

/// Answers `POST /messages/count_tokens`.
pub(crate) fn count_tokens() -> Response {
    let (input, _) = DEFAULT.tokens;
    json_response(StatusCode::OK, json!({"input_tokens": input}).to_string())
}
