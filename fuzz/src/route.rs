//! Routes of proxied requests, beside a careless router.

use http::Method;
use shared::{
    identity::canonical::CanonicalPath,
    upstream::endpoint::{AllowedFamilies, PROXY_PREFIX, Route, RouteError},
};
use url::Url;

use crate::{canonical::expected_path, input::Fields, planted};

const REFUSED: [&str; 15] = [
    "keys",
    "credits",
    "activity",
    "analytics",
    "byok",
    "guardrails",
    "workspaces",
    "observability",
    "organization",
    "scim",
    "private-endpoints",
    "external-users",
    "auth/keys",
    "oauth/token",
    "vault",
];
const FREE: [&str; 4] = [
    "files",
    "containers",
    "generation/feedback",
    "messages/count_tokens",
];

/// No spelling of a refused family goes upstream, every path that does is canonical, and only a known free POST is not
/// billed.
pub(crate) fn refused_families_stay_refused(data: &[u8]) {
    let fields = Fields::of(data);
    let method = Method::from_bytes(fields.bytes(1)).unwrap_or(Method::POST);
    let allowed = AllowedFamilies::parse(&fields.text(2)).unwrap_or_default();
    let allows_none = AllowedFamilies::parse(&fields.text(2)).is_err() || fields.text(2).is_empty();
    let raw = fields.text(0);
    for raw in [format!("{PROXY_PREFIX}/{raw}"), raw] {
        let Ok(path) = CanonicalPath::from_raw(&raw) else {
            continue;
        };
        match Route::parse(&method, path.as_str(), &allowed) {
            Ok(route) => {
                is_sound(&route, &method, &path);
                let refused = refused_family(route.upstream_path());
                assert!(!allows_none || refused.is_none(), "{path} is let through");
            }
            Err(RouteError::PathNotAllowed { family }) => assert!(REFUSED.contains(&family)),
            Err(RouteError::NotFound { .. }) => {
                let below = path.as_str().strip_prefix(PROXY_PREFIX);
                let below = below.and_then(|it| it.strip_prefix('/')).unwrap_or("");
                assert!(
                    ["", "v1", "v1/", "v1/v1", "v1/v1/"].contains(&below),
                    "{path}"
                );
            }
        }
    }
}

fn is_sound(route: &Route, method: &Method, path: &CanonicalPath) {
    let upstream = route.upstream_path();
    assert!(upstream.len() > 1 && path.as_str().ends_with(upstream));
    assert_eq!(expected_path(upstream).as_deref(), Some(upstream));
    let url = Url::parse(&format!("https://openrouter.ai/api/v1{upstream}")).unwrap();
    assert_eq!(url.path(), format!("/api/v1{upstream}"));

    if let Some(job) = route.polled_job() {
        assert_eq!(method, Method::GET);
        assert!(
            job.path()
                .eq_ignore_ascii_case(upstream.trim_end_matches('/'))
        );
    }
    if let Some(job) = route.deleted_job() {
        assert_eq!(method, Method::DELETE);
        assert!(
            job.path()
                .eq_ignore_ascii_case(upstream.trim_end_matches('/'))
        );
    }
    let name = upstream.trim_matches('/');
    // An intern answers in the name of the endpoint that it wraps.
    let name = name
        .strip_prefix("interns/")
        .and_then(|it| it.split_once('/'))
        .map_or(name, |(_, wrapped)| wrapped);
    let is_free = FREE.iter().any(|free| {
        name.strip_prefix(free)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    let mut is_billable = route.is_billable();
    if planted() && name.starts_with('c') {
        is_billable = false;
    }
    assert_eq!(is_billable, method == Method::POST && !is_free, "{path}");
    assert_eq!(route.counts_tokens(), name == "messages/count_tokens");
}

/// The family in a path as a careless router reads it: in any case, behind any number of `v1`.
fn refused_family(path: &str) -> Option<&'static str> {
    let path = path.to_ascii_lowercase();
    let mut rest = path.trim_start_matches('/');
    while let Some(after) = rest.strip_prefix("v1/") {
        rest = after;
    }
    REFUSED.into_iter().find(|family| rest.starts_with(family))
}
