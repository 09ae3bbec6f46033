//! Whole exchanges: a scripted OpenRouter on a socket, and a database that keeps what it is told.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use bytes::Bytes;
use http::Method;
use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use super::*;
use crate::{
    accounting::ledger::Ledger,
    clock::Clock,
    http_client,
    request::Tasks,
    storage::{Storage, StorageKey},
    upstream::openrouter::{OpenRouter, Timeouts, UpstreamError, UpstreamRequest},
    vault::secret::ApiKey,
};

const IDLE: Duration = Duration::from_secs(20);

/// OpenRouter's behaviour after its last byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    Closes,
    /// Keeps the connection open for longer than [`IDLE`].
    Holds,
}

/// The client's bytes and the row in the books.
#[derive(Debug)]
struct Seen {
    body: String,
    broken_off: bool,
    noted: Option<String>,
    books: Value,
    took: Duration,
}

impl Seen {
    /// The row: status, reason, state of the cost, cost, generation.
    fn row(&self) -> String {
        let text = |name: &str| match &self.books[name] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        [
            "status",
            "error_reason",
            "cost_state",
            "openrouter_cost",
            "generation_id",
        ]
        .map(text)
        .join(" ")
    }
}

fn read_request(stream: &mut TcpStream) -> Option<(String, String)> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        bytes.extend(byte);
    }
    let head = String::from_utf8(bytes).ok()?;
    let length = head
        .lines()
        .find_map(|line| {
            line.to_lowercase()
                .strip_prefix("content-length: ")?
                .parse()
                .ok()
        })
        .unwrap_or_default();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some((head, String::from_utf8(body).ok()?))
}

/// An OpenRouter that answers with exactly these bytes.
fn openrouter(raw: Vec<u8>, after: After) -> OpenRouter {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/api/v1", listener.local_addr().unwrap());
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        read_request(&mut stream);
        let _ = stream.write_all(&raw);
        if after == After::Holds {
            thread::sleep(IDLE * 2);
        }
    });
    let timeouts = Timeouts {
        first_byte: IDLE,
        idle: IDLE,
    };
    let client = http_client::without_tls(Duration::from_secs(5)).unwrap();
    OpenRouter::new(client, url.parse().unwrap(), timeouts)
}

/// Names of functions and their arguments.
type Calls = Arc<Mutex<Vec<(String, Value)>>>;

/// A database that accepts everything, and the calls that it got.
fn database() -> (Storage, Calls) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/rest/v1", listener.local_addr().unwrap());
    let calls = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&calls);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let Some((head, body)) = read_request(&mut stream) else {
                continue;
            };
            let name = head.split([' ', '/']).nth(5).unwrap_or_default().to_owned();
            let argument: Value = serde_json::from_str(&body).unwrap();
            let argument = argument.as_object().unwrap().values().next().unwrap();
            kept.lock().unwrap().push((name.clone(), argument.clone()));
            let answer = match name.as_str() {
                "note_generation" => r#"{"noted":true}"#,
                _ => r#"{"finished":true,"status":"completed"}"#,
            };
            let length = answer.len();
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{answer}"
            );
        }
    });
    let client = http_client::without_tls(Duration::from_secs(5)).unwrap();
    let key = StorageKey::parse("sb_secret_planted").unwrap();
    (Storage::new(client, &url.parse().unwrap(), key), calls)
}

async fn exchange(
    endpoint: Endpoint,
    raw: impl Into<Vec<u8>>,
    after: After,
) -> Result<Seen, UpstreamError> {
    exchange_in(endpoint, raw.into(), after, Metering::On).await
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Metering {
    On,
    Off,
}

async fn exchange_in(
    endpoint: Endpoint,
    raw: Vec<u8>,
    after: After,
    metering: Metering,
) -> Result<Seen, UpstreamError> {
    let arrived = Clock::fixed(Timestamp::UNIX_EPOCH).moment();
    let since = arrived.instant;
    let invocation = Invocation {
        id: Uuid::nil(),
        deadline: since + Duration::from_mins(1),
        tasks: Tasks::default(),
    };
    let (storage, calls) = database();
    let ledger = Ledger {
        storage: Arc::new(storage),
        clock: Clock::system(),
        close_timeout: Duration::from_secs(5),
    };
    let mut entry = ledger.opened(endpoint, &invocation, arrived);
    let request = UpstreamRequest {
        method: Method::POST,
        path: "/chat/completions",
        query: "",
        headers: &HeaderMap::new(),
        body: Bytes::from_static(b"{}"),
        force_json: false,
    };
    let key = ApiKey::new("sk-or-v1-0123456789".to_owned()).unwrap();
    let answer = openrouter(raw, after)
        .send(request, &key, invocation.closing_time(), |id| {
            entry.note_generation(id);
        })
        .await?;
    let relayed = Relayed {
        endpoint,
        model: Some("a/b".to_owned()),
        arrived,
        idle: IDLE,
        books: match metering {
            Metering::On => Books::Open(entry),
            Metering::Off => Books::Closed,
        },
    };
    let mut body = relay(answer, relayed, &invocation).into_body();
    let (mut bytes, mut broken_off) = (Vec::new(), false);
    while let Some(frame) = body.0.recv().await {
        match frame.into_data() {
            Ok(data) => bytes.extend(data),
            Err(_trailers) => broken_off = true,
        }
    }
    invocation.tasks.done().await;
    let calls = calls.lock().unwrap();
    let argument = |wanted: &str| {
        let mut of_it = calls.iter().filter(|(name, _)| name == wanted);
        of_it.next().map(|(_, argument)| argument.clone())
    };
    Ok(Seen {
        body: String::from_utf8_lossy(&bytes).into_owned(),
        broken_off,
        noted: argument("note_generation")
            .and_then(|note| note["generation_id"].as_str().map(str::to_owned)),
        books: match metering {
            Metering::On => argument("finish_request").unwrap(),
            Metering::Off => Value::Null,
        },
        took: since.elapsed(),
    })
}

fn http(head: &str, body: &str) -> String {
    format!("HTTP/1.1 {head}\r\nconnection: close\r\n\r\n{body}")
}

const JSON: &str = "content-type: application/json";
const EVENTS: &str = "content-type: text/event-stream";

#[tokio::test]
async fn the_first_byte_is_no_later_than_the_end() {
    let answer = http(&format!("200 OK\r\n{JSON}"), "{}");
    let seen = exchange(Endpoint::ChatCompletions, answer, After::Closes).await;
    let books = seen.unwrap().books;
    // The request arrived at 0.
    let (first_byte, end) = (&books["first_byte_ms"], &books["response_time"]);
    assert!(first_byte.as_i64().unwrap() > 0, "{books}");
    assert!(first_byte.as_i64() <= end.as_i64(), "{books}");
}

#[tokio::test]
async fn a_cache_hit_without_a_cost_is_free_for_good() {
    let zeroed = r#"{"id":"gen-1","model":"m","usage":{"prompt_tokens":0,"completion_tokens":0}}"#;
    let stream = format!("data: {zeroed}\n\ndata: [DONE]\n\n");
    let hit = "X-OpenRouter-Cache-Status: HIT";
    for (endpoint, head, body, row) in [
        (
            Endpoint::ChatCompletions,
            format!("200 OK\r\n{JSON}\r\n{hit}"),
            zeroed,
            "completed null final 0 gen-1",
        ),
        (
            Endpoint::ChatCompletions,
            format!("200 OK\r\n{EVENTS}\r\n{hit}"),
            &stream,
            "completed null final 0 gen-1",
        ),
        (
            Endpoint::ChatCompletions,
            format!("200 OK\r\n{EVENTS}\r\nx-openrouter-cache-status: hit"),
            &stream,
            "completed null final 0 gen-1",
        ),
        (
            Endpoint::Speech,
            format!("200 OK\r\ncontent-type: audio/mpeg\r\nx-generation-id: gen-1\r\n{hit}"),
            "audio",
            "completed null final 0 gen-1",
        ),
        (
            Endpoint::Embeddings,
            format!("200 OK\r\n{JSON}\r\n{hit}"),
            r#"{"usage":{"prompt_tokens":0.0,"cost":null}}"#,
            "completed null final 0 null",
        ),
        // Cut: what came from a cache cost nothing all the same.
        (
            Endpoint::ChatCompletions,
            format!("200 OK\r\n{EVENTS}\r\n{hit}"),
            "data: {\"id\":\"gen-1\"}\n\n",
            "failed upstream_cut final 0 gen-1",
        ),
        // Neither a miss, nor what is billed or cannot be read, is free.
        (
            Endpoint::ChatCompletions,
            format!("200 OK\r\n{JSON}\r\nX-OpenRouter-Cache-Status: MISS"),
            zeroed,
            "completed null pending null gen-1",
        ),
        (
            Endpoint::ChatCompletions,
            format!("200 OK\r\n{JSON}\r\n{hit}"),
            r#"{"id":"gen-1","usage":{"prompt_tokens":9}}"#,
            "completed null pending null gen-1",
        ),
        (
            Endpoint::ChatCompletions,
            format!("200 OK\r\n{JSON}\r\n{hit}"),
            r#"{"id":"gen-1","usage":{"cost":0.5}}"#,
            "completed null final 0.5 gen-1",
        ),
        (
            Endpoint::ChatCompletions,
            format!("200 OK\r\n{JSON}\r\n{hit}"),
            r#"{"id":"gen-1","usage":{"cost":"free"}}"#,
            "completed null pending null gen-1",
        ),
        (
            Endpoint::ChatCompletions,
            format!("200 OK\r\n{JSON}\r\n{hit}"),
            r#"{"id":"gen-1","usage":7}"#,
            "completed null pending null gen-1",
        ),
        (
            Endpoint::ChatCompletions,
            format!("502 Bad\r\n{JSON}\r\n{hit}"),
            zeroed,
            "failed upstream_status pending null gen-1",
        ),
    ] {
        let seen = exchange(endpoint, http(&head, body), After::Closes)
            .await
            .unwrap();
        assert_eq!(seen.row(), row, "{head} {body}");
    }
}

#[tokio::test]
async fn an_encoded_answer_is_passed_on_as_it_is_and_never_free() {
    let cut = "data: {\"id\":\"gen-1\",\"choices\":[]}\n\n";
    let priced = r#"{"id":"gen-1","usage":{"cost":0.5}}"#;
    for encoding in [
        "gzip",
        "br",
        "deflate, gzip",
        "zstd",
        "GZIP",
        "aws-chunked",
        "identity, gzip",
    ] {
        for (endpoint, kind, body) in [
            (Endpoint::ChatCompletions, EVENTS, cut),
            (Endpoint::ChatCompletions, JSON, priced),
            (Endpoint::Other, JSON, priced),
            (Endpoint::Other, EVENTS, cut),
        ] {
            let head = format!("200 OK\r\n{kind}\r\ncontent-encoding: {encoding}");
            let seen = exchange(endpoint, http(&head, body), After::Closes)
                .await
                .unwrap();
            assert_eq!(seen.body, body, "{head}");
            assert_eq!(seen.row(), "completed null pending null null", "{head}");
        }
    }
    // Cut in the middle of a chunk.
    let head = format!(
        "200 OK\r\n{EVENTS}\r\ncontent-encoding: gzip\r\nx-generation-id: gen-1\r\ntransfer-encoding: chunked"
    );
    let seen = exchange(
        Endpoint::ChatCompletions,
        http(&head, "5\r\nab\x01cd\r\n9\r\nxy"),
        After::Closes,
    )
    .await
    .unwrap();
    assert_eq!((seen.body.as_str(), seen.broken_off), ("ab\x01cdxy", true));
    assert_eq!(seen.row(), "failed upstream_cut pending null gen-1");
    for encoding in ["identity", "Identity", ""] {
        let head = format!("200 OK\r\n{JSON}\r\ncontent-encoding: {encoding}");
        let seen = exchange(
            Endpoint::ChatCompletions,
            http(&head, priced),
            After::Closes,
        )
        .await
        .unwrap();
        assert_eq!(seen.row(), "completed null final 0.5 gen-1", "{head}");
    }
}

#[tokio::test]
async fn an_empty_json_body_is_cut() {
    for (head, row) in [
        (
            format!("200 OK\r\n{JSON}"),
            "failed upstream_cut pending null null",
        ),
        (
            format!("200 OK\r\n{JSON}\r\ncontent-length: 0"),
            "failed upstream_cut pending null null",
        ),
        (
            format!("201 Created\r\n{JSON}"),
            "failed upstream_cut pending null null",
        ),
        (
            format!("200 OK\r\n{EVENTS}"),
            "failed upstream_cut pending null null",
        ),
        (
            format!("204 No Content\r\n{JSON}"),
            "completed null pending null null",
        ),
        (
            format!("500 Bad\r\n{JSON}"),
            "failed upstream_status none null null",
        ),
    ] {
        let seen = exchange(Endpoint::ChatCompletions, http(&head, ""), After::Closes)
            .await
            .unwrap();
        assert_eq!(seen.row(), row, "{head}");
    }
    let seen = exchange(
        Endpoint::ChatCompletions,
        http(&format!("200 OK\r\n{JSON}"), " \n"),
        After::Closes,
    )
    .await
    .unwrap();
    assert_eq!(seen.row(), "failed upstream_cut pending null null");
}

#[tokio::test]
async fn what_is_no_final_answer_is_refused() {
    for raw in [
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"
            .to_owned(),
        http(
            &format!("200 OK\r\n{JSON}\r\ntransfer-encoding: gzip, chunked"),
            "2\r\n{}\r\n0\r\n\r\n",
        ),
        http(
            &format!("200 OK\r\n{JSON}\r\ntransfer-encoding: gzip\r\ntransfer-encoding: chunked"),
            "2\r\n{}\r\n0\r\n\r\n",
        ),
    ] {
        for after in [After::Closes, After::Holds] {
            let error = exchange(Endpoint::ChatCompletions, raw.clone(), after)
                .await
                .unwrap_err();
            assert!(error.may_have_been_billed());
            assert_eq!(error.reason(), "upstream_protocol", "{raw}");
        }
    }
    for coding in ["chunked", "Chunked"] {
        let head = format!("200 OK\r\n{JSON}\r\ntransfer-encoding: {coding}");
        let seen = exchange(
            Endpoint::ChatCompletions,
            http(&head, "2\r\n{}\r\n0\r\n\r\n"),
            After::Closes,
        )
        .await;
        assert_eq!(seen.unwrap().body, "{}");
    }
    // A provisional answer before the final one is none of ours to see.
    let raw =
        "HTTP/1.1 103 Early Hints\r\n\r\n".to_owned() + &http(&format!("200 OK\r\n{JSON}"), "{}");
    let seen = exchange(Endpoint::ChatCompletions, raw, After::Closes).await;
    assert_eq!(seen.unwrap().body, "{}");
}

#[tokio::test]
async fn every_number_and_form_of_headers_has_its_outcome() {
    let many =
        |count: usize| (0..count).fold(String::new(), |all, n| format!("{all}\r\nx-h-{n}: {n}"));
    let ok = |headers: &str| {
        http(
            &format!("200 OK\r\n{JSON}{headers}"),
            r#"{"usage":{"cost":0.5}}"#,
        )
    };
    for (raw, outcome) in [
        (ok(&many(50)), "completed null final 0.5 null"),
        (ok(&many(95)), "completed null final 0.5 null"),
        (ok(&many(101)), "upstream_protocol"),
        (ok(&many(5000)), "upstream_protocol"),
        (ok("\r\nx-folded: a\r\n b"), "upstream_protocol"),
        (
            ok(&format!("\r\nx-long: {}", "x".repeat(20_000))),
            "completed null final 0.5 null",
        ),
        (
            ok(&format!("\r\nx-huge: {}", "x".repeat(2_000_000))),
            "upstream_protocol",
        ),
    ] {
        let got = match exchange(Endpoint::ChatCompletions, raw.clone(), After::Closes).await {
            Ok(seen) => seen.row(),
            Err(error) => {
                assert!(error.may_have_been_billed());
                error.reason().to_owned()
            }
        };
        assert_eq!(got, outcome, "{} bytes", raw.len());
    }
}

#[tokio::test]
async fn after_its_end_an_answer_is_not_waited_for() {
    let priced = r#"{"id":"gen-1","usage":{"cost":0.5}}"#;
    let done = format!("data: {priced}\n\ndata: [DONE]\n\n");
    let responses = "data: {\"type\":\"response.completed\",\"response\":{\"id\":\"gen-1\",\"usage\":{\"cost\":0.5}}}\n\n";
    let messages = "event: message_delta\ndata: {\"type\":\"message_delta\",\"message\":{\"id\":\"gen-1\"},\"usage\":{\"cost\":0.5}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
    let row = "completed null final 0.5 gen-1";
    for (endpoint, kind, body) in [
        (Endpoint::ChatCompletions, EVENTS, done.as_str()),
        (Endpoint::Other, EVENTS, &done),
        (Endpoint::Responses, EVENTS, responses),
        (Endpoint::Messages, EVENTS, messages),
        (Endpoint::ChatCompletions, JSON, priced),
    ] {
        let seen = exchange(
            endpoint,
            http(&format!("200 OK\r\n{kind}"), body),
            After::Holds,
        )
        .await
        .unwrap();
        assert_eq!((seen.body.as_str(), seen.row().as_str()), (body, row));
        assert!(
            seen.took < Duration::from_secs(5),
            "{body}: {:?}",
            seen.took
        );
    }
}

#[tokio::test]
async fn a_stream_of_images_is_over_after_done_alone() {
    let image = |n: u8| {
        format!(
            "event: image_generation.completed\ndata: {{\"type\":\"image_generation.completed\",\"b64_json\":\"{n}\",\"usage\":{{\"cost\":0.5}}}}\n\n"
        )
    };
    let body = format!("{}{}data: [DONE]\n\n", image(1), image(2));
    let raw = http(&format!("200 OK\r\n{EVENTS}"), &body);
    let seen = exchange(Endpoint::Images, raw, After::Holds).await.unwrap();
    assert_eq!(seen.body, body);
    assert_eq!(seen.row(), "completed null final 0.5 null");
    assert!(seen.took < Duration::from_secs(5), "{:?}", seen.took);
}

#[tokio::test]
async fn an_answer_without_a_row_is_not_waited_for_either() {
    for (endpoint, kind, body) in [
        (
            Endpoint::Other,
            EVENTS,
            "data: {\"a\":1}\n\ndata: [DONE]\n\n",
        ),
        (Endpoint::Batches, JSON, r#"{"data":[]}"#),
    ] {
        let raw = http(&format!("200 OK\r\n{kind}"), body).into_bytes();
        let seen = exchange_in(endpoint, raw, After::Holds, Metering::Off)
            .await
            .unwrap();
        assert_eq!(seen.body, body);
        assert!(seen.took < Duration::from_secs(5), "{:?}", seen.took);
    }
}

#[tokio::test]
async fn the_header_names_the_generation_whatever_the_body_says() {
    let head = format!("200 OK\r\n{EVENTS}\r\nx-generation-id: gen-1");
    for (endpoint, body) in [
        (
            Endpoint::Responses,
            "data: {\"type\":\"response.created\",\"response\":{\"id\":\"resp_1\"}}\n\n",
        ),
        (
            Endpoint::Messages,
            "data: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\"}}\n\n",
        ),
        (
            Endpoint::ChatCompletions,
            "data: {\"id\":\"chatcmpl-1\"}\n\n",
        ),
    ] {
        let seen = exchange(endpoint, http(&head, body), After::Closes)
            .await
            .unwrap();
        assert_eq!(seen.noted.as_deref(), Some("gen-1"), "{body}");
        assert_eq!(
            seen.row(),
            "failed upstream_cut pending null gen-1",
            "{body}"
        );
    }
    let head = format!("200 OK\r\n{JSON}\r\nx-generation-id: gen-1");
    let seen = exchange(
        Endpoint::Responses,
        http(&head, r#"{"id":"resp_1"}"#),
        After::Closes,
    )
    .await
    .unwrap();
    assert_eq!(seen.row(), "completed null pending null gen-1");
    // The id in the body of such an endpoint is the job's.
    let head = format!("202 Accepted\r\n{JSON}\r\nx-generation-id: gen-1");
    let seen = exchange(
        Endpoint::Videos,
        http(&head, r#"{"id":"vid-1"}"#),
        After::Closes,
    )
    .await
    .unwrap();
    assert_eq!(seen.row(), "completed null pending null gen-1");
    assert_eq!(seen.books["job_id"], "vid-1");
}
