//! Old requests, which expire into sums.
//!
//! Expiry knows no users, so these tests work on requests from before there were any others, and one
//! after the other.

use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::json;
use shared::{
    clock::Clock,
    storage::{Dimension, LocalOffset, Period, ReportQuery, Retention, UsageReport},
};
use tokio::sync::Mutex;

use crate::{
    access::{door_of_function, doors_of_table, try_all},
    usage::{question, sums},
    user::{User, env, soon, with_newcomer},
};

static ALONE: Mutex<()> = Mutex::const_new(());

const ONE_BY_ONE: [Dimension; 3] = [Dimension::Day, Dimension::Model, Dimension::Endpoint];

const ALL: Period = Period {
    start: None,
    end: None,
};

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn settled_requests_expire_into_sums() {
    alone(async |user| {
        let open = [
            json!({"request_time": "1990-01-01T00:00:01Z", "status": "pending"}),
            json!({"request_time": "1990-01-01T00:00:02Z", "cost_state": "pending", "status": "failed"}),
            json!({"request_time": "1990-01-01T00:00:03Z", "cost_state": "unknown", "status": "failed"}),
            json!({"request_time": "1990-01-05T00:00:00Z"}),
        ];
        let settled = [
            json!({"request_time": "1990-01-01T00:00:00Z", "model": "m/b", "endpoint": "chat", "total_cost": "0.1"}),
            json!({"request_time": "1990-01-01T23:59:59.999Z", "model": "m/b", "endpoint": "chat",
                   "total_cost": "0.0000000000000000005", "input_tokens": 3, "output_tokens": 4,
                   "cached_tokens": 1, "reasoning_tokens": 2}),
            json!({"request_time": "1990-01-02T00:00:00Z", "model": "m/b", "endpoint": null, "status": "failed",
                   "cost_state": "none", "total_cost": null}),
            json!({"request_time": "1990-01-02T00:00:01Z", "model": "m/a", "endpoint": "messages",
                   "total_cost": "7.434e-07", "input_tokens": 2_147_483_647}),
            json!({"request_time": "1990-01-03T00:00:00Z", "model": "m/a", "endpoint": "messages",
                   "total_cost": "2", "input_tokens": 2_147_483_647}),
        ];
        user.log(&open).await;
        user.log(&settled).await;
        let before = user.report_of(&ONE_BY_ONE, ALL).await;

        // Not yet.
        assert_eq!(user.expire("1990-01-01T00:00:00Z", 10).await, (0, false));
        // Piece by piece, which are added up.
        assert_eq!(user.expire("1990-01-04T00:00:00Z", 2).await, (2, true));
        assert_eq!(user.expire("1990-01-04T00:00:00Z", 2).await, (2, true));
        assert_eq!(user.expire("1990-01-04T00:00:00Z", 2).await, (1, false));
        assert_eq!(user.expire("1990-01-04T00:00:00Z", 2).await, (0, false));

        assert_eq!(user.kept().await, open.len());
        assert_eq!(user.history().await, 8);
        let after = user.report_of(&ONE_BY_ONE, ALL).await;
        assert_eq!(texts(&after), texts(&before));
        assert_eq!(after.total_input_tokens, 2 * 2_147_483_647 + 3);
        assert_eq!(after.total_cost.to_string(), "2.1000007434000000005");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn an_unknown_cost_is_kept_90_days_longer() {
    alone(async |user| {
        user.log(&[json!({
            "request_time": "1990-01-01T00:00:00Z", "status": "failed", "cost_state": "unknown", "total_cost": null,
        })])
        .await;
        let before = user.report_of(&ONE_BY_ONE, ALL).await;
        assert_eq!(user.expire("1990-04-01T00:00:00Z", 10).await, (0, false));
        assert_eq!(user.expire("1990-04-01T00:00:01Z", 10).await, (1, false));
        let after = user.report_of(&ONE_BY_ONE, ALL).await;
        assert_eq!(texts(&after), texts(&before));
        assert_eq!(after.cost_unknown_requests, 1);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_key_that_is_stored_anew_gets_what_has_expired() {
    alone(async |user| {
        let spent = |cost: &str, day: u32| json!({"request_time": format!("1990-01-{day:02}T00:00:00Z"), "total_cost": cost});
        user.log(&[spent("0.25", 1), spent("0.5", 2), spent("1", 3)])
            .await;
        // The original system's, which counts as nothing.
        user.log(&[json!({"request_time": "1990-01-01T00:00:00Z", "total_cost": "NaN"})])
            .await;
        assert_eq!(user.expire("1990-01-03T00:00:00Z", 10).await, (3, false));
        user.insert_key(json!({})).await;
        assert_eq!(user.account().await.0, "1.75");
        assert_eq!(user.expire("1990-01-04T00:00:00Z", 10).await, (1, false));
        assert_eq!(user.account().await.0, "1.75");
        user.forget_key().await;
        user.insert_key(json!({})).await;
        assert_eq!(user.account().await.0, "1.75");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn expiring_at_once_loses_nothing_and_counts_nothing_twice() {
    alone(async |user| {
        let rows: Vec<_> = (0..60)
            .map(|n| {
                json!({
                    "request_time": format!("1990-01-{:02}T00:00:00Z", 1 + n % 3),
                    "model": format!("m/{}", n % 2), "total_cost": "0.1",
                })
            })
            .collect();
        user.log(&rows).await;
        let before = user.report_of(&ONE_BY_ONE, ALL).await;
        // While keys are stored, which read what is being moved.
        let expiries = join_all((0..8).map(|_| user.expire("1990-01-04T00:00:00Z", 5)));
        let (expiries, ()) = tokio::join!(expiries, async {
            for _ in 0..5 {
                user.insert_key(json!({})).await;
                assert_eq!(user.account().await.0, "6");
                user.forget_key().await;
            }
        });
        let expired: u32 = expiries.into_iter().map(|(expired, _)| expired).sum();
        assert!(expired > 0);
        let mut left = 60 - expired;
        while left > 0 {
            left -= user.expire("1990-01-04T00:00:00Z", 7).await.0;
        }
        assert_eq!((user.kept().await, user.history().await), (0, 6));
        let after = user.report_of(&ONE_BY_ONE, ALL).await;
        assert_eq!(texts(&after), texts(&before));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn of_two_periods_one_has_an_expired_day() {
    alone(async |user| {
        user.log(&[json!({"request_time": "1990-01-02T23:30:00Z", "total_cost": "1"})])
            .await;
        user.expire("1990-01-04T00:00:00Z", 10).await;
        let requests = async |start: &str, end: &str| {
            let period = Period {
                start: start.parse().ok(),
                end: end.parse().ok(),
            };
            user.report_of(&[], period).await.total_requests
        };
        // Midnights of far-away time zones.
        for (start, middle, end) in [
            (
                "1990-01-01T00:00:00Z",
                "1990-01-02T00:00:00Z",
                "1990-01-03T00:00:00Z",
            ),
            (
                "1990-01-01T10:00:00Z",
                "1990-01-02T10:00:00Z",
                "1990-01-03T10:00:00Z",
            ),
            (
                "1990-01-01T15:00:00Z",
                "1990-01-02T15:00:00Z",
                "1990-01-03T15:00:00Z",
            ),
        ] {
            let both = requests(start, middle).await + requests(middle, end).await;
            assert_eq!(both, 1, "{middle}");
        }
        // Its hour is kept, not where in it.
        let hours = user.report_of(&[Dimension::Hour], ALL).await;
        assert_eq!((hours.total_requests, hours.groups.len()), (1, 1));
        assert_eq!(
            hours.groups[0].keys,
            [Some("1990-01-02T23:00:00+00:00".to_owned())]
        );
        let [quarter_past, quarter_to] = ["1990-01-02T23:15:00Z", "1990-01-02T23:45:00Z"];
        assert_eq!(requests("1990-01-02T00:00:00Z", quarter_past).await, 0);
        assert_eq!(requests(quarter_past, quarter_to).await, 1);
        assert_eq!(requests(quarter_to, "1990-01-03T00:00:00Z").await, 0);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn nothing_younger_than_35_days_expires() {
    alone(async |user| {
        let now = Clock::system().now();
        let young = now - SignedDuration::from_hours(34 * 24);
        user.log(&[json!({"request_time": young.to_string()})])
            .await;
        let key = env("STORAGE_KEY");
        for request in [
            json!({"before": young.as_millisecond(), "limit": 10}),
            json!({"limit": 10}),
            json!({"before": 0}),
            json!({"before": 0, "limit": 0}),
            json!({"before": 0, "limit": 10_001}),
        ] {
            let (status, text) = user
                .send(
                    Some(&key),
                    Method::POST,
                    "rpc/expire_requests",
                    Some(&json!({"request": request})),
                )
                .await;
            assert_eq!(status, 400, "{request}: {text}");
        }
        // The least that can be configured is accepted. What it takes is the oldest: this.
        user.log(&[json!({"request_time": "1980-01-01T00:00:00Z"})])
            .await;
        let least: Retention = "35".parse().unwrap();
        user.storage
            .expire(least.before(now), 1, soon())
            .await
            .unwrap();
        assert_eq!(user.kept().await, 1);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn the_public_sees_no_sums_and_expires_nothing() {
    alone(async |user| {
        user.log(&[
            json!({"request_time": "1990-01-01T00:00:00Z", "total_cost": "1"}),
            json!({"request_time": "1990-01-02T00:00:00Z", "total_cost": "1"}),
        ])
        .await;
        user.expire("1990-01-02T00:00:00Z", 10).await;
        let change = json!({"cost": 0});
        let [get, _, patch, delete] = doors_of_table("usage_hours", "hour=lt.2000-01-01", &change);
        let [series, ..] = doors_of_table("usage_series", "id=gt.0", &json!({}));
        let before = 631_400_000_000_u64;
        let arguments = json!({"request": {"before": before, "limit": 10}});
        let expire = door_of_function("expire_requests", arguments);
        try_all(user, vec![get, series, delete, patch, expire], |text| {
            !text.contains(&user.did)
        })
        .await;
        assert_eq!((user.kept().await, user.history().await), (1, 2));
        let report = user.report_of(&[], ALL).await;
        assert_eq!(report.total_cost.to_string(), "2");
    })
    .await;
}

/// Runs a test with a DID of its own while no other request expires.
async fn alone(test: impl AsyncFnOnce(&User)) {
    let _alone = ALONE.lock().await;
    with_newcomer(test).await;
}

impl User {
    async fn expire(&self, before: &str, limit: u16) -> (u32, bool) {
        let before: Timestamp = before.parse().unwrap();
        let answer = self.storage.expire(before, limit, soon()).await.unwrap();
        (answer.expired, answer.more)
    }

    async fn report_of(&self, group_by: &[Dimension], period: Period) -> UsageReport {
        let query = ReportQuery {
            group_by,
            offsets: &[LocalOffset {
                from: None,
                seconds: 0,
            }],
            ..sums(question(&self.did, period, None))
        };
        self.storage.usage_report(&query, soon()).await.unwrap()
    }

    /// How many of its requests are still there one by one.
    async fn kept(&self) -> usize {
        self.rows("request_logs", "id").await.len()
    }

    /// How many rows of sums it has.
    async fn history(&self) -> usize {
        self.hours().await.len()
    }

    /// Also what the next key would take over from this one.
    async fn forget_key(&self) {
        self.delete("user_api_keys").await;
        self.delete("accounts").await;
    }
}

/// A report but for its percentiles, for comparison.
fn texts(report: &UsageReport) -> Vec<String> {
    let mut texts = vec![
        report.total_requests.to_string(),
        report.successful_requests.to_string(),
        report.failed_requests.to_string(),
        report.pending_requests.to_string(),
        report.cost_pending_requests.to_string(),
        report.cost_unknown_requests.to_string(),
        report.total_input_tokens.to_string(),
        report.total_output_tokens.to_string(),
        report.total_cached_tokens.to_string(),
        report.total_cache_write_tokens.to_string(),
        report.total_reasoning_tokens.to_string(),
        report.total_cost.to_string(),
        format!("{:?}", report.requests_by_model),
    ];
    texts.extend(report.groups.iter().map(|group| format!("{group:?}")));
    texts
}
