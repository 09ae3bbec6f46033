//! Answers of any length: `stub/long-<bytes>` and a little more, also without a model
//! (`GET /models/stub/long-<bytes>`, which costs nothing). They tell what they cost at their very
//! end, except speech, which never does; `GET /generation` says the same.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use futures_util::stream;
use serde_json::Value;

use super::{
    CUT_COST,
    reply::{naming, typed},
};

/// What the filling is made of.
const PIECE: usize = 16 * 1024;

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One JSON text.
    Json,
    /// A stream of chat completion chunks.
    Chat,
    /// A stream of Messages events.
    Messages,
    /// Audio, of which only the head names the generation.
    Speech,
}

/// A long answer.
#[derive(Debug, Clone)]
pub struct Long {
    /// How it is written.
    pub form: Form,
    /// Its generation.
    pub id: String,
    /// The length of its filling, in bytes.
    pub filling: usize,
}

impl Long {
    /// The answer that a request to `path` asks for, if it asks for a long one.
    pub(super) fn asked(path: &str, body: &[u8]) -> Option<Self> {
        if let Some(filling) = path.strip_prefix("/api/v1/models/stub/long-") {
            return Some(Self {
                form: Form::Json,
                id: path.to_owned(),
                filling: filling.parse().ok()?,
            });
        }
        let request: Value = serde_json::from_slice(body).ok()?;
        let filling = request["model"].as_str()?.strip_prefix("stub/long-")?;
        Some(Self {
            form: match path.rsplit('/').next() {
                Some("speech") => Form::Speech,
                _ if request["stream"] != true => Form::Json,
                Some("messages") => Form::Messages,
                _ => Form::Chat,
            },
            id: request["user"].as_str()?.to_owned(),
            filling: filling.parse().ok()?,
        })
    }

    /// Its bytes.
    pub fn pieces(&self) -> impl Iterator<Item = Bytes> + Send + use<> {
        let (first, piece, last) = self.texts();
        let count = self.filling.div_ceil(piece.len());
        [first]
            .into_iter()
            .chain(std::iter::repeat_n(piece, count))
            .chain([last])
    }

    /// Its length.
    #[must_use]
    pub fn length(&self) -> usize {
        self.pieces().map(|piece| piece.len()).sum()
    }

    /// Whether it begins with `bytes`.
    #[must_use]
    pub fn starts_with(&self, mut bytes: &[u8]) -> bool {
        for piece in self.pieces() {
            let (now, rest) = bytes.split_at(bytes.len().min(piece.len()));
            if !piece.starts_with(now) {
                return false;
            }
            bytes = rest;
        }
        bytes.is_empty()
    }

    /// What comes first, what comes again and again, and what comes last.
    fn texts(&self) -> (Bytes, Bytes, Bytes) {
        let id = &self.id;
        let filling = "x".repeat(PIECE);
        let usage = format!(
            r#""usage":{{"prompt_tokens":11,"completion_tokens":21,"input_tokens":11,"output_tokens":21,"cost":{CUT_COST},"is_byok":false}}"#
        );
        let (first, piece, last) = match self.form {
            Form::Json => (
                format!(
                    r#"{{"id":"{id}","model":"stub/served-model","choices":[{{"message":{{"content":""#
                ),
                filling,
                format!(r#""}}}}],{usage}}}"#),
            ),
            Form::Chat => {
                let event = |delta: &str, more: &str| {
                    format!(
                        "data: {{\"id\":\"{id}\",\"model\":\"stub/served-model\",\"choices\":[{{\"delta\":{{\"content\":\"{delta}\"}}}}]{more}}}\n\n"
                    )
                };
                let last = event("", &format!(",{usage}"));
                (
                    event("", ""),
                    event(&filling, ""),
                    last + "data: [DONE]\n\n",
                )
            }
            Form::Messages => (
                format!(
                    "event: message_start\ndata: {{\"type\":\"message_start\",\"message\":{{\"id\":\"{id}\",\"model\":\"stub/served-model\",\"usage\":{{\"input_tokens\":11,\"output_tokens\":1}}}}}}\n\n"
                ),
                format!(
                    "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"delta\":{{\"text\":\"{filling}\"}}}}\n\n"
                ),
                format!(
                    "event: message_delta\ndata: {{\"type\":\"message_delta\",{usage}}}\n\nevent: message_stop\ndata: {{\"type\":\"message_stop\"}}\n\n"
                ),
            ),
            Form::Speech => ("ID3".to_owned(), filling, String::new()),
        };
        (first.into(), piece.into(), last.into())
    }

    /// It as an answer; `taken` counts what was taken of it.
    pub(super) fn answer(&self, taken: Arc<AtomicU64>) -> Response {
        let pieces = self.pieces().map(move |piece| {
            taken.fetch_add(piece.len() as u64, Ordering::Relaxed);
            Ok::<_, Infallible>(piece)
        });
        let content_type = match self.form {
            Form::Json => "application/json",
            Form::Chat | Form::Messages => "text/event-stream",
            Form::Speech => "audio/mpeg",
        };
        let response = typed(content_type, Body::from_stream(stream::iter(pieces)));
        match self.form {
            Form::Speech => naming(response, &self.id),
            _ => response,
        }
    }
}
