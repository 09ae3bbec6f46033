//! The bytes of answers, in OpenRouter's dialects.

use serde_json::{Value, json};

use crate::{kind::Kind, plan::Plan};

/// An answer that is there already.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) content_type: &'static str,
    pub(super) bytes: Vec<u8>,
    /// Where the first token begins.
    pub(super) token_at: usize,
}

/// The whole answer to a request.
pub(super) fn answer(plan: &Plan) -> Answer {
    if plan.streamed {
        return streamed(plan, None);
    }
    let (content_type, bytes) = match plan.kind {
        Kind::Speech => (
            "audio/mpeg",
            b"ID3\x04\x00\xff\xfb\x90".repeat(40 + plan.number % 50),
        ),
        _ => ("application/json", json_body(plan).into_bytes()),
    };
    Answer {
        content_type,
        bytes,
        token_at: 0,
    }
}

/// A streamed answer that ends, after its first `events` events, with an error.
pub(super) fn failing(plan: &Plan) -> Answer {
    let told = plan.split_seed.is_multiple_of(2);
    streamed(plan, Some(told))
}

/// A 200 that says that there is none.
pub(super) fn error_body() -> Vec<u8> {
    br#"{"error":{"code":502,"message":"Provider returned error"},"user_id":"user_x"}"#.to_vec()
}

fn json_body(plan: &Plan) -> String {
    let (id, model, usage) = (&plan.generation.id, &plan.served, usage(plan));
    match plan.kind {
        Kind::Responses => format!(
            r#"{{"id":"{id}","object":"response","status":"completed","model":"{model}","output":[{{"type":"message","content":[{{"type":"output_text","text":"Grüezi, 世界"}}]}}],"usage":{usage}}}"#
        ),
        Kind::Messages => format!(
            r#"{{"id":"{id}","type":"message","role":"assistant","model":"{model}","content":[{{"type":"text","text":"{{\"usage\":{{\"cost\":99}}}}"}}],"stop_reason":"end_turn","usage":{usage}}}"#
        ),
        Kind::Transcription | Kind::TranscriptionForm => {
            format!(r#"{{"text":"Grüezi","model":"{model}","usage":{usage}}}"#)
        }
        Kind::Systemone => {
            format!(r#"{{"result":{{"usage":{{"cost":99}}}},"model":"{model}","usage":{usage}}}"#)
        }
        // The usage comes early, where one may overlook it; of an answer that is cut after it, the cost
        // is known and what follows is not, so the model comes before it.
        Kind::Embeddings => format!(
            r#"{{"model":"{model}","usage":{usage},"id":"{id}","object":"list","data":[{{"embedding":[0.1,-2e-3]}}]}}"#
        ),
        _ => format!(
            r#"{{"id":"{id}","object":"x","created":1735689600,"model":"{model}",  "choices":[{{"index":0,"message":{{"content":"Grüezi, 世界 {}"}},"finish_reason":"stop"}}],"usage":{usage}}}"#,
            "!".repeat(plan.number % 300)
        ),
    }
}

/// The usage as its own dialect writes it, every digit of the cost as drawn.
fn usage(plan: &Plan) -> String {
    let (input, output) = plan.tokens;
    let cost = if plan.cost_in_body {
        let price = &plan.price;
        let upstream = price.upstream.as_deref().unwrap_or("null");
        format!(
            r#","cost":{},"is_byok":{},"cost_details":{{"upstream_inference_cost":{upstream}}}"#,
            price.cost, price.byok
        )
    } else {
        String::new()
    };
    let tokens = match plan.kind {
        Kind::Chat | Kind::Completion | Kind::Embeddings | Kind::Images | Kind::Unknown => format!(
            r#""prompt_tokens":{input},"completion_tokens":{output},"total_tokens":{}"#,
            input + output
        ),
        Kind::Rerank => format!(r#""search_units":1,"total_tokens":{input}"#),
        Kind::Transcription | Kind::TranscriptionForm => {
            format!(r#""seconds":3.5,"input_tokens":{input},"output_tokens":{output}"#)
        }
        _ => format!(r#""input_tokens":{input},"output_tokens":{output}"#),
    };
    format!("{{{tokens}{cost}}}")
}

/// A stream; with `Some`, it fails, and tells its usage in doing so or not.
fn streamed(plan: &Plan, failing: Option<bool>) -> Answer {
    let (before, tokens, end) = events(plan, failing);
    let comments = ": OPENROUTER PROCESSING\n\n".repeat(plan.number % 4);
    let head = format!("{comments}{before}");
    let text = format!("{head}{tokens}{end}");
    let crlf = plan.split_seed.is_multiple_of(11);
    let ended = |text: String| {
        if crlf {
            text.replace('\n', "\r\n")
        } else {
            text
        }
    };
    Answer {
        content_type: "text/event-stream",
        token_at: ended(head).len(),
        bytes: ended(text).into_bytes(),
    }
}

/// What comes before the first token, the tokens, and the end.
fn events(plan: &Plan, failing: Option<bool>) -> (String, String, String) {
    let (id, model) = (&plan.generation.id, &plan.served);
    let usage = usage(plan);
    let many = 2 + plan.number % 5;
    let data = |value: Value| format!("data: {value}\n\n");
    let done = "data: [DONE]\n\n";
    match plan.kind {
        Kind::Responses => {
            let created = data(
                json!({"type": "response.created", "response": {"id": id, "model": model, "usage": null}}),
            );
            let delta = data(json!({"type": "response.output_text.delta", "delta": "世界"}));
            let (kind, usage) = match failing {
                None if plan.number.is_multiple_of(7) => ("response.incomplete", usage.as_str()),
                None => ("response.completed", usage.as_str()),
                Some(true) => ("response.failed", usage.as_str()),
                Some(false) => ("response.failed", "null"),
            };
            let error = if failing.is_some() {
                r#","error":{"code":"server_error","message":"x"}"#
            } else {
                ""
            };
            let last = format!(
                "data: {{\"type\":\"{kind}\",\"response\":{{\"id\":\"{id}\",\"model\":\"{model}\"{error},\"usage\":{usage}}}}}\n\n"
            );
            (created, delta.repeat(many), format!("{last}{done}"))
        }
        Kind::Messages => {
            let named = |name: &str, value: String| format!("event: {name}\ndata: {value}\n\n");
            let start = named(
                "message_start",
                json!({"type": "message_start", "message": {"id": id, "model": model, "usage": {"input_tokens": plan.tokens.0, "output_tokens": 1}}}).to_string(),
            );
            let delta = named(
                "content_block_delta",
                json!({"type": "content_block_delta", "delta": {"text": "{\"usage\":{\"cost\":99}}"}}).to_string(),
            );
            let end = if failing.is_some() {
                named(
                    "error",
                    json!({"type": "error", "error": {"type": "overloaded_error", "message": "x"}})
                        .to_string(),
                )
            } else {
                format!(
                    "{}{}event: data\n{done}",
                    named(
                        "message_delta",
                        format!(
                            r#"{{"type":"message_delta","delta":{{"stop_reason":"end_turn"}},"usage":{usage}}}"#
                        )
                    ),
                    named("message_stop", json!({"type": "message_stop"}).to_string())
                )
            };
            (start, delta.repeat(many), end)
        }
        Kind::Images => {
            let partial = data(
                json!({"type": "image_generation.partial_image", "id": id, "model": model, "b64_json": "iVBORw0KGgo="}),
            );
            let end = format!(
                "data: {{\"type\":\"image_generation.completed\",\"id\":\"{id}\",\"model\":\"{model}\",\"usage\":{usage}}}\n\n"
            );
            (String::new(), partial.repeat(many), end)
        }
        _ => {
            let delta = data(
                json!({"id": id, "model": model, "choices": [{"index": 0, "delta": {"content": "Grüezi 世界"}, "finish_reason": null}], "usage": null}),
            );
            let end = if failing.is_some() {
                data(
                    json!({"id": id, "model": model, "error": {"code": 502, "message": "Provider disconnected"}, "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}]}),
                )
            } else {
                format!(
                    "data: {{\"id\":\"{id}\",\"model\":\"{model}\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"\"}},\"finish_reason\":\"stop\"}}],\"usage\":{usage}}}\n\n"
                )
            };
            (String::new(), delta.repeat(many), format!("{end}{done}"))
        }
    }
}
