//! The questions about usage.

use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::super::{
    ReplayGuard,
    keys::{CallerRequest, CallerRequestJson},
};
use crate::metering::money::Usd;

/// The common part of every question about usage: the caller, and the time asked about.
#[derive(Debug, Clone, Copy)]
pub struct UsageQuery<'a> {
    /// The gateway's id of the request.
    pub id: Uuid,
    /// The caller.
    pub did: &'a str,
    /// When it arrived.
    pub request_time: Timestamp,
    /// Set where the signed request may pass only once.
    pub fingerprint: Option<ReplayGuard>,
    /// The time asked about.
    pub period: Period,
}

/// A time, on the requests' `request_time`. An absent side is open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Period {
    /// The first moment in it.
    pub start: Option<Timestamp>,
    /// The first moment after it.
    pub end: Option<Timestamp>,
}

/// A question for sums.
#[derive(Debug, Clone, Copy)]
pub struct ReportQuery<'a> {
    /// The caller, and the time asked about.
    pub asked: UsageQuery<'a>,
    /// The dimensions to group by, each at most once, in the order in which to sort. Empty: no
    /// groups.
    pub group_by: &'a [Dimension],
    /// The local clock over that time, for days and hours; the first has no beginning.
    pub offsets: &'a [LocalOffset],
    /// The largest number of groups and models in the answer.
    pub max_groups: u32,
    /// Whether to compute percentiles, which takes longer than the rest.
    pub percentiles: bool,
    /// The requests to add up.
    pub labels: &'a UsageLabels,
}

/// What the clients of the requests were called; `None` allows everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct UsageLabels {
    /// The access token that they came with.
    pub token_id: Option<Uuid>,
    /// The client's name for itself.
    pub app: Option<String>,
    /// The token's tag, or the client's word for a request.
    pub tag: Option<String>,
}

/// A dimension by which requests can be grouped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Dimension {
    /// The model that answered, or was asked for.
    Model,
    /// The kind of endpoint.
    Endpoint,
    /// The access token.
    Token,
    /// The client's name for itself.
    App,
    /// The token's tag, or the client's word for a request.
    Tag,
    /// The local day.
    Day,
    /// The local hour; one that comes twice, where a clock is set back, is two.
    Hour,
}

impl Dimension {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Model,
        Self::Endpoint,
        Self::Token,
        Self::App,
        Self::Tag,
        Self::Day,
        Self::Hour,
    ];

    /// Its name, in the question and in the answer.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Endpoint => "endpoint",
            Self::Token => "token",
            Self::App => "app",
            Self::Tag => "tag",
            Self::Day => "day",
            Self::Hour => "hour",
        }
    }
}

/// The difference of a local clock from UTC, from a moment on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LocalOffset {
    /// The first moment with this offset; `None`: since ever.
    pub from: Option<Timestamp>,
    /// Seconds, negative west of Greenwich.
    pub seconds: i32,
}

/// A question for single requests.
#[derive(Debug, Clone, Copy)]
pub struct RequestsQuery<'a> {
    /// The caller, and the time asked about.
    pub asked: UsageQuery<'a>,
    /// The requests to list.
    pub filter: &'a RequestFilter,
    /// The largest number of requests, 1 to 1000.
    pub limit: u16,
    /// The last one of the page before.
    pub before: Option<Place>,
}

/// The properties of the requests to list; `None` allows everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RequestFilter {
    /// The model that answered, or was asked for.
    pub model: Option<String>,
    /// The kind of endpoint.
    pub endpoint: Option<String>,
    /// `pending`, `completed` or `failed`.
    pub status: Option<&'static str>,
    /// `none`, `pending`, `final` or `unknown`.
    pub cost_state: Option<&'static str>,
    /// The least known cost.
    pub min_cost: Option<Usd>,
    /// What the clients were called.
    #[serde(flatten)]
    pub labels: UsageLabels,
}

/// A request's place in the order of all requests. It never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Place {
    /// When it began, to the microsecond.
    pub request_time: Timestamp,
    /// Its id, among those of the same time.
    pub id: Uuid,
}

#[derive(Serialize)]
struct AskedJson<'a> {
    #[serde(flatten)]
    caller_request: CallerRequestJson<'a>,
    #[serde(flatten)]
    period: Period,
}

impl<'a> From<UsageQuery<'a>> for AskedJson<'a> {
    fn from(asked: UsageQuery<'a>) -> Self {
        let caller_request = CallerRequest {
            id: asked.id,
            did: asked.did,
            request_time: asked.request_time,
            fingerprint: asked.fingerprint,
        };
        Self {
            caller_request: CallerRequestJson::from(&caller_request),
            period: asked.period,
        }
    }
}

#[derive(Serialize)]
pub(super) struct ReportJson<'a> {
    #[serde(flatten)]
    asked: AskedJson<'a>,
    group_by: &'a [Dimension],
    offsets: &'a [LocalOffset],
    max_groups: u32,
    percentiles: bool,
    #[serde(flatten)]
    labels: &'a UsageLabels,
}

impl<'a> From<&ReportQuery<'a>> for ReportJson<'a> {
    fn from(query: &ReportQuery<'a>) -> Self {
        Self {
            asked: query.asked.into(),
            group_by: query.group_by,
            offsets: query.offsets,
            max_groups: query.max_groups,
            percentiles: query.percentiles,
            labels: query.labels,
        }
    }
}

#[derive(Serialize)]
pub(super) struct RequestsJson<'a> {
    #[serde(flatten)]
    asked: AskedJson<'a>,
    #[serde(flatten)]
    filter: &'a RequestFilter,
    limit: u16,
    before: Option<Place>,
}

impl<'a> From<&RequestsQuery<'a>> for RequestsJson<'a> {
    fn from(query: &RequestsQuery<'a>) -> Self {
        Self {
            asked: query.asked.into(),
            filter: query.filter,
            limit: query.limit,
            before: query.before,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn asked() -> UsageQuery<'static> {
        UsageQuery {
            id: Uuid::nil(),
            did: "did:key:z",
            request_time: Timestamp::UNIX_EPOCH,
            fingerprint: None,
            period: Period {
                start: Some("2026-01-01T00:00:00.000001Z".parse().unwrap()),
                end: None,
            },
        }
    }

    #[test]
    fn questions_are_flat_objects() {
        let report = ReportQuery {
            asked: asked(),
            group_by: &[Dimension::Day, Dimension::Model],
            offsets: &[LocalOffset {
                from: None,
                seconds: -3600,
            }],
            max_groups: 7,
            percentiles: true,
            labels: &UsageLabels::default(),
        };
        let asked_json = json!({
            "id": "00000000-0000-0000-0000-000000000000", "did": "did:key:z", "request_time": 0,
            "fingerprint": null, "fingerprint_expires_at": null,
            "start": "2026-01-01T00:00:00.000001Z", "end": null,
        });
        let with = |more: Value| {
            let mut all = asked_json.as_object().unwrap().clone();
            all.extend(more.as_object().unwrap().clone());
            Value::from(all)
        };
        assert_eq!(
            serde_json::to_value(ReportJson::from(&report)).unwrap(),
            with(json!({
                "group_by": ["day", "model"], "offsets": [{"from": null, "seconds": -3600}],
                "max_groups": 7, "percentiles": true, "token_id": null, "app": null, "tag": null,
            }))
        );

        let requests = RequestsQuery {
            asked: asked(),
            filter: &RequestFilter {
                min_cost: Some("1e-7".parse().unwrap()),
                labels: UsageLabels {
                    token_id: Some(Uuid::nil()),
                    app: Some("demo".to_owned()),
                    tag: None,
                },
                ..RequestFilter::default()
            },
            limit: 50,
            before: None,
        };
        assert_eq!(
            serde_json::to_value(RequestsJson::from(&requests)).unwrap(),
            with(json!({
                "model": null, "endpoint": null, "status": null, "cost_state": null,
                "min_cost": "0.0000001", "limit": 50, "before": null,
                "token_id": "00000000-0000-0000-0000-000000000000", "app": "demo", "tag": null,
            }))
        );
    }
}
