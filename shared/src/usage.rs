//! The period a user asks about: `start_date` and `end_date`, both inclusive.

use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};

use crate::{canonical::CanonicalQuery, storage::Period};

/// A query parameter that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} {problem}")]
pub struct ParameterError {
    /// The parameter, as the client named it.
    pub name: String,
    /// What is wrong and what to write instead.
    pub problem: &'static str,
}

const FORMAT: &str =
    "must be a date (2026-01-31, in UTC) or an RFC 3339 time (2026-01-31T12:00:00Z)";

/// Reads `start_date` and `end_date`. A date means the whole day in UTC, so that an `end_date`
/// of the 31st includes the 31st; a time includes itself. Any other parameter is an error: a
/// misspelt one would otherwise answer a question that was not asked.
pub fn period(query: &CanonicalQuery) -> Result<Period, ParameterError> {
    let mut period = Period::default();
    for (name, value) in query.pairs() {
        let bound = match name.as_ref() {
            "start_date" => &mut period.start,
            "end_date" => &mut period.end,
            _ => {
                return Err(error(
                    &name,
                    "is not a parameter of this route; it takes start_date and end_date",
                ));
            }
        };
        let parsed = parse(&value).ok_or_else(|| error(&name, FORMAT))?;
        let instant = if name == "start_date" {
            parsed.first()
        } else {
            parsed.after_last()
        };
        let instant = instant.ok_or_else(|| error(&name, FORMAT))?;
        if bound.replace(instant).is_some() {
            return Err(error(&name, "is given more than once"));
        }
    }
    match (period.start, period.end) {
        (Some(start), Some(end)) if start >= end => Err(error("end_date", "is before start_date")),
        _ => Ok(period),
    }
}

enum Moment {
    Day(Date),
    Instant(Timestamp),
}

impl Moment {
    fn first(&self) -> Option<Timestamp> {
        match self {
            Self::Day(day) => day
                .to_zoned(TimeZone::UTC)
                .ok()
                .map(|start| start.timestamp()),
            Self::Instant(at) => Some(*at),
        }
    }

    /// PostgreSQL's resolution is a microsecond, so the next instant is one later.
    fn after_last(&self) -> Option<Timestamp> {
        match self {
            Self::Day(day) => Self::Day(day.tomorrow().ok()?).first(),
            Self::Instant(at) => at.checked_add(SignedDuration::from_micros(1)).ok(),
        }
    }
}

fn parse(value: &str) -> Option<Moment> {
    // jiff's date parser would take the date out of a longer text.
    let moment = if value.len() == "2026-01-31".len() {
        Moment::Day(value.parse().ok()?)
    } else {
        Moment::Instant(value.parse().ok()?)
    };
    // PostgreSQL has no year 0, and nobody used anything then.
    let earliest = Timestamp::constant(-62_135_596_800, 0);
    (moment.first()? >= earliest).then_some(moment)
}

fn error(name: &str, problem: &'static str) -> ParameterError {
    ParameterError {
        name: name.chars().take(64).collect(),
        problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::RawQuery;

    fn asked(query: &str) -> Result<(String, String), String> {
        let query = CanonicalQuery::from_raw(&RawQuery::Encoded(query.to_owned())).unwrap();
        let text =
            |bound: Option<Timestamp>| bound.map_or_else(|| "-".to_owned(), |at| at.to_string());
        period(&query)
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
        ] {
            let error = asked(query).unwrap_err();
            assert!(error.starts_with(name), "{query}: {error}");
        }
    }
}
