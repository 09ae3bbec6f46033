//! The stand-in of `cargo xtask dev`, as a client sees it.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use stub::{Endpoint, OpenRouter};

/// An answer.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

async fn send(request: reqwest::RequestBuilder) -> Answer {
    let response = request
        .bearer_auth("sk-or-v1-any")
        .header("accept-encoding", "identity")
        .send()
        .await
        .unwrap();
    Answer {
        status: response.status(),
        headers: response.headers().clone(),
        body: response.bytes().await.unwrap(),
    }
}

async fn post(openrouter: &OpenRouter, path: &str, body: &Value) -> Answer {
    let url = format!("{}/{path}", openrouter.base_url());
    let body = body.to_string();
    let request = client().post(url).body(body);
    send(request.header("content-type", "application/json")).await
}

async fn get(openrouter: &OpenRouter, path: &str) -> Answer {
    send(client().get(format!("{}/{path}", openrouter.base_url()))).await
}

fn client() -> reqwest::Client {
    shared::http_client::without_tls(std::time::Duration::from_secs(5)).unwrap()
}

fn hello(stream: bool) -> Value {
    json!({"model": "openai/gpt-4o-mini", "stream": stream,
        "messages": [{"role": "user", "content": "Say hello"}]})
}

#[tokio::test]
async fn it_is_an_openrouter() {
    let openrouter = OpenRouter::demo().await.unwrap();
    let body = post(&openrouter, "chat/completions", &hello(false))
        .await
        .text();
    assert!(body.contains(r#""cost":0.0001234"#), "{body}");
    assert!(body.contains(r#""id":"gen-"#), "{body}");
}

#[tokio::test]
async fn every_endpoint_answers_and_its_generation_tells_the_same_cost() {
    let openrouter = OpenRouter::demo().await.unwrap();
    for endpoint in Endpoint::ALL {
        for stream in [false, true] {
            if endpoint.is_job() || (stream && !endpoint.streams()) {
                continue;
            }
            let answer = post(&openrouter, endpoint.path(), &hello(stream)).await;
            assert_eq!(answer.status, StatusCode::OK, "{endpoint:?}");
            let text = answer.text();
            let tells_cost = text.contains(r#""cost":0.0001234"#);
            assert_eq!(tells_cost, endpoint != Endpoint::Speech, "{text}");
            let id = answer.headers["x-generation-id"].to_str().unwrap();
            let generation = get(&openrouter, &format!("generation?id={id}")).await;
            assert_eq!(generation.json()["data"]["total_cost"], json!(0.000_123_4));
        }
    }
}

#[tokio::test]
async fn a_stream_is_made_of_events_that_clients_read() {
    let openrouter = OpenRouter::demo().await.unwrap();
    for (path, events) in [
        ("chat/completions", &["[DONE]"][..]),
        (
            "messages",
            &[
                "event: message_start",
                "event: content_block_start",
                "event: content_block_delta",
                "event: content_block_stop",
                "event: message_delta",
                "event: message_stop",
            ],
        ),
        (
            "responses",
            &[
                "response.created",
                "response.output_text.delta",
                "response.output_item.done",
                "response.completed",
            ],
        ),
    ] {
        let text = post(&openrouter, path, &hello(true)).await.text();
        let mut at = 0;
        for event in events {
            let found = text[at..].find(event);
            at += found.unwrap_or_else(|| panic!("{path}: no {event} after {at}: {text}"));
        }
    }
}

#[tokio::test]
async fn faults_jobs_and_lists_can_be_asked_for() {
    let openrouter = OpenRouter::demo().await.unwrap();
    let limited = json!({"model": "any/model", "messages": [{"content": "rate limit me"}]});
    let refused = post(&openrouter, "chat/completions", &limited).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers["retry-after"], "7");

    let scripted = json!({"model": "stub/503"});
    let refused = post(&openrouter, "messages", &scripted).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);

    let video = json!({"model": "any/video", "prompt": "hello"});
    let job = post(&openrouter, "videos", &video).await;
    assert_eq!(job.status, StatusCode::ACCEPTED);
    let path = format!("videos/{}", job.json()["id"].as_str().unwrap());
    get(&openrouter, &path).await;
    assert_eq!(get(&openrouter, &path).await.json()["status"], "completed");

    let models = get(&openrouter, "models").await.json();
    assert!(models["data"].as_array().unwrap().len() > 2);
    assert!(get(&openrouter, "key").await.json()["data"]["label"].is_string());
}
