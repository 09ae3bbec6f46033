//! What the stub of OpenRouter answers, by what it is asked for.

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Response, header};
use tokio::time::{Duration, Instant, sleep};

/// The usage that every answer tells, and what the books have to say then.
pub const USAGE: &str = r#""usage":{"prompt_tokens":11,"completion_tokens":53,"total_tokens":64,"cost":0.0001234,"is_byok":false,"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}}"#;
/// The cost in [`USAGE`].
pub const COST: &str = "0.0001234";
/// Events of a [`Answer::Stream`] before its last two.
const EVENTS: usize = 53;
/// Events of a [`Answer::Paced`] stream.
pub const PACED: usize = 80;
const PACE: Duration = Duration::from_millis(3);
/// One write of a [`Answer::Bulk`] stream.
const PIECE: usize = 64 * 1024;

/// An answer of the stub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// About a kilobyte of JSON.
    Json,
    /// One event, and 2 ms later 52 more, each written by itself: as if a model had begun to talk.
    Stream,
    /// Events every 3 ms, each of which names its number.
    Paced,
    /// So many megabytes of events, 64 KiB a write.
    Bulk(usize),
    /// So many events, each written by itself, a millisecond apart.
    Events(usize),
}

impl Answer {
    /// Its name in a request: the model's, or the path's last segment.
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

    /// The one that a path or a body names.
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

    /// The body of a request for it.
    #[must_use]
    pub fn request(self) -> Vec<u8> {
        format!(
            r#"{{"model":"bench/{}","stream":{},"messages":[{{"role":"user","content":"Say something."}}]}}"#,
            self.name(),
            self != Self::Json
        )
        .into_bytes()
    }

    /// The response; `sent` learns when each event of a paced stream was written.
    pub(crate) fn respond(self, sent: Arc<Mutex<Vec<Instant>>>) -> Response<Body> {
        match self {
            Self::Json => with_type("application/json", Body::from(json())),
            Self::Stream => stream_of((0..EVENTS).map(event).chain(end()), |number| match number {
                1 => Duration::from_millis(2),
                _ => Duration::ZERO,
            }),
            Self::Paced => paced(sent),
            Self::Bulk(megabytes) => {
                let piece: Bytes = (0..).flat_map(event).take(PIECE).collect();
                // A piece is cut anywhere, so one starts where an event does.
                let piece = [&piece[..], b"\n\n"].concat();
                let piece = Bytes::from(piece);
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

/// An event as OpenRouter's, of one token.
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
            sent.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(Instant::now());
            Ok::<_, std::io::Error>(event)
        }
    });
    let body = events.chain(stream::iter(end().map(Ok)));
    with_type("text/event-stream", Body::from_stream(body))
}

/// Events of which each is written by itself: the server writes out what it has whenever the stream
/// pauses, and before event n it pauses for `pause(n)`.
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

/// The number of the event that the text names, each of which is in one piece.
pub(crate) fn numbers_in(text: &[u8]) -> impl Iterator<Item = usize> {
    memchr::memmem::find_iter(text, b" word-").filter_map(|at| {
        let digits = text.get(at + 6..at + 12)?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_named_by_its_request() {
        for answer in [
            Answer::Json,
            Answer::Stream,
            Answer::Paced,
            Answer::Bulk(7),
            Answer::Events(3),
        ] {
            assert_eq!(Answer::named_in(&answer.request()), answer);
            let path = format!("/api/v1/models/x/{}/endpoints", answer.name());
            assert_eq!(Answer::named_in(path.as_bytes()), answer);
        }
    }

    #[test]
    fn events_tell_their_numbers() {
        let text = [event(3), event(41)].concat();
        assert_eq!(numbers_in(&text).collect::<Vec<_>>(), [3, 41]);
    }
}
