//! The table of routes against everything that repeats it.

#![expect(
    clippy::unwrap_used,
    reason = "in tests' helpers, too, what does not work fails the test"
)]

use std::{collections::BTreeMap, fs, path::Path};

use shared::{
    error::Error,
    identity::auth::Scheme,
    respond,
    routes::{Access, FALLBACK, Route},
    upstream::{endpoint::PROXY_PREFIX, openrouter::forwarded_headers},
};
use uuid::Uuid;

fn read(file: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    fs::read_to_string(root.join(file)).unwrap()
}

/// Each path with its function, any other path among them. `rest` is the router's placeholder for the
/// end of a path.
fn functions(rest: &str) -> BTreeMap<String, String> {
    let routes = Route::ALL.map(|it| (it.path().replace("{path}", rest), it.function()));
    let others = (format!("/{rest}"), FALLBACK);
    let all = routes.into_iter().chain([others]);
    all.map(|(path, function)| (path, function.as_str().to_owned()))
        .collect()
}

/// `tools/template` holds the template against this file. The functions themselves refuse methods.
#[test]
fn the_template_deploys_the_routes() {
    let deployed: BTreeMap<String, String> =
        serde_json::from_str(&read("tools/template/routes.json")).unwrap();
    let routes = functions("{proxy+}").into_iter();
    let routes = routes.map(|(path, function)| (format!("ANY {path}"), function));
    assert_eq!(deployed, routes.collect());
}

#[test]
fn cargo_lambda_watch_routes_as_the_template_does() {
    let manifest = read("Cargo.toml");
    let (_, section) = manifest
        .split_once("[workspace.metadata.lambda.watch.router]\n")
        .unwrap();
    let watched: BTreeMap<_, _> = section
        .lines()
        .map_while(|line| line.split_once(" = "))
        .map(|(path, function)| [path, function].map(|it| it.trim_matches('"').to_owned()))
        .map(|[path, function]| (path, function))
        .collect();
    assert_eq!(watched, functions("{*path}"));
}

#[test]
fn the_proxys_prefix_is_its_routes() {
    assert_eq!(Route::OpenRouter.path(), format!("{PROXY_PREFIX}/{{path}}"));
}

/// An unknown path is answered with the routes, those below another one left out.
#[test]
fn the_answer_to_an_unknown_path_names_the_routes() {
    let body = respond::failure(&Error::NotFound, Uuid::nil()).into_body();
    let body = String::from_utf8(body.to_vec()).unwrap();
    for route in Route::ALL.into_iter().filter(|it| {
        ![
            Route::UsageRequests,
            Route::DatabaseHealth,
            Route::Token,
            Route::ConsoleFile,
        ]
        .contains(it)
    }) {
        let path = route.path().replace("{path}", "…");
        assert!(body.contains(&format!(" {path}")), "{path}: {body}");
    }
}

#[test]
fn web_pages_may_send_the_credentials_of_every_scheme_and_none_is_passed_on() {
    assert!(Route::ALL.into_iter().any(|it| it.access() != Access::Open));
    let template = read("template.yaml");
    let allowed = template
        .lines()
        .find(|line| line.contains("Access-Control-Allow-Headers: \"'"))
        .unwrap();
    for header in Scheme::ALL.into_iter().flat_map(Scheme::headers) {
        let is_allowed = allowed.split(['\'', ',']).any(|it| it == *header);
        assert!(is_allowed, "{header}: {allowed}");
        let name = http::HeaderName::from_static(header);
        let sent = [(name.clone(), http::HeaderValue::from_static("x"))];
        let forwarded = forwarded_headers(&sent.into_iter().collect());
        assert!(!forwarded.contains_key(name), "{header}");
    }
}
