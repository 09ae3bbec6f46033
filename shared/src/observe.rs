//! What a request is remembered by: one span, which the log turns into one line when it closes.
//!
//! Stages record what they learn where they learn it. Work that outlives the answer is spawned within
//! the span ([`crate::request::Invocation::spawn`]), so the line comes when the books are closed.

use std::time::Duration;

use http::StatusCode;
use tracing::{Span, field::Empty};
use uuid::Uuid;

use crate::did::Did;

/// The span's name.
pub const REQUEST: &str = "request";

/// The span of one request, entered by whoever runs its handler.
#[must_use]
pub fn request(id: Uuid, cold_start: bool, trace: Option<&str>) -> Span {
    tracing::info_span!(
        REQUEST,
        message = "request",
        request.id = %id,
        request.cold_start = u8::from(cold_start),
        trace.id = trace,
        caller.did = Empty,
        http.method = Empty,
        http.path = Empty,
        http.status = Empty,
        request.reason = Empty,
        request.endpoint = Empty,
        request.model = Empty,
        request.served_model = Empty,
        request.status = Empty,
        request.first_byte_ms = Empty,
        storage.begin_ms = Empty,
        storage.finish_ms = Empty,
        usage.input_tokens = Empty,
        usage.output_tokens = Empty,
        usage.cost = Empty,
        usage.cost_state = Empty,
        error = Empty,
    )
}

/// Who calls, shortened: enough to follow someone through the log, not enough to count on.
pub fn caller(did: &Did) {
    Span::current().record("caller.did", shortened(did.as_str()));
}

/// The status that the client gets.
pub fn status(status: StatusCode) {
    Span::current().record("http.status", status.as_u16());
}

/// A duration in a member whose name ends in `_ms`.
pub fn duration(name: &'static str, duration: Duration) {
    let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Span::current().record(name, milliseconds);
}

fn shortened(did: &str) -> String {
    const HEAD: usize = 16;
    const TAIL: usize = 6;
    match (
        did.get(..HEAD),
        did.len().checked_sub(TAIL).and_then(|at| did.get(at..)),
    ) {
        (Some(head), Some(tail)) if did.len() > HEAD + TAIL => format!("{head}…{tail}"),
        _ => did.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_dids_are_shortened() {
        assert_eq!(
            shortened("did:key:z6MkgszBQJH1xBExaxT1M8K441Z19BjALPu9anFjLZSU7rK6"),
            "did:key:z6MkgszB…SU7rK6"
        );
        assert_eq!(shortened("did:web:a"), "did:web:a");
    }
}
