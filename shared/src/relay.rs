//! Passes an answer on while it arrives, byte for byte, and closes the books after its last byte.

mod body;
mod pump;
mod tail;
mod watch;

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Response, header};

pub use self::body::{BROKEN_OFF, RelayBody};
use self::pump::Pump;
use crate::{
    accounting::ledger::{Entry, JobPoll},
    clock::Moment,
    metering::meter::AnswerFormat,
    request::Invocation,
    upstream::{
        endpoint::Endpoint,
        openrouter::{Answer, returned_headers},
    },
};

/// Says that an answer is OpenRouter's own, errors included.
const UPSTREAM_MARK: (&str, &str) = ("x-gateway-upstream", "openrouter");

/// The facts about a request that relaying needs.
#[derive(Debug)]
pub struct Relayed {
    /// The endpoint: it decides the dialect of an error event.
    pub endpoint: Endpoint,
    /// The model that was asked for, for an error event.
    pub model: Option<String>,
    /// When the request arrived.
    pub arrived: Moment,
    /// The longest silence of OpenRouter in the middle of an answer.
    pub idle: Duration,
    /// The books that the answer is written to.
    pub books: Books,
}

/// The books that an answer is written to.
#[derive(Debug)]
pub enum Books {
    /// Nothing.
    Closed,
    /// The entry of a billable request.
    Open(Entry),
    /// The cost of a job.
    Job(JobPoll),
}

/// Upstream's answers share their origin with the console, whose identities are there. One that is HTML, opened
/// in a tab, runs nothing and belongs to no origin. The body stays as it is.
const SANDBOX: [(HeaderName, &str); 2] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (
        header::CONTENT_SECURITY_POLICY,
        "sandbox; default-src 'none'",
    ),
];

/// Starts passing `answer` on. The books are closed by a task of the invocation, after the
/// client's end of stream; for them it runs to the end also when the client has left.
#[must_use]
pub fn relay(answer: Answer, relayed: Relayed, invocation: &Invocation) -> Response<RelayBody> {
    let is_encoded = answer.is_encoded();
    let format = if is_encoded {
        AnswerFormat::Opaque
    } else {
        AnswerFormat::of(text(answer.head.headers(), header::CONTENT_TYPE.as_str()).as_deref())
    };
    let status = answer.head.status();
    let mut headers = returned_headers(answer.head.headers());
    headers.insert(UPSTREAM_MARK.0, HeaderValue::from_static(UPSTREAM_MARK.1));
    for (name, value) in SANDBOX {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let mut response = Response::new(Pump::start(answer, relayed, format, invocation));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned)
}

#[cfg(test)]
mod exchanges;

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt as _, stream};
    use jiff::Timestamp;
    use tokio::time::Instant;
    use uuid::Uuid;

    use std::convert::Infallible;

    use bytes::Bytes;

    use super::*;
    use crate::{clock::Clock, request::Tasks};

    #[tokio::test]
    async fn a_stream_that_is_too_long_for_lambda_ends_with_an_error_event() {
        let piece = Bytes::from(format!("data: {}\n\n", "x".repeat(999_992)));
        for (pieces, is_too_long) in [(199, false), (200, true), (300, true)] {
            let next = piece.clone();
            let rest = stream::iter(1..pieces).map(move |_| Ok::<_, Infallible>(next.clone()));
            let head = Response::builder()
                .header(header::CONTENT_TYPE, "text/event-stream")
                .body(reqwest::Body::wrap_stream(rest))
                .unwrap();
            let answer = Answer {
                head: head.into(),
                first_chunk: Some(piece.clone()),
            };
            let relayed = Relayed {
                endpoint: Endpoint::ChatCompletions,
                model: Some("a/b".to_owned()),
                arrived: Clock::fixed(Timestamp::UNIX_EPOCH).moment(),
                idle: Duration::from_secs(5),
                books: Books::Closed,
            };
            let invocation = Invocation {
                id: Uuid::nil(),
                deadline: Instant::now() + Duration::from_mins(1),
                tasks: Tasks::default(),
            };
            let mut body = relay(answer, relayed, &invocation).into_body();
            let (mut length, mut last) = (0, Bytes::new());
            while let Some(frame) = body.0.recv().await {
                let chunk = frame.into_data().unwrap();
                (length, last) = (length + chunk.len(), chunk);
            }
            if is_too_long {
                assert!((199_000_000..199_001_000).contains(&length), "{length}");
                let last = String::from_utf8_lossy(&last);
                assert!(last.starts_with("\n\ndata: {\"choices\":[],"), "{last}");
                assert!(last.contains("\"reason\":\"answer_too_long\""), "{last}");
                let sentence = "The answer is longer than the 200 MB that one may have; ask for a shorter one.";
                assert!(last.contains(sentence) && last.ends_with("}\n\n"), "{last}");
            } else {
                assert_eq!(length, 199_000_000);
            }
        }
    }
}
