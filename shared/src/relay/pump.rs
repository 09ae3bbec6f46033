//! The task that carries an answer from OpenRouter to the client.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body::Frame;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

use super::{BROKEN_OFF, RelayBody, Relayed, tail::Tail, watch::Watch};
use crate::{
    accounting::ledger::{Ending, Outcome},
    causes::causes,
    metering::meter::{AnswerFormat, BodyEnd, Malformed, Meter, Reading, Usage},
    request::Invocation,
    upstream::{
        endpoint::{BrokenStream, EndMark, Endpoint},
        openrouter::Answer,
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

pub(super) struct Pump {
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
    identity: Identity,
    /// The head's `x-generation-id`.
    generation_id: Option<String>,
    cache_hit: bool,
    /// Nothing can be read from it.
    is_encoded: bool,
    /// When reading ends, once the answer has said that it is over.
    over_at: Option<Instant>,
    is_short: bool,
}

/// The names of the request and of its answer, for an error event.
struct Identity {
    request_id: String,
    answer_id: Option<String>,
    model: Option<String>,
    created: i64,
    /// The number of events that were sent whole.
    events: u64,
}

impl Identity {
    /// Takes in what the answer says of itself.
    fn learn(&mut self, meter: &Meter) {
        let or = |told: Option<&str>, known: &mut Option<String>| {
            if let Some(told) = told {
                *known = Some(told.to_owned());
            }
        };
        or(meter.generation_id(), &mut self.answer_id);
        or(meter.model(), &mut self.model);
        self.events = meter.events();
    }
}

impl Pump {
    /// Starts the task. Returns what it carries.
    pub(super) fn start(
        answer: Answer,
        relayed: Relayed,
        format: AnswerFormat,
        invocation: &Invocation,
    ) -> RelayBody {
        let generation_id = answer.generation_id().map(str::to_owned);
        let (cache_hit, is_encoded) = (answer.is_cache_hit(), answer.is_encoded());
        let Answer { head, first_chunk } = answer;
        let (sender, receiver) = mpsc::channel(CHUNKS_IN_FLIGHT + 1);
        let mut pump = Self {
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
            identity: Identity {
                request_id: invocation.id.to_string(),
                answer_id: generation_id.clone(),
                model: relayed.model,
                created: relayed.arrived.time.as_second(),
                events: 0,
            },
            generation_id,
            cache_hit,
            is_encoded,
            over_at: None,
            is_short: head
                .content_length()
                .is_some_and(|length| length <= SHORT_ANSWER),
            head,
        };
        if let Some(first_chunk) = first_chunk {
            // Already there when the response is, so that both leave in one write.
            pump.observe(&first_chunk);
            if let Some(sender) = &pump.sender {
                let _ = sender.try_send(Frame::data(first_chunk));
            }
            invocation.tasks.spawn(pump.run());
        } else {
            invocation.tasks.spawn(pump.close(Ending::Complete));
        }
        RelayBody(receiver)
    }

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
        self.learn_identity();
        match std::mem::replace(&mut self.watch, Watch::Nothing) {
            Watch::Nothing | Watch::End(_) => self.end_stream(ending),
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
        self.sender.is_none() && !self.watch.keeps_books()
    }

    fn observe(&mut self, chunk: &[u8]) {
        self.watch.feed(chunk);
        self.over_at = if self.watch.is_over(self.format, self.endpoint) {
            self.over_at
                .or_else(|| Some(Instant::now() + AFTER_THE_END))
        } else {
            None
        };
        // Of an answer that is whole, or about to be, closing the books tells it.
        if let Watch::Answer(meter, entry) = &mut self.watch
            && !entry.has_generation()
            && !self.is_short
            && let Some(id) = self.generation_id.as_deref().or(meter.generation_id())
            && !meter.is_complete()
        {
            entry.note_generation(id);
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
        self.learn_identity();
        if let Some(last_word) = self.last_word.take() {
            let events = self.error_events(
                502,
                "answer_too_long",
                "The answer is longer than the 200 MB that one may have; ask for a shorter one.",
            );
            // Whether the last event that was sent is still open is not known any more.
            last_word.send(Frame::data(Bytes::from(format!("\n\n{events}"))));
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

    fn learn_identity(&mut self) {
        if let Some(meter) = self.watch.meter() {
            self.identity.learn(meter);
        }
    }

    fn error_events(&self, code: u16, reason: &str, message: &str) -> String {
        let Identity {
            request_id,
            answer_id,
            model,
            created,
            events,
        } = &self.identity;
        self.endpoint.dialect().error_events(&BrokenStream {
            code,
            reason,
            message,
            request_id,
            answer_id: answer_id.as_deref().unwrap_or(request_id),
            model: model.as_deref().unwrap_or_default(),
            created: *created,
            events: *events,
        })
    }

    /// Ends a broken event stream with an error event in the endpoint's own dialect, and bytes that
    /// mean nothing to us with a trailer, so that neither looks like a clean end.
    fn tell_client(&mut self, ending: Ending) {
        let (Some(reason), Some(last_word)) = (ending.reason(), self.last_word.take()) else {
            return;
        };
        last_word.send(if self.format == AnswerFormat::EventStream {
            let events = self.error_events(ending.code(), reason, ending.message());
            let separator = self.tail.separator();
            Frame::data(Bytes::from(format!("{separator}{events}")))
        } else {
            let reason = HeaderValue::from_static(reason);
            Frame::trailers(HeaderMap::from_iter([(BROKEN_OFF, reason)]))
        });
    }
}

impl Drop for Pump {
    /// A pump that panicked must not look like a clean end either.
    fn drop(&mut self) {
        self.learn_identity();
        self.tell_client(Ending::Cut);
    }
}
