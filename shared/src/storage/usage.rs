//! Questions about usage, and the database's answers, both in JSON.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::records::{ReplayGuard, count};
use crate::money::Usd;

/// What every question about usage says: who asks, and about what time.
#[derive(Debug, Clone, Copy)]
pub struct UsageQuery<'a> {
    /// The gateway's id of the request.
    pub id: Uuid,
    /// The caller.
    pub did: &'a str,
    /// When it arrived.
    pub request_time: Timestamp,
    /// Set where the signed request may pass only once.
    pub fingerprint: Option<ReplayGuard>,
    /// The time asked about.
    pub period: Period,
}

/// A time, on the requests' `request_time`. An absent side is open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Period {
    /// The first moment in it.
    pub start: Option<Timestamp>,
    /// The first moment after it.
    pub end: Option<Timestamp>,
}

/// A question for sums.
#[derive(Debug, Clone, Copy)]
pub struct ReportQuery<'a> {
    /// Who asks, and about what time.
    pub asked: UsageQuery<'a>,
    /// What to group by, each at most once, in the order in which to sort. Empty: no groups.
    pub group_by: &'a [Dimension],
    /// The local clock over that time, for days and hours; the first has no beginning.
    pub offsets: &'a [LocalOffset],
    /// How many groups and models are returned at most.
    pub max_groups: u32,
    /// Whether to compute percentiles, which takes longer than the rest.
    pub percentiles: bool,
}

/// What requests can be grouped by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Dimension {
    /// The model that answered, or was asked for.
    Model,
    /// The kind of endpoint.
    Endpoint,
    /// The local day.
    Day,
    /// The local hour; one that comes twice, where a clock is set back, is two.
    Hour,
}

impl Dimension {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Model, Self::Endpoint, Self::Day, Self::Hour];

    /// Its name, in the question and in the answer.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Endpoint => "endpoint",
            Self::Day => "day",
            Self::Hour => "hour",
        }
    }
}

/// How far a local clock is ahead of UTC, from a moment on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LocalOffset {
    /// The first moment with this offset; `None`: since ever.
    pub from: Option<Timestamp>,
    /// Seconds, negative west of Greenwich.
    pub seconds: i32,
}

/// A question for single requests.
#[derive(Debug, Clone, Copy)]
pub struct RequestsQuery<'a> {
    /// Who asks, and about what time.
    pub asked: UsageQuery<'a>,
    /// Which of them.
    pub filter: &'a RequestFilter,
    /// How many at most, 1 to 1000.
    pub limit: u16,
    /// The last one of the page before.
    pub before: Option<Place>,
}

/// What requests have to be to be listed; `None` allows everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RequestFilter {
    /// The model that answered, or was asked for.
    pub model: Option<String>,
    /// The kind of endpoint.
    pub endpoint: Option<String>,
    /// `pending`, `completed` or `failed`.
    pub status: Option<&'static str>,
    /// `none`, `pending`, `final` or `unknown`.
    pub cost_state: Option<&'static str>,
    /// The least known cost.
    pub min_cost: Option<Usd>,
}

/// A request's place in the order of all requests. It never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Place {
    /// When it began, to the microsecond.
    pub request_time: Timestamp,
    /// Its id, among those of the same time.
    pub id: Uuid,
}

/// Decimal text from the database; a JSON number with all its digits for clients.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Decimal(String);

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Not through a float.
        RawValue::from_string(self.0.clone())
            .map_err(ser::Error::custom)?
            .serialize(serializer)
    }
}

/// The sums of one DID's requests, and its account. Pending requests count in `total_requests` and
/// `requests_by_model`. Money is in US dollars.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct UsageReport {
    /// All that began.
    #[serde(deserialize_with = "count")]
    pub total_requests: u64,
    /// Those that completed.
    #[serde(deserialize_with = "count")]
    pub successful_requests: u64,
    /// Those that failed.
    #[serde(deserialize_with = "count")]
    pub failed_requests: u64,
    /// Those still running.
    #[serde(deserialize_with = "count")]
    pub pending_requests: u64,
    /// Those whose cost is still to be asked for.
    #[serde(deserialize_with = "count")]
    pub cost_pending_requests: u64,
    /// Those whose cost was asked for in vain.
    #[serde(deserialize_with = "count")]
    pub cost_unknown_requests: u64,
    /// Tokens of all prompts.
    #[serde(deserialize_with = "count")]
    pub total_input_tokens: u64,
    /// Tokens of all answers.
    #[serde(deserialize_with = "count")]
    pub total_output_tokens: u64,
    /// Tokens of prompts that were read from a cache.
    #[serde(deserialize_with = "count")]
    pub total_cached_tokens: u64,
    /// Tokens of answers that were spent on reasoning.
    #[serde(deserialize_with = "count")]
    pub total_reasoning_tokens: u64,
    /// The exact sum.
    pub total_cost: Decimal,
    /// The DID's limit, if it has one.
    pub limit: Option<Decimal>,
    /// What the DID has spent in all; `None` without a key.
    pub spent: Option<Decimal>,
    /// What is reserved for requests in flight and for costs not known yet.
    pub held: Option<Decimal>,
    /// What is left of the limit, never below zero.
    pub remaining: Option<Decimal>,
    /// From a request's begin to its answer's end.
    pub duration_ms: Percentiles,
    /// From a request's begin to its answer's first byte.
    pub first_byte_ms: Percentiles,
    /// Requests by the model that answered, or was asked for: the most used ones.
    #[serde(deserialize_with = "counts")]
    pub requests_by_model: BTreeMap<String, u64>,
    /// How many models there are.
    #[serde(deserialize_with = "count")]
    pub models: u64,
    /// The groups asked for; none where there are too many.
    #[serde(skip_serializing)]
    pub groups: Vec<UsageGroup>,
    /// How many there are.
    #[serde(deserialize_with = "count", skip_serializing)]
    pub group_count: u64,
}

/// Of the requests that have a value, that share has one that is no greater. Milliseconds; `None`
/// where no request has one, or where they were not asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
pub struct Percentiles {
    /// The median.
    #[serde(deserialize_with = "milliseconds")]
    pub p50: Option<i64>,
    /// 90 of 100.
    #[serde(deserialize_with = "milliseconds")]
    pub p90: Option<i64>,
    /// 99 of 100.
    #[serde(deserialize_with = "milliseconds")]
    pub p99: Option<i64>,
}

/// The sums of one group.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct UsageGroup {
    /// What it is the group of, by the dimensions asked for; `None`: not recorded.
    #[serde(skip_serializing)]
    pub keys: Vec<Option<String>>,
    /// All that began.
    #[serde(deserialize_with = "count")]
    pub requests: u64,
    /// Those that completed.
    #[serde(deserialize_with = "count")]
    pub successful_requests: u64,
    /// Those that failed.
    #[serde(deserialize_with = "count")]
    pub failed_requests: u64,
    /// Those still running.
    #[serde(deserialize_with = "count")]
    pub pending_requests: u64,
    /// Those whose cost is still to be asked for.
    #[serde(deserialize_with = "count")]
    pub cost_pending_requests: u64,
    /// Those whose cost was asked for in vain.
    #[serde(deserialize_with = "count")]
    pub cost_unknown_requests: u64,
    /// Tokens of prompts.
    #[serde(deserialize_with = "count")]
    pub input_tokens: u64,
    /// Tokens of answers.
    #[serde(deserialize_with = "count")]
    pub output_tokens: u64,
    /// Tokens of prompts that were read from a cache.
    #[serde(deserialize_with = "count")]
    pub cached_tokens: u64,
    /// Tokens of answers that were spent on reasoning.
    #[serde(deserialize_with = "count")]
    pub reasoning_tokens: u64,
    /// The exact sum.
    pub cost: Decimal,
}

/// One page of requests.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RequestPage {
    /// The newest first.
    pub requests: Vec<RequestEntry>,
    /// Whether older ones follow.
    pub more: bool,
}

/// One request, as its user may see it. `None` is what is not known, or was not recorded.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct RequestEntry {
    /// The gateway's id, as in `x-gateway-request-id`.
    pub id: Uuid,
    /// When it began.
    pub request_time: Timestamp,
    /// When the answer's last byte was through.
    pub response_time: Option<Timestamp>,
    /// From the one to the other.
    #[serde(deserialize_with = "milliseconds")]
    pub duration_ms: Option<i64>,
    /// From the beginning to the answer's first byte.
    pub first_byte_ms: Option<i32>,
    /// The HTTP method.
    pub method: Option<String>,
    /// The path at OpenRouter, without the query.
    pub path: Option<String>,
    /// The kind of endpoint.
    pub endpoint: Option<String>,
    /// The model that was asked for.
    pub requested_model: Option<String>,
    /// The model that answered, or else was asked for.
    pub model: String,
    /// `OpenRouter`'s id of the generation.
    pub generation_id: Option<String>,
    /// Whether a stream was asked for.
    pub streamed: Option<bool>,
    /// `pending`, `completed` or `failed`.
    pub status: String,
    /// `OpenRouter`'s status.
    pub http_status: Option<i32>,
    /// Why it failed: the stable name.
    pub error_reason: Option<String>,
    /// Why it failed, in words.
    pub error_message: Option<String>,
    /// Tokens of the prompt.
    pub input_tokens: Option<i32>,
    /// Tokens of the answer.
    pub output_tokens: Option<i32>,
    /// Tokens of the prompt that were read from a cache.
    pub cached_tokens: Option<i32>,
    /// Tokens of the answer that were spent on reasoning.
    pub reasoning_tokens: Option<i32>,
    /// `none`, `pending`, `final` or `unknown`.
    pub cost_state: String,
    /// Why the cost is unknown.
    pub unknown_cost_reason: Option<String>,
    /// What it cost, in US dollars.
    pub total_cost: Option<Decimal>,
    /// What `OpenRouter` charged for it.
    pub openrouter_cost: Option<Decimal>,
    /// What the provider charged; part of the total with the user's own provider key.
    pub upstream_inference_cost: Option<Decimal>,
    /// Whether the user's own provider key paid for the inference.
    pub is_byok: Option<bool>,
}

impl RequestEntry {
    /// Where it stands among all requests.
    #[must_use]
    pub fn place(&self) -> Place {
        Place {
            request_time: self.request_time,
            id: self.id,
        }
    }
}

/// The one named argument of the functions.
#[derive(Serialize)]
pub(super) struct Arguments<T> {
    pub(super) request: T,
}

#[derive(Serialize)]
struct AskedJson<'a> {
    id: Uuid,
    did: &'a str,
    request_time: i64,
    fingerprint: Option<String>,
    fingerprint_expires_at: Option<i64>,
    #[serde(flatten)]
    period: Period,
}

impl<'a> From<UsageQuery<'a>> for AskedJson<'a> {
    fn from(asked: UsageQuery<'a>) -> Self {
        Self {
            id: asked.id,
            did: asked.did,
            request_time: asked.request_time.as_millisecond(),
            fingerprint: asked.fingerprint.map(|f| hex::encode(f.digest)),
            fingerprint_expires_at: asked.fingerprint.map(|f| f.expires_at.as_millisecond()),
            period: asked.period,
        }
    }
}

#[derive(Serialize)]
pub(super) struct ReportJson<'a> {
    #[serde(flatten)]
    asked: AskedJson<'a>,
    group_by: &'a [Dimension],
    offsets: &'a [LocalOffset],
    max_groups: u32,
    percentiles: bool,
}

impl<'a> From<&ReportQuery<'a>> for ReportJson<'a> {
    fn from(query: &ReportQuery<'a>) -> Self {
        Self {
            asked: query.asked.into(),
            group_by: query.group_by,
            offsets: query.offsets,
            max_groups: query.max_groups,
            percentiles: query.percentiles,
        }
    }
}

#[derive(Serialize)]
pub(super) struct RequestsJson<'a> {
    #[serde(flatten)]
    asked: AskedJson<'a>,
    #[serde(flatten)]
    filter: &'a RequestFilter,
    limit: u16,
    before: Option<Place>,
}

impl<'a> From<&RequestsQuery<'a>> for RequestsJson<'a> {
    fn from(query: &RequestsQuery<'a>) -> Self {
        Self {
            asked: query.asked.into(),
            filter: query.filter,
            limit: query.limit,
            before: query.before,
        }
    }
}

/// A count that travels as text.
#[derive(Deserialize)]
struct Count(#[serde(deserialize_with = "count")] u64);

fn counts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, u64>, D::Error> {
    let counts = BTreeMap::<String, Count>::deserialize(deserializer)?;
    Ok(counts.into_iter().map(|(key, Count(n))| (key, n)).collect())
}

/// As text, or null. Below zero only where the clocks of two machines disagreed.
fn milliseconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    Option::<Cow<'de, str>>::deserialize(deserializer)?
        .map(|text| text.parse().map_err(de::Error::custom))
        .transpose()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn asked() -> UsageQuery<'static> {
        UsageQuery {
            id: Uuid::nil(),
            did: "did:key:z",
            request_time: Timestamp::UNIX_EPOCH,
            fingerprint: None,
            period: Period {
                start: Some("2026-01-01T00:00:00.000001Z".parse().unwrap()),
                end: None,
            },
        }
    }

    #[test]
    fn questions_are_flat_objects() {
        let report = ReportQuery {
            asked: asked(),
            group_by: &[Dimension::Day, Dimension::Model],
            offsets: &[LocalOffset {
                from: None,
                seconds: -3600,
            }],
            max_groups: 7,
            percentiles: true,
        };
        let asked_json = json!({
            "id": "00000000-0000-0000-0000-000000000000", "did": "did:key:z", "request_time": 0,
            "fingerprint": null, "fingerprint_expires_at": null,
            "start": "2026-01-01T00:00:00.000001Z", "end": null,
        });
        let with = |more: Value| {
            let mut all = asked_json.as_object().unwrap().clone();
            all.extend(more.as_object().unwrap().clone());
            Value::from(all)
        };
        assert_eq!(
            serde_json::to_value(ReportJson::from(&report)).unwrap(),
            with(json!({
                "group_by": ["day", "model"], "offsets": [{"from": null, "seconds": -3600}],
                "max_groups": 7, "percentiles": true,
            }))
        );

        let requests = RequestsQuery {
            asked: asked(),
            filter: &RequestFilter {
                min_cost: Some("1e-7".parse().unwrap()),
                ..RequestFilter::default()
            },
            limit: 50,
            before: None,
        };
        assert_eq!(
            serde_json::to_value(RequestsJson::from(&requests)).unwrap(),
            with(json!({
                "model": null, "endpoint": null, "status": null, "cost_state": null,
                "min_cost": "0.0000001", "limit": 50, "before": null,
            }))
        );
    }

    #[test]
    fn numbers_of_a_report_arrive_as_text_and_leave_as_numbers() {
        let text = r#"{"total_requests":"3","successful_requests":"2","failed_requests":"1",
            "pending_requests":"0","cost_pending_requests":"0","cost_unknown_requests":"0",
            "total_input_tokens":"9007199254740993","total_output_tokens":"0",
            "total_cached_tokens":"0","total_reasoning_tokens":"0",
            "total_cost":"0.0076509169000000005","limit":null,"spent":"1","held":"0",
            "duration_ms":{"p50":"12","p90":"34","p99":null},
            "first_byte_ms":{"p50":null,"p90":null,"p99":null},
            "requests_by_model":{"m\"x":"3"},"models":"1","groups":[],"group_count":"0"}"#;
        let report: UsageReport = serde_json::from_str(text).unwrap();
        assert_eq!(report.remaining, None);
        assert_eq!(
            serde_json::to_string(&report).unwrap(),
            r#"{"total_requests":3,"successful_requests":2,"failed_requests":1,"pending_requests":0,"cost_pending_requests":0,"cost_unknown_requests":0,"total_input_tokens":9007199254740993,"total_output_tokens":0,"total_cached_tokens":0,"total_reasoning_tokens":0,"total_cost":0.0076509169000000005,"limit":null,"spent":1,"held":0,"remaining":null,"duration_ms":{"p50":12,"p90":34,"p99":null},"first_byte_ms":{"p50":null,"p90":null,"p99":null},"requests_by_model":{"m\"x":3},"models":1}"#
        );
        assert!(serde_json::from_str::<UsageReport>(&text.replace("\"3\"", "3")).is_err());
    }
}
