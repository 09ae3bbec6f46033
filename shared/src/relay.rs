//! Passes an answer on while it arrives, byte for byte, and closes the books after its last byte.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body::Frame;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

use crate::{
    accounting::ledger::{Ending, Entry, JobPoll, Outcome},
    causes::causes,
    metering::meter::{AnswerFormat, BodyEnd, JobMeter, Malformed, Meter, Reading, Usage},
    request::Invocation,
    upstream::{
        endpoint::{EndMark, Endpoint},
        openrouter::{Answer, returned_headers},
    },
};

/// The number of chunks that may wait for a slow client before reading from OpenRouter pauses.
const CHUNKS_IN_FLIGHT: usize = 16;

/// An answer that is announced to be no longer than this is whole within a moment, so that its
/// generation need not be noted before the books are closed.
const SHORT_ANSWER: u64 = 16 * 1024;

/// The time for which OpenRouter may keep the connection open after its answer has said that it is
/// over: other events may follow the last that counts, as `[DONE]` follows `response.completed`.
const AFTER_THE_END: Duration = Duration::from_secs(1);

/// The number of bytes of an event stream that are passed on: of the 200 MB that Lambda lets pass,
/// taken for millions, some are left for its head and for an error event. Lambda would end it
/// without a word.
/// <https://docs.aws.amazon.com/lambda/latest/dg/configuration-response-streaming.html>
const LONGEST_STREAM: usize = 200_000_000 - 64 * 1024;

/// Says that an answer is OpenRouter's own, errors included.
const UPSTREAM_MARK: (&str, &str) = ("x-gateway-upstream", "openrouter");

/// The trailer of a body that ends before its answer does and cannot say so itself; its value is the
/// reason.
pub const BROKEN_OFF: HeaderName = HeaderName::from_static("x-gateway-broken-off");

/// The body of a relayed answer. It cannot fail: Lambda's runtime writes a body's error into the
/// body as text and ends it cleanly, so a broken answer ends with an error event of ours or, where
/// it has no events, with the trailer [`BROKEN_OFF`] instead.
#[derive(Debug)]
pub struct RelayBody(mpsc::Receiver<Frame<Bytes>>);

impl From<Bytes> for RelayBody {
    /// A body that is there already, as the gateway's own answers are.
    fn from(whole: Bytes) -> Self {
        let (sender, receiver) = mpsc::channel(1);
        // The channel is new, so there is room and someone to receive.
        let _ = sender.try_send(Frame::data(whole));
        Self(receiver)
    }
}

impl http_body::Body for RelayBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}

/// The facts about a request that relaying needs.
#[derive(Debug)]
pub struct Relayed {
    /// The endpoint: it decides the dialect of an error event.
    pub endpoint: Endpoint,
    /// When the request arrived.
    pub arrived: Instant,
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

/// Starts passing `answer` on. The books are closed by a task of the invocation, after the
/// client's end of stream; for them it runs to the end also when the client has left.
#[must_use]
pub fn relay(answer: Answer, relayed: Relayed, invocation: &Invocation) -> Response<RelayBody> {
    let answer_generation = answer.generation_id().map(str::to_owned);
    let (cache_hit, is_encoded) = (answer.is_cache_hit(), answer.is_encoded());
    let Answer { head, first_chunk } = answer;
    let (sender, receiver) = mpsc::channel(CHUNKS_IN_FLIGHT + 1);
    let mut response = Response::new(RelayBody(receiver));
    *response.status_mut() = head.status();
    *response.headers_mut() = returned_headers(head.headers());
    response.headers_mut().insert(
        UPSTREAM_MARK.0,
        http::HeaderValue::from_static(UPSTREAM_MARK.1),
    );

    let format = if is_encoded {
        AnswerFormat::Opaque
    } else {
        AnswerFormat::of(text(head.headers(), header::CONTENT_TYPE.as_str()).as_deref())
    };
    let mut pump = Pump {
        watch: Watch::new(relayed.books, format),
        endpoint: relayed.endpoint,
        idle: relayed.idle,
        format,
        first_byte: relayed.arrived.elapsed(),
        deadline: invocation.closing_time(),
        tail: Tail::default(),
        // Broken JSON shows itself.
        last_word: (format != AnswerFormat::Json)
            .then(|| sender.clone().try_reserve_owned().ok())
            .flatten(),
        sender: Some(sender),
        generation_id: answer_generation,
        cache_hit,
        is_encoded,
        over_at: None,
        is_short: head
            .content_length()
            .is_some_and(|length| length <= SHORT_ANSWER),
        head,
    };
    let Some(first_chunk) = first_chunk else {
        invocation.tasks.spawn(pump.close(Ending::Complete));
        return response;
    };
    // Already there when the response is, so that both leave in one write.
    pump.observe(&first_chunk);
    if let Some(sender) = &pump.sender {
        let _ = sender.try_send(Frame::data(first_chunk));
    }
    invocation.tasks.spawn(pump.run());
    response
}

struct Pump {
    head: reqwest::Response,
    sender: Option<mpsc::Sender<Frame<Bytes>>>,
    /// A place in the channel for the news of a broken end, which a slow client cannot take up.
    last_word: Option<mpsc::OwnedPermit<Frame<Bytes>>>,
    watch: Watch,
    endpoint: Endpoint,
    idle: Duration,
    format: AnswerFormat,
    tail: Tail,
    first_byte: Duration,
    deadline: Instant,
    /// The head's `x-generation-id`.
    generation_id: Option<String>,
    cache_hit: bool,
    /// Nothing can be read from it.
    is_encoded: bool,
    /// When reading ends, once the answer has said that it is over.
    over_at: Option<Instant>,
    is_short: bool,
}

/// The observer of an answer's bytes while they pass.
#[expect(
    clippy::large_enum_variant,
    reason = "one lives per request, and it is moved twice"
)]
enum Watch {
    Nothing,
    Answer(Meter, Entry),
    Job(JobMeter, JobPoll),
}

impl Watch {
    fn new(books: Books, format: AnswerFormat) -> Self {
        match books {
            Books::Closed => Self::Nothing,
            Books::Open(entry) => Self::Answer(Meter::new(format), entry),
            Books::Job(poll) => Self::Job(JobMeter::default(), poll),
        }
    }
}

impl Pump {
    async fn run(mut self) {
        let ending = self.forward().await;
        self.close(ending).await;
    }

    /// Tells the client how it ended, if it can be told, and closes the books.
    async fn close(mut self, ending: Ending) {
        let body_end = if ending == Ending::Complete {
            BodyEnd::Clean
        } else {
            BodyEnd::Cut
        };
        let http_status = self.head.status().as_u16();
        match std::mem::replace(&mut self.watch, Watch::Nothing) {
            Watch::Nothing => self.end_stream(ending),
            Watch::Job(meter, poll) => {
                self.end_stream(ending);
                poll.settle(http_status, meter.finish()).await;
            }
            Watch::Answer(meter, entry) => {
                let mut reading = meter.finish(body_end);
                reading.may_hide_cost |= self.is_encoded;
                let ending = self.corrected(ending, &reading);
                self.end_stream(ending);
                // The client's last bytes leave before the books are worked at.
                tokio::task::yield_now().await;
                entry
                    .close(Outcome::Answered {
                        http_status,
                        ending,
                        reading,
                        generation_id: self.generation_id.take(),
                        cache_hit: self.cache_hit,
                        first_byte: self.first_byte,
                    })
                    .await;
            }
        }
    }

    /// The client's end of stream; the books must not delay it.
    fn end_stream(&mut self, ending: Ending) {
        self.tell_client(ending);
        (self.sender, self.last_word) = (None, None);
    }

    /// Passes chunks on until the answer ends, however it ends.
    async fn forward(&mut self) -> Ending {
        loop {
            let idle_until = Instant::now() + self.idle;
            let deadline = self.deadline.min(self.over_at.unwrap_or(idle_until));
            let chunk = match timeout_at(deadline, self.head.chunk()).await {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Ok(None)) => return Ending::Complete,
                Ok(Err(error)) => {
                    tracing::warn!(error = causes(&error.without_url()), "answer cut");
                    return Ending::Cut;
                }
                Err(_) if self.over_at.is_some() => return Ending::Complete,
                Err(_) if self.deadline <= idle_until => return Ending::DeadlineReached,
                Err(_) => return Ending::Stalled,
            };
            self.observe(&chunk);
            if !self.send(chunk).await {
                return Ending::DeadlineReached;
            }
            if self.is_in_vain() {
                return Ending::Complete;
            }
        }
    }

    /// Whether neither the client nor the books want the rest of it.
    fn is_in_vain(&self) -> bool {
        self.sender.is_none() && matches!(self.watch, Watch::Nothing)
    }

    fn observe(&mut self, chunk: &[u8]) {
        match &mut self.watch {
            Watch::Nothing => {}
            Watch::Job(meter, _) => meter.feed(chunk),
            Watch::Answer(meter, entry) => {
                meter.feed(chunk);
                // Images come one after the other, each with an event that may be the last.
                let tells_its_end = match self.format {
                    AnswerFormat::EventStream => self.endpoint != Endpoint::Images,
                    AnswerFormat::Json => self.endpoint != Endpoint::Other,
                    AnswerFormat::Opaque => false,
                };
                if tells_its_end && self.over_at.is_none() && meter.is_complete() {
                    self.over_at = Some(Instant::now() + AFTER_THE_END);
                }
                // Of an answer that is whole, or about to be, closing the books tells it.
                if !entry.has_generation()
                    && !self.is_short
                    && let Some(id) = self.generation_id.as_deref().or(meter.generation_id())
                    && !meter.is_complete()
                {
                    entry.note_generation(id);
                }
            }
        }
        self.tail.push(chunk);
    }

    /// False when the deadline came before the client took the chunk. A client that has left is no
    /// reason to stop: OpenRouter bills the whole answer, so the whole answer is metered.
    async fn send(&mut self, chunk: Bytes) -> bool {
        if self.tail.length > LONGEST_STREAM && self.format == AnswerFormat::EventStream {
            self.end_too_long();
        }
        let Some(sender) = &self.sender else {
            return true;
        };
        match timeout_at(self.deadline, sender.send(Frame::data(chunk))).await {
            Ok(Ok(())) => true,
            Ok(Err(_gone)) => {
                self.sender = None;
                true
            }
            Err(_) => false,
        }
    }

    /// Ends the stream for the client; the books want the rest of it.
    fn end_too_long(&mut self) {
        if let Some(last_word) = self.last_word.take() {
            let event = self.endpoint.dialect().error_event(
                502,
                "answer_too_long",
                "The answer is longer than the 200 MB that one may have; ask for a shorter one.",
            );
            // Whether the last event that was sent is still open is not known any more.
            last_word.send(Frame::data(Bytes::from(format!("\n\n{event}"))));
        }
        self.sender = None;
    }

    /// Corrects the ending by the answer's own account, which counts for more than the
    /// connection's: after its end mark nothing is missing, and an answer that lacks it, although
    /// the connection was closed as it should be, was cut by something that closes connections
    /// politely.
    fn corrected(&self, ending: Ending, reading: &Reading) -> Ending {
        if reading.complete {
            return Ending::Complete;
        }
        let ends_in_the_middle = match self.format {
            AnswerFormat::EventStream => self.stream_ends_in_the_middle(reading),
            AnswerFormat::Json => {
                self.head.status() != StatusCode::NO_CONTENT
                    && !matches!(reading.malformed, Some(Malformed::Json(_)))
            }
            AnswerFormat::Opaque => false,
        };
        if ending == Ending::Complete && self.head.status().is_success() && ends_in_the_middle {
            Ending::Cut
        } else {
            ending
        }
    }

    /// Whether a stream without its end mark was cut.
    fn stream_ends_in_the_middle(&self, reading: &Reading) -> bool {
        let no_error = reading.upstream_error.is_none();
        match self.endpoint.dialect().end_mark() {
            EndMark::Required => no_error,
            EndMark::RequiredWithoutCost => {
                no_error && reading.usage.as_ref().and_then(Usage::charge).is_none()
            }
            EndMark::NotRequired => false,
        }
    }

    /// Ends a broken event stream with an error event in the endpoint's own dialect, and bytes that
    /// mean nothing to us with a trailer, so that neither looks like a clean end.
    fn tell_client(&mut self, ending: Ending) {
        let (Some(reason), Some(last_word)) = (ending.reason(), self.last_word.take()) else {
            return;
        };
        last_word.send(if self.format == AnswerFormat::EventStream {
            let dialect = self.endpoint.dialect();
            let event = dialect.error_event(ending.code(), reason, ending.message());
            let separator = self.tail.separator();
            Frame::data(Bytes::from(format!("{separator}{event}")))
        } else {
            let reason = HeaderValue::from_static(reason);
            Frame::trailers(HeaderMap::from_iter([(BROKEN_OFF, reason)]))
        });
    }
}

impl Drop for Pump {
    /// A pump that panicked must not look like a clean end either.
    fn drop(&mut self) {
        self.tell_client(Ending::Cut);
    }
}

/// The last bytes of the answer, to know whether an event is still open, and how many there were.
#[derive(Debug, Default)]
struct Tail {
    last: [u8; 2],
    length: usize,
}

impl Tail {
    fn is_empty(&self) -> bool {
        self.last == [0, 0]
    }

    fn push(&mut self, chunk: &[u8]) {
        self.length += chunk.len();
        for byte in chunk
            .iter()
            .skip(chunk.len().saturating_sub(3))
            .filter(|byte| **byte != b'\r')
        {
            self.last = [self.last[1], *byte];
        }
    }

    /// The bytes that close an open event.
    fn separator(&self) -> &'static str {
        if self.is_empty() || self.last == *b"\n\n" {
            ""
        } else {
            "\n\n"
        }
    }
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
    use uuid::Uuid;

    use super::*;
    use crate::request::Tasks;

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
                arrived: Instant::now(),
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
                insta::allow_duplicates! {
                    insta::assert_snapshot!(String::from_utf8_lossy(&last).trim(), @r#"data: {"error":{"code":502,"message":"The answer is longer than the 200 MB that one may have; ask for a shorter one.","metadata":{"reason":"answer_too_long"}}}"#);
                }
            } else {
                assert_eq!(length, 199_000_000);
            }
        }
    }

    #[test]
    fn an_open_event_is_closed_before_the_error_event() {
        for (sent, separator) in [
            ("data: {}\n\n", ""),
            ("data: {}\r\n\r\n", ""),
            ("data: {\"cho", "\n\n"),
            ("data: {}\n", "\n\n"),
            ("", ""),
        ] {
            for split in 0..=sent.len() {
                let mut tail = Tail::default();
                tail.push(&sent.as_bytes()[..split]);
                tail.push(&sent.as_bytes()[split..]);
                assert_eq!(tail.separator(), separator, "{sent:?} split at {split}");
            }
        }
    }
}
