use std::{collections::BTreeMap, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use sha2::{Digest as _, Sha256};
use shared::request::{RawQuery, Tasks};
use tokio::time::Instant;

use super::*;

fn console(audience: &str) -> Arc<Console> {
    let audience = Audience::parse(audience).unwrap();
    let audiences = Audiences::new(vec![audience]).unwrap();
    Arc::new(Console { audiences })
}

fn request(method: Method, path: &str, headers: &[(HeaderName, &str)]) -> Incoming {
    let headers = headers
        .iter()
        .map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()));
    Incoming {
        method,
        raw_path: path.to_owned(),
        stage: None,
        query: RawQuery::Encoded(String::new()),
        headers: headers.collect::<HeaderMap>(),
        body: Bytes::new(),
    }
}

fn invocation() -> Invocation {
    Invocation {
        id: Uuid::nil(),
        deadline: Instant::now() + Duration::from_mins(1),
        tasks: Tasks::default(),
    }
}

fn answer(request: &Incoming) -> Response<Bytes> {
    let console = console("https://gw.example.com");
    console
        .answer(request, Uuid::nil())
        .unwrap_or_else(|error| respond::failure(&error, Uuid::nil()))
}

fn get(path: &str, headers: &[(HeaderName, &str)]) -> Response<Bytes> {
    answer(&request(Method::GET, path, headers))
}

#[test]
fn the_page_is_revalidated_and_not_sent_twice() {
    let first = get("/console", &[]);
    assert_eq!(first.status(), StatusCode::OK);
    assert_eq!(first.headers()[header::CACHE_CONTROL], "no-cache");
    assert!(first.body().starts_with(b"<!doctype html>"));
    let etag = first.headers()[header::ETAG].to_str().unwrap();
    for known in [
        etag,
        &format!("W/{etag}"),
        &format!("\"other\", {etag}"),
        "*",
    ] {
        let again = get("/console", &[(header::IF_NONE_MATCH, known)]);
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{known}");
        assert!(again.body().is_empty());
        assert_eq!(again.headers()[header::ETAG], etag);
    }
    let other = get("/console", &[(header::IF_NONE_MATCH, "\"other\"")]);
    assert_eq!(other.status(), StatusCode::OK);
}

#[test]
fn the_policy_permits_exactly_the_style_that_is_served() {
    for path in ["/console", "/console/approve"] {
        let mut response = get(path, &[]);
        headers::protect(response.headers_mut());
        if response.status() == StatusCode::NOT_FOUND {
            // An unbuilt page has no second one.
            continue;
        }
        let policy = response.headers()[header::CONTENT_SECURITY_POLICY].clone();
        let page = std::str::from_utf8(response.body()).unwrap();
        let styles: Vec<_> = page
            .split("<style>")
            .skip(1)
            .map(|rest| {
                let (style, _) = rest.split_once("</style>").unwrap();
                format!(
                    " 'sha256-{}'",
                    BASE64_STANDARD.encode(Sha256::digest(style))
                )
            })
            .collect();
        let permitted = format!("; style-src 'self'{}; img-src", styles.concat());
        assert!(
            policy.to_str().unwrap().contains(&permitted),
            "{path}: {policy:?} {permitted}"
        );
        assert!(!page.contains(" style="), "{path}");
    }
}

#[test]
fn a_path_without_a_file_is_not_found() {
    for path in [
        "/console/index.html",
        "/console/assets/none.js",
        "/consoles",
        "/api/v1/console",
        "/console/approve.html",
    ] {
        assert_eq!(get(path, &[]).status(), StatusCode::NOT_FOUND, "{path}");
    }
    let posted = answer(&request(Method::POST, "/console", &[]));
    assert_eq!(posted.status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[test]
fn a_slash_at_the_end_leads_to_the_page() {
    let answer = get("/console/", &[]);
    assert_eq!(answer.status(), StatusCode::FOUND);
    assert_eq!(answer.headers()[header::LOCATION], "../console");
}

#[test]
fn the_page_is_found_below_a_stage_and_a_base_path() {
    let console = console("https://gw.example.com/llm");
    for (path, stage) in [
        ("/llm/console", None),
        ("/console", None),
        ("/prod/console", Some("prod")),
    ] {
        let mut request = request(Method::GET, path, &[]);
        request.stage = stage.map(str::to_owned);
        let answer = console.answer(&request, Uuid::nil()).unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
    }
}

#[test]
fn the_configuration_names_what_is_signed_for() {
    let answer = get("/console/config.json", &[]);
    let body: serde_json::Value = serde_json::from_slice(answer.body()).unwrap();
    assert_eq!(body["audiences"], json!(["https://gw.example.com"]));
}

#[tokio::test]
async fn every_response_is_protected_and_head_has_no_body() {
    for (method, path, status) in [
        (Method::GET, "/console", 200),
        (Method::HEAD, "/console", 200),
        (Method::GET, "/console/nothing", 404),
    ] {
        let request = request(method, path, &[]);
        let response = handle(console("https://gw.example.com"), request, invocation()).await;
        assert_eq!(response.status(), status);
        let found: BTreeMap<_, _> = response
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        assert_eq!(found["x-content-type-options"], "nosniff");
        assert_eq!(found["referrer-policy"], "no-referrer");
        assert_eq!(found["cross-origin-opener-policy"], "same-origin");
        let policy = found["content-security-policy"];
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"));
        assert!(!policy.contains("unsafe"), "{policy}");
        assert!(found.contains_key("x-gateway-request-id"));
        assert!(!found.contains_key("access-control-allow-origin"));
    }
}

#[test]
fn a_client_gets_a_coding_that_it_accepts() {
    let file = File::at("").unwrap();
    let chosen = |accepted: &str| {
        let request = request(
            Method::GET,
            "/console",
            &[(header::ACCEPT_ENCODING, accepted)],
        );
        file.variant(&request.headers).0.name()
    };
    assert_eq!(chosen("identity"), None);
    assert_eq!(chosen("br;q=0, gzip;q=0"), None);
    // An unbuilt page has no variants.
    if chosen("br").is_some() {
        assert_eq!(chosen("gzip, deflate, br"), Some("br"));
        assert_eq!(chosen("gzip, br;q=0"), Some("gzip"));
        assert_ne!(
            file.etag(file.variant(&HeaderMap::new()).0),
            file.etag(files::Coding::Brotli)
        );
    }
}
