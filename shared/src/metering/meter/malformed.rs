//! Departures of an answer from its documented form.

use crate::metering::json_scan::Fault;

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
