//! The end of a billable request, as the proxy and the relay observed it.

use std::time::Duration;

use crate::metering::meter::Reading;

/// The end of an answer's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// All of it was received.
    Complete,
    /// OpenRouter closed the connection in the middle.
    Cut,
    /// OpenRouter fell silent for longer than the configured idle time.
    Stalled,
    /// The invocation's time ran out.
    DeadlineReached,
}

impl Ending {
    /// The stable name in `request_logs.error_reason` and in the error event, unless complete.
    #[must_use]
    pub fn reason(self) -> Option<&'static str> {
        match self {
            Self::Complete => None,
            Self::Cut => Some("upstream_cut"),
            Self::Stalled => Some("upstream_stalled"),
            Self::DeadlineReached => Some("deadline_reached"),
        }
    }

    /// The status that would have said so, had it not been sent already.
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Self::Complete => 200,
            Self::Cut => 502,
            Self::Stalled | Self::DeadlineReached => 504,
        }
    }

    /// One sentence for people.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Self::Complete => "The answer is complete.",
            Self::Cut => "OpenRouter closed the connection before its answer was complete.",
            Self::Stalled => "OpenRouter stopped sending before its answer was complete.",
            Self::DeadlineReached => {
                "The answer took longer than a request may; ask for a shorter one."
            }
        }
    }
}

/// The end of a billable request.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "one lives per request, and it is moved twice"
)]
pub enum Outcome {
    /// OpenRouter answered.
    Answered {
        /// Its HTTP status.
        http_status: u16,
        /// The end of the body.
        ending: Ending,
        /// The meter's reading of the body.
        reading: Reading,
        /// The answer's `x-generation-id`. What the body names instead need not be a generation.
        generation_id: Option<String>,
        /// Whether OpenRouter says that the answer comes out of its cache.
        cache_hit: bool,
        /// From the request's arrival to the first byte of the body.
        first_byte: Duration,
    },
    /// OpenRouter did not answer.
    NotAnswered {
        /// The stable name of the failure.
        reason: &'static str,
        /// One sentence without secrets.
        message: String,
        /// Whether OpenRouter may have received, and so billed, the request.
        may_have_been_billed: bool,
    },
}
