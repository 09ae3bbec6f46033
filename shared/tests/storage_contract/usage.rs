//! Reports of usage.

use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};
use shared::storage::{
    Begin, Dimension, Finish, LocalOffset, Period, ReplayGuard, ReportQuery, Status, Tokens,
    UsageLabels, UsageQuery, UsageReport,
};
use uuid::Uuid;

use crate::user::{User, completed, soon, with_user};

/// Requests with any labels.
pub(crate) static ANY: UsageLabels = UsageLabels {
    token_id: None,
    app: None,
    tag: None,
};

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn usage_is_summed_over_a_half_open_range() {
    with_user(json!({}), async |user| {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let (start, end) = (at("2026-03-29T00:00:00Z"), at("2026-03-30T00:00:00Z"));
        let requests = [
            (
                "2026-03-28T23:59:59.999Z",
                Some((Status::Completed, "m/before")),
            ),
            ("2026-03-29T00:00:00Z", Some((Status::Completed, "m/a"))),
            ("2026-03-29T12:00:00Z", Some((Status::Failed, "m/\"ü\""))),
            ("2026-03-29T12:00:00.001Z", None),
            ("2026-03-29T23:59:59.999Z", Some((Status::Completed, "m/a"))),
            ("2026-03-30T00:00:00Z", Some((Status::Completed, "m/after"))),
        ];
        for (time, outcome) in requests {
            let begin = Begin {
                request_time: at(time),
                ..user.billable("0")
            };
            user.begin(&begin).await.unwrap();
            if let Some((status, model)) = outcome {
                let tokens = Tokens {
                    input: Some(2_000_000_000),
                    output: None,
                    ..Tokens::default()
                };
                let finish = Finish {
                    status,
                    model: Some(model),
                    tokens,
                    ..completed(begin.id, "0.0076509169000000005")
                };
                user.finish(&finish).await.unwrap();
            }
        }

        let day = user.usage(Some(start), Some(end)).await;
        assert_eq!(
            day,
            json!({
                "total_requests": 4, "successful_requests": 2, "failed_requests": 1,
                "total_input_tokens": 6_000_000_000_u64, "total_output_tokens": 0,
                "total_cost": "0.0229527507000000015",
                "requests_by_model": {"m/a": 2, "m/\"ü\"": 1, "anthropic/claude-sonnet-4.6": 1},
            })
        );
        // What the release before asks still answers.
        let request = json!({"request": {"did": user.did, "start": start, "end": end}});
        let before = user
            .rest(Method::POST, "rpc/usage_summary", Some(&request))
            .await;
        let before: Value = serde_json::from_str(&before).unwrap();
        assert_eq!(
            (&before["total_requests"], &before["total_cost"]),
            (&json!("4"), &day["total_cost"])
        );
        assert_eq!(
            user.usage(None, Some(start)).await["requests_by_model"],
            json!({"m/before": 1})
        );
        assert_eq!(
            user.usage(Some(end), None).await["requests_by_model"],
            json!({"m/after": 1})
        );
        assert_eq!(user.usage(None, None).await["total_requests"], 6);
        assert_eq!(
            user.usage(Some(end), Some(start)).await,
            json!({
                "total_requests": 0, "successful_requests": 0, "failed_requests": 0,
                "total_input_tokens": 0, "total_output_tokens": 0, "total_cost": "0",
                "requests_by_model": {},
            })
        );
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn usage_is_grouped_by_what_is_asked_for() {
    with_user(json!({}), async |user| {
        user.log(&[
            json!({"request_time": "2026-01-01T00:00:00Z", "model": "m/b", "endpoint": "chat", "total_cost": "0.1"}),
            json!({"request_time": "2026-01-01T23:59:59Z", "model": "m/a", "endpoint": "messages", "input_tokens": 3,
                   "cached_tokens": 2, "cache_write_tokens": 1, "reasoning_tokens": 1, "output_tokens": 4}),
            json!({"request_time": "2026-01-02T00:00:00Z", "model": "m/b", "endpoint": null, "status": "failed"}),
            json!({"request_time": "2026-01-02T00:00:01Z", "model": "m/b", "status": "pending"}),
            json!({"request_time": "2026-01-02T00:00:02Z", "model": "m/b", "endpoint": "chat", "total_cost": "0.2",
                   "cost_state": "final"}),
            json!({"request_time": "2026-01-02T00:00:03Z", "model": "m/b", "endpoint": "chat", "cost_state": "pending"}),
            json!({"request_time": "2026-01-02T00:00:04Z", "model": "m/b", "endpoint": "chat", "cost_state": "unknown"}),
        ])
        .await;

        let by_model = user.report(&[Dimension::Model], &[], 10).await;
        assert_eq!(keys(&by_model), ["m/a 1", "m/b 6"]);
        let [a, b] = by_model.groups.as_slice() else {
            panic!("{by_model:?}")
        };
        assert_eq!(
            (a.input_tokens, a.output_tokens, a.cached_tokens, a.cache_write_tokens, a.reasoning_tokens),
            (3, 4, 2, 1, 1)
        );
        assert_eq!(b.cost.to_string(), "0.3");
        assert_eq!(
            (b.successful_requests, b.failed_requests, b.pending_requests),
            (4, 1, 1)
        );
        assert_eq!((b.cost_pending_requests, b.cost_unknown_requests), (1, 1));
        assert_eq!((by_model.cost_pending_requests, by_model.pending_requests), (1, 1));
        assert_eq!((by_model.total_cached_tokens, by_model.total_reasoning_tokens), (2, 1));
        assert_eq!(by_model.total_cache_write_tokens, 1);

        let utc = [LocalOffset { from: None, seconds: 0 }];
        let by_both = user.report(&[Dimension::Day, Dimension::Model], &utc, 10).await;
        assert_eq!(
            keys(&by_both),
            ["2026-01-01 m/a 1", "2026-01-01 m/b 1", "2026-01-02 m/b 5"]
        );
        let model_first = user.report(&[Dimension::Model, Dimension::Day], &utc, 10).await;
        assert_eq!(
            keys(&model_first),
            ["m/a 2026-01-01 1", "m/b 2026-01-01 1", "m/b 2026-01-02 5"]
        );
        // What is not known is a group, too; it comes last.
        let by_endpoint = user.report(&[Dimension::Endpoint], &[], 10).await;
        assert_eq!(keys(&by_endpoint), ["chat 4", "messages 1", "- 2"]);

        // All groups or none.
        let few = user.report(&[Dimension::Day, Dimension::Model], &utc, 2).await;
        assert_eq!((few.groups.len(), few.group_count, few.total_requests), (0, 3, 7));
        let one = user.report(&[], &[], 1).await;
        assert_eq!((one.models, one.requests_by_model.into_iter().collect::<Vec<_>>()), (2, vec![("m/b".into(), 6)]));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn days_and_hours_are_those_of_the_local_clock() {
    with_user(json!({}), async |user| {
        let at = |text: &str| Some(text.parse::<Timestamp>().unwrap());
        // Berlin in October 2026, when 02:00 to 03:00 comes twice.
        let berlin = [
            LocalOffset {
                from: None,
                seconds: 7200,
            },
            LocalOffset {
                from: at("2026-10-25T01:00:00Z"),
                seconds: 3600,
            },
        ];
        let times = [
            "2026-10-24T21:59:59.999999Z",
            "2026-10-24T22:00:00Z",
            "2026-10-25T00:30:00Z",
            "2026-10-25T00:59:59.999999Z",
            "2026-10-25T01:00:00Z",
            "2026-10-25T02:00:00Z",
            "2026-10-25T22:59:59.999999Z",
            "2026-10-25T23:00:00Z",
        ];
        user.log(&times.map(|time| json!({"request_time": time})))
            .await;
        assert_eq!(
            keys(&user.report(&[Dimension::Day], &berlin, 10).await),
            ["2026-10-24 1", "2026-10-25 6", "2026-10-26 1"]
        );
        assert_eq!(
            keys(&user.report(&[Dimension::Hour], &berlin, 10).await),
            [
                "2026-10-24T23:00:00+02:00 1",
                "2026-10-25T00:00:00+02:00 1",
                "2026-10-25T02:00:00+02:00 2",
                "2026-10-25T02:00:00+01:00 1",
                "2026-10-25T03:00:00+01:00 1",
                "2026-10-25T23:00:00+01:00 1",
                "2026-10-26T00:00:00+01:00 1",
            ]
        );
        // West of Greenwich, and not by whole hours.
        let st_johns = [LocalOffset {
            from: None,
            seconds: -9000,
        }];
        assert_eq!(
            keys(&user.report(&[Dimension::Day], &st_johns, 10).await),
            ["2026-10-24 6", "2026-10-25 2"]
        );
        assert_eq!(
            keys(&user.report(&[Dimension::Hour], &st_johns, 10).await)[0],
            "2026-10-24T19:00:00-02:30 2"
        );
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn percentiles_are_exact() {
    with_user(json!({}), async |user| {
        let none = user.report(&[], &[], 1).await;
        assert_eq!((none.duration_ms.p50, none.first_byte_ms.p99), (None, None));

        // 2001 to 2200 ms, each once, and some without an end or a first byte.
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut rows: Vec<_> = (1..=200_i64)
            .map(|n| {
                let end = start + SignedDuration::from_millis(2000 + n * 7 % 200 + 1);
                json!({"request_time": start, "response_time": end, "first_byte_ms": n * 10})
            })
            .collect();
        rows.extend((0..50).map(|_| json!({"request_time": start, "status": "pending"})));
        user.log(&rows).await;
        let report = user.report(&[], &[], 1).await;
        let of = report.duration_ms;
        assert_eq!(
            (of.p50, of.p90, of.p99),
            (Some(2100), Some(2180), Some(2198))
        );
        let of = report.first_byte_ms;
        assert_eq!(
            (of.p50, of.p90, of.p99),
            (Some(1000), Some(1800), Some(1980))
        );
        // Not asked for.
        let asked = question(&user.did, Period::default(), None);
        let report = user
            .storage
            .usage_report(&sums(asked), soon())
            .await
            .unwrap();
        assert_eq!((report.duration_ms.p50, report.total_requests), (None, 250));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_report_tells_the_account() {
    let account = |report: UsageReport| {
        [report.limit, report.spent, report.held, report.remaining]
            .map(|it| it.map(|amount| amount.to_string()))
    };
    let some = |text: &str| Some(text.to_owned());
    with_user(json!({"credit_limit": "10"}), async |user| {
        let (done, running) = (user.billable("0.5"), user.billable("0.5"));
        user.begin(&done).await.unwrap();
        user.finish(&completed(done.id, "2.25")).await.unwrap();
        user.begin(&running).await.unwrap();
        // What a request to this model has cost is what the next one holds.
        assert_eq!(
            account(user.report(&[], &[], 1).await),
            [some("10"), some("2.25"), some("2.25"), some("5.5")]
        );
        user.change_key(json!({"credit_limit": "2"})).await;
        assert_eq!(account(user.report(&[], &[], 1).await)[3], some("0"));
        user.change_key(json!({"credit_limit": null})).await;
        assert_eq!(
            account(user.report(&[], &[], 1).await),
            [None, some("2.25"), some("2.25"), None]
        );
        user.delete("user_api_keys").await;
        assert_eq!(
            account(user.report(&[], &[], 1).await),
            [None, None, None, None]
        );
    })
    .await;
}

impl User {
    /// A usage report as JSON, for comparison, but for account, percentiles and groups.
    async fn usage(&self, start: Option<Timestamp>, end: Option<Timestamp>) -> Value {
        let asked = question(&self.did, Period { start, end }, None);
        let usage = self
            .storage
            .usage_report(&sums(asked), soon())
            .await
            .unwrap();
        json!({
            "total_requests": usage.total_requests,
            "successful_requests": usage.successful_requests,
            "failed_requests": usage.failed_requests,
            "total_input_tokens": usage.total_input_tokens,
            "total_output_tokens": usage.total_output_tokens,
            "total_cost": usage.total_cost.to_string(),
            "requests_by_model": usage.requests_by_model,
        })
    }

    /// The usage of all time, in groups.
    async fn report(
        &self,
        group_by: &[Dimension],
        offsets: &[LocalOffset],
        max_groups: u32,
    ) -> UsageReport {
        let query = ReportQuery {
            asked: question(&self.did, Period::default(), None),
            group_by,
            offsets,
            max_groups,
            percentiles: true,
            labels: &ANY,
        };
        self.storage.usage_report(&query, soon()).await.unwrap()
    }
}

/// The question for totals alone.
pub(crate) fn sums(asked: UsageQuery<'_>) -> ReportQuery<'_> {
    ReportQuery {
        asked,
        group_by: &[],
        offsets: &[],
        max_groups: 100,
        percentiles: false,
        labels: &ANY,
    }
}

/// The keys of each group, and how many requests it has.
pub(crate) fn keys(report: &UsageReport) -> Vec<String> {
    let line = |group: &shared::storage::UsageGroup| {
        let keys = group.keys.iter().map(|key| key.as_deref().unwrap_or("-"));
        let keys: Vec<_> = keys.collect();
        format!("{} {}", keys.join(" "), group.requests)
    };
    report.groups.iter().map(line).collect()
}

pub(crate) fn question(
    did: &str,
    period: Period,
    fingerprint: Option<ReplayGuard>,
) -> UsageQuery<'_> {
    UsageQuery {
        id: Uuid::nil(),
        did,
        request_time: Timestamp::UNIX_EPOCH,
        fingerprint,
        period,
    }
}
