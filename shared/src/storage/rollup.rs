//! The comparison of the rollup, from which usage is added up, with the requests themselves.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{ATTEMPTS_IN_FRONT, Argument, Period, Storage, StorageError, columns::count};

/// The requests to compare.
#[derive(Debug, Clone, Copy, Default)]
pub struct RollupQuery<'a> {
    /// Whole hours of `request_time`; open sides are unbounded.
    pub period: Period,
    /// One DID's requests, or everyone's.
    pub did: Option<&'a str>,
    /// The maximum number of [`examples`](RollupCheck::examples), up to 1000.
    pub limit: u16,
}

/// The result of a comparison.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RollupCheck {
    /// The finished requests that were added up.
    #[serde(deserialize_with = "count")]
    pub requests: u64,
    /// The rows of the rollup that they were compared with.
    #[serde(deserialize_with = "count")]
    pub hours: u64,
    /// The rows that differ, or are only on one side.
    #[serde(deserialize_with = "count")]
    pub differences: u64,
    /// The first of them.
    pub examples: Vec<RollupDifference>,
    /// The requests that are open but not in `open_requests`, or the reverse.
    #[serde(deserialize_with = "count")]
    pub untracked: u64,
}

/// Sums of one hour that are not those of its requests.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct RollupDifference {
    /// The DID of the requests.
    pub did: String,
    /// The start of the hour, in UTC.
    pub hour: Timestamp,
    /// The model, as in the requests' rows.
    pub model: String,
    /// The endpoint; empty where none was recorded.
    pub endpoint: String,
    /// The status of the requests.
    pub status: String,
    /// The state of their cost.
    pub cost_state: String,
    /// Requests, input, output, cached, cache-write and reasoning tokens, and cost, as the rollup has them.
    pub rollup: [Option<String>; 7],
    /// The same of the requests.
    pub logged: [Option<String>; 7],
}

#[derive(Serialize)]
struct CheckJson<'a> {
    start: Option<Timestamp>,
    end: Option<Timestamp>,
    did: Option<&'a str>,
    limit: u16,
}

impl Storage {
    /// Compares the rollup with the requests, to the last digit. Requests that run meanwhile make no
    /// difference.
    pub async fn check_rollup(
        &self,
        query: &RollupQuery<'_>,
        deadline: Instant,
    ) -> Result<RollupCheck, StorageError> {
        let argument = Argument::Request(CheckJson {
            start: query.period.start,
            end: query.period.end,
            did: query.did,
            limit: query.limit,
        });
        self.call("check_rollup", &argument, ATTEMPTS_IN_FRONT, deadline)
            .await
    }
}
