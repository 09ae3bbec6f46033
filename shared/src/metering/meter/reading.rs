//! The result of metering an answer.

use super::{Malformed, UpstreamError, Usage};

/// An answer's statements about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// The usage. It is there only if it was seen whole: an answer cut inside of it has none.
    pub usage: Option<Usage>,
    /// The model that answered, which is often not the one that was asked for.
    pub model: Option<String>,
    /// The service tier that it ran on, as far as it says so; of several the last.
    pub service_tier: Option<String>,
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
