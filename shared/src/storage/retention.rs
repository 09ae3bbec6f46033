//! How long single requests are kept, and their expiry.

use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{ATTEMPTS_IN_FRONT, Argument, Storage, StorageError};

/// How long settled requests are kept one by one: at least [`LEAST_DAYS`](Self::LEAST_DAYS).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention(u32);

/// Not a number of days for which requests can be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be a number of days from {} to {}",
    Retention::LEAST_DAYS,
    Retention::MOST_DAYS
)]
pub struct InvalidRetention;

impl Retention {
    /// A month and some days: whoever is billed monthly can still look at each request. Reconciliation
    /// is done long before. The database refuses less, too.
    pub const LEAST_DAYS: u32 = 35;
    /// A century.
    pub const MOST_DAYS: u32 = 36_500;

    /// What began before this has expired.
    #[must_use]
    pub fn before(self, now: Timestamp) -> Timestamp {
        let age = SignedDuration::from_hours(i64::from(self.0) * 24);
        // The database's clock decides, which may be a little behind ours.
        let slack = SignedDuration::from_mins(5);
        now.checked_sub(age + slack).unwrap_or(Timestamp::MIN)
    }
}

impl FromStr for Retention {
    type Err = InvalidRetention;

    fn from_str(text: &str) -> Result<Self, InvalidRetention> {
        text.parse()
            .ok()
            .filter(|days| (Self::LEAST_DAYS..=Self::MOST_DAYS).contains(days))
            .map(Self)
            .ok_or(InvalidRetention)
    }
}

/// What became of one [`Storage::expire`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Expired {
    /// Requests of which only the sums are left.
    pub expired: u32,
    /// Whether there may be more.
    pub more: bool,
}

#[derive(Serialize)]
struct ExpireJson {
    before: i64,
    limit: u16,
}

impl Storage {
    /// Deletes at most `limit` (1 to 10000) settled requests that began before a time, the oldest first;
    /// their sums stay. What is still open stays; what has an unknown cost stays 90 days longer.
    ///
    /// Repeated up to twice until `deadline`; an attempt whose answer was lost may have expired others.
    pub async fn expire(
        &self,
        before: Timestamp,
        limit: u16,
        deadline: Instant,
    ) -> Result<Expired, StorageError> {
        let argument = Argument::Request(ExpireJson {
            before: before.as_millisecond(),
            limit,
        });
        self.call("expire_requests", &argument, ATTEMPTS_IN_FRONT, deadline)
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_count_back_from_now() {
        let now: Timestamp = "2026-06-10T12:00:00Z".parse().unwrap();
        let retention: Retention = "40".parse().unwrap();
        assert_eq!(retention.before(now).to_string(), "2026-05-01T11:55:00Z");
        let century: Retention = "36500".parse().unwrap();
        assert!(century.before(now) < now);
    }

    #[test]
    fn less_than_a_month_is_no_retention() {
        for text in ["0", "34", "36501", "-40", "40.5", "a year", ""] {
            assert_eq!(text.parse::<Retention>(), Err(InvalidRetention), "{text}");
        }
        assert!("35".parse::<Retention>().is_ok());
    }
}
