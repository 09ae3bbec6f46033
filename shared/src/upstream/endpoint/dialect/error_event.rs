//! The events that end a broken stream.
//!
//! Their forms are those with which every SDK of the end-to-end tests tells its user of the error: none
//! ends as if the answer were whole, and none fails to parse it (`tools/e2e/tests/gateway/broken_streams.rs`).

use serde_json::{Value, json};

use super::Dialect;

/// What is known about a stream that breaks, and about why.
#[derive(Debug, Clone, Copy)]
pub struct BrokenStream<'a> {
    /// The status that would have said it, had it not been sent already.
    pub code: u16,
    /// The stable name of the failure.
    pub reason: &'a str,
    /// A sentence.
    pub message: &'a str,
    /// The gateway's id of the request.
    pub request_id: &'a str,
    /// The answer's id, as far as one is known.
    pub answer_id: &'a str,
    /// The model.
    pub model: &'a str,
    /// When the request arrived, in seconds since 1970.
    pub created: i64,
    /// The number of events before.
    pub events: u64,
}

impl Dialect {
    /// The events that end a broken stream.
    #[must_use]
    pub fn error_events(self, broken: &BrokenStream<'_>) -> String {
        match self {
            Self::Chat => broken.chat(),
            Self::Responses => named("response.failed", &broken.response_failed()),
            Self::Messages => named("error", &broken.message_error()),
            Self::Images => named("error", &json!({"type": "error", "error": broken.typed()})),
            Self::Completions | Self::Unknown => unnamed(&json!({"error": broken.openrouters()})),
        }
    }
}

impl BrokenStream<'_> {
    /// Two chunks, because no single one is read by all. langchain-openrouter looks for an error only
    /// where there is no choice. `@ai-sdk/openai` looks for one only where an event is no chunk: the
    /// annotation in the second is of a kind that no chunk has, and is not read by anyone else.
    /// Without a chunk's own fields OpenRouter's SDKs fail to parse it.
    fn chat(&self) -> String {
        let chunk = |choices: Value| {
            unnamed(&json!({
                "id": self.answer_id, "object": "chat.completion.chunk", "created": self.created,
                "model": self.model, "choices": choices, "error": self.openrouters(),
            }))
        };
        let failed = json!({
            "index": 0, "finish_reason": "error",
            "delta": {"content": "", "annotations": [{"type": "error"}]},
        });
        chunk(json!([])) + &chunk(json!([failed]))
    }

    /// OpenAI's SDKs raise what has an `error` of its own, and only pass on what has not. OpenRouter's do
    /// not know a response that lacks a field.
    fn response_failed(&self) -> Value {
        json!({
            "type": "response.failed",
            "sequence_number": self.events,
            "response": {
                "id": self.answer_id, "object": "response", "created_at": self.created,
                "completed_at": null, "status": "failed",
                "error": {"code": "server_error", "message": self.message},
                "incomplete_details": null, "instructions": null, "metadata": null,
                "model": self.model, "output": [], "parallel_tool_calls": true,
                "temperature": null, "top_p": null, "presence_penalty": null,
                "frequency_penalty": null, "tool_choice": "auto", "tools": [], "usage": null,
            },
            "error": self.typed(),
        })
    }

    fn message_error(&self) -> Value {
        json!({
            "type": "error",
            "error": {
                "type": "api_error", "message": self.message, "metadata": self.metadata(),
            },
            "request_id": self.request_id,
        })
    }

    /// An error as OpenRouter writes it.
    fn openrouters(&self) -> Value {
        json!({"code": self.code, "message": self.message, "metadata": self.metadata()})
    }

    /// An error as OpenAI writes it.
    fn typed(&self) -> Value {
        json!({
            "type": "server_error", "code": self.reason, "message": self.message, "param": null,
            "metadata": self.metadata(),
        })
    }

    /// `error_type` is OpenRouter's word, without which its SDKs do not parse the rest.
    fn metadata(&self) -> Value {
        let error_type = if self.code == 504 {
            "timeout"
        } else {
            "server"
        };
        json!({"error_type": error_type, "reason": self.reason})
    }
}

fn unnamed(data: &Value) -> String {
    format!("data: {data}\n\n")
}

fn named(name: &str, data: &Value) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_events_speak_the_endpoints_dialect() {
        let broken = BrokenStream {
            code: 502,
            reason: "upstream_cut",
            message: "M.",
            request_id: "r-1",
            answer_id: "gen-1",
            model: "a/b",
            created: 1_790_000_000,
            events: 7,
        };
        let events = |dialect: Dialect| dialect.error_events(&broken);
        insta::assert_snapshot!(events(Dialect::Chat), @r#"
        data: {"choices":[],"created":1790000000,"error":{"code":502,"message":"M.","metadata":{"error_type":"server","reason":"upstream_cut"}},"id":"gen-1","model":"a/b","object":"chat.completion.chunk"}

        data: {"choices":[{"delta":{"annotations":[{"type":"error"}],"content":""},"finish_reason":"error","index":0}],"created":1790000000,"error":{"code":502,"message":"M.","metadata":{"error_type":"server","reason":"upstream_cut"}},"id":"gen-1","model":"a/b","object":"chat.completion.chunk"}
        "#);
        insta::assert_snapshot!(events(Dialect::Responses), @r#"
        event: response.failed
        data: {"error":{"code":"upstream_cut","message":"M.","metadata":{"error_type":"server","reason":"upstream_cut"},"param":null,"type":"server_error"},"response":{"completed_at":null,"created_at":1790000000,"error":{"code":"server_error","message":"M."},"frequency_penalty":null,"id":"gen-1","incomplete_details":null,"instructions":null,"metadata":null,"model":"a/b","object":"response","output":[],"parallel_tool_calls":true,"presence_penalty":null,"status":"failed","temperature":null,"tool_choice":"auto","tools":[],"top_p":null,"usage":null},"sequence_number":7,"type":"response.failed"}
        "#);
        insta::assert_snapshot!(events(Dialect::Messages), @r#"
        event: error
        data: {"error":{"message":"M.","metadata":{"error_type":"server","reason":"upstream_cut"},"type":"api_error"},"request_id":"r-1","type":"error"}
        "#);
        insta::assert_snapshot!(events(Dialect::Images), @r#"
        event: error
        data: {"error":{"code":"upstream_cut","message":"M.","metadata":{"error_type":"server","reason":"upstream_cut"},"param":null,"type":"server_error"},"type":"error"}
        "#);
        insta::assert_snapshot!(events(Dialect::Completions), @r#"data: {"error":{"code":502,"message":"M.","metadata":{"error_type":"server","reason":"upstream_cut"}}}"#);
        assert_eq!(events(Dialect::Unknown), events(Dialect::Completions));
    }
}
