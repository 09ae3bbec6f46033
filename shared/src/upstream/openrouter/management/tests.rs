use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    thread,
};

use super::*;
use crate::{http_client, upstream::openrouter::Timeouts};

/// An OpenRouter with `count` keys, `k0` the youngest, of which somebody deletes `deleted` of the
/// youngest after each page that is read.
fn listing(count: usize, deleted: usize) -> OpenRouter {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/api/v1", listener.local_addr().unwrap());
    let mut keys: Vec<String> = (0..count).map(|index| format!("k{index}")).collect();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let asked = lines.next().unwrap().unwrap();
            while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
            let (_, offset) = asked.split_once("offset=").unwrap();
            let offset = offset.split(' ').next().unwrap().parse().unwrap();
            let page: Vec<_> = keys
                .iter()
                .skip(offset)
                .take(100)
                .map(|name| serde_json::json!({"name": name, "hash": format!("h-{name}")}))
                .collect();
            let body = serde_json::json!({ "data": page }).to_string();
            let head = "HTTP/1.1 200 OK\r\nconnection: close";
            let length = body.len();
            let _ = write!(stream, "{head}\r\ncontent-length: {length}\r\n\r\n{body}");
            keys.drain(..deleted.min(keys.len()));
        }
    });
    let timeouts = Timeouts {
        first_byte: Duration::from_secs(5),
        idle: Duration::from_secs(5),
    };
    let client = http_client::without_tls(Duration::from_secs(5)).unwrap();
    OpenRouter::new(client, url.parse().unwrap(), timeouts)
}

async fn found(
    openrouter: &OpenRouter,
    name: &str,
) -> Result<Option<UpstreamHash>, ManagementError> {
    let management = ApiKey::new("sk-or-v1-management".to_owned()).unwrap();
    openrouter
        .find_key(&management, name, Duration::from_secs(5))
        .await
}

#[tokio::test]
async fn a_key_is_found_on_every_page_and_none_is_none() {
    for count in [0, 1, 2, 3, 99, 100, 101, 149, 150, 151, 250] {
        let openrouter = listing(count, 0);
        assert_eq!(found(&openrouter, "other").await.unwrap(), None, "{count}");
        for index in [0, 1, 99, 100, 101, 149, 150, 249] {
            let hash = found(&openrouter, &format!("k{index}")).await.unwrap();
            assert_eq!(hash.is_some(), index < count, "k{index} of {count}");
        }
    }
}

#[tokio::test]
async fn a_key_that_moves_to_a_page_already_read_is_not_taken_for_gone() {
    for deleted in [1, 30, 49] {
        for index in 100..160 {
            let openrouter = listing(400, deleted);
            let hash = found(&openrouter, &format!("k{index}")).await.unwrap();
            assert!(hash.is_some(), "k{index}, {deleted} deleted a page");
        }
    }
    // Faster than can be followed: no answer, and in the end one that is right.
    for count in [120, 160, 400] {
        for index in (100..count).step_by(7) {
            let hash = found(&listing(count, 110), &format!("k{index}")).await;
            assert!(!matches!(hash, Ok(None)), "k{index} of {count}: {hash:?}");
        }
    }
}

#[test]
fn an_order_keeps_its_digits() {
    let order = |limit_reset| KeyOrder {
        name: "llm-gateway-1",
        limit: "0.10000000000000000001".parse().unwrap(),
        limit_reset,
    };
    assert_eq!(
        order(Some("monthly")).to_json().unwrap(),
        r#"{"name":"llm-gateway-1","limit":0.10000000000000000001,"limit_reset":"monthly","include_byok_in_limit":true}"#
    );
    assert!(
        order(None)
            .to_json()
            .unwrap()
            .ends_with(r#""limit_reset":null,"include_byok_in_limit":true}"#)
    );
}

#[test]
fn a_made_key_is_read_and_does_not_print() {
    // The members of OpenRouter's own example.
    let body = r#"{"data":{"hash":"f01d52606dc8f0a8303a7b5cc3fa07109c2e346cec7c0a16b40de462992ce943",
        "name":"Analytics Service Key","label":"sk-or-v1-abc...123","disabled":false,"limit":50,
        "limit_remaining":50,"limit_reset":null,"include_byok_in_limit":true,"usage":0},
        "key":"sk-or-v1-planted"}"#;
    let made = MadeKey::from_json(body.as_bytes()).unwrap();
    assert_eq!(made.hash.as_str().len(), 64);
    assert_eq!(made.key.expose_secret(), "sk-or-v1-planted");
    assert!(!format!("{made:?}").contains("planted"));
}

#[test]
fn half_a_made_key_is_none() {
    for body in [
        r#"{"data":{"hash":"ab"}}"#,
        r#"{"data":{},"key":"sk-or-v1-x"}"#,
        r#"{"data":{"hash":"../keys"},"key":"sk-or-v1-x"}"#,
        r#"{"data":{"hash":"ab"},"key":"with blank"}"#,
        r#"{"data":{"hash":"ab"},"key":"sk-or-v1-"#,
        "",
    ] {
        assert!(MadeKey::from_json(body.as_bytes()).is_none(), "{body}");
    }
}

#[test]
fn only_a_refusal_is_certain() {
    for (status, may_have_happened) in [
        (400, false),
        (401, false),
        (409, false),
        (429, false),
        (408, true),
        (302, true),
        (500, true),
        (503, true),
    ] {
        let error = succeeded(StatusCode::from_u16(status).unwrap()).unwrap_err();
        assert_eq!(error.may_have_happened(), may_have_happened, "{status}");
    }
    assert!(ManagementError::Unreadable.may_have_happened());
    assert!(ManagementError::from(UpstreamError::FirstByteTimeout).may_have_happened());
}
