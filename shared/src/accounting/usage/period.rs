//! The time a user asks about: `start_date` and `end_date`, both inclusive.

use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};

use super::parameters::{ParameterError, Parameters};
use crate::storage::Period;

const FORMAT: &str =
    "must be a date (2026-01-31, in time_zone) or an RFC 3339 time (2026-01-31T12:00:00Z)";

/// Reads `start_date` and `end_date`. A date means the whole day in `zone`, so that an `end_date`
/// of the 31st includes the 31st; a time includes itself.
pub(super) fn read(parameters: &Parameters<'_>, zone: &TimeZone) -> Result<Period, ParameterError> {
    let start = parameters.parse("start_date", FORMAT, |value| parse(value)?.first(zone))?;
    let end = parameters.parse("end_date", FORMAT, |value| parse(value)?.after_last(zone))?;
    match (start, end) {
        (Some(start), Some(end)) if start >= end => {
            Err(ParameterError::new("end_date", "is before start_date"))
        }
        _ => Ok(Period { start, end }),
    }
}

enum Moment {
    Day(Date),
    Instant(Timestamp),
}

impl Moment {
    /// `PostgreSQL` has no year 0, and nobody used anything then.
    fn first(&self, zone: &TimeZone) -> Option<Timestamp> {
        const EARLIEST: Timestamp = Timestamp::constant(-62_135_596_800, 0);
        let first = match self {
            // On a day whose midnight does not exist or exists twice, the day's first moment.
            Self::Day(day) => day.to_zoned(zone.clone()).ok()?.timestamp(),
            Self::Instant(at) => *at,
        };
        (first >= EARLIEST).then_some(first)
    }

    /// `PostgreSQL`'s resolution is a microsecond, so the next instant is one later.
    fn after_last(&self, zone: &TimeZone) -> Option<Timestamp> {
        self.first(zone)?;
        match self {
            Self::Day(day) => Self::Day(day.tomorrow().ok()?).first(zone),
            Self::Instant(at) => at.checked_add(SignedDuration::from_micros(1)).ok(),
        }
    }
}

fn parse(value: &str) -> Option<Moment> {
    // jiff's date parser would take the date out of a longer text.
    if value.len() == "2026-01-31".len() {
        value.parse().ok().map(Moment::Day)
    } else {
        value.parse().ok().map(Moment::Instant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{accounting::usage::zone, identity::canonical::CanonicalQuery, request::RawQuery};

    const KNOWN: [&str; 3] = ["start_date", "end_date", "time_zone"];

    fn asked(query: &str) -> Result<(String, String), String> {
        let query = CanonicalQuery::from_raw(&RawQuery::Encoded(query.to_owned())).unwrap();
        let text =
            |bound: Option<Timestamp>| bound.map_or_else(|| "-".to_owned(), |at| at.to_string());
        Parameters::read(&query, &KNOWN, "is not a parameter")
            .and_then(|parameters| read(&parameters, &zone::read(&parameters)?))
            .map(|p| (text(p.start), text(p.end)))
            .map_err(|e| e.to_string())
    }

    fn bounds(start: &str, end: &str) -> (String, String) {
        (start.to_owned(), end.to_owned())
    }

    #[test]
    fn both_ends_are_inclusive() {
        assert_eq!(asked(""), Ok(bounds("-", "-")));
        assert_eq!(
            asked("start_date=2026-01-01&end_date=2026-01-31"),
            Ok(bounds("2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"))
        );
        assert_eq!(
            asked("start_date=2026-02-28&end_date=2026-02-28"),
            Ok(bounds("2026-02-28T00:00:00Z", "2026-03-01T00:00:00Z"))
        );
        assert_eq!(
            asked("start_date=2026-01-01T12:00:00%2B01:00&end_date=2026-01-01T12:00:00Z"),
            Ok(bounds(
                "2026-01-01T11:00:00Z",
                "2026-01-01T12:00:00.000001Z"
            ))
        );
    }

    #[test]
    fn a_date_is_a_day_of_the_time_zone() {
        for (zone, day, start, end) in [
            (
                "Asia/Tokyo",
                "2026-01-01",
                "2025-12-31T15:00:00Z",
                "2026-01-01T15:00:00Z",
            ),
            // 23 and 25 hours long.
            (
                "Europe/Berlin",
                "2026-03-29",
                "2026-03-28T23:00:00Z",
                "2026-03-29T22:00:00Z",
            ),
            (
                "europe/berlin",
                "2026-10-25",
                "2026-10-24T22:00:00Z",
                "2026-10-25T23:00:00Z",
            ),
            // Midnight is skipped; midnight comes twice.
            (
                "Asia/Beirut",
                "2026-03-29",
                "2026-03-28T22:00:00Z",
                "2026-03-29T21:00:00Z",
            ),
            (
                "America/Havana",
                "2024-11-03",
                "2024-11-03T04:00:00Z",
                "2024-11-04T05:00:00Z",
            ),
        ] {
            assert_eq!(
                asked(&format!("start_date={day}&end_date={day}&time_zone={zone}")),
                Ok(bounds(start, end)),
                "{zone}"
            );
        }
        // A time says itself where it is.
        assert_eq!(
            asked("start_date=2026-01-01T00:00:00Z&time_zone=Asia/Tokyo"),
            Ok(bounds("2026-01-01T00:00:00Z", "-"))
        );
    }

    #[test]
    fn a_bad_parameter_names_itself() {
        for (query, name) in [
            ("start_date=yesterday", "start_date must be a date"),
            ("end_date=2026-02-30", "end_date must be a date"),
            ("end_date=", "end_date must be a date"),
            (
                "start_date=2026-01-01T00:00:00",
                "start_date must be a date",
            ),
            ("start=2026-01-01", "start is not a parameter"),
            (
                "start_date=2026-01-01&start_date=2026-01-02",
                "start_date is given more than once",
            ),
            (
                "start_date=2026-01-02&end_date=2026-01-01",
                "end_date is before start_date",
            ),
            ("start_date=0000-12-31", "start_date must be a date"),
            (
                "start_date=-000001-01-01T00:00:00Z",
                "start_date must be a date",
            ),
            ("end_date=9999-12-31", "end_date must be a date"),
            ("time_zone=Mars/Olympus", "time_zone must be"),
            ("time_zone=Etc/Unknown", "time_zone must be"),
            ("time_zone=CET-1CEST", "time_zone must be"),
            ("time_zone=%2B02:00", "time_zone must be"),
            ("time_zone=../UTC", "time_zone must be"),
            ("time_zone=", "time_zone must be"),
        ] {
            let error = asked(query).unwrap_err();
            assert!(error.starts_with(name), "{query}: {error}");
        }
    }
}
