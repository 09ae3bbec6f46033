//! Answers, as JSON (by their `Serialize`) and as CSV. A column is named like the member.

use serde::{Serialize, Serializer};

use super::{
    csv::{Cell, Table},
    cursor,
};
use crate::{
    identity::canonical::CanonicalQuery,
    storage::{Dimension, RequestEntry, UsageGroup, UsageReport},
};

/// The sums of a DID's requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    #[serde(flatten)]
    report: UsageReport,
    /// Absent where none were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    groups: Option<Vec<Group>>,
    #[serde(skip)]
    group_by: Vec<Dimension>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Group {
    #[serde(flatten)]
    keys: Keys,
    #[serde(flatten)]
    sums: UsageGroup,
}

/// The dimensions of a group and their values, in the order that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Keys(Vec<(Dimension, Option<String>)>);

impl Serialize for Keys {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(dimension, key)| (dimension, key)))
    }
}

impl Summary {
    pub(super) fn new(mut report: UsageReport, group_by: &[Dimension]) -> Self {
        let groups = std::mem::take(&mut report.groups).into_iter();
        let named = groups.map(|mut sums| Group {
            keys: Keys(
                group_by
                    .iter()
                    .copied()
                    .zip(std::mem::take(&mut sums.keys))
                    .collect(),
            ),
            sums,
        });
        Self {
            groups: (!group_by.is_empty()).then(|| named.collect()),
            report,
            group_by: group_by.to_vec(),
        }
    }

    /// A line for each group; without groups, one line of totals. What is not one value of a line,
    /// `requests_by_model`, is left out.
    #[must_use]
    pub fn to_csv(&self) -> String {
        match &self.groups {
            Some(groups) => groups_csv(groups, &self.group_by),
            None => totals_csv(&self.report),
        }
    }
}

fn groups_csv(groups: &[Group], group_by: &[Dimension]) -> String {
    let keys = group_by.iter().map(|dimension| dimension.as_str());
    let mut table = Table::new(keys.chain(GROUP_COLUMNS.map(|(name, _)| name)));
    for group in groups {
        let keys = group.keys.0.iter();
        table.line(
            keys.map(|(dimension, key)| match dimension {
                Dimension::Model
                | Dimension::Endpoint
                | Dimension::Token
                | Dimension::App
                | Dimension::Tag => Cell::text(key.as_deref()),
                Dimension::Day | Dimension::Hour => Cell::plain(key.as_ref()),
            })
            .chain(GROUP_COLUMNS.map(|(_, cell)| cell(&group.sums))),
        );
    }
    table.finish()
}

fn totals_csv(report: &UsageReport) -> String {
    let mut table = Table::new(TOTAL_COLUMNS.map(|(name, _)| name));
    table.line(TOTAL_COLUMNS.map(|(_, cell)| cell(report)));
    table.finish()
}

/// A column: its name, and what stands in it.
type Column<T> = (&'static str, for<'a> fn(&'a T) -> Cell<'a>);

const GROUP_COLUMNS: [Column<UsageGroup>; 12] = [
    ("requests", |it| Cell::Plain(&it.requests)),
    ("successful_requests", |it| {
        Cell::Plain(&it.successful_requests)
    }),
    ("failed_requests", |it| Cell::Plain(&it.failed_requests)),
    ("pending_requests", |it| Cell::Plain(&it.pending_requests)),
    ("cost_pending_requests", |it| {
        Cell::Plain(&it.cost_pending_requests)
    }),
    ("cost_unknown_requests", |it| {
        Cell::Plain(&it.cost_unknown_requests)
    }),
    ("input_tokens", |it| Cell::Plain(&it.input_tokens)),
    ("output_tokens", |it| Cell::Plain(&it.output_tokens)),
    ("cached_tokens", |it| Cell::Plain(&it.cached_tokens)),
    ("cache_write_tokens", |it| {
        Cell::Plain(&it.cache_write_tokens)
    }),
    ("reasoning_tokens", |it| Cell::Plain(&it.reasoning_tokens)),
    ("cost", |it| Cell::Plain(&it.cost)),
];

const TOTAL_COLUMNS: [Column<UsageReport>; 22] = [
    ("total_requests", |it| Cell::Plain(&it.total_requests)),
    ("successful_requests", |it| {
        Cell::Plain(&it.successful_requests)
    }),
    ("failed_requests", |it| Cell::Plain(&it.failed_requests)),
    ("pending_requests", |it| Cell::Plain(&it.pending_requests)),
    ("cost_pending_requests", |it| {
        Cell::Plain(&it.cost_pending_requests)
    }),
    ("cost_unknown_requests", |it| {
        Cell::Plain(&it.cost_unknown_requests)
    }),
    ("total_input_tokens", |it| {
        Cell::Plain(&it.total_input_tokens)
    }),
    ("total_output_tokens", |it| {
        Cell::Plain(&it.total_output_tokens)
    }),
    ("total_cached_tokens", |it| {
        Cell::Plain(&it.total_cached_tokens)
    }),
    ("total_cache_write_tokens", |it| {
        Cell::Plain(&it.total_cache_write_tokens)
    }),
    ("total_reasoning_tokens", |it| {
        Cell::Plain(&it.total_reasoning_tokens)
    }),
    ("total_cost", |it| Cell::Plain(&it.total_cost)),
    ("limit", |it| Cell::plain(it.limit.as_ref())),
    ("spent", |it| Cell::plain(it.spent.as_ref())),
    ("held", |it| Cell::plain(it.held.as_ref())),
    ("remaining", |it| Cell::plain(it.remaining.as_ref())),
    ("duration_ms_p50", |it| {
        Cell::plain(it.duration_ms.p50.as_ref())
    }),
    ("duration_ms_p90", |it| {
        Cell::plain(it.duration_ms.p90.as_ref())
    }),
    ("duration_ms_p99", |it| {
        Cell::plain(it.duration_ms.p99.as_ref())
    }),
    ("first_byte_ms_p50", |it| {
        Cell::plain(it.first_byte_ms.p50.as_ref())
    }),
    ("first_byte_ms_p90", |it| {
        Cell::plain(it.first_byte_ms.p90.as_ref())
    }),
    ("first_byte_ms_p99", |it| {
        Cell::plain(it.first_byte_ms.p99.as_ref())
    }),
];

/// One page of a DID's requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Page {
    pub(super) requests: Vec<RequestEntry>,
    pub(super) next_cursor: Option<String>,
}

impl Page {
    /// The query that asks for the next page, of the `query` that asked for this one; `None` on
    /// the last.
    #[must_use]
    pub fn next_query(&self, query: &CanonicalQuery) -> Option<String> {
        cursor::query_with(query, self.next_cursor.clone()?)
    }

    /// A line for each request.
    #[must_use]
    pub fn to_csv(&self) -> String {
        let mut table = Table::new(REQUEST_COLUMNS.map(|(name, _)| name));
        for request in &self.requests {
            table.line(REQUEST_COLUMNS.map(|(_, cell)| cell(request)));
        }
        table.finish()
    }
}

const REQUEST_COLUMNS: [Column<RequestEntry>; 33] = [
    ("id", |it| Cell::Plain(&it.id)),
    ("request_time", |it| Cell::Plain(&it.request_time)),
    ("response_time", |it| Cell::plain(it.response_time.as_ref())),
    ("duration_ms", |it| Cell::plain(it.duration_ms.as_ref())),
    ("first_byte_ms", |it| Cell::plain(it.first_byte_ms.as_ref())),
    ("method", |it| Cell::text(it.method.as_deref())),
    ("path", |it| Cell::text(it.path.as_deref())),
    ("endpoint", |it| Cell::text(it.endpoint.as_deref())),
    ("requested_model", |it| {
        Cell::text(it.requested_model.as_deref())
    }),
    ("model", |it| Cell::Text(&it.model)),
    ("generation_id", |it| {
        Cell::text(it.generation_id.as_deref())
    }),
    ("streamed", |it| Cell::plain(it.streamed.as_ref())),
    ("token_id", |it| Cell::plain(it.token_id.as_ref())),
    ("app", |it| Cell::text(it.app.as_deref())),
    ("tag", |it| Cell::text(it.tag.as_deref())),
    ("status", |it| Cell::Plain(&it.status)),
    ("http_status", |it| Cell::plain(it.http_status.as_ref())),
    ("error_reason", |it| Cell::text(it.error_reason.as_deref())),
    ("error_message", |it| {
        Cell::text(it.error_message.as_deref())
    }),
    ("input_tokens", |it| Cell::plain(it.input_tokens.as_ref())),
    ("output_tokens", |it| Cell::plain(it.output_tokens.as_ref())),
    ("cached_tokens", |it| Cell::plain(it.cached_tokens.as_ref())),
    ("cache_write_tokens", |it| {
        Cell::plain(it.cache_write_tokens.as_ref())
    }),
    ("reasoning_tokens", |it| {
        Cell::plain(it.reasoning_tokens.as_ref())
    }),
    ("service_tier", |it| Cell::text(it.service_tier.as_deref())),
    ("cost_state", |it| Cell::Plain(&it.cost_state)),
    ("unknown_cost_reason", |it| {
        Cell::text(it.unknown_cost_reason.as_deref())
    }),
    ("known_cost", |it| Cell::plain(it.known_cost.as_ref())),
    ("total_cost", |it| Cell::plain(it.total_cost.as_ref())),
    ("openrouter_cost", |it| {
        Cell::plain(it.openrouter_cost.as_ref())
    }),
    ("server_tool_cost", |it| {
        Cell::plain(it.server_tool_cost.as_ref())
    }),
    ("upstream_inference_cost", |it| {
        Cell::plain(it.upstream_inference_cost.as_ref())
    }),
    ("is_byok", |it| Cell::plain(it.is_byok.as_ref())),
];

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn report() -> UsageReport {
        let sums = |keys: [Option<&str>; 2], requests: &str| {
            json!({"keys": keys, "requests": requests, "successful_requests": "2", "failed_requests": "1",
                "pending_requests": "0", "cost_pending_requests": "0", "cost_unknown_requests": "0",
                "input_tokens": "4", "output_tokens": "5", "cached_tokens": "6",
                "cache_write_tokens": "8", "reasoning_tokens": "7", "cost": "0.0076509169000000005"})
        };
        let none = json!({"p50": null, "p90": null, "p99": null});
        serde_json::from_value(json!({
            "total_requests": "3", "successful_requests": "2", "failed_requests": "1",
            "pending_requests": "0", "cost_pending_requests": "0", "cost_unknown_requests": "0",
            "total_input_tokens": "4", "total_output_tokens": "5", "total_cached_tokens": "6",
            "total_cache_write_tokens": "8", "total_reasoning_tokens": "7", "total_cost": "0.5", "limit": "10", "spent": "0.5", "held": "0",
            "remaining": "9.5", "duration_ms": {"p50": "1", "p90": "2", "p99": "3"}, "first_byte_ms": none,
            "requests_by_model": {"m": "3"}, "models": "1", "group_count": "2",
            "groups": [sums([Some("2026-01-31"), Some("=m")], "3"), sums([Some("2026-01-31"), None], "0")],
        }))
        .unwrap()
    }

    #[test]
    fn groups_name_what_they_are_of() {
        let group_by = [Dimension::Day, Dimension::Endpoint];
        let summary = Summary::new(report(), &group_by);
        let json = serde_json::to_string(&summary).unwrap();
        assert!(
            json.contains(
                r#""models":1,"groups":[{"day":"2026-01-31","endpoint":"=m","requests":3,"successful_requests":2"#
            ),
            "{json}"
        );
        assert!(
            json.contains(r#""cost":0.0076509169000000005},{"day":"2026-01-31","endpoint":null,"#)
        );
        assert_eq!(
            summary.to_csv(),
            "day,endpoint,requests,successful_requests,failed_requests,pending_requests,cost_pending_requests,\
             cost_unknown_requests,input_tokens,output_tokens,cached_tokens,cache_write_tokens,reasoning_tokens,cost\r\n\
             2026-01-31,\"'=m\",3,2,1,0,0,0,4,5,6,8,7,0.0076509169000000005\r\n\
             2026-01-31,,0,2,1,0,0,0,4,5,6,8,7,0.0076509169000000005\r\n"
        );
    }

    #[test]
    fn without_groups_there_is_one_line() {
        let summary = Summary::new(report(), &[]);
        let json = serde_json::to_value(&summary).unwrap();
        assert_eq!(json.get("groups"), None);
        assert_eq!(
            summary.to_csv().lines().nth(1),
            Some("3,2,1,0,0,0,4,5,6,8,7,0.5,10,0.5,0,9.5,1,2,3,,,")
        );
        // The columns are the JSON's members, those of nested objects joined by an underscore.
        let mut members = Vec::new();
        for (name, value) in json.as_object().unwrap() {
            match (name.as_str(), value) {
                ("requests_by_model" | "models", _) => {}
                (_, Value::Object(nested)) => {
                    members.extend(nested.keys().map(|inner| format!("{name}_{inner}")));
                }
                _ => members.push(name.clone()),
            }
        }
        let mut columns = TOTAL_COLUMNS.map(|(name, _)| name.to_owned()).to_vec();
        columns.sort();
        members.sort();
        assert_eq!(columns, members);
    }

    #[test]
    fn a_request_has_the_same_members_in_both_formats() {
        let entry: RequestEntry = serde_json::from_value(json!({
            "id": "00000000-0000-0000-0000-000000000007", "request_time": "2026-11-23T00:30:19.165000Z",
            "response_time": null, "duration_ms": null, "model": "-m", "status": "pending",
            "cost_state": "none", "is_byok": true, "total_cost": "0.0000001",
            "error_message": "two\nlines, \"quoted\"",
        }))
        .unwrap();
        let page = Page {
            requests: vec![entry],
            next_cursor: None,
        };
        let json = serde_json::to_string(&page).unwrap();
        let empty = "first_byte_ms,method,path,endpoint,requested_model";
        let mut from = 0;
        for (name, _) in REQUEST_COLUMNS {
            let at = json[from..].find(&format!("\"{name}\":"));
            from += at.unwrap_or_else(|| panic!("{name} is missing, or not in its place: {json}"));
        }
        assert_eq!(json.matches("\":").count(), REQUEST_COLUMNS.len() + 2);
        assert!(
            json.contains(r#""request_time":"2026-11-23T00:30:19.165Z""#),
            "{json}"
        );
        assert!(page.to_csv().contains(empty));
        assert!(
            page.to_csv().ends_with(
                "\r\n00000000-0000-0000-0000-000000000007,2026-11-23T00:30:19.165Z,,,,,,,,\"'-m\",,,,,,pending,,,\
                 \"two\nlines, \"\"quoted\"\"\",,,,,,,none,,,0.0000001,,,,true\r\n"
            ),
            "{}",
            page.to_csv()
        );
    }
}
