//! The request's record in the log: one span, which the log turns into one line when it closes.
//!
//! Stages record what they learn where they learn it. Work that outlives the answer is spawned within
//! the span ([`crate::request::Tasks`]), so the line comes when the books are closed.

use std::time::Duration;

use http::HeaderMap;
use tracing::{Span, field::Empty};
use uuid::Uuid;

use crate::{request::Incoming, vault::secret::clipped_without_keys};

/// The most characters of a path in a line.
const LONGEST_PATH: usize = 1_000;

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
        trace.parent = Empty,
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
        books.recorded = Empty,
    )
}

/// Records the caller, shortened: enough to follow one through the log, not enough to rely on.
pub fn caller(did: &str) {
    Span::current().record("caller.did", shortened(did));
}

/// Records the method and the path. The query and the body are the caller's, and stay out.
pub fn asked(request: &Incoming) {
    let span = Span::current();
    span.record("http.method", request.method.as_str());
    span.record(
        "http.path",
        clipped_without_keys(&request.raw_path, LONGEST_PATH),
    );
    record("trace.parent", trace_parent(&request.headers));
}

/// The client's own trace: its `traceparent`, where that has the form of version 00
/// (<https://www.w3.org/TR/trace-context/#traceparent-header-field-values>). It goes on to OpenRouter
/// like any header.
fn trace_parent(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get("traceparent")?.to_str().ok()?;
    let lengths = [2, 32, 16, 2];
    let mut fields = value.split('-');
    let formed = lengths.iter().all(|length| {
        fields.next().is_some_and(|field| {
            field.len() == *length
                && field
                    .bytes()
                    .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        })
    });
    (formed && fields.next().is_none()).then_some(value)
}

/// Records one member of the request's line; it must be one of [`request`]'s.
pub fn record(name: &'static str, value: impl tracing::Value) {
    Span::current().record(name, value);
}

/// A duration as the line holds it.
#[must_use]
pub fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
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

    #[test]
    fn only_what_is_a_trace_is_taken_for_the_clients() {
        let sent = |value: &str| {
            let headers = HeaderMap::from_iter([(
                http::HeaderName::from_static("traceparent"),
                value.parse().unwrap(),
            )]);
            trace_parent(&headers).map(str::to_owned)
        };
        let whole = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(sent(whole).as_deref(), Some(whole));
        for other in [
            "sk-or-v1-planted",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "",
        ] {
            assert_eq!(sent(other), None, "{other}");
        }
    }
}
