//! The local clock that days and hours are read from.

use jiff::{SignedDuration, Timestamp, tz::TimeZone};

use super::parameters::{ParameterError, Parameters};
use crate::storage::{LocalOffset, Period};

/// The parameter `time_zone`, or UTC.
pub(super) fn read(parameters: &Parameters<'_>) -> Result<TimeZone, ParameterError> {
    let zone = parameters.parse(
        "time_zone",
        "must be a time zone's name in the IANA database, such as Europe/Berlin",
        // Etc/Unknown, which jiff accepts, is no zone.
        |name| TimeZone::get(name).ok().filter(|zone| !zone.is_unknown()),
    )?;
    Ok(zone.unwrap_or(TimeZone::UTC))
}

/// The offsets of `zone` over `period`, as far as there are requests: up to a day from `now`.
pub(super) fn offsets(zone: &TimeZone, period: Period, now: Timestamp) -> Vec<LocalOffset> {
    let start = period.start.unwrap_or(Timestamp::UNIX_EPOCH);
    let tomorrow = now
        .checked_add(SignedDuration::from_hours(24))
        .unwrap_or(Timestamp::MAX);
    let end = period.end.map_or(tomorrow, |end| end.min(tomorrow));
    let first = LocalOffset {
        from: None,
        seconds: zone.to_offset(start).seconds(),
    };
    let changes = zone
        .following(start)
        .take_while(|change| change.timestamp() < end)
        .map(|change| LocalOffset {
            from: Some(change.timestamp()),
            seconds: change.offset().seconds(),
        });
    let mut offsets: Vec<_> = std::iter::once(first).chain(changes).collect();
    // Some changes are of the name only; an hour must not be cut in two there.
    offsets.dedup_by_key(|offset| offset.seconds);
    offsets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(name: &str, start: Option<&str>, end: Option<&str>) -> Vec<(String, i32)> {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let period = Period {
            start: start.map(at),
            end: end.map(at),
        };
        let zone = TimeZone::get(name).unwrap();
        offsets(&zone, period, at("2026-11-23T00:00:00Z"))
            .into_iter()
            .map(|it| {
                let from = it.from.map_or_else(|| "-".to_owned(), |at| at.to_string());
                (from, it.seconds)
            })
            .collect()
    }

    #[test]
    fn a_clock_that_is_set_twice_a_year_has_three_offsets_in_it() {
        let year = (Some("2026-01-01T00:00:00Z"), Some("2027-01-01T00:00:00Z"));
        let of = |name: &str| changes(name, year.0, year.1);
        let named = |list: &[(&str, i32)]| -> Vec<(String, i32)> {
            list.iter()
                .map(|(from, seconds)| ((*from).to_owned(), *seconds))
                .collect()
        };
        assert_eq!(
            of("Europe/Berlin"),
            named(&[
                ("-", 3600),
                ("2026-03-29T01:00:00Z", 7200),
                ("2026-10-25T01:00:00Z", 3600)
            ])
        );
        // By half an hour.
        assert_eq!(
            of("Australia/Lord_Howe"),
            named(&[
                ("-", 39600),
                ("2026-04-04T15:00:00Z", 37800),
                ("2026-10-03T15:30:00Z", 39600)
            ])
        );
        assert_eq!(of("Asia/Kathmandu"), named(&[("-", 20700)]));
        assert_eq!(of("UTC"), named(&[("-", 0)]));
    }

    #[test]
    fn neither_the_far_future_nor_an_open_beginning_makes_many() {
        assert!(changes("America/New_York", None, Some("9999-12-30T00:00:00Z")).len() < 200);
        let one = changes("America/New_York", Some("2026-11-22T00:00:00Z"), None);
        assert_eq!(one.len(), 1);
        // Later than everything.
        let none = changes("America/New_York", Some("9000-01-01T00:00:00Z"), None);
        assert_eq!(none.len(), 1);
    }
}
