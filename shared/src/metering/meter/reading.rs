//! What a meter found out.

use super::{UpstreamError, Usage};
use crate::metering::json_scan::Fault;

/// What an answer said about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// What was used. Only what was seen whole: an answer cut inside of it has none.
    pub usage: Option<Usage>,
    /// The model that answered, which is often not the one that was asked for.
    pub model: Option<String>,
    /// The upstream's id of the generation, under which it tells the cost later.
    pub generation_id: Option<String>,
    /// Whether it holds something that could not be read and may have told a cost, or that there is
    /// one: then it is not free, and what it says of a usage is not the last word.
    pub may_hide_cost: bool,
    /// Whether the answer held more than an error: an event besides it, or a choice. Then a generation
    /// was begun, though nothing may name it.
    pub delivered: bool,
    /// The first error in the answer, whatever its HTTP status.
    pub upstream_error: Option<UpstreamError>,
    /// Whether the end was seen: of a JSON text its last byte; of a stream `[DONE]` or the
    /// dialect's last event (`response.completed`, `.incomplete` or `.failed`, `message_stop`,
    /// `image_generation.completed`). An error event is no such end: what was billed before it
    /// is unknown unless a usage says so.
    pub complete: bool,
    /// The first thing that was not as documented. It never keeps the rest from being read.
    pub malformed: Option<Malformed>,
}

/// Something that an upstream never sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The body, or an event's data, is not JSON.
    #[error("not JSON: {0}")]
    Json(#[from] Fault),
    /// An event ended before its JSON did.
    #[error("an event's JSON is not whole")]
    Truncated,
    /// A member's value is of another type than documented, or out of bounds. It counts as absent.
    #[error("{0} has a value that cannot be used")]
    Value(&'static str),
    /// A member's text is longer than [`CAPTURE_LIMIT`](crate::metering::json_scan::CAPTURE_LIMIT).
    #[error("{0} is too long")]
    TooLong(&'static str),
}
