use http::{HeaderValue, Method, StatusCode};
use shared::request::{RawQuery, Tasks};
use uuid::Uuid;

use super::*;

const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";

fn health(audiences: &[&str]) -> Arc<Health> {
    let audiences = audiences.iter().map(|it| Audience::parse(it).unwrap());
    let nowhere = Url::parse("http://127.0.0.1:9").unwrap();
    let client = http_client::without_tls(CHECK_TIMEOUT).unwrap();
    let timeouts = Timeouts {
        first_byte: CHECK_TIMEOUT,
        idle: CHECK_TIMEOUT,
    };
    Arc::new(Health {
        clock: Clock::system(),
        audiences: Audiences::new(audiences.collect()).unwrap(),
        storage: nowhere.clone(),
        openrouter: OpenRouter::new(client.clone(), nowhere, timeouts),
        client,
    })
}

async fn answer(method: Method, accept: &[&str], host: &str) -> Response<Bytes> {
    let mut headers = HeaderMap::new();
    headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
    for value in accept {
        headers.append(header::ACCEPT, HeaderValue::from_str(value).unwrap());
    }
    let request = Incoming {
        method,
        raw_path: "/".to_owned(),
        stage: None,
        query: RawQuery::Encoded(String::new()),
        headers,
        body: Bytes::new(),
    };
    let invocation = Invocation {
        id: Uuid::nil(),
        deadline: Instant::now() + Duration::from_secs(5),
        tasks: Tasks::default(),
    };
    let addresses = ["https://gw.example.com", "https://other.example.com/llm"];
    handle(health(&addresses), request, invocation).await
}

#[tokio::test]
async fn browsers_are_led_to_the_console_and_other_clients_get_json() {
    for accept in [
        &[BROWSER][..],
        &["text/html"],
        &["Text/HTML; charset=utf-8"],
        &["text/html;q=0.1"],
        &["application/json;q=0.5, text/html;q=0.5"],
        &["application/xml", "text/html"],
    ] {
        for method in [Method::GET, Method::HEAD] {
            let answer = answer(method, accept, "gw.example.com").await;
            assert_eq!(answer.status(), StatusCode::FOUND, "{accept:?}");
            let location = &answer.headers()[header::LOCATION];
            assert_eq!(location, "https://gw.example.com/console", "{accept:?}");
        }
    }
    for accept in [
        &[][..],
        &["*/*"],
        &["application/json"],
        &["text/*"],
        &["text/html;q=0"],
        &["text/html;q=0.0, */*"],
        &["text/html;q=high"],
        &["text/html;q=0.8, application/json"],
        &["application/xhtml+xml, text/htmlx"],
    ] {
        let answer = answer(Method::GET, accept, "gw.example.com").await;
        assert_eq!(answer.status(), StatusCode::OK, "{accept:?}");
        let body: Value = serde_json::from_slice(answer.body()).unwrap();
        assert_eq!(body["service"], "LLM Gateway", "{accept:?}");
    }
}

#[tokio::test]
async fn the_console_is_below_the_address_that_was_opened() {
    for (host, console) in [
        ("other.example.com", "https://other.example.com/llm/console"),
        ("gw.example.com", "https://gw.example.com/console"),
        // An address that nobody configured is never repeated.
        ("evil.example", "https://gw.example.com/console"),
        (
            "gw.example.com.evil.example",
            "https://gw.example.com/console",
        ),
    ] {
        let answer = answer(Method::GET, &[BROWSER], host).await;
        assert_eq!(answer.headers()[header::LOCATION], console, "{host}");
    }
}
