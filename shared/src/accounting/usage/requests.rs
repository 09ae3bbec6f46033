//! `GET /api/v1/usage/requests`: single requests, page by page.

use http::HeaderMap;
use uuid::Uuid;

use super::{
    answer::Page,
    cursor::{self, CURSOR},
    format::Format,
    labels,
    parameters::{ParameterError, Parameters, one_of},
    period, zone,
};
use crate::{
    identity::canonical::CanonicalQuery,
    storage::{Period, Place, RequestFilter, RequestPage, RequestsQuery, UsageQuery},
};

const DEFAULT_LIMIT: u16 = 50;
const MAX_LIMIT: u16 = 1000;

const KNOWN: [&str; 14] = [
    "start_date",
    "end_date",
    "time_zone",
    "model",
    "endpoint",
    "status",
    "cost_state",
    "min_cost",
    "token",
    "app",
    "tag",
    "limit",
    CURSOR,
    "format",
];
const OTHERWISE: &str = "is not a parameter of this route; it takes start_date, end_date, time_zone, model, endpoint, status, cost_state, min_cost, token, app, tag, limit, cursor and format";

/// A client's question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestsQuestion {
    period: Period,
    filter: RequestFilter,
    limit: u16,
    before: Option<Place>,
    format: Format,
}

impl RequestsQuestion {
    /// Reads it from a request.
    pub fn read(query: &CanonicalQuery, headers: &HeaderMap) -> Result<Self, ParameterError> {
        let parameters = Parameters::read(query, &KNOWN, OTHERWISE)?;
        let format = Format::read(&parameters, headers)?;
        let period = period::read(&parameters, &zone::read(&parameters)?)?;
        let filter = filter(&parameters)?;
        let limit = parameters.parse("limit", "must be a number from 1 to 1000", |value| {
            let limit = value.parse().ok()?;
            (1..=MAX_LIMIT).contains(&limit).then_some(limit)
        })?;
        let before = parameters.parse(
            CURSOR,
            "must be the next_cursor of a page with the same other parameters",
            |value| cursor::decode(value, cursor::digest(period, &filter)),
        )?;
        Ok(Self {
            period,
            filter,
            limit: limit.unwrap_or(DEFAULT_LIMIT),
            before,
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
        labels::restrict(&mut self.filter.labels, token_id)
    }

    /// The question to the storage.
    #[must_use]
    pub fn of<'a>(&'a self, asked: UsageQuery<'a>) -> RequestsQuery<'a> {
        RequestsQuery {
            asked,
            filter: &self.filter,
            limit: self.limit,
            before: self.before,
        }
    }

    /// The answer.
    #[must_use]
    pub fn answer(&self, page: RequestPage) -> Page {
        let question = cursor::digest(self.period, &self.filter);
        let next_cursor = page
            .requests
            .last()
            .filter(|_| page.more)
            .map(|last| cursor::encode(last.place(), question));
        Page {
            requests: page.requests,
            next_cursor,
        }
    }
}

fn filter(parameters: &Parameters<'_>) -> Result<RequestFilter, ParameterError> {
    Ok(RequestFilter {
        model: parameters.text("model")?,
        endpoint: parameters.text("endpoint")?,
        status: parameters.parse("status", "must be pending, completed or failed", |value| {
            one_of(value, &["pending", "completed", "failed"])
        })?,
        cost_state: parameters.parse(
            "cost_state",
            "must be none, pending, final or unknown",
            |value| one_of(value, &["none", "pending", "final", "unknown"]),
        )?,
        min_cost: parameters.parse(
            "min_cost",
            "must be an amount in US dollars, such as 0.01",
            |value| value.parse().ok(),
        )?,
        labels: labels::read(parameters)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{request::RawQuery, storage::UsageLabels};

    fn canonical(query: &str) -> CanonicalQuery {
        CanonicalQuery::from_raw(&RawQuery::Encoded(query.to_owned())).unwrap()
    }

    fn asked(query: &str) -> Result<RequestsQuestion, String> {
        RequestsQuestion::read(&canonical(query), &HeaderMap::new())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn filters_are_read() {
        let question = asked(
            "model=a/b%20c&endpoint=chat&status=failed&cost_state=unknown&min_cost=1e-7&limit=1000&end_date=2026-01-31&time_zone=Asia/Tokyo\
             &token=00000000-0000-0000-0000-0000000000aa&app=My%20App&tag=nightly",
        )
        .unwrap();
        assert_eq!(
            question.filter,
            RequestFilter {
                model: Some("a/b c".to_owned()),
                endpoint: Some("chat".to_owned()),
                status: Some("failed"),
                cost_state: Some("unknown"),
                min_cost: Some("0.0000001".parse().unwrap()),
                labels: UsageLabels {
                    token_id: Some("00000000-0000-0000-0000-0000000000aa".parse().unwrap()),
                    app: Some("My App".to_owned()),
                    tag: Some("nightly".to_owned()),
                },
            }
        );
        assert_eq!(question.limit, 1000);
        assert_eq!(
            question.period.end,
            Some("2026-01-31T15:00:00Z".parse().unwrap())
        );
        assert_eq!(asked("").unwrap().limit, 50);
    }

    #[test]
    fn a_bad_parameter_names_itself() {
        for (query, name) in [
            ("limit=0", "limit must be"),
            ("limit=1001", "limit must be"),
            ("limit=all", "limit must be"),
            ("limit=-1", "limit must be"),
            ("model=", "model must be"),
            ("model=a%00b", "model must be"),
            ("endpoint=", "endpoint must be"),
            ("status=done", "status must be"),
            ("cost_state=", "cost_state must be"),
            ("min_cost=-1", "min_cost must be"),
            ("min_cost=cheap", "min_cost must be"),
            ("cursor=xyz", "cursor must be"),
            ("group_by=model", "group_by is not a parameter"),
            ("limit=1&limit=2", "limit is given more than once"),
        ] {
            let error = asked(query).unwrap_err();
            assert!(error.starts_with(name), "{query}: {error}");
        }
    }

    #[test]
    fn a_cursor_belongs_to_its_question() {
        let place = Place {
            request_time: "2026-11-23T00:00:00.165Z".parse().unwrap(),
            id: uuid::Uuid::from_u128(7),
        };
        let chats = asked("endpoint=chat").unwrap();
        let cursor = cursor::encode(place, cursor::digest(chats.period, &chats.filter));
        // The page's size and the format are no part of the question.
        let next = cursor::query_with(
            &canonical("format=csv&cursor=old&limit=9&endpoint=chat"),
            cursor,
        );
        let next = next.unwrap();
        assert!(
            next.starts_with("cursor=A") && next.ends_with("&endpoint=chat&format=csv&limit=9")
        );
        assert_eq!(asked(&next).unwrap().before, Some(place));
        let other = next.replace("chat", "messages");
        assert!(asked(&other).unwrap_err().starts_with("cursor must be"));
    }
}
