//! Questions about usage and their answers as CSV, beside the `csv` crate.

use http::{HeaderMap, HeaderValue, header};
use jiff::Timestamp;
use serde_json::json;
use shared::{
    accounting::usage::{ParameterError, RequestsQuestion, SummaryQuestion},
    identity::canonical::CanonicalQuery,
    request::RawQuery,
    storage::{Period, RequestEntry, RequestPage, RequestsQuery, UsageQuery},
};
use uuid::Uuid;

use crate::{input::Fields, planted};

const NOW: Timestamp = Timestamp::constant(1_735_689_600, 0);

/// Columns of text that clients and providers choose.
const TEXTS: [&str; 9] = [
    "method",
    "path",
    "endpoint",
    "requested_model",
    "generation_id",
    "error_reason",
    "error_message",
    "unknown_cost_reason",
    "model",
];

/// What is asked of the database has bounds, and a cursor continues its own question and no other.
pub(crate) fn parameters(data: &[u8]) {
    let fields = Fields::of(data);
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(fields.bytes(1)) {
        headers.insert(header::ACCEPT, value);
    }
    let Ok(query) = canonical(fields.text(0)) else {
        return;
    };
    match SummaryQuestion::read(&query, &headers, NOW) {
        Ok(question) => {
            let period = question.period();
            is_in_order(period);
            let report = question.of(asked(period));
            assert!(report.offsets.len() < 1000 && report.group_by.len() <= 4);
            let changes = |it: &[shared::storage::LocalOffset]| {
                it[0].from < it[1].from && it[0].seconds != it[1].seconds
            };
            assert!(report.offsets.windows(2).all(changes));
        }
        Err(error) => is_bounded(&error),
    }
    match RequestsQuestion::read(&query, &headers) {
        Ok(question) => {
            let period = question.period();
            is_in_order(period);
            let requests = question.of(asked(period));
            assert!((1..=1000).contains(&requests.limit));
            for text in [&requests.filter.model, &requests.filter.endpoint] {
                let length = text.as_ref().map_or(1, |text| text.chars().count());
                assert!((1..=255).contains(&length));
                assert!(!text.as_ref().is_some_and(|text| text.contains('\0')));
            }
            continues(&question, &query, &headers, &requests);
        }
        Err(error) => is_bounded(&error),
    }
}

fn continues(
    question: &RequestsQuestion,
    query: &CanonicalQuery,
    headers: &HeaderMap,
    requests: &RequestsQuery<'_>,
) {
    let last = entry(&["x"; TEXTS.len()], 1_000_000);
    let mut place = last.place();
    if planted() && requests.filter.model.is_some() {
        place.id = Uuid::nil();
    }
    let page = question.answer(RequestPage {
        requests: vec![last],
        more: true,
    });
    let next = page.next_query(query).expect("a next page");
    let next_query = canonical(next.clone()).unwrap();
    assert_eq!(next_query.as_str(), next);
    let again = RequestsQuestion::read(&next_query, headers).expect("its own cursor");
    let asked_again = again.of(asked(again.period()));
    assert_eq!(asked_again.before, Some(place));
    assert_eq!(asked_again.filter, requests.filter);
    assert_eq!(asked_again.limit, requests.limit);
    assert_eq!(again.period(), question.period());
    assert_eq!(again.format(), question.format());

    let name = if requests.filter.model.is_some() {
        "endpoint"
    } else {
        "model"
    };
    let other = canonical(format!("{next}&{name}=zz")).unwrap();
    assert!(RequestsQuestion::read(&other, headers).is_err(), "{other}");
}

fn canonical(query: String) -> Result<CanonicalQuery, impl std::fmt::Debug> {
    CanonicalQuery::from_raw(&RawQuery::Encoded(query))
}

fn asked(period: Period) -> UsageQuery<'static> {
    UsageQuery {
        id: Uuid::nil(),
        did: "did:key:z",
        request_time: NOW,
        fingerprint: None,
        period,
    }
}

fn is_in_order(Period { start, end }: Period) {
    if let (Some(start), Some(end)) = (start, end) {
        assert!(start < end);
    }
}

fn is_bounded(error: &ParameterError) {
    // A key's beginning at the end is one character longer when it is masked.
    assert!(error.name.chars().count() <= 65);
}

/// The texts come back as they are, but for one apostrophe, and no cell begins a formula, whatever spreadsheets leave
/// out before it.
pub(crate) fn csv(data: &[u8]) {
    let mut texts: Vec<String> = Fields::of(data).texts().take(90).collect();
    texts.resize(texts.len().next_multiple_of(TEXTS.len()), String::new());
    let rows: Vec<Vec<&str>> = texts
        .chunks(TEXTS.len())
        .map(|row| row.iter().map(String::as_str).collect())
        .collect();
    let requests = (1..).zip(&rows).map(|(at, row)| entry(row, at)).collect();
    let question = RequestsQuestion::read(&CanonicalQuery::default(), &HeaderMap::new()).unwrap();
    let page = question.answer(RequestPage {
        requests,
        more: false,
    });
    let mut table = page.to_csv();
    if planted() {
        table = table.replace("'=", "=");
    }
    let mut reader = csv::Reader::from_reader(table.as_bytes());
    let names = reader.headers().unwrap().clone();
    let records: Vec<_> = reader.records().map(Result::unwrap).collect();
    assert_eq!(records.len(), rows.len(), "{table:?}");
    for (row, record) in rows.iter().zip(&records) {
        for (text, column) in row.iter().zip(TEXTS) {
            let at = names.iter().position(|name| name == column).unwrap();
            let cell = &record[at];
            assert_eq!(cell.strip_prefix('\'').unwrap_or(cell), *text, "{column}");
            let shown = cell.trim_start_matches(|c: char| {
                c.is_control() || "\u{ad}\u{200b}\u{200e}\u{200f}\u{2060}\u{feff}".contains(c)
            });
            let is_formula = shown.starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠']);
            assert!(!is_formula, "{cell:?}");
        }
    }
}

fn entry(texts: &[&str], microsecond: i64) -> RequestEntry {
    let mut entry = json!({
        "id": Uuid::from_u128(7),
        "request_time": Timestamp::from_microsecond(microsecond).unwrap(),
        "duration_ms": null,
        "first_byte_ms": -7,
        "streamed": true,
        "status": "failed",
        "http_status": 502,
        "input_tokens": 1,
        "cost_state": "final",
        "total_cost": "0.5",
    });
    for (column, text) in TEXTS.iter().zip(texts) {
        entry[column] = json!(text);
    }
    serde_json::from_value(entry).unwrap()
}
