//! The bytes of answers, in the dialect of each endpoint.

use serde_json::{Value, json};

use crate::endpoint::Endpoint;

/// The fixed time at which everything was created: 2025-01-01T00:00:00Z.
const CREATED: u64 = 1_735_689_600;
/// A comment that keeps a connection alive until the first token.
pub const COMMENT: &str = ": OPENROUTER PROCESSING\n\n";
/// The last event of most streams.
pub const DONE: &str = "data: [DONE]\n\n";

/// The facts that an answer tells.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The endpoint, and with it the dialect.
    pub endpoint: Endpoint,
    /// The generation's id.
    pub id: String,
    /// The model that served.
    pub model: String,
    /// The tokens that are billed.
    pub tokens: Tokens,
    /// The cost; `None` if the answer does not tell it.
    pub charge: Option<Charge>,
}

/// Token counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tokens {
    /// Tokens of the prompt.
    pub input: u64,
    /// Tokens of the answer.
    pub output: u64,
    /// The part of `input` that came from a cache, if the answer tells it.
    pub cached: Option<u64>,
    /// The part of `output` that was spent on reasoning, if the answer tells it.
    pub reasoning: Option<u64>,
}

/// A cost, each number as its text stands in the JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// OpenRouter's own cost, in US dollars.
    pub cost: String,
    /// The provider's cost.
    pub upstream: Option<String>,
    /// Whether the user's own provider key pays the provider's cost.
    pub byok: bool,
}

/// The way in which a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// All tokens were generated.
    Complete,
    /// The answer reached its length limit.
    Incomplete,
    /// An error.
    Failed {
        /// Whether the error tells the usage so far, where the dialect has a place for it.
        with_usage: bool,
    },
}

impl Charge {
    /// No cost at all.
    #[must_use]
    pub fn free() -> Self {
        Self {
            cost: "0".to_owned(),
            upstream: None,
            byok: false,
        }
    }

    /// The provider's cost as JSON.
    pub(crate) fn upstream_json(&self) -> &str {
        self.upstream.as_deref().unwrap_or("null")
    }
}

impl Answer {
    /// The whole answer as one JSON text.
    #[must_use]
    pub fn body(&self, text: &str) -> String {
        let (id, model, usage) = (&self.id, &self.model, self.usage());
        let text = Value::from(text);
        match self.endpoint {
            Endpoint::Chat | Endpoint::Images | Endpoint::Unknown => format!(
                r#"{{"id":"{id}","object":"chat.completion","created":{CREATED},"model":"{model}",  "choices":[{{"index":0,"message":{{"role":"assistant","content":{text}}},"finish_reason":"stop"}}],"usage":{usage}}}"#
            ),
            Endpoint::Completion => format!(
                r#"{{"id":"{id}","object":"text_completion","created":{CREATED},"model":"{model}",  "choices":[{{"index":0,"text":{text},"finish_reason":"stop"}}],"usage":{usage}}}"#
            ),
            Endpoint::Responses => {
                let output = Self::output(&text);
                format!(
                    r#"{{"id":"{id}","object":"response","created_at":{CREATED},"status":"completed","model":"{model}","output":[{output}],"usage":{usage}}}"#
                )
            }
            Endpoint::Messages => format!(
                r#"{{"id":"{id}","type":"message","role":"assistant","model":"{model}","content":[{{"type":"text","text":{text}}}],"stop_reason":"end_turn","stop_sequence":null,"usage":{usage}}}"#
            ),
            Endpoint::Transcription => {
                format!(r#"{{"text":{text},"model":"{model}","usage":{usage}}}"#)
            }
            // A cost that is none stands before the real one.
            Endpoint::Systemone => format!(
                r#"{{"result":{{"usage":{{"cost":99}}}},"model":"{model}","usage":{usage}}}"#
            ),
            // The usage comes early, where it may be overlooked. In an answer that is cut after it the
            // cost is known and the rest is not, so the model comes before it.
            Endpoint::Embeddings => format!(
                r#"{{"model":"{model}","usage":{usage},"id":"{id}","object":"list","data":[{{"object":"embedding","index":0,"embedding":[0.1,-2e-3]}}]}}"#
            ),
            Endpoint::Rerank => format!(
                r#"{{"id":"{id}","model":"{model}","results":[{{"index":0,"relevance_score":0.9,"document":{{"text":{text}}}}}],"usage":{usage}}}"#
            ),
            // Their answers are audio, or the state of a job.
            Endpoint::Speech | Endpoint::Video | Endpoint::Batch => "{}".to_owned(),
        }
    }

    /// The events before a stream's first token.
    #[must_use]
    pub fn head(&self) -> String {
        let (id, model) = (&self.id, &self.model);
        match self.endpoint {
            Endpoint::Responses => data(&json!({
                "type": "response.created",
                "sequence_number": 0,
                "response": {
                    "id": id, "object": "response", "created_at": CREATED,
                    "status": "in_progress", "model": model, "output": [], "usage": null,
                },
            })),
            Endpoint::Messages => {
                let start = json!({
                    "type": "message_start",
                    "message": {
                        "id": id, "type": "message", "role": "assistant", "model": model,
                        "content": [], "stop_reason": null, "stop_sequence": null,
                        "usage": {"input_tokens": self.tokens.input, "output_tokens": 1},
                    },
                });
                let block = json!({
                    "type": "content_block_start", "index": 0,
                    "content_block": {"type": "text", "text": ""},
                });
                event("message_start", &start) + &event("content_block_start", &block)
            }
            Endpoint::Chat
            | Endpoint::Completion
            | Endpoint::Embeddings
            | Endpoint::Rerank
            | Endpoint::Images
            | Endpoint::Transcription
            | Endpoint::Speech
            | Endpoint::Video
            | Endpoint::Batch
            | Endpoint::Systemone
            | Endpoint::Unknown => String::new(),
        }
    }

    /// The event of some tokens.
    #[must_use]
    pub fn delta(&self, text: &str) -> String {
        let (id, model) = (&self.id, &self.model);
        match self.endpoint {
            Endpoint::Responses => data(&json!({
                "type": "response.output_text.delta", "sequence_number": 1,
                "item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": text,
            })),
            Endpoint::Messages => event(
                "content_block_delta",
                &json!({
                    "type": "content_block_delta", "index": 0,
                    "delta": {"type": "text_delta", "text": text},
                }),
            ),
            Endpoint::Images => data(&json!({
                "type": "image_generation.partial_image", "id": id, "model": model,
                "b64_json": "iVBORw0KGgo=",
            })),
            Endpoint::Completion => self.chunk(&json!({"text": text}), &Value::Null),
            Endpoint::Chat
            | Endpoint::Embeddings
            | Endpoint::Rerank
            | Endpoint::Transcription
            | Endpoint::Speech
            | Endpoint::Video
            | Endpoint::Batch
            | Endpoint::Systemone
            | Endpoint::Unknown => self.chunk(
                &json!({"delta": {"role": "assistant", "content": text}}),
                &Value::Null,
            ),
        }
    }

    /// The events after the last token; `text` is all of the answer.
    #[must_use]
    pub fn end(&self, end: End, text: &str) -> String {
        let (id, model, usage) = (&self.id, &self.model, self.usage());
        match self.endpoint {
            Endpoint::Responses => self.end_of_response(end, text),
            Endpoint::Messages => match end {
                End::Complete | End::Incomplete => {
                    let block = json!({"type": "content_block_stop", "index": 0});
                    format!(
                        "{}event: message_delta\ndata: {{\"type\":\"message_delta\",\"delta\":{{\"stop_reason\":\"end_turn\",\"stop_sequence\":null}},\"usage\":{usage}}}\n\n{}event: data\n{DONE}",
                        event("content_block_stop", &block),
                        event("message_stop", &json!({"type": "message_stop"})),
                    )
                }
                End::Failed { .. } => event(
                    "error",
                    &json!({"type": "error", "error": {"type": "overloaded_error", "message": "x"}}),
                ),
            },
            Endpoint::Images => format!(
                "data: {{\"type\":\"image_generation.completed\",\"id\":\"{id}\",\"model\":\"{model}\",\"usage\":{usage}}}\n\n"
            ),
            Endpoint::Chat
            | Endpoint::Completion
            | Endpoint::Embeddings
            | Endpoint::Rerank
            | Endpoint::Transcription
            | Endpoint::Speech
            | Endpoint::Video
            | Endpoint::Batch
            | Endpoint::Systemone
            | Endpoint::Unknown => match end {
                End::Complete | End::Incomplete => {
                    let text = if self.endpoint == Endpoint::Completion {
                        r#""text":"""#
                    } else {
                        r#""delta":{"content":""}"#
                    };
                    format!(
                        "data: {{\"id\":\"{id}\",\"object\":\"chat.completion.chunk\",\"created\":{CREATED},\"model\":\"{model}\",\"choices\":[{{\"index\":0,{text},\"finish_reason\":\"stop\"}}],\"usage\":{usage}}}\n\n{DONE}"
                    )
                }
                End::Failed { .. } => {
                    data(&json!({
                        "id": id, "model": model,
                        "error": {"code": 502, "message": "Provider disconnected"},
                        "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}],
                    })) + DONE
                }
            },
        }
    }

    fn end_of_response(&self, end: End, text: &str) -> String {
        let (id, model, usage) = (&self.id, &self.model, self.usage());
        let failed = r#","error":{"code":"server_error","message":"x"}"#;
        let (kind, status, error, usage) = match end {
            End::Complete => ("response.completed", "completed", "", usage.as_str()),
            End::Incomplete => ("response.incomplete", "incomplete", "", usage.as_str()),
            End::Failed { with_usage: true } => {
                ("response.failed", "failed", failed, usage.as_str())
            }
            End::Failed { with_usage: false } => ("response.failed", "failed", failed, "null"),
        };
        let output = Self::output(&Value::from(text));
        let item = format!(
            "data: {{\"type\":\"response.output_item.done\",\"sequence_number\":2,\"output_index\":0,\"item\":{output}}}\n\n"
        );
        let item = match end {
            End::Complete => item.as_str(),
            End::Incomplete | End::Failed { .. } => "",
        };
        format!(
            "{item}data: {{\"type\":\"{kind}\",\"sequence_number\":3,\"response\":{{\"id\":\"{id}\",\"object\":\"response\",\"created_at\":{CREATED},\"status\":\"{status}\",\"model\":\"{model}\"{error},\"output\":[{output}],\"usage\":{usage}}}}}\n\n{DONE}"
        )
    }

    /// The only output item of a response.
    fn output(text: &Value) -> String {
        format!(
            r#"{{"id":"msg_1","type":"message","role":"assistant","status":"completed","content":[{{"type":"output_text","annotations":[],"text":{text}}}]}}"#
        )
    }

    /// An event of a chat or text completion.
    fn chunk(&self, choice: &Value, finish_reason: &Value) -> String {
        let mut choice = choice.clone();
        choice["index"] = json!(0);
        choice["finish_reason"] = finish_reason.clone();
        format!(
            "data: {{\"id\":\"{}\",\"object\":\"chat.completion.chunk\",\"created\":{CREATED},\"model\":\"{}\",\"choices\":[{choice}],\"usage\":null}}\n\n",
            self.id, self.model
        )
    }

    /// The usage as the dialect writes it, every digit of the cost as it is given.
    fn usage(&self) -> String {
        let Tokens { input, output, .. } = self.tokens;
        let total = input + output;
        let tokens = match self.endpoint {
            Endpoint::Chat
            | Endpoint::Completion
            | Endpoint::Embeddings
            | Endpoint::Images
            | Endpoint::Unknown => format!(
                r#""prompt_tokens":{input},"completion_tokens":{output},"total_tokens":{total}"#
            ),
            Endpoint::Rerank => format!(r#""search_units":1,"total_tokens":{input}"#),
            Endpoint::Transcription => {
                format!(r#""seconds":3.5,"input_tokens":{input},"output_tokens":{output}"#)
            }
            Endpoint::Responses => {
                format!(r#""input_tokens":{input},"output_tokens":{output},"total_tokens":{total}"#)
            }
            Endpoint::Messages
            | Endpoint::Speech
            | Endpoint::Video
            | Endpoint::Batch
            | Endpoint::Systemone => {
                format!(r#""input_tokens":{input},"output_tokens":{output}"#)
            }
        };
        let cost = self.charge.as_ref().map_or_else(String::new, |charge| {
            format!(
                r#","cost":{},"is_byok":{},"cost_details":{{"upstream_inference_cost":{}}}"#,
                charge.cost,
                charge.byok,
                charge.upstream_json()
            )
        });
        format!("{{{tokens}{}{cost}}}", self.token_details())
    }

    fn token_details(&self) -> String {
        let (input, output) = match self.endpoint {
            Endpoint::Responses => ("input_tokens_details", "output_tokens_details"),
            Endpoint::Chat
            | Endpoint::Completion
            | Endpoint::Messages
            | Endpoint::Embeddings
            | Endpoint::Rerank
            | Endpoint::Images
            | Endpoint::Transcription
            | Endpoint::Speech
            | Endpoint::Video
            | Endpoint::Batch
            | Endpoint::Systemone
            | Endpoint::Unknown => ("prompt_tokens_details", "completion_tokens_details"),
        };
        let detail = |name: &str, of: &str, count: Option<u64>| {
            count.map_or_else(String::new, |count| {
                format!(r#","{name}":{{"{of}":{count}}}"#)
            })
        };
        detail(input, "cached_tokens", self.tokens.cached)
            + &detail(output, "reasoning_tokens", self.tokens.reasoning)
    }
}

/// An event without a name.
fn data(value: &Value) -> String {
    format!("data: {value}\n\n")
}

/// An event with a name.
fn event(name: &str, value: &Value) -> String {
    format!("event: {name}\ndata: {value}\n\n")
}
