//! Requests, listed one by one.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use shared::storage::{
    Cost, Finish, Period, Place, Refusal, RequestEntry, RequestFilter, RequestPage, RequestsQuery,
    StorageError,
};

use crate::{
    usage::{question, sums},
    user::{User, completed, cost, guard, soon, with_user},
};

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn pages_name_each_request_once_while_others_arrive() {
    with_user(json!({}), async |user| {
        with_user(json!({}), async |other| {
            other
                .log(&[json!({}), json!({"request_time": "2026-01-01T00:00:00Z"})])
                .await;
            // Many in the same millisecond: the id decides.
            let time = |n: i64| format!("2026-01-01T00:00:00.{:03}Z", n / 5);
            let rows: Vec<_> = (0..43).map(|n| json!({"request_time": time(n)})).collect();
            let mut expected = user.log(&rows).await;
            expected.sort();

            let mut seen = Vec::new();
            let mut before = None;
            loop {
                let page = user.page(&RequestFilter::default(), 7, before).await;
                seen.extend(page.requests.iter().map(RequestEntry::place));
                before = page.requests.last().map(RequestEntry::place);
                if !page.more {
                    break;
                }
                assert_eq!(page.requests.len(), 7);
                user.log(&[json!({"request_time": "2026-01-02T00:00:00Z"})])
                    .await;
            }
            assert!(seen.is_sorted_by_key(|it| std::cmp::Reverse((it.request_time, it.id))));
            let mut ids: Vec<_> = seen.into_iter().map(|place| place.id).collect();
            ids.sort();
            assert_eq!(ids, expected);
        })
        .await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn requests_are_listed_with_all_that_a_user_may_see() {
    with_user(json!({"credit_limit": "10"}), async |user| {
        let begin = user.billable("0.25");
        user.begin(&begin).await.unwrap();
        let finish = Finish {
            response_time: begin.request_time + SignedDuration::from_millis(1234),
            cost: Cost {
                server_tool: Some("1e-9"),
                upstream_inference: Some("0.5"),
                is_byok: Some(true),
                ..cost("7.434e-07")
            },
            ..completed(begin.id, "0")
        };
        user.finish(&finish).await.unwrap();
        let page = user.page(&RequestFilter::default(), 1, None).await;
        assert!(!page.more);
        let mut json = serde_json::to_value(&page.requests[0]).unwrap();
        // As a number with all its digits, which a `Value` does not keep.
        assert!(
            serde_json::to_string(&page.requests[0])
                .unwrap()
                .contains(r#""total_cost":0.5000007434,"openrouter_cost":0.0000007434,"server_tool_cost":0.000000001,"upstream_inference_cost":0.5"#)
        );
        for cost in ["total_cost", "openrouter_cost", "server_tool_cost", "upstream_inference_cost"] {
            json.as_object_mut().unwrap().remove(cost);
        }
        let milliseconds = |at: Timestamp| Timestamp::from_millisecond(at.as_millisecond()).unwrap();
        assert_eq!(
            json,
            json!({
                "id": begin.id, "request_time": milliseconds(begin.request_time),
                "response_time": milliseconds(finish.response_time), "duration_ms": 1234, "first_byte_ms": 321,
                "method": "POST", "path": "/chat/completions", "endpoint": "chat",
                "requested_model": "anthropic/claude-sonnet-4.6", "model": "anthropic/claude-4.6-sonnet-20260217",
                "generation_id": "gen-1", "streamed": true, "token_id": null, "app": null, "tag": null, "status": "completed", "http_status": 200,
                "error_reason": null, "error_message": null, "input_tokens": 12, "output_tokens": 34,
                "cached_tokens": 5, "cache_write_tokens": 3, "reasoning_tokens": null, "service_tier": "default",
                "cost_state": "final", "unknown_cost_reason": null, "known_cost": null, "is_byok": true,
            })
        );
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn requests_are_filtered() {
    with_user(json!({}), async |user| {
        let ids = user
            .log(&[
                json!({"request_time": "2026-01-01T00:00:00Z", "model": "m/a", "endpoint": "chat", "total_cost": "0.01"}),
                json!({"request_time": "2026-01-02T00:00:00Z", "status": "failed", "cost_state": "pending"}),
                json!({"request_time": "2026-01-03T00:00:00Z", "status": "pending", "total_cost": null}),
                json!({"request_time": "2026-01-04T00:00:00Z", "model": "m/a\"ü", "total_cost": "0.0099"}),
            ])
            .await;
        let none = RequestFilter::default;
        let filters = [
            (RequestFilter { model: Some("m/a".into()), ..none() }, 0),
            (RequestFilter { endpoint: Some("chat".into()), ..none() }, 0),
            (RequestFilter { status: Some("failed"), ..none() }, 1),
            (RequestFilter { cost_state: Some("pending"), ..none() }, 1),
            (RequestFilter { status: Some("pending"), ..none() }, 2),
            (RequestFilter { model: Some("m/a\"ü".into()), ..none() }, 3),
            (RequestFilter { min_cost: Some("0.01".parse().unwrap()), ..none() }, 0),
        ];
        for (filter, expected) in filters {
            let page = user.page(&filter, 10, None).await;
            let found: Vec<_> = page.requests.iter().map(|request| request.id).collect();
            assert_eq!(found, [ids[expected]], "{filter:?}");
        }
        let period = Period {
            start: Some("2026-01-02T00:00:00Z".parse().unwrap()),
            end: Some("2026-01-03T00:00:00Z".parse().unwrap()),
        };
        let asked = RequestsQuery {
            asked: question(&user.did, period, None),
            filter: &none(),
            limit: 10,
            before: None,
        };
        let page = user.storage.usage_requests(&asked, soon()).await.unwrap();
        assert_eq!(page.requests.len(), 1);
        assert_eq!(page.requests[0].id, ids[1]);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_page_of_long_rows_is_shorter() {
    with_user(json!({}), async |user| {
        // 2,000 characters of four bytes each, as long as a message can be.
        let row = json!({"error_message": "\u{1f980}".repeat(2000), "status": "failed"});
        for _ in 0..3 {
            user.log(&vec![row.clone(); 100]).await;
        }
        let first = user.page(&RequestFilter::default(), 1000, None).await;
        assert!(
            first.more && (200..250).contains(&first.requests.len()),
            "{}",
            first.requests.len()
        );
        let last = first.requests.last().map(RequestEntry::place);
        let second = user.page(&RequestFilter::default(), 1000, last).await;
        assert!(!second.more);
        assert_eq!(first.requests.len() + second.requests.len(), 300);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs STORAGE_URL"]
async fn a_guarded_question_passes_once() {
    with_user(json!({}), async |user| {
        let mut asked = question(&user.did, Period::default(), Some(guard()));
        asked.id = user.id();
        user.storage
            .usage_report(&sums(asked), soon())
            .await
            .unwrap();
        // A retry of the same request, whose answer was lost.
        user.storage
            .usage_report(&sums(asked), soon())
            .await
            .unwrap();
        asked.id = user.id();
        assert!(matches!(
            user.storage.usage_report(&sums(asked), soon()).await,
            Err(StorageError::Refused(Refusal::Replayed))
        ));

        let filter = RequestFilter::default();
        let requests = |asked| RequestsQuery {
            asked,
            filter: &filter,
            limit: 1,
            before: None,
        };
        assert!(matches!(
            user.storage.usage_requests(&requests(asked), soon()).await,
            Err(StorageError::Refused(Refusal::Replayed))
        ));
        asked.fingerprint = Some(guard());
        user.storage
            .usage_requests(&requests(asked), soon())
            .await
            .unwrap();
    })
    .await;
}

impl User {
    async fn page(&self, filter: &RequestFilter, limit: u16, before: Option<Place>) -> RequestPage {
        let query = RequestsQuery {
            asked: question(&self.did, Period::default(), None),
            filter,
            limit,
            before,
        };
        self.storage.usage_requests(&query, soon()).await.unwrap()
    }
}
