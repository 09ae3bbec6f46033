//! The meter of jobs, beside `serde_json`.

use shared::metering::{
    meter::{JobCost, JobMeter, JobReading},
    money::Usd,
};

use crate::{
    input::{cut, seeded},
    json::{decoded, is_json, members, trimmed},
    meter, planted,
};

const RUNNING: [&str; 5] = [
    "pending",
    "validating",
    "in_progress",
    "finalizing",
    "cancelling",
];
const OVER: [&str; 4] = ["completed", "failed", "cancelled", "expired"];

/// Any way to cut an answer gives one reading, and that is `serde_json`'s; no job is free unless it says so, or came to
/// nothing.
pub(crate) fn agrees_with_serde_json(data: &[u8]) {
    let (document, seed) = seeded(data);
    let whole = read([document]);
    assert_eq!(whole, read(cut(document, seed)), "cut");
    assert_eq!(whole, read(document.chunks(1)), "in bytes");
    let mut cost = whole.cost();
    if planted() && matches!(cost, JobCost::Running) {
        cost = JobCost::NotTold;
    }
    let Ok(text) = str::from_utf8(document) else {
        return;
    };
    if document.iter().any(|byte| *byte < 0x20) {
        return;
    }
    if !is_json(document) {
        assert_eq!(whole, JobReading::default());
        assert_eq!(cost, JobCost::NotTold);
        return;
    }
    let text = trimmed(text);
    let fields = if text.starts_with('{') {
        members(text)
    } else {
        Some(Vec::new())
    };
    if let Some(fields) = fields {
        compare(&whole, cost, &fields, text);
    }
}

fn compare(reading: &JobReading, cost: JobCost, fields: &[(String, &str)], text: &str) {
    let last = |name: &str| {
        let mut matching = fields
            .iter()
            .filter(|(it, value)| it == name && *value != "null");
        matching.next_back().map(|(_, value)| *value)
    };
    assert_eq!(reading.id, last("id").and_then(decoded));
    assert_eq!(reading.model, last("model").and_then(decoded));
    assert_eq!(
        reading.generation_id,
        last("generation_id").and_then(decoded)
    );
    let status = last("status").and_then(decoded).unwrap_or_default();
    let is_over = OVER.contains(&status.as_str());
    assert_eq!(reading.is_over(), is_over);
    assert_eq!(
        cost == JobCost::Running,
        RUNNING.contains(&status.as_str()),
        "{text}"
    );
    match cost {
        JobCost::Running | JobCost::NotTold => {}
        JobCost::FeeOnly(fee) => {
            let usage = last("usage").and_then(meter::usage).expect("an object");
            assert_eq!((usage.charge(), usage.cost), (None, Some(fee)), "{text}");
            assert!(is_over);
        }
        JobCost::Final(usage) => {
            assert!(is_over, "{text}");
            assert!(usage.charge().is_some());
            if let Some(value) = last("usage") {
                assert_eq!(Some(usage), meter::usage(value), "{text}");
            } else {
                assert_ne!(status, "completed");
                assert_eq!(usage.charge(), Some(Usd::ZERO));
                assert!(has_no_results(fields), "{text}");
            }
        }
    }
}

/// Whether no request of a batch was completed, as far as it says.
fn has_no_results(fields: &[(String, &str)]) -> bool {
    fields
        .iter()
        .filter(|(name, value)| name == "request_counts" && value.starts_with('{'))
        .filter_map(|(_, counts)| members(counts))
        .flatten()
        .rfind(|(name, value)| name == "completed" && *value != "null")
        .is_none_or(|(_, completed)| completed == "0")
}

fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> JobReading {
    let mut meter = JobMeter::default();
    for piece in pieces {
        meter.feed(piece);
    }
    meter.finish()
}
