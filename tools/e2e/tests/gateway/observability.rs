//! The log line of a request, with its figures as metrics.

use std::{collections::BTreeSet, fs};

use e2e::world::{CHAT, World, chat_body, with_world};
use http::Method;
use reqwest::Response;
use serde_json::Value;

use crate::told::logged;

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// The one line of the request that `answer` is of, once its books are closed.
async fn line_of(world: &World, answer: Response) -> Value {
    let id = answer.headers()["x-gateway-request-id"].clone();
    answer.bytes().await.unwrap();
    let log = || world.logged().unwrap();
    logged(&format!("line of {id:?}"), log, |log| {
        let mut lines = requests(log, id.to_str().unwrap());
        assert!(lines.len() < 2, "{lines:?}");
        lines.pop()
    })
    .await
}

/// The lines of a log that are about the end of one request.
fn requests(log: &str, id: &str) -> Vec<Value> {
    log.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|line: &Value| line["message"] == "request" && line["request.id"] == id)
        .collect()
}

#[test]
fn each_request_is_one_line_whose_members_are_documented() {
    with_world(async |world| {
        let user = world.user().unwrap();
        let completed = user
            .request(
                "proxy",
                Method::POST,
                CHAT,
                chat_body("stub/ok", true, "gen-log"),
            )
            .unwrap()
            .header("traceparent", TRACE)
            .send()
            .await
            .unwrap();
        let completed = line_of(world, completed).await;
        insta::assert_json_snapshot!("completed", completed, {
            ".timestamp" => "[time]", "[\"request.id\"]" => "[id]", "[\"caller.did\"]" => "[did]",
            "[\"trace.id\"]" => "[trace]", "[\"request.cold_start\"]" => "[0 or 1]",
            "[\"storage.begin_ms\"]" => "[ms]", "[\"storage.finish_ms\"]" => "[ms]",
            "[\"request.first_byte_ms\"]" => "[ms]", "[\"request.duration_ms\"]" => "[ms]",
            "._aws.Timestamp" => "[time]",
        });
        let sent = world.upstream.received("gen-log");
        assert_eq!(sent[0].headers["traceparent"], TRACE);

        let failed = user.chat("proxy", "stub/429", false, "gen-log-429").await;
        let failed = line_of(world, failed.unwrap()).await;
        assert_eq!(failed["http.status"], 429);
        assert_eq!(failed["request.status"], "failed");
        assert_eq!(failed["request.reason"], "upstream_status");

        let refused = world.client.post(world.url("proxy", CHAT)).send().await;
        let refused = line_of(world, refused.unwrap()).await;
        assert_eq!(refused["http.status"], 401);
        assert_eq!(refused["request.reason"], "missing_credentials");
        assert_eq!(refused["caller.did"], Value::Null);

        let page = fs::read_to_string(world.project("docs/operate/monitoring.md")).unwrap();
        let undocumented: BTreeSet<_> = [&completed, &failed, &refused]
            .into_iter()
            .flat_map(|line| line.as_object().unwrap().keys())
            .filter(|name| {
                !page.contains(&format!("`{name}`")) && !page.contains(&format!("\"{name}\""))
            })
            .collect();
        assert_eq!(undocumented, BTreeSet::new());
    });
}
