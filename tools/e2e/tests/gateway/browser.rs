//! Web pages of other origins: a real browser, with the preflight that `template.yaml` declares.

use std::{path::PathBuf, process::Command, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{Path, Request, State},
    response::{Html, IntoResponse, Response},
    routing::{get, post},
};
use e2e::world::{World, with_world};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde_json::{Value, json};
use stack::process::Launch;
use tokio::{net::TcpListener, sync::mpsc, time::timeout};

use crate::{
    clients::sdks,
    tokens::{make, manage},
};

/// The longest time for a cold browser on a busy machine.
const PAGE_TIMEOUT: Duration = Duration::from_mins(1);
const PAGE: &str = include_str!("../../clients/browser.html");

/// API Gateway's part in what browsers ask: it answers the preflight itself, and forwards everything else.
struct ApiGateway {
    preflight: HeaderMap,
    functions: String,
    client: reqwest::Client,
}

/// The headers of the mock that answers `OPTIONS`, with the default of `AllowedOrigin`.
fn preflight(world: &World) -> HeaderMap {
    let template = std::fs::read_to_string(world.project("template.yaml")).unwrap();
    let declared = template.lines().filter_map(|line| {
        let (name, value) = line
            .trim()
            .strip_prefix("method.response.header.")?
            .split_once(": ")?;
        let value = value.trim_start_matches("!Sub ").trim_matches(['"', '\'']);
        Some((name.to_owned(), value.replace("${AllowedOrigin}", "*")))
    });
    let mut headers = HeaderMap::new();
    for (name, value) in declared {
        let name: HeaderName = name.parse().unwrap();
        headers.insert(name, HeaderValue::from_str(&value).unwrap());
    }
    headers
}

async fn forward(State(gateway): State<Arc<ApiGateway>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    if head.method == Method::OPTIONS {
        return (StatusCode::NO_CONTENT, gateway.preflight.clone()).into_response();
    }
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let url = format!(
        "{}{}",
        gateway.functions,
        head.uri.path_and_query().unwrap()
    );
    let mut headers = head.headers;
    headers.remove(header::HOST);
    let answer = gateway
        .client
        .request(head.method, url)
        .headers(headers)
        .body(body);
    let answer = answer.send().await.unwrap();
    let mut response = Response::new(Body::empty());
    *response.status_mut() = answer.status();
    for (name, value) in answer.headers() {
        if name != header::TRANSFER_ENCODING && name != header::CONTENT_LENGTH {
            response.headers_mut().insert(name, value.clone());
        }
    }
    *response.body_mut() = Body::from_stream(answer.bytes_stream());
    response
}

/// Serves a router on a port of its own, and with it an origin of its own.
async fn serve(router: Router) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

/// The server of the page, which reports to `reports`.
fn page_server(modules: PathBuf, settings: Value, reports: mpsc::Sender<Value>) -> Router {
    // Some modules name others without the extension.
    let read = move |path: &str| {
        let files = [modules.join(path), modules.join(format!("{path}.js"))];
        files.iter().find_map(|file| std::fs::read(file).ok())
    };
    let module = async move |Path(path): Path<String>| match read(&path) {
        Some(text) => ([(header::CONTENT_TYPE, "text/javascript")], text).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    };
    let report = async move |body: Bytes| {
        let _ = reports.send(serde_json::from_slice(&body).unwrap()).await;
    };
    Router::new()
        .route("/", get(async || Html(PAGE)))
        .route("/settings", get(async move || Json(settings.clone())))
        .route("/modules/{*path}", get(module))
        .route("/report", post(report))
}

#[expect(clippy::disallowed_methods, reason = "tests read their environment")]
fn browser_program() -> std::ffi::OsString {
    std::env::var_os("CHROMIUM").unwrap()
}

#[test]
#[ignore = "needs CHROMIUM"]
fn a_page_of_another_origin_uses_the_gateway_with_a_token() {
    with_world(async |world| {
        let user = world.user().unwrap();
        let settings = |name: &str| json!({"name": name, "expires_at": "2199-01-01T00:00:00Z"});
        let (_, token) = make(&user, settings("page")).await;
        let (id, revoked) = make(&user, settings("revoked")).await;
        manage(
            &user,
            Method::DELETE,
            &format!("/api/v1/tokens/{id}"),
            &Value::Null,
        )
        .await;

        let gateway = ApiGateway {
            preflight: preflight(world),
            functions: world.url("proxy-shared", ""),
            client: world.client.clone(),
        };
        assert_eq!(gateway.preflight.len(), 4);
        let gateway = serve(
            Router::new()
                .fallback(forward)
                .with_state(Arc::new(gateway)),
        )
        .await;
        let (reports, mut reported) = mpsc::channel(1);
        let settings = json!({"base": format!("{gateway}/api/v1/openrouter"), "token": token, "revoked": revoked});
        let page = serve(page_server(sdks().node_modules(), settings, reports)).await;

        let run = world.run("browser").unwrap();
        let mut browser = Command::new(browser_program());
        browser
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
            ])
            .arg(format!(
                "--user-data-dir={}",
                run.path().join("profile").display()
            ))
            .arg(&page);
        let _browser = Launch::new("browser", browser, &run).start().unwrap();
        let seen = timeout(PAGE_TIMEOUT, reported.recv())
            .await
            .unwrap()
            .unwrap();
        insta::assert_json_snapshot!(seen);

        let rows = user.rows().await.unwrap();
        let booked: Vec<_> = rows
            .iter()
            .map(|row| (&row["endpoint"], &row["app"], &row["cost_state"]))
            .collect();
        let chat = (
            &json!("chat.completions"),
            &json!("A page"),
            &json!("final"),
        );
        // The browser itself names the page, without a title.
        let message = (&json!("messages"), &json!(page), &json!("final"));
        assert_eq!(booked, [chat, chat, message]);
    });
}
