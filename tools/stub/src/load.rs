//! Answers of known size and pace, for measuring: they cost the stub as little time as possible.

use std::sync::{Arc, Mutex};

use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Response, header};
use tokio::time::{Duration, Instant, sleep};

use crate::{lock, server::Received};

/// The usage that every answer tells.
pub const USAGE: &str = r#""usage":{"prompt_tokens":11,"completion_tokens":53,"total_tokens":64,"cost":0.0001234,"is_byok":false,"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}}"#;
/// The cost in [`USAGE`].
pub const COST: &str = "0.0001234";
/// Events of a [`Load::Stream`] before its last two.
const EVENTS: usize = 53;
/// Events of a [`Load::Paced`] stream.
pub const PACED: usize = 80;
const PACE: Duration = Duration::from_millis(3);
/// Bytes of one write of a [`Load::Bulk`] stream.
const PIECE: usize = 64 * 1024;

/// An answer, chosen by the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// About a kilobyte of JSON.
    Json,
    /// One event, and 2 ms later 52 more, each in its own write, as from a model at work.
    Stream,
    /// An event every 3 ms, each with its number.
    Paced,
    /// So many megabytes of events, 64 KiB in a write.
    Bulk(usize),
    /// So many events, each in its own write, a millisecond apart.
    Events(usize),
}

impl Load {
    /// The name in a request: the model's, or the path's last segment.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Json => "bench-json".to_owned(),
            Self::Stream => "bench-stream".to_owned(),
            Self::Paced => "bench-paced".to_owned(),
            Self::Bulk(megabytes) => format!("bench-bulk-{megabytes}"),
            Self::Events(count) => format!("bench-events-{count}"),
        }
    }

    /// The load that a path or a body names.
    #[must_use]
    pub fn named_in(text: &[u8]) -> Self {
        let Some(start) = memchr::memmem::find(text, b"bench-") else {
            return Self::Json;
        };
        let name: String = text
            .get(start..)
            .unwrap_or_default()
            .iter()
            .map(|byte| char::from(*byte))
            .take_while(|it| it.is_ascii_alphanumeric() || *it == '-')
            .collect();
        let sized = |prefix: &str| name.strip_prefix(prefix)?.parse().ok();
        match name.as_str() {
            "bench-stream" => Self::Stream,
            "bench-paced" => Self::Paced,
            _ => sized("bench-bulk-")
                .map(Self::Bulk)
                .or_else(|| sized("bench-events-").map(Self::Events))
                .unwrap_or(Self::Json),
        }
    }

    /// The body of a request for this load.
    #[must_use]
    pub fn request(self) -> Vec<u8> {
        format!(
            r#"{{"model":"bench/{}","stream":{},"messages":[{{"role":"user","content":"Say something."}}]}}"#,
            self.name(),
            self != Self::Json
        )
        .into_bytes()
    }

    /// The load that a request asks for.
    #[must_use]
    pub fn requested(request: &Received) -> Self {
        if request.body.is_empty() {
            Self::named_in(request.uri.path().as_bytes())
        } else {
            Self::named_in(&request.body)
        }
    }

    /// The response; the time of each event of a paced stream is added to `sent`.
    pub fn respond(self, sent: Arc<Mutex<Vec<Instant>>>) -> Response<Body> {
        match self {
            Self::Json => with_type("application/json", Body::from(json())),
            Self::Stream => stream_of((0..EVENTS).map(event).chain(end()), |number| match number {
                1 => Duration::from_millis(2),
                _ => Duration::ZERO,
            }),
            Self::Paced => paced(sent),
            Self::Bulk(megabytes) => {
                let piece: Bytes = (0..).flat_map(event).take(PIECE).collect();
                // The last event is cut anywhere; the blank line lets the next piece begin with one.
                let piece = Bytes::from([&piece[..], b"\n\n"].concat());
                let pieces = megabytes * 1_000_000 / piece.len();
                let chunks = std::iter::repeat_n(piece, pieces).chain(end());
                let body = stream::iter(chunks.map(Ok::<_, std::io::Error>));
                with_type("text/event-stream", Body::from_stream(body))
            }
            Self::Events(count) => stream_of((0..count).map(event).chain(end()), |_| {
                Duration::from_millis(1)
            }),
        }
    }
}

/// An event of one token, as OpenRouter writes it.
fn event(number: usize) -> Bytes {
    Bytes::from(format!(
        r#"data: {{"id":"gen-1767225600-bench","object":"chat.completion.chunk","created":1767225600,"model":"bench/model-1","provider":"Bench","choices":[{{"index":0,"delta":{{"role":"assistant","content":" word-{number:06}"}},"finish_reason":null,"native_finish_reason":null,"logprobs":null}}]}}

"#
    ))
}

fn end() -> [Bytes; 2] {
    [
        Bytes::from(format!(
            "data: {{\"id\":\"gen-1767225600-bench\",\"object\":\"chat.completion.chunk\",\"model\":\"bench/model-1\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"\"}},\"finish_reason\":\"stop\"}}],{USAGE}}}\n\n"
        )),
        Bytes::from_static(b"data: [DONE]\n\n"),
    ]
}

fn json() -> String {
    let words = "word ".repeat(53);
    format!(
        r#"{{"id":"gen-1767225600-bench","object":"chat.completion","created":1767225600,"model":"bench/model-1","provider":"Bench","choices":[{{"index":0,"message":{{"role":"assistant","content":"{words}"}},"finish_reason":"stop"}}],{USAGE}}}"#
    )
}

fn paced(sent: Arc<Mutex<Vec<Instant>>>) -> Response<Body> {
    let events = stream::iter((0..PACED).map(event)).then(move |event| {
        let sent = Arc::clone(&sent);
        async move {
            sleep(PACE).await;
            lock(&sent).push(Instant::now());
            Ok::<_, std::io::Error>(event)
        }
    });
    let body = events.chain(stream::iter(end().map(Ok)));
    with_type("text/event-stream", Body::from_stream(body))
}

/// Events in writes of their own: the server writes what it has whenever the stream pauses, which is
/// for `pause(n)` before event n.
fn stream_of(
    events: impl Iterator<Item = Bytes> + Send + 'static,
    pause: fn(usize) -> Duration,
) -> Response<Body> {
    let body = stream::iter(events.enumerate()).then(move |(number, event)| async move {
        match pause(number) {
            Duration::ZERO => tokio::task::yield_now().await,
            pause => sleep(pause).await,
        }
        Ok::<_, std::io::Error>(event)
    });
    with_type("text/event-stream", Body::from_stream(body))
}

fn with_type(media_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        http::HeaderValue::from_static(media_type),
    );
    response
}

/// The numbers of the events in a text, none of which is divided.
pub fn numbers_in(text: &[u8]) -> impl Iterator<Item = usize> {
    memchr::memmem::find_iter(text, b" word-").filter_map(|at| {
        let digits = text.get(at + 6..at + 12)?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    })
}

#[cfg(test)]
mod tests;
