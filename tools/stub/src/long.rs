//! Answers of any length: `stub/long-<bytes>` and a little more, also without a model
//! (`GET /models/stub/long-<bytes>`, which costs nothing). They tell their cost at their very end,
//! except speech, which never does; `GET /generation` tells the same cost.

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

use crate::{
    answer::{Answer, Charge, End},
    endpoint::Endpoint,
    response::{typed, with_generation_id},
    scripted::{CUT_COST, CUT_TOKENS, SERVED_MODEL},
    server::Received,
};

/// The size of a piece of the filling, in bytes.
const PIECE: usize = 16 * 1024;

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One JSON text.
    Json,
    /// A stream of chat completion chunks.
    Chat,
    /// A stream of Messages events.
    Messages,
    /// Audio; only the head names the generation.
    Speech,
}

/// A long answer.
#[derive(Debug, Clone)]
pub struct Long {
    /// The form.
    pub form: Form,
    /// The generation's id.
    pub id: String,
    /// The length of its filling, in bytes.
    pub filling: usize,
}

impl Long {
    /// The answer that a request asks for, if it asks for a long one.
    pub(crate) fn requested(request: &Received) -> Option<Self> {
        if let Some(filling) = request.path().strip_prefix("models/stub/long-") {
            return Some(Self {
                form: Form::Json,
                id: request.uri.path().to_owned(),
                filling: filling.parse().ok()?,
            });
        }
        let body = request.json();
        let filling = body["model"].as_str()?.strip_prefix("stub/long-")?;
        let streamed = body["stream"] == true;
        Some(Self {
            form: match Endpoint::of_path(request.path()) {
                Some(Endpoint::Speech) => Form::Speech,
                Some(Endpoint::Messages) if streamed => Form::Messages,
                Some(_) | None if streamed => Form::Chat,
                Some(_) | None => Form::Json,
            },
            id: body["user"].as_str()?.to_owned(),
            filling: filling.parse().ok()?,
        })
    }

    /// All bytes.
    pub fn pieces(&self) -> impl Iterator<Item = Bytes> + Send + use<> {
        let (first, piece, last) = self.texts();
        let count = self.filling.div_ceil(piece.len());
        [first]
            .into_iter()
            .chain(std::iter::repeat_n(piece, count))
            .chain([last])
    }

    /// The length in bytes.
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

    /// The beginning, the piece that is repeated, and the end.
    fn texts(&self) -> (Bytes, Bytes, Bytes) {
        let filling = "x".repeat(PIECE);
        let stream = |endpoint| {
            let answer = self.answer(endpoint);
            let first = answer.head() + &answer.delta("");
            let last = answer.end(End::Complete, "");
            (first, answer.delta(&filling), last)
        };
        let (first, piece, last) = match self.form {
            Form::Json => {
                let whole = self.answer(Endpoint::Chat).body("FILLING");
                let (first, last) = whole.split_once("FILLING").unwrap_or_default();
                (first.to_owned(), filling, last.to_owned())
            }
            Form::Chat => stream(Endpoint::Chat),
            Form::Messages => stream(Endpoint::Messages),
            Form::Speech => ("ID3".to_owned(), filling, String::new()),
        };
        (first.into(), piece.into(), last.into())
    }

    fn answer(&self, endpoint: Endpoint) -> Answer {
        Answer {
            endpoint,
            id: self.id.clone(),
            model: SERVED_MODEL.to_owned(),
            tokens: CUT_TOKENS,
            charge: Some(Charge {
                cost: CUT_COST.to_owned(),
                upstream: None,
                byok: false,
            }),
        }
    }

    /// The response; `taken` counts the bytes that were taken from it.
    pub(crate) fn respond(&self, taken: Arc<AtomicU64>) -> Response {
        let pieces = self.pieces().map(move |piece| {
            taken.fetch_add(piece.len() as u64, Ordering::Relaxed);
            Ok::<_, Infallible>(piece)
        });
        let body = Body::from_stream(stream::iter(pieces));
        match self.form {
            Form::Json => typed("application/json", body),
            Form::Chat | Form::Messages => typed("text/event-stream", body),
            Form::Speech => with_generation_id(typed("audio/mpeg", body), &self.id),
        }
    }
}
