//! The filter and the form of a report.

use jiff::{Timestamp, tz::TimeZone};

use crate::terminal::printable;

/// The names of the zone in which the gateway counts by itself.
pub(super) const UTC_NAMES: [&str; 3] = ["UTC", "Etc/UTC", "Etc/Unknown"];

/// The form of a report.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Output {
    Text,
    Json,
    Csv,
}

/// The filter of both reports.
pub(super) struct Query {
    pub(super) since: Option<String>,
    pub(super) until: Option<String>,
    pub(super) time_zone: Option<String>,
    /// The zone in which times are shown.
    pub(super) zone: TimeZone,
    pub(super) model: Option<String>,
}

impl Query {
    /// A time of the gateway on the local clock.
    pub(super) fn local(&self, time: &str) -> String {
        let is_utc = self
            .zone
            .iana_name()
            .is_none_or(|name| UTC_NAMES.contains(&name));
        match time.parse::<Timestamp>() {
            Ok(time) if !is_utc => {
                let local = time.to_zoned(self.zone.clone());
                local.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
            }
            Ok(_) | Err(_) => printable(time),
        }
    }

    /// The parameters that both routes have, and `more`.
    pub(super) fn parameters<'a>(
        &'a self,
        more: &[(&'static str, Option<&'a str>)],
    ) -> Vec<(&'static str, Option<&'a str>)> {
        let common = [
            ("start_date", self.since.as_deref()),
            ("end_date", self.until.as_deref()),
            ("time_zone", self.time_zone.as_deref()),
        ];
        [common.as_slice(), more].concat()
    }
}
