//! The kinds of billable requests, and their bodies.

use http::HeaderMap;
use serde_json::{Value, json};
use stub::Endpoint;

/// A kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A JSON body.
    Json(Endpoint),
    /// A transcription as a form with a file.
    TranscriptionForm,
}

/// The share of each kind, of 100.
pub const SHARES: [(Kind, u32); 14] = [
    (Kind::Json(Endpoint::Chat), 28),
    (Kind::Json(Endpoint::Completion), 6),
    (Kind::Json(Endpoint::Responses), 11),
    (Kind::Json(Endpoint::Messages), 12),
    (Kind::Json(Endpoint::Embeddings), 6),
    (Kind::Json(Endpoint::Rerank), 4),
    (Kind::Json(Endpoint::Images), 6),
    (Kind::Json(Endpoint::Transcription), 4),
    (Kind::TranscriptionForm, 4),
    (Kind::Json(Endpoint::Speech), 5),
    (Kind::Json(Endpoint::Video), 4),
    (Kind::Json(Endpoint::Batch), 3),
    (Kind::Json(Endpoint::Systemone), 4),
    (Kind::Json(Endpoint::Unknown), 3),
];

const BOUNDARY: &str = "----ledger-7MA4YWxkTrZu0gW";

impl Kind {
    /// The endpoint that it calls.
    #[must_use]
    pub fn endpoint(self) -> Endpoint {
        match self {
            Self::Json(endpoint) => endpoint,
            Self::TranscriptionForm => Endpoint::Transcription,
        }
    }

    /// The name in tables.
    #[must_use]
    pub fn name(self, streamed: bool) -> String {
        let form = match self {
            Self::TranscriptionForm => " (form)",
            Self::Json(_) if streamed => " (stream)",
            Self::Json(_) => "",
        };
        format!("{}{form}", self.endpoint().path())
    }

    /// Content type and body of a request. With `delegates` it has a tool with which OpenRouter makes further
    /// generations; a batch has `inline` requests.
    #[must_use]
    pub fn request(
        self,
        model: &str,
        streamed: bool,
        filler: &str,
        delegates: bool,
        inline: usize,
    ) -> (String, Vec<u8>) {
        let endpoint = match self {
            Self::TranscriptionForm => return form(model, filler),
            Self::Json(endpoint) => endpoint,
        };
        let mut body = match endpoint {
            Endpoint::Chat | Endpoint::Messages => {
                json!({"model": model, "max_tokens": 64, "messages": [{"role": "user", "content": filler}]})
            }
            Endpoint::Completion | Endpoint::Images => json!({"model": model, "prompt": filler}),
            Endpoint::Rerank => json!({"model": model, "query": "?", "documents": [filler]}),
            Endpoint::Video => json!({"model": model, "prompt": filler, "seconds": "4"}),
            Endpoint::Batch => {
                json!({"model": model, "endpoint": "/v1/chat/completions", "requests": vec![filler; inline]})
            }
            Endpoint::Transcription => {
                json!({"model": model, "input_audio": {"data": filler, "format": "wav"}})
            }
            Endpoint::Responses
            | Endpoint::Embeddings
            | Endpoint::Speech
            | Endpoint::Systemone
            | Endpoint::Unknown => json!({"model": model, "input": filler}),
        };
        if let (true, Value::Object(fields)) = (streamed, &mut body) {
            fields.insert("stream".to_owned(), json!(true));
        }
        if let (true, Value::Object(fields)) = (delegates, &mut body) {
            let tools = json!([{"type": "openrouter:subagent"}]);
            fields.insert("tools".to_owned(), tools);
        }
        ("application/json".to_owned(), body.to_string().into_bytes())
    }

    /// Adds the headers that its clients send beyond the usual ones.
    pub fn add_headers(self, headers: &mut HeaderMap) {
        if self.endpoint() == Endpoint::Messages {
            headers.insert(
                "anthropic-version",
                http::HeaderValue::from_static("2023-06-01"),
            );
        }
    }
}

fn form(model: &str, filler: &str) -> (String, Vec<u8>) {
    let mut body = format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n{model}\r\n\
         --{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav\r\n\r\n"
    )
    .into_bytes();
    // Not UTF-8, as audio is not.
    body.extend_from_slice(b"RIFF\xff\xfe\x00\x80");
    body.extend_from_slice(filler.as_bytes());
    body.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
    (format!("multipart/form-data; boundary={BOUNDARY}"), body)
}
