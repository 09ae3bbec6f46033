//! Questions about usage, and the database's answers, both in JSON.

mod answers;
mod questions;

use tokio::time::Instant;

pub use answers::{Decimal, Percentiles, RequestEntry, RequestPage, UsageGroup, UsageReport};
pub use questions::{
    Dimension, LocalOffset, Period, Place, ReportQuery, RequestFilter, RequestsQuery, UsageLabels,
    UsageQuery,
};

use super::{ATTEMPTS_IN_FRONT, Argument, Storage, StorageError};
use questions::{ReportJson, RequestsJson};

impl Storage {
    /// Sums up one DID's requests over a time, in groups if asked to. A DID without requests has all
    /// zeros.
    pub async fn usage_report(
        &self,
        query: &ReportQuery<'_>,
        deadline: Instant,
    ) -> Result<UsageReport, StorageError> {
        let argument = Argument::Request(ReportJson::from(query));
        self.call("usage_report", &argument, ATTEMPTS_IN_FRONT, deadline)
            .await
    }

    /// One page of a DID's requests, the newest first.
    pub async fn usage_requests(
        &self,
        query: &RequestsQuery<'_>,
        deadline: Instant,
    ) -> Result<RequestPage, StorageError> {
        let argument = Argument::Request(RequestsJson::from(query));
        self.call("usage_requests", &argument, ATTEMPTS_IN_FRONT, deadline)
            .await
    }
}
