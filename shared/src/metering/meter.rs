//! Reads from an upstream answer, while it is forwarded untouched, what it cost and how it ended.
//!
//! The rules (<https://openrouter.ai/docs/api-reference/overview>) are those of all the upstream's
//! dialects at once: a member that a dialect does not have is simply not found.
//!
//! | what | where it is looked for |
//! |---|---|
//! | usage | `usage`, `response.usage` (Responses), `message.usage` (Messages) |
//! | generation | `id`, `response.id`, `message.id`: the first |
//! | model | `model`, `response.model`, `message.model`: the last |
//! | error | `error`, `choices[].error`, `response.error`; `type` or event name `error`: the first |
//!
//! The **last** `usage` that is not null counts, as a whole. Messages streams alone spread theirs:
//! tokens in `message_start`, final tokens and the cost in `message_delta`. After a `message.usage`
//! the members that are known of a later usage replace those of an earlier one.
//!
//! The memory in use does not grow with the answer, nor with an event, which may be of any size: it
//! is the members above, each up to [`CAPTURE_LIMIT`](crate::metering::json_scan::CAPTURE_LIMIT)
//! bytes, and one bit for each of the [`DEPTH_LIMIT`](crate::metering::json_scan::DEPTH_LIMIT)
//! levels of nesting. Whatever exceeds a limit is forwarded all the same, and read as follows, so
//! that it is never taken to be free:
//!
//! | what exceeds | outcome |
//! |---|---|
//! | a usage, or a number in it | the usage is unknown, an earlier one out of date: the cost is asked for by the generation's id |
//! | the generation's id | the header's counts; without one the cost is unknown for good |
//! | the model, an error | absent; of an error remains that there was one |
//! | the nesting | the rest of that event, or JSON body, is not read; a usage before it in another event is out of date |
//! | a key | it is none of those above |

use crate::metering::{
    json_scan::{Scanner, Status},
    sse::{Framer, Piece},
};

use self::tally::{ANSWER, Member, Tally};
pub(crate) use self::usage::{whole_charge, whole_number};
pub use self::{
    failure::UpstreamError,
    job::{JobCost, JobMeter, JobReading},
    malformed::Malformed,
    reading::Reading,
    usage::{Unreadable, Usage},
};

mod failure;
mod job;
mod malformed;
mod reading;
mod tally;
#[cfg(test)]
mod tests;
mod usage;

/// The format of an answer's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerFormat {
    /// One JSON text.
    Json,
    /// Server-sent events with JSON data.
    EventStream,
    /// Anything else, as audio: nothing is read from it.
    Opaque,
}

/// The end of an answer's body, as the transport saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyEnd {
    /// As HTTP says that a body ends.
    Clean,
    /// Early: the connection broke, or the reader left.
    Cut,
}

/// Watches the bytes of one answer.
#[derive(Debug, Clone)]
pub struct Meter {
    source: Source,
    tally: Tally,
}

#[derive(Debug, Clone)]
enum Source {
    Json(Scanner<Member>),
    EventStream {
        framer: Framer,
        /// Of the current event's data.
        scanner: Scanner<Member>,
    },
    Opaque,
}

impl AnswerFormat {
    /// The format that a `Content-Type` header announces.
    #[must_use]
    pub fn of(content_type: Option<&str>) -> Self {
        let essence = content_type
            .and_then(|value| value.split(';').next())
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        match essence.as_str() {
            "text/event-stream" => Self::EventStream,
            "application/json" => Self::Json,
            other if other.ends_with("+json") => Self::Json,
            _ => Self::Opaque,
        }
    }
}

impl Meter {
    /// A meter for an answer of which nothing was read.
    #[must_use]
    pub fn new(format: AnswerFormat) -> Self {
        let source = match format {
            AnswerFormat::Json => Source::Json(Scanner::new(&ANSWER)),
            AnswerFormat::EventStream => Source::EventStream {
                framer: Framer::new(),
                scanner: Scanner::new(&ANSWER),
            },
            AnswerFormat::Opaque => Source::Opaque,
        };
        Self {
            source,
            tally: Tally::default(),
        }
    }

    /// Reads the next bytes, cut anywhere.
    pub fn feed(&mut self, bytes: &[u8]) {
        let tally = &mut self.tally;
        match &mut self.source {
            Source::Json(scanner) => scanner.feed(bytes, |member, found| tally.note(member, found)),
            Source::EventStream { framer, scanner } => framer.feed(bytes, |piece| match piece {
                Piece::Data(data) => scanner.feed(data, |member, found| tally.note(member, found)),
                Piece::End(event) => {
                    tally.end_event(event, scanner.status());
                    scanner.reset();
                }
            }),
            Source::Opaque => {}
        }
    }

    /// The upstream's id of the generation, as soon as it was read.
    #[must_use]
    pub fn generation_id(&self) -> Option<&str> {
        self.tally.generation_id()
    }

    /// The model that answered, as soon as it was read.
    #[must_use]
    pub fn model(&self) -> Option<&str> {
        self.tally.model()
    }

    /// The number of a stream's events that have come whole.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.tally.events()
    }

    /// Whether the stream has said `[DONE]`.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.tally.done_seen()
    }

    /// Whether the answer has said by itself that it is whole: the JSON text, or the stream's end mark.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        match &self.source {
            Source::Json(scanner) => scanner.status() == Status::Complete,
            Source::EventStream { .. } => self.tally.end_seen(),
            Source::Opaque => false,
        }
    }

    /// Ends the reading. `end` matters only where the bytes don't tell whether they are all.
    #[must_use]
    pub fn finish(mut self, end: BodyEnd) -> Reading {
        let complete = match &self.source {
            Source::Json(scanner) => self.tally.end_body(scanner.status()),
            Source::EventStream { framer, scanner } => {
                self.tally.end_stream(framer.unfinished(), scanner.status())
            }
            Source::Opaque => end == BodyEnd::Clean,
        };
        self.tally.into_reading(complete)
    }
}
