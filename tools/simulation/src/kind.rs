//! The kinds of billable requests.

use http::HeaderMap;
use serde_json::{Value, json};

/// A billable endpoint, and the way it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Chat,
    Completion,
    Responses,
    Messages,
    Embeddings,
    Rerank,
    Images,
    Transcription,
    /// The same as a form with a file.
    TranscriptionForm,
    Speech,
    Video,
    Batch,
    Systemone,
    /// An endpoint that the gateway has never heard of.
    Unknown,
}

/// How often each kind is called, of 100.
pub const SHARES: [(Kind, u32); 14] = [
    (Kind::Chat, 28),
    (Kind::Completion, 6),
    (Kind::Responses, 11),
    (Kind::Messages, 12),
    (Kind::Embeddings, 6),
    (Kind::Rerank, 4),
    (Kind::Images, 6),
    (Kind::Transcription, 4),
    (Kind::TranscriptionForm, 4),
    (Kind::Speech, 5),
    (Kind::Video, 4),
    (Kind::Batch, 3),
    (Kind::Systemone, 4),
    (Kind::Unknown, 3),
];

const BOUNDARY: &str = "----ledger-7MA4YWxkTrZu0gW";

impl Kind {
    /// The path below OpenRouter's root.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Chat => "chat/completions",
            Self::Completion => "completions",
            Self::Responses => "responses",
            Self::Messages => "messages",
            Self::Embeddings => "embeddings",
            Self::Rerank => "rerank",
            Self::Images => "images",
            Self::Transcription | Self::TranscriptionForm => "audio/transcriptions",
            Self::Speech => "audio/speech",
            Self::Video => "videos",
            Self::Batch => "batches",
            Self::Systemone => "systemone",
            Self::Unknown => "brand/new",
        }
    }

    /// What tables call it.
    #[must_use]
    pub fn name(self, streamed: bool) -> String {
        let form = if self == Self::TranscriptionForm {
            " (form)"
        } else if streamed {
            " (stream)"
        } else {
            ""
        };
        format!("{}{form}", self.path())
    }

    /// Whether it can answer with an event stream.
    #[must_use]
    pub fn streams(self) -> bool {
        matches!(
            self,
            Self::Chat | Self::Completion | Self::Responses | Self::Messages | Self::Images
        )
    }

    /// Whether it only takes the job, and bills it when it is done.
    #[must_use]
    pub fn is_job(self) -> bool {
        matches!(self, Self::Video | Self::Batch)
    }

    /// Whether the answer's body names the generation; otherwise only `x-generation-id` does.
    #[must_use]
    pub fn names_generation(self) -> bool {
        !matches!(
            self,
            Self::Transcription | Self::TranscriptionForm | Self::Speech | Self::Systemone
        )
    }

    /// Whether its answers (and its jobs) name the model that served, which may not be the one that
    /// was asked for.
    #[must_use]
    pub fn names_model(self) -> bool {
        !self.is_job()
    }

    /// Content type and body of a request.
    #[must_use]
    pub fn request(self, model: &str, streamed: bool, filler: &str) -> (String, Vec<u8>) {
        let body = match self {
            Self::TranscriptionForm => return form(model, filler),
            Self::Chat | Self::Messages => {
                json!({"model": model, "max_tokens": 64, "messages": [{"role": "user", "content": filler}]})
            }
            Self::Completion | Self::Images => json!({"model": model, "prompt": filler}),
            Self::Rerank => json!({"model": model, "query": "?", "documents": [filler]}),
            Self::Video => json!({"model": model, "prompt": filler, "seconds": "4"}),
            Self::Batch => {
                json!({"model": model, "endpoint": "/v1/chat/completions", "requests": [filler]})
            }
            Self::Transcription => {
                json!({"model": model, "input_audio": {"data": filler, "format": "wav"}})
            }
            Self::Responses | Self::Embeddings | Self::Speech | Self::Systemone | Self::Unknown => {
                json!({"model": model, "input": filler})
            }
        };
        let mut body = body;
        if let (true, Value::Object(members)) = (streamed, &mut body) {
            members.insert("stream".to_owned(), json!(true));
        }
        ("application/json".to_owned(), body.to_string().into_bytes())
    }

    /// Headers that its clients send besides.
    pub fn add_headers(self, headers: &mut HeaderMap) {
        if self == Self::Messages {
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
    // No UTF-8, as audio.
    body.extend_from_slice(b"RIFF\xff\xfe\x00\x80");
    body.extend_from_slice(filler.as_bytes());
    body.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
    (format!("multipart/form-data; boundary={BOUNDARY}"), body)
}
