//! The database's answers.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{super::columns::count, Place};

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
    /// Requests that completed.
    #[serde(deserialize_with = "count")]
    pub successful_requests: u64,
    /// Requests that failed.
    #[serde(deserialize_with = "count")]
    pub failed_requests: u64,
    /// Requests that are still running.
    #[serde(deserialize_with = "count")]
    pub pending_requests: u64,
    /// Requests whose cost is still to be asked for.
    #[serde(deserialize_with = "count")]
    pub cost_pending_requests: u64,
    /// Requests whose cost was asked for in vain.
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
    /// Tokens of prompts that were written to a cache.
    #[serde(deserialize_with = "count")]
    pub total_cache_write_tokens: u64,
    /// Tokens of answers that were spent on reasoning.
    #[serde(deserialize_with = "count")]
    pub total_reasoning_tokens: u64,
    /// The exact sum.
    pub total_cost: Decimal,
    /// The DID's limit, if it has one.
    pub limit: Option<Decimal>,
    /// The sum that the DID has spent; `None` without a key.
    pub spent: Option<Decimal>,
    /// The sum reserved for requests in flight and for costs not known yet.
    pub held: Option<Decimal>,
    /// The rest of the limit, never below zero.
    pub remaining: Option<Decimal>,
    /// From a request's begin to its answer's end.
    pub duration_ms: Percentiles,
    /// From a request's begin to its answer's first byte.
    pub first_byte_ms: Percentiles,
    /// Requests by the model that answered, or was asked for: the most used ones.
    #[serde(deserialize_with = "counts")]
    pub requests_by_model: BTreeMap<String, u64>,
    /// The number of models.
    #[serde(deserialize_with = "count")]
    pub models: u64,
    /// The groups asked for; none where there are too many.
    #[serde(skip_serializing)]
    pub groups: Vec<UsageGroup>,
    /// The number of groups.
    #[serde(deserialize_with = "count", skip_serializing)]
    pub group_count: u64,
    /// The names of the tokens that are grouped by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub token_names: BTreeMap<Uuid, String>,
}

impl UsageReport {
    /// Leaves out the account, which is nothing to the holder of a token.
    #[must_use]
    pub fn without_account(self) -> Self {
        Self {
            limit: None,
            spent: None,
            held: None,
            remaining: None,
            ..self
        }
    }
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
    /// The values of the dimensions asked for; `None`: not recorded.
    #[serde(skip_serializing)]
    pub keys: Vec<Option<String>>,
    /// All that began.
    #[serde(deserialize_with = "count")]
    pub requests: u64,
    /// Requests that completed.
    #[serde(deserialize_with = "count")]
    pub successful_requests: u64,
    /// Requests that failed.
    #[serde(deserialize_with = "count")]
    pub failed_requests: u64,
    /// Requests that are still running.
    #[serde(deserialize_with = "count")]
    pub pending_requests: u64,
    /// Requests whose cost is still to be asked for.
    #[serde(deserialize_with = "count")]
    pub cost_pending_requests: u64,
    /// Requests whose cost was asked for in vain.
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
    /// Tokens of prompts that were written to a cache.
    #[serde(deserialize_with = "count")]
    pub cache_write_tokens: u64,
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
    /// The access token that it came with; `None`: signed.
    pub token_id: Option<Uuid>,
    /// The client's name for itself.
    pub app: Option<String>,
    /// The token's tag, or the client's word for it.
    pub tag: Option<String>,
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
    /// Tokens of the prompt that were written to a cache.
    pub cache_write_tokens: Option<i32>,
    /// Tokens of the answer that were spent on reasoning.
    pub reasoning_tokens: Option<i32>,
    /// The service tier that it ran on.
    pub service_tier: Option<String>,
    /// `none`, `pending`, `final` or `unknown`.
    pub cost_state: String,
    /// Why the cost is unknown.
    pub unknown_cost_reason: Option<String>,
    /// The part of an unknown cost that is known.
    pub known_cost: Option<Decimal>,
    /// The cost, in US dollars.
    pub total_cost: Option<Decimal>,
    /// The charge of `OpenRouter`.
    pub openrouter_cost: Option<Decimal>,
    /// The part of it that tools run by `OpenRouter` cost.
    pub server_tool_cost: Option<Decimal>,
    /// The provider's charge; part of the total with the user's own provider key.
    pub upstream_inference_cost: Option<Decimal>,
    /// Whether the user's own provider key paid for the inference.
    pub is_byok: Option<bool>,
}

impl RequestEntry {
    /// The place among all requests.
    #[must_use]
    pub fn place(&self) -> Place {
        Place {
            request_time: self.request_time,
            id: self.id,
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
    use super::*;

    #[test]
    fn numbers_of_a_report_arrive_as_text_and_leave_as_numbers() {
        let text = r#"{"total_requests":"3","successful_requests":"2","failed_requests":"1",
            "pending_requests":"0","cost_pending_requests":"0","cost_unknown_requests":"0",
            "total_input_tokens":"9007199254740993","total_output_tokens":"0",
            "total_cached_tokens":"0","total_cache_write_tokens":"0","total_reasoning_tokens":"0",
            "total_cost":"0.0076509169000000005","limit":null,"spent":"1","held":"0",
            "duration_ms":{"p50":"12","p90":"34","p99":null},
            "first_byte_ms":{"p50":null,"p90":null,"p99":null},
            "requests_by_model":{"m\"x":"3"},"models":"1","groups":[],"group_count":"0"}"#;
        let report: UsageReport = serde_json::from_str(text).unwrap();
        assert_eq!(report.remaining, None);
        assert_eq!(
            serde_json::to_string(&report).unwrap(),
            r#"{"total_requests":3,"successful_requests":2,"failed_requests":1,"pending_requests":0,"cost_pending_requests":0,"cost_unknown_requests":0,"total_input_tokens":9007199254740993,"total_output_tokens":0,"total_cached_tokens":0,"total_cache_write_tokens":0,"total_reasoning_tokens":0,"total_cost":0.0076509169000000005,"limit":null,"spent":1,"held":0,"remaining":null,"duration_ms":{"p50":12,"p90":34,"p99":null},"first_byte_ms":{"p50":null,"p90":null,"p99":null},"requests_by_model":{"m\"x":3},"models":1}"#
        );
        assert!(serde_json::from_str::<UsageReport>(&text.replace("\"3\"", "3")).is_err());
    }
}
