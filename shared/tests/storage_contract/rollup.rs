//! The rollup: sums of finished requests, which agree with the requests to the last digit.

use std::collections::BTreeSet;

use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};
use shared::storage::{
    Begin, Dimension, LocalOffset, Period, Place, ReportQuery, RequestFilter, RequestsQuery,
    RollupCheck, RollupQuery, Settle, UsageReport,
};
use uuid::Uuid;

use crate::{
    usage::{question, sums},
    user::{User, billed, completed, cut, soon, unknown, with_user},
};

/// After everything that the tests of retention have declared expired, so that sums have to be equal.
const FUTURE: &str = "2099-01-01T00:00:00Z";

/// Kolkata.
pub(crate) const INDIA: LocalOffset = LocalOffset {
    from: None,
    seconds: 19_800,
};

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_late_settlement_lands_in_the_hour_of_its_request() {
    with_user(json!({}), async |user| {
        let begin = Begin {
            request_time: at("2099-03-01T10:59:59.999Z"),
            ..user.billable("0.5")
        };
        user.begin(&begin).await.unwrap();
        let hour = || user.sums_of("2099-03-01T10:00:00Z", "2099-03-01T11:00:00Z");
        let running = hour().await;
        assert_eq!(
            (running.total_requests, running.pending_requests),
            (1, 1),
            "in no sum yet"
        );
        assert_eq!(user.hours().await.len(), 0);

        user.finish(&cut(begin.id)).await.unwrap();
        let open = hour().await;
        assert_eq!((open.failed_requests, open.cost_pending_requests), (1, 1));
        assert_eq!(open.total_cost.to_string(), "0");
        user.agrees().await;

        let settle = Settle {
            finding: billed("0.0076509169000000005", Some(false)),
            ..unknown(begin.id)
        };
        user.settle(&settle).await;
        let settled = hour().await;
        assert_eq!(
            (settled.total_requests, settled.cost_pending_requests),
            (1, 0)
        );
        assert_eq!(settled.total_cost.to_string(), "0.0076509169000000005");
        assert_eq!(settled.total_input_tokens, 9);
        assert_eq!(user.hours().await.len(), 1, "the open one's sum is gone");
        user.agrees().await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn whatever_changes_a_request_changes_its_sums() {
    with_user(json!({}), async |user| {
        // Given up, and then finished by the function that was still running.
        let begin = user.billable("0.5");
        user.begin(&begin).await.unwrap();
        user.settle(&unknown(begin.id)).await;
        user.agrees().await;
        assert_eq!(user.sums().await.cost_unknown_requests, 1);
        user.finish(&completed(begin.id, "0.25")).await.unwrap();
        user.agrees().await;
        let sums = user.sums().await;
        assert_eq!(
            (sums.cost_unknown_requests, sums.successful_requests),
            (0, 1)
        );

        // Statements of others.
        let ids = user
            .log(&[
                json!({"request_time": FUTURE, "total_cost": "0.1", "input_tokens": 5, "model": "m/a"}),
                json!({"request_time": FUTURE, "total_cost": "0.2", "input_tokens": 6, "model": "m/a"}),
                json!({"request_time": FUTURE, "total_cost": "NaN", "model": "m/a"}),
                json!({"request_time": FUTURE, "status": "pending", "cost_state": "none"}),
            ])
            .await;
        user.agrees().await;
        for (id, change) in [
            (ids[0], json!({"total_cost": "0.3"})),
            (ids[0], json!({"model": "m/b", "status": "failed"})),
            (ids[1], json!({"input_tokens": null, "endpoint": "chat"})),
            (ids[2], json!({"total_cost": "1"})),
            (ids[3], json!({"status": "completed", "total_cost": "4"})),
            (ids[3], json!({"error_message": "not in the sums"})),
        ] {
            let path = format!("request_logs?id=eq.{id}");
            user.rest(Method::PATCH, &path, Some(&change)).await;
            user.agrees().await;
        }
        assert_eq!(user.sums().await.total_cost.to_string(), "5.75");

        // Until everything of the user goes.
        user.delete("usage_series").await;
        assert_eq!(user.hours().await.len(), 0);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_period_may_begin_and_end_within_an_hour() {
    with_user(json!({}), async |user| {
        let times = [
            "10:00:00",
            "10:16:59.999999",
            "10:17:00",
            "10:45:00",
            "11:00:00",
            "11:59:59.999999",
            "12:00:00",
            "12:39:59.999999",
            "12:40:00",
        ];
        let mut rows: Vec<_> = times
            .iter()
            .map(|time| json!({"request_time": format!("2026-03-01T{time}Z"), "total_cost": "0.1"}))
            .collect();
        rows.push(json!({"request_time": "2026-03-01T10:18:00Z", "status": "pending"}));
        rows.push(json!({"request_time": "2026-03-01T10:16:00Z", "status": "pending"}));
        user.log(&rows).await;
        for (start, end, requests, cost) in [
            ("10:17:00", "12:40:00", 7, "0.6"),
            ("10:00:00", "13:00:00", 11, "0.9"),
            ("10:50:00", "12:10:00", 3, "0.3"),
            ("10:17:00", "10:45:00", 2, "0.1"),
            ("10:00:01", "10:17:00", 2, "0.1"),
            ("12:40:00", "12:40:00", 0, "0"),
            ("12:45:00", "13:00:00", 0, "0"),
        ] {
            let (start, end) = (format!("2026-03-01T{start}Z"), format!("2026-03-01T{end}Z"));
            let sums = user.sums_of(&start, &end).await;
            assert_eq!(
                (sums.total_requests, sums.total_cost.to_string().as_str()),
                (requests, cost),
                "{start} {end}"
            );
            let models: u64 = sums.requests_by_model.values().sum();
            assert_eq!(models, requests, "{start} {end}");
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_zone_off_the_full_hour_splits_hours() {
    with_user(json!({}), async |user| {
        user.log(&[
            json!({"request_time": "2026-03-01T18:00:00Z", "model": "m/a"}),
            json!({"request_time": "2026-03-01T18:29:59.999999Z", "model": "m/a"}),
            json!({"request_time": "2026-03-01T18:30:00Z", "model": "m/b"}),
            json!({"request_time": "2026-03-01T19:29:00Z", "model": "m/a"}),
            json!({"request_time": "2026-03-02T18:29:00Z", "status": "pending", "model": "m/c"}),
        ])
        .await;
        assert_eq!(
            user.groups(&[Dimension::Day, Dimension::Model], &[INDIA])
                .await,
            [
                "2026-03-01 m/a 2",
                "2026-03-02 m/a 1",
                "2026-03-02 m/b 1",
                "2026-03-02 m/c 1"
            ]
        );
        assert_eq!(
            user.groups(&[Dimension::Hour], &[INDIA]).await,
            [
                "2026-03-01T23:00:00+05:30 2",
                "2026-03-02T00:00:00+05:30 2",
                "2026-03-02T23:00:00+05:30 1"
            ]
        );
        // A clock that is set within an hour.
        let mut later = INDIA;
        later.from = Some(at("2026-03-01T18:10:00Z"));
        let utc = LocalOffset {
            from: None,
            seconds: 0,
        };
        assert_eq!(
            user.groups(&[Dimension::Day], &[utc, later]).await,
            ["2026-03-01 2", "2026-03-02 3"]
        );
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn users_have_sums_of_their_own() {
    with_user(json!({}), async |one| {
        with_user(json!({}), async |other| {
            let row = json!({"total_cost": "0.1"});
            one.log(&[row.clone(), row.clone()]).await;
            other.log(std::slice::from_ref(&row)).await;
            assert_eq!(one.sums().await.total_cost.to_string(), "0.2");
            assert_eq!(other.sums().await.total_cost.to_string(), "0.1");
            one.agrees().await;
            other.agrees().await;
        })
        .await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn requests_that_finish_at_once_are_all_in_the_sums() {
    with_user(json!({}), async |user| {
        let begins: Vec<_> = (0..20).map(|_| user.billable("0")).collect();
        for begin in &begins {
            user.begin(begin).await.unwrap();
        }
        let finishes = begins
            .iter()
            .map(|begin| async { user.finish(&completed(begin.id, "0.1")).await.unwrap() });
        futures_util::future::join_all(finishes).await;
        let sums = user.sums().await;
        assert_eq!(
            (sums.successful_requests, sums.total_cost.to_string()),
            (20, "2".to_owned())
        );
        user.agrees().await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn the_check_finds_a_planted_difference() {
    with_user(json!({}), async |user| {
        user.log(&[
            json!({"total_cost": "0.1", "input_tokens": 7, "request_time": "2099-01-01T10:20:00Z"}),
            json!({"total_cost": "0.0000000000000000005", "request_time": "2099-01-01T12:20:00Z"}),
        ])
        .await;
        let check = user.check().await;
        assert_eq!((check.requests, check.hours, check.differences), (2, 2, 0));
        assert_eq!(check.examples, []);

        let series = user.series().await;
        let hour = async |hour: &str, change: Value| {
            let path = format!("usage_hours?series_id=eq.{}&hour=eq.{hour}", series[0]);
            user.rest(Method::PATCH, &path, Some(&change)).await;
        };
        hour(
            "2099-01-01T12:00:00Z",
            json!({"cost": "0.0000000000000000006"}),
        )
        .await;
        let check = user.check().await;
        assert_eq!(check.differences, 1);
        let [found] = check.examples.as_slice() else {
            panic!("{check:?}")
        };
        assert_eq!(found.hour, at("2099-01-01T12:00:00Z"));
        assert_eq!(
            (found.did.as_str(), found.model.as_str()),
            (user.did.as_str(), "m")
        );
        assert_eq!(found.rollup[6].as_deref(), Some("0.0000000000000000006"));
        assert_eq!(found.logged[6].as_deref(), Some("0.0000000000000000005"));

        // Not in the hours that are asked about.
        let query = RollupQuery {
            period: Period {
                start: None,
                end: Some(at("2099-01-01T12:00:00Z")),
            },
            did: Some(&user.did),
            limit: 1,
        };
        let check = user.storage.check_rollup(&query, soon()).await.unwrap();
        assert_eq!((check.requests, check.differences), (1, 0));

        // Sums without requests, and requests without sums.
        hour(
            "2099-01-01T12:00:00Z",
            json!({"hour": "2099-01-01T13:00:00Z"}),
        )
        .await;
        let check = user.check().await;
        assert_eq!((check.differences, check.examples.len()), (2, 2));
        assert_eq!(check.examples[0].rollup[0], None);
        assert_eq!(check.examples[1].logged[0], None);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn the_check_finds_an_open_request_that_is_not_tracked() {
    with_user(json!({}), async |user| {
        let begins = [user.billable("0"), user.billable("0")];
        for begin in &begins {
            user.begin(begin).await.unwrap();
        }
        user.finish(&completed(begins[0].id, "0.1")).await.unwrap();
        let mut open = user.rows("open_requests", "did,abandoned,request_id").await;
        let row = json!({"did": user.did, "abandoned": false, "request_id": begins[1].id});
        assert_eq!(open, [row]);

        // Nobody would ever ask for its cost.
        user.delete("open_requests").await;
        assert_eq!(user.check().await.untracked, 1);
        // The one that is closed would be asked for.
        open[0]["request_id"] = json!(begins[0].id);
        user.rest(Method::POST, "open_requests", Some(&json!(open)))
            .await;
        assert_eq!(user.check().await.untracked, 2);
        user.delete("open_requests").await;
        open[0]["request_id"] = json!(begins[1].id);
        user.rest(Method::POST, "open_requests", Some(&json!(open)))
            .await;
        assert_eq!(user.check().await.untracked, 0);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_filtered_list_passes_over_hours_and_misses_nothing() {
    with_user(json!({}), async |user| {
        let mut rows = Vec::new();
        for n in 0..120 {
            let (status, cost_state) = match n % 6 {
                0 => ("failed", "none"),
                1 => ("failed", "pending"),
                2 => ("pending", "none"),
                _ => ("completed", "final"),
            };
            rows.push(json!({
                "request_time": format!("2026-01-{:02}T{:02}:{:02}:00Z", 1 + n % 4, n % 5 * 3, n % 60),
                "model": format!("m/{}", n % 7), "status": status, "cost_state": cost_state,
                "endpoint": if n % 4 == 0 { Value::Null } else { json!("chat") },
                "total_cost": (cost_state == "final").then(|| format!("0.{n:03}")),
            }));
        }
        let ids = user.log(&rows).await;
        let period = Period {
            start: Some(at("2026-01-01T00:30:00Z")),
            end: Some(at("2026-01-04T12:10:00Z")),
        };
        let expected = |keep: &dyn Fn(&Value) -> bool| -> BTreeSet<Uuid> {
            std::iter::zip(&ids, &rows)
                .filter(|(_, row)| {
                    let time = at(row["request_time"].as_str().unwrap());
                    period.start.is_some_and(|start| time >= start)
                        && period.end.is_some_and(|end| time < end)
                        && keep(row)
                })
                .map(|(id, _)| *id)
                .collect()
        };
        let filter = |change: fn(&mut RequestFilter)| {
            let mut filter = RequestFilter::default();
            change(&mut filter);
            filter
        };
        let all = user.list(period, &RequestFilter::default()).await;
        assert_eq!(all, expected(&|_| true));

        let model = filter(|it| it.model = Some("m/3".to_owned()));
        let found = user.list(period, &model).await;
        assert_eq!(found, expected(&|row| row["model"] == "m/3"));

        let failed = filter(|it| it.status = Some("failed"));
        let found = user.list(period, &failed).await;
        assert_eq!(found, expected(&|row| row["status"] == "failed"));

        let pending = filter(|it| {
            (it.status, it.endpoint) = (Some("pending"), Some("chat".to_owned()));
        });
        let found = user.list(period, &pending).await;
        assert_eq!(
            found,
            expected(&|row| row["status"] == "pending" && row["endpoint"] == "chat")
        );

        let dear = filter(|it| it.min_cost = "0.09".parse().ok());
        let is_dear = |row: &Value| {
            let cost = row["total_cost"].as_str().map(str::parse::<f64>);
            cost.is_some_and(|cost| cost.is_ok_and(|it| it >= 0.09))
        };
        assert_eq!(user.list(period, &dear).await, expected(&is_dear));

        let nothing = filter(|it| it.min_cost = "1000".parse().ok());
        assert_eq!(user.list(period, &nothing).await, BTreeSet::new());
    })
    .await;
}

impl User {
    /// The whole rollup of the user, against the requests.
    pub(crate) async fn check(&self) -> RollupCheck {
        let query = RollupQuery {
            did: Some(&self.did),
            limit: 10,
            ..RollupQuery::default()
        };
        self.storage.check_rollup(&query, soon()).await.unwrap()
    }

    /// The rollup's sums are those of the requests.
    pub(crate) async fn agrees(&self) {
        let check = self.check().await;
        assert_eq!((check.differences, &*check.examples), (0, &[][..]));
    }

    async fn sums(&self) -> UsageReport {
        let query = sums(question(&self.did, Period::default(), None));
        self.storage.usage_report(&query, soon()).await.unwrap()
    }

    async fn sums_of(&self, start: &str, end: &str) -> UsageReport {
        let period = Period {
            start: Some(at(start)),
            end: Some(at(end)),
        };
        let query = sums(question(&self.did, period, None));
        self.storage.usage_report(&query, soon()).await.unwrap()
    }

    /// The keys of each group of all time, and how many requests it has.
    async fn groups(&self, group_by: &[Dimension], offsets: &[LocalOffset]) -> Vec<String> {
        let query = ReportQuery {
            group_by,
            offsets,
            ..sums(question(&self.did, Period::default(), None))
        };
        let report = self.storage.usage_report(&query, soon()).await.unwrap();
        crate::usage::keys(&report)
    }

    /// The ids of all requests that pass a filter, which come page by page and in order.
    async fn list(&self, period: Period, filter: &RequestFilter) -> BTreeSet<Uuid> {
        let mut ids = BTreeSet::new();
        let mut before: Option<Place> = None;
        loop {
            let query = RequestsQuery {
                asked: question(&self.did, period, None),
                filter,
                before,
                limit: 7,
            };
            let page = self.storage.usage_requests(&query, soon()).await.unwrap();
            for entry in &page.requests {
                let place = Place {
                    request_time: entry.request_time,
                    id: entry.id,
                };
                assert!(before.is_none_or(|before| {
                    (place.request_time, place.id) < (before.request_time, before.id)
                }));
                before = Some(place);
                assert!(ids.insert(entry.id), "twice");
            }
            if !page.more {
                return ids;
            }
        }
    }

    async fn series(&self) -> Vec<i64> {
        let series = self.rows("usage_series", "id").await;
        series
            .iter()
            .filter_map(|series| series["id"].as_i64())
            .collect()
    }

    /// The rows of the rollup.
    pub(crate) async fn hours(&self) -> Vec<Value> {
        let series: Vec<_> = self.series().await.iter().map(i64::to_string).collect();
        let path = format!(
            "usage_hours?series_id=in.({})&select=series_id,hour",
            series.join(",")
        );
        if series.is_empty() {
            return Vec::new();
        }
        serde_json::from_str(&self.rest(Method::GET, &path, None).await).unwrap()
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}
