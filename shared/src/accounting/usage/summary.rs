//! `GET /api/v1/usage`: sums.

use http::HeaderMap;
use jiff::Timestamp;
use uuid::Uuid;

use super::{
    answer::Summary,
    format::Format,
    labels,
    parameters::{ParameterError, Parameters},
    period, zone,
};
use crate::{
    identity::canonical::CanonicalQuery,
    storage::{Dimension, LocalOffset, Period, ReportQuery, UsageLabels, UsageQuery, UsageReport},
};

/// The largest number of groups in a response, and of models in `requests_by_model`. Even with the
/// longest names, so many still fit into the 6 MB that Lambda takes.
const MAX_GROUPS: u32 = 2000;

const KNOWN: [&str; 9] = [
    "start_date",
    "end_date",
    "time_zone",
    "group_by",
    "percentiles",
    "token",
    "app",
    "tag",
    "format",
];
const OTHERWISE: &str = "is not a parameter of this route; it takes start_date, end_date, time_zone, group_by, percentiles, token, app, tag and format";
const GROUP_BY: &str = "must be one or more of model, endpoint, token, app, tag, day and hour, each once, separated by commas";

/// A client's question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SummaryQuestion {
    period: Period,
    group_by: Vec<Dimension>,
    offsets: Vec<LocalOffset>,
    percentiles: bool,
    labels: UsageLabels,
    format: Format,
}

impl SummaryQuestion {
    /// Reads it from a request that arrived `now`.
    pub fn read(
        query: &CanonicalQuery,
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Result<Self, ParameterError> {
        let parameters = Parameters::read(query, &KNOWN, OTHERWISE)?;
        let format = Format::read(&parameters, headers)?;
        let zone = zone::read(&parameters)?;
        let period = period::read(&parameters, &zone)?;
        let group_by = parameters
            .parse("group_by", GROUP_BY, dimensions)?
            .unwrap_or_default();
        let percentiles =
            parameters.parse("percentiles", "must be true or false", |it| it.parse().ok())?;
        let offsets = if group_by.contains(&Dimension::Day) || group_by.contains(&Dimension::Hour) {
            zone::offsets(&zone, period, now)
        } else {
            Vec::new()
        };
        Ok(Self {
            period,
            group_by,
            offsets,
            percentiles: percentiles.unwrap_or(false),
            labels: labels::read(&parameters)?,
            format,
        })
    }

    /// The time asked about.
    #[must_use]
    pub fn period(&self) -> Period {
        self.period
    }

    /// The representation of the response.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// Leaves out all requests but those of a token, whose holder asks.
    pub fn restrict_to(&mut self, token_id: Uuid) -> Result<(), ParameterError> {
        labels::restrict(&mut self.labels, token_id)
    }

    /// The question to the storage.
    #[must_use]
    pub fn of<'a>(&'a self, asked: UsageQuery<'a>) -> ReportQuery<'a> {
        ReportQuery {
            asked,
            group_by: &self.group_by,
            offsets: &self.offsets,
            max_groups: MAX_GROUPS,
            percentiles: self.percentiles,
            labels: &self.labels,
        }
    }

    /// The answer. Sums that leave groups out would be taken for the whole, so too many groups are
    /// an error.
    pub fn answer(&self, report: UsageReport) -> Result<Summary, ParameterError> {
        if report.group_count > u64::from(MAX_GROUPS) {
            return Err(ParameterError::new(
                "group_by",
                "makes more than 2000 groups; ask about a shorter time or for fewer dimensions",
            ));
        }
        Ok(Summary::new(report, &self.group_by))
    }
}

fn dimensions(text: &str) -> Option<Vec<Dimension>> {
    let mut dimensions = Vec::new();
    for name in text.split(',') {
        let dimension = Dimension::ALL.into_iter().find(|it| it.as_str() == name)?;
        if dimensions.contains(&dimension) {
            return None;
        }
        dimensions.push(dimension);
    }
    Some(dimensions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::RawQuery;

    fn asked(query: &str) -> Result<SummaryQuestion, String> {
        let query = CanonicalQuery::from_raw(&RawQuery::Encoded(query.to_owned())).unwrap();
        let now = "2026-11-23T00:00:00Z".parse().unwrap();
        SummaryQuestion::read(&query, &HeaderMap::new(), now).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_asked_is_everything_in_one() {
        assert_eq!(
            asked(""),
            Ok(SummaryQuestion {
                period: Period::default(),
                group_by: vec![],
                offsets: vec![],
                percentiles: false,
                labels: UsageLabels::default(),
                format: Format::Json
            })
        );
    }

    #[test]
    fn groups_keep_the_order_in_which_they_are_asked_for() {
        let day_first = asked("group_by=day,model&time_zone=Asia/Tokyo").unwrap();
        assert_eq!(day_first.group_by, [Dimension::Day, Dimension::Model]);
        assert_eq!(day_first.offsets.last().unwrap().seconds, 9 * 3600);
        let model = asked("group_by=model,endpoint&format=csv").unwrap();
        assert_eq!(model.group_by, [Dimension::Model, Dimension::Endpoint]);
        assert!(model.offsets.is_empty());
        assert_eq!(model.format, Format::Csv);
        assert!(!asked("percentiles=false").unwrap().percentiles);
        assert!(asked("percentiles=true").unwrap().percentiles);
    }

    #[test]
    fn a_bad_parameter_names_itself() {
        for (query, name) in [
            ("group_by=", "group_by must be"),
            ("group_by=models", "group_by must be"),
            ("group_by=day,day", "group_by must be"),
            ("group_by=day,", "group_by must be"),
            ("group_by=day, model", "group_by must be"),
            (
                "group_by=day&group_by=model",
                "group_by is given more than once",
            ),
            ("format=xml", "format must be json or csv"),
            ("percentiles=yes", "percentiles must be true or false"),
            ("limit=5", "limit is not a parameter"),
            ("start=2026-01-01", "start is not a parameter"),
        ] {
            let error = asked(query).unwrap_err();
            assert!(error.starts_with(name), "{query}: {error}");
        }
    }
}
