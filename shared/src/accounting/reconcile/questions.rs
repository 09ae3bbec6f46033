//! What reconciliation makes of OpenRouter's answers, over sockets: an OpenRouter and a database that answer
//! by path and keep what they were asked.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    sync::{Arc, Mutex},
    thread,
};

use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use super::*;
use crate::{
    http_client,
    storage::StorageKey,
    upstream::{endpoint::Endpoint, openrouter::Timeouts},
};

type Answers = &'static [(&'static str, u16, &'static str)];

/// Answers each path that starts with one of `answers`, others with 404; returns its URL and the bodies it
/// got.
fn server(answers: Answers) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&seen);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (mut bytes, mut byte) = (Vec::new(), [0]);
            while !bytes.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                bytes.extend(byte);
            }
            let head = String::from_utf8(bytes).unwrap();
            let length = head
                .to_lowercase()
                .lines()
                .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
                .unwrap_or_default();
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            let path = head.split(' ').nth(1).unwrap_or_default();
            let found = answers.iter().find(|(wanted, ..)| path.starts_with(wanted));
            let (_, status, answer) = found.unwrap_or(&("", 404, "{}"));
            kept.lock().unwrap().push(String::from_utf8(body).unwrap());
            let length = answer.len();
            let _ = write!(
                stream,
                "HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{answer}"
            );
        }
    });
    (url, seen)
}

fn openrouter(answers: Answers) -> OpenRouter {
    let timeouts = Timeouts {
        first_byte: Duration::from_secs(5),
        idle: Duration::from_secs(5),
    };
    let client = http_client::without_tls(Duration::from_secs(5)).unwrap();
    OpenRouter::new(client, server(answers).0.parse().unwrap(), timeouts)
}

fn key() -> ApiKey {
    ApiKey::new("sk-or-v1-0123456789".to_owned()).unwrap()
}

fn batch() -> Job {
    Job::new(Endpoint::Batches, "batch_1").unwrap()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(5)
}

/// What becomes of a job's cost after an hour and after a day, and what is known of it.
async fn job(answers: Answers) -> String {
    match job_cost(&openrouter(answers), &batch(), &key(), soon()).await {
        Ok(generation) => generation.charge().to_string(),
        Err(obstacle) => {
            let after = |hours| obstacle.verdict(Duration::from_hours(hours), GIVE_UP_JOBS_AFTER);
            let known = obstacle
                .known()
                .map_or_else(String::new, |known| known.to_string());
            let (hour, day) = (after(1), after(24));
            format!("{} {hour:?} {day:?} {known}", obstacle.reason())
        }
    }
}

const FEE: &str = r#"{"id":"batch_1","status":"completed","usage":{"cost":0.05,"is_byok":true}}"#;
const NAMED_FEE: &str = r#"{"id":"batch_1","generation_id":"gen-1","status":"completed","usage":{"cost":0.05,"is_byok":true}}"#;
const RUNNING: &str = r#"{"id":"batch_1","status":"in_progress"}"#;
const UNTOLD: &str = r#"{"id":"batch_1","status":"completed","usage":null}"#;
const WHOLE: &str = r#"{"data":{"total_cost":0.05,"is_byok":true,"upstream_inference_cost":0.95}}"#;

#[tokio::test]
async fn a_job_that_is_over_is_not_asked_for_in_vain() {
    let cases: [(Answers, &str); 9] = [
        (
            &[("/batches/", 200, FEE)],
            "provider_charge_not_told GiveUp GiveUp 0.05",
        ),
        (
            &[("/batches/", 200, NAMED_FEE), ("/generation", 200, WHOLE)],
            "1",
        ),
        (
            &[
                ("/batches/", 200, NAMED_FEE),
                (
                    "/generation",
                    200,
                    r#"{"data":{"total_cost":0.05,"is_byok":true}}"#,
                ),
            ],
            "provider_charge_not_told GiveUp GiveUp 0.05",
        ),
        (
            &[("/batches/", 200, NAMED_FEE), ("/generation", 404, "{}")],
            "provider_charge_not_told Retry GiveUp 0.05",
        ),
        (
            &[("/batches/", 200, NAMED_FEE), ("/generation", 503, "{}")],
            "provider_charge_not_told Retry GiveUp 0.05",
        ),
        (
            &[("/batches/", 200, UNTOLD)],
            "cost_not_reported Retry GiveUp ",
        ),
        (
            &[("/batches/", 200, RUNNING)],
            "job_still_running Retry Retry ",
        ),
        (&[("/batches/", 404, "{}")], "job_not_found Retry Retry "),
        (
            &[("/batches/", 200, "<html>")],
            "cost_not_reported Retry Retry ",
        ),
    ];
    for (answers, outcome) in cases {
        assert_eq!(job(answers).await, outcome, "{answers:?}");
    }
}

#[tokio::test]
async fn a_job_is_deleted_only_after_its_cost_is_in_the_books() {
    const SETTLED: Answers = &[("/rpc/settle_job", 200, r#"{"settled":true}"#)];
    const BROKEN: Answers = &[("/rpc/settle_job", 403, r#"{"message":"no"}"#)];
    let final_cost =
        r#"{"id":"batch_1","status":"completed","usage":{"cost":0.5,"is_byok":false}}"#;
    let final_cost: &'static str = final_cost;
    for (answers, database, deleted, settled) in [
        (
            vec![("/batches/batch_1", 200, final_cost)],
            SETTLED,
            true,
            "final 0.5 null",
        ),
        (
            vec![("/batches/batch_1", 200, final_cost)],
            BROKEN,
            false,
            "final 0.5 null",
        ),
        (
            vec![("/batches/batch_1", 200, FEE)],
            SETTLED,
            true,
            "unknown null 0.05",
        ),
        (
            vec![("/batches/batch_1", 200, UNTOLD)],
            SETTLED,
            true,
            "unknown null null",
        ),
        (vec![("/batches/batch_1", 200, RUNNING)], SETTLED, false, ""),
        (vec![("/batches/batch_1", 503, "{}")], SETTLED, false, ""),
        (
            vec![("/batches/batch_1", 200, NAMED_FEE)],
            SETTLED,
            false,
            "",
        ),
        (vec![], SETTLED, true, ""),
    ] {
        let (url, seen) = server(database);
        let client = http_client::without_tls(Duration::from_secs(5)).unwrap();
        let key_of_storage = StorageKey::parse("sb_secret_planted").unwrap();
        let storage = Storage::new(client, &url.parse().unwrap(), key_of_storage);
        let answers: Answers = answers.leak();
        let deletion = Deletion {
            did: "did:key:z",
            job: &batch(),
            key: &key(),
            time: Timestamp::UNIX_EPOCH,
        };
        let outcome =
            settle_before_deletion(&storage, &openrouter(answers), deletion, soon()).await;
        assert_eq!(outcome.is_ok(), deleted, "{answers:?}");
        let seen = seen.lock().unwrap();
        let last = seen.last().map_or_else(String::new, |body| {
            let body: Value = serde_json::from_str(body).unwrap();
            let outcome = &body["outcome"];
            let text = |name: &str| outcome[name].to_string().replace('"', "");
            ["cost_state", "openrouter_cost", "known_cost"]
                .map(text)
                .join(" ")
        });
        assert_eq!(last, settled, "{answers:?}");
    }
}

#[tokio::test]
async fn an_id_that_is_none_of_a_generation_is_not_found() {
    let openrouter = openrouter(&[("/generation", 400, r#"{"error":{"code":400}}"#)]);
    let error = openrouter
        .generation("resp_1", &key(), Duration::from_secs(5))
        .await
        .unwrap_err();
    assert!(matches!(error, GenerationError::NotFound), "{error:?}");
    assert_eq!(Obstacle::from(error).reason(), "generation_not_found");
}

#[test]
fn one_of_several_generations_is_a_lower_bound() {
    let row = |several: bool| Unsettled {
        id: Uuid::nil(),
        did: "did:key:z".to_owned(),
        abandoned: false,
        endpoint: None,
        generation_id: Some("gen-1".to_owned()),
        job_id: None,
        age: Duration::ZERO,
        attempts: 1,
        several_generations: several,
        sealed_key: None,
    };
    let generation = Generation {
        cost: "0.05".parse().unwrap(),
        upstream_inference_cost: "0.95".parse().ok(),
        is_byok: Some(true),
        ..Generation::default()
    };
    assert_eq!(whole(&row(false), generation.clone()).unwrap(), generation);
    let obstacle = whole(&row(true), generation).unwrap_err();
    assert_eq!(obstacle.reason(), "other_generations_not_told");
    assert_eq!(obstacle.known(), "1".parse().ok());
    assert_eq!(
        obstacle.verdict(Duration::ZERO, GIVE_UP_AFTER),
        Verdict::GiveUp
    );
}
