//! What a token reads of itself, and usage by token, app and tag.

use std::{collections::BTreeSet, num::NonZeroU32};

use jiff::Timestamp;
use reqwest::Method;
use serde_json::json;
use shared::{
    clock::Clock,
    identity::access::AllowedDids,
    storage::{
        Begin, Dimension, Period, Presenting, Refusal, ReportQuery, RequestFilter, RequestsQuery,
        TokenSettings, UsageLabels,
    },
};
use uuid::Uuid;

use super::{presenting, settings};
use crate::{
    rollup::INDIA,
    usage::{keys, question, sums},
    user::{completed, refusal, soon, with_user},
};

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_token_describes_itself() {
    with_user(json!({}), async |user| {
        let (made, digest) = user.token(&settings("a")).await;
        let now: Timestamp = "2026-04-01T12:00:00Z".parse().unwrap();
        // A Wednesday.
        for (time, cost) in [
            ("2026-04-01T00:00:00Z", "0.001"),
            ("2026-03-31T23:59:59Z", "0.01"),
            ("2026-03-29T23:59:59Z", "0.1"),
            ("2026-02-28T00:00:00Z", "1"),
        ] {
            let begin = Begin {
                request_time: time.parse().unwrap(),
                ..user.by_token(digest, "0")
            };
            user.begin(&begin).await.unwrap();
            user.finish(&completed(begin.id, cost)).await.unwrap();
        }
        let signed = user.billable("0");
        user.begin(&signed).await.unwrap();
        user.finish(&completed(signed.id, "50")).await.unwrap();
        let told = user
            .storage
            .describe_token(&presenting(digest, now), soon())
            .await
            .unwrap();
        assert_eq!((told.did, told.token.id), (user.did.clone(), made.id));
        assert_eq!(
            (
                &*told.usage_daily,
                &*told.usage_weekly,
                &*told.usage_monthly
            ),
            ("0.001", "0.011", "0.001")
        );
        assert_eq!((&*told.token.requests, &*told.token.cost), ("4", "1.111"));
        assert_eq!(
            told.token.last_used_at,
            Some("2026-04-01T00:00:00Z".parse().unwrap())
        );
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn usage_is_told_apart_by_token_app_and_tag() {
    with_user(json!({}), async |user| {
        let (first, digest) = user.token(&settings("a")).await;
        let tagged = TokenSettings {
            tag: Some("own".to_owned()),
            ..settings("b")
        };
        let (second, tagged) = user.token(&tagged).await;
        let requests = [
            (Some(digest), Some("My App"), Some("x"), "1"),
            (Some(digest), None, None, "2"),
            (Some(tagged), Some("My App"), Some("x"), "4"),
            (None, Some("My App"), Some("x"), "8"),
            (None, None, None, "16"),
        ];
        for (digest, app, tag, cost) in requests {
            let mut begin = digest.map_or_else(|| user.billable("0"), |it| user.by_token(it, "0"));
            let books = begin.books.as_mut().unwrap();
            (books.app, books.tag) = (app, tag);
            user.begin(&begin).await.unwrap();
            user.finish(&completed(begin.id, cost)).await.unwrap();
        }
        let (a, b) = (first.id.to_string(), second.id.to_string());
        let any = UsageLabels::default();
        let report = user.by_labels(&[Dimension::Token], &any).await;
        let by_token: BTreeSet<_> = keys(&report).into_iter().collect();
        assert_eq!(
            by_token,
            BTreeSet::from([format!("{a} 2"), format!("{b} 1"), "- 2".to_owned()])
        );
        assert_eq!(
            report.token_names.get(&first.id).map(String::as_str),
            Some("a")
        );
        assert_eq!(
            keys(&user.by_labels(&[Dimension::App], &any).await),
            ["My App 3", "- 2"]
        );
        assert_eq!(
            keys(&user.by_labels(&[Dimension::Tag], &any).await),
            ["own 1", "x 2", "- 2"]
        );
        let app_and_tag = user
            .by_labels(&[Dimension::App, Dimension::Tag], &any)
            .await;
        assert_eq!(keys(&app_and_tag), ["My App own 1", "My App x 2", "- - 2"]);

        let only = |token: Option<Uuid>, app: Option<&str>, tag: Option<&str>| UsageLabels {
            token_id: token,
            app: app.map(str::to_owned),
            tag: tag.map(str::to_owned),
        };
        for (labels, cost, count) in [
            (only(Some(first.id), None, None), "3", 2),
            (only(Some(second.id), None, None), "4", 1),
            (only(None, Some("My App"), None), "13", 3),
            (only(None, None, Some("x")), "9", 2),
            (only(Some(first.id), Some("My App"), Some("x")), "1", 1),
            (only(Some(second.id), None, Some("x")), "0", 0),
        ] {
            let report = user.by_labels(&[], &labels).await;
            assert_eq!(
                (&*report.total_cost.to_string(), report.total_requests),
                (cost, count),
                "{labels:?}"
            );
            let filter = RequestFilter {
                labels: labels.clone(),
                ..RequestFilter::default()
            };
            let query = RequestsQuery {
                asked: question(&user.did, Period::default(), None),
                filter: &filter,
                limit: 100,
                before: None,
            };
            let page = user.storage.usage_requests(&query, soon()).await.unwrap();
            assert_eq!(page.requests.len() as u64, count, "{labels:?}");
            assert!(
                page.requests
                    .iter()
                    .all(|it| labels.token_id.is_none_or(|id| it.token_id == Some(id)))
            );
        }
        user.agrees().await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn beyond_a_thousand_series_apps_and_tags_are_others() {
    with_user(json!({}), async |user| {
        let rows: Vec<_> = (0..998)
            .map(|number| json!({"app": format!("app {number}"), "tag": null}))
            .collect();
        for rows in rows.chunks(200) {
            user.log(rows).await;
        }
        // Also those who call themselves so, and others whose one label is empty.
        user.log(&[
            json!({"app": "(other)", "tag": null}),
            json!({"app": null, "tag": "first"}),
        ])
        .await;
        let late = [
            json!({"app": "late", "tag": null, "total_cost": "1"}),
            json!({"app": "late", "tag": "late", "total_cost": "2"}),
            json!({"app": null, "tag": "late", "total_cost": "4"}),
            json!({"app": "app 7", "tag": null, "total_cost": "8"}),
            json!({"app": "app 7", "tag": "late", "total_cost": "16"}),
            json!({"app": "(other)", "tag": "late", "total_cost": "32"}),
            json!({"app": null, "tag": null, "total_cost": "64"}),
        ];
        let ids = user.log(&late).await;
        let beyond = user.rows("usage_series", "id&order=id&offset=1000").await;
        assert_eq!(beyond.len(), 3);
        let apps = user
            .by_labels(&[Dimension::App], &UsageLabels::default())
            .await;
        let others = apps
            .groups
            .iter()
            .find(|it| it.keys == [Some("(other)".to_owned())])
            .unwrap();
        assert_eq!((others.requests, &*others.cost.to_string()), (5, "51"));
        user.agrees().await;
        // What is settled later leaves the sums that it is in, and only those.
        for id in &ids {
            let changed = json!({"total_cost": "0.5"});
            user.rest(
                Method::PATCH,
                &format!("request_logs?id=eq.{id}"),
                Some(&changed),
            )
            .await;
        }
        user.agrees().await;
        let apps = user
            .by_labels(&[Dimension::App], &UsageLabels::default())
            .await;
        let others = apps
            .groups
            .iter()
            .find(|it| it.keys == [Some("(other)".to_owned())])
            .unwrap();
        assert_eq!((others.requests, &*others.cost.to_string()), (5, "2"));
        let series = "usage_hours?select=requests,cost::text&cost=lt.0";
        assert_eq!(user.rest(Method::GET, series, None).await, "[]");
        // Where a day ends within an hour, too: at half past six, UTC, in India.
        user.log(&[
            json!({"app": "late", "request_time": "2026-03-01T18:10:00Z"}),
            json!({"app": "late", "request_time": "2026-03-01T18:40:00Z"}),
            json!({"app": "app 7", "request_time": "2026-03-01T18:10:00Z"}),
        ])
        .await;
        let by_day = async |app: Option<&str>| {
            let labels = UsageLabels {
                app: app.map(str::to_owned),
                ..UsageLabels::default()
            };
            let query = ReportQuery {
                group_by: &[Dimension::App, Dimension::Day],
                offsets: &[INDIA],
                labels: &labels,
                max_groups: 2000,
                ..sums(question(&user.did, Period::default(), None))
            };
            let report = user.storage.usage_report(&query, soon()).await.unwrap();
            let mut lines = keys(&report);
            lines.retain(|it| it.contains("2026-03"));
            lines
        };
        assert_eq!(
            by_day(None).await,
            [
                "(other) 2026-03-01 1",
                "(other) 2026-03-02 1",
                "app 7 2026-03-01 1"
            ]
        );
        assert_eq!(by_day(Some("late")).await, Vec::<String>::new());
        assert_eq!(by_day(Some("app 7")).await, ["app 7 2026-03-01 1"]);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_token_reads_only_what_its_owner_may() {
    with_user(json!({}), async |user| {
        let (_, digest) = user.token(&settings("a")).await;
        let now = Clock::system().now();
        let read = async |list: &str| {
            let owners = AllowedDids::parse(list).unwrap();
            let presenting = Presenting {
                owners: &owners,
                ..presenting(digest, now)
            };
            user.storage.describe_token(&presenting, soon()).await
        };
        for list in ["did:web:*", "approved", "did:web:*,approved"] {
            assert_eq!(refusal(read(list).await), Refusal::DidNotAllowed, "{list}");
        }
        for list in [&*user.did, "did:key:*,approved", "anyone"] {
            read(list).await.unwrap();
        }
        user.change_account(json!({"approved": true})).await;
        read("did:web:*,approved").await.unwrap();
        user.change_account(json!({"disabled": true})).await;
        assert_eq!(refusal(read("anyone").await), Refusal::KeyDisabled);
    })
    .await;
}

/// The rate is the token's own: one that was lost does not keep its owner from revoking it.
#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_token_reads_at_a_rate() {
    with_user(json!({}), async |user| {
        let (_, lost) = user.token(&settings("lost")).await;
        let (_, other) = user.token(&settings("other")).await;
        let now = Clock::system().now();
        let read = async |digest| {
            let presenting = Presenting {
                requests_per_minute: NonZeroU32::new(3),
                ..presenting(digest, now)
            };
            user.storage.describe_token(&presenting, soon()).await
        };
        for _ in 0..3 {
            read(lost).await.unwrap();
        }
        assert!(matches!(
            refusal(read(lost).await),
            Refusal::RateLimited { .. }
        ));
        read(other).await.unwrap();
        user.begin(&user.by_token(lost, "0")).await.unwrap();
        user.tokens(true).await;
    })
    .await;
}
