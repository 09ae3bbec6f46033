//! The way of a request to OpenRouter.

use http::Method;

use super::{AllowedFamilies, Endpoint, Job, unwrapped};

/// Everything below this prefix is passed on to OpenRouter.
pub const PROXY_PREFIX: &str = "/api/v1/openrouter";

/// POST endpoints that are known to be free: they get no row in the books. Every other POST gets
/// one, unknown ones too, so that an endpoint that costs money is never missed.
const FREE_POSTS: [&str; 4] = [
    "files",
    "containers",
    "generation/feedback",
    // Claude Code asks for it before each turn; it is no path of OpenRouter's.
    "messages/count_tokens",
];

/// Why a path is not passed on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// The path is not below [`PROXY_PREFIX`], or names nothing below it.
    #[error("nothing to pass on in {path}")]
    NotFound {
        /// The canonical path.
        path: String,
    },
    /// The path belongs to a family that the gateway refuses.
    #[error("the path family {family} is refused")]
    PathNotAllowed {
        /// The family as the operator would name it to allow it.
        family: &'static str,
    },
}

impl RouteError {
    /// The stable name that clients see.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "not_found",
            Self::PathNotAllowed { .. } => "path_not_allowed",
        }
    }
}

/// The destination of a proxied request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    upstream_path: String,
    endpoint: Endpoint,
    billable: bool,
    polled_job: Option<Job>,
    deleted_job: Option<Job>,
    counts_tokens: bool,
    requires_own_key: bool,
}

impl Route {
    /// Maps a canonical path, relative to the audience, to OpenRouter's.
    ///
    /// One leading `v1/` is aliased away: Anthropic's SDKs append `/v1/messages` to their base
    /// URL.
    pub fn parse(
        method: &Method,
        canonical_path: &str,
        allowed: &AllowedFamilies,
    ) -> Result<Self, RouteError> {
        let below = canonical_path
            .strip_prefix(PROXY_PREFIX)
            .and_then(|rest| rest.strip_prefix('/'))
            .map(|below| below.strip_prefix("v1/").unwrap_or(below))
            .filter(|path| !matches!(path.trim_matches('/'), "" | "v1"));
        let path = below.ok_or_else(|| RouteError::NotFound {
            path: canonical_path.to_owned(),
        })?;
        if let Some(family) = allowed.refusal(path) {
            return Err(RouteError::PathNotAllowed { family });
        }
        let name = path.trim_end_matches('/');
        Ok(Self {
            upstream_path: format!("/{path}"),
            endpoint: Endpoint::of(name),
            billable: *method == Method::POST
                && !FREE_POSTS
                    .into_iter()
                    .any(|free| is_below(unwrapped(name), free)),
            polled_job: (*method == Method::GET).then(|| Job::at(path)).flatten(),
            deleted_job: (*method == Method::DELETE).then(|| Job::at(path)).flatten(),
            counts_tokens: unwrapped(name) == "messages/count_tokens",
            requires_own_key: allowed.is_shared(path),
        })
    }

    /// The path below OpenRouter's base URL, with its leading slash.
    #[must_use]
    pub fn upstream_path(&self) -> &str {
        &self.upstream_path
    }

    /// The endpoint.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    /// The job whose state the request asks for. The answer may tell what the job cost.
    #[must_use]
    pub fn polled_job(&self) -> Option<&Job> {
        self.polled_job.as_ref()
    }

    /// The job that the request deletes. Nobody can ask afterwards what it cost.
    #[must_use]
    pub fn deleted_job(&self) -> Option<&Job> {
        self.deleted_job.as_ref()
    }

    /// Whether the request only counts tokens, which clients do before each of their requests.
    #[must_use]
    pub fn counts_tokens(&self) -> bool {
        self.counts_tokens
    }

    /// Whether the caller must have brought the key: the path reaches what all provisioned keys share.
    #[must_use]
    pub fn requires_own_key(&self) -> bool {
        self.requires_own_key
    }

    /// Whether the request gets a row in the books.
    #[must_use]
    pub fn is_billable(&self) -> bool {
        self.billable
    }
}

pub(super) fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(method: &Method, path: &str) -> Result<Route, RouteError> {
        Route::parse(
            method,
            &format!("{PROXY_PREFIX}{path}"),
            &AllowedFamilies::default(),
        )
    }

    #[test]
    fn maps_paths_and_aliases_one_v1() {
        for (path, upstream, endpoint) in [
            (
                "/chat/completions",
                "/chat/completions",
                Endpoint::ChatCompletions,
            ),
            ("/v1/messages", "/messages", Endpoint::Messages),
            ("/v1/v1/messages", "/v1/messages", Endpoint::Other),
            ("/audio/speech/", "/audio/speech/", Endpoint::Speech),
            ("/brand/new", "/brand/new", Endpoint::Other),
            (
                "/presets/mine/messages",
                "/presets/mine/messages",
                Endpoint::Other,
            ),
            (
                "/interns/7/chat/completions",
                "/interns/7/chat/completions",
                Endpoint::ChatCompletions,
            ),
        ] {
            let route = route(&Method::POST, path).unwrap();
            assert_eq!(
                (route.upstream_path(), route.endpoint()),
                (upstream, endpoint),
                "{path}"
            );
            assert!(route.is_billable(), "{path}");
        }
    }

    #[test]
    fn bills_every_post_that_is_not_known_to_be_free() {
        assert!(!route(&Method::GET, "/models").unwrap().is_billable());
        assert!(!route(&Method::POST, "/files").unwrap().is_billable());
        assert!(
            !route(&Method::POST, "/containers/a/files/b/promote")
                .unwrap()
                .is_billable()
        );
        assert!(route(&Method::POST, "/filesystem").unwrap().is_billable());
    }

    #[test]
    fn counting_tokens_leaves_nothing_in_the_books() {
        for path in [
            "/messages/count_tokens",
            "/v1/messages/count_tokens",
            "/v1/messages/count_tokens/",
            "/interns/7/messages/count_tokens",
        ] {
            let route = route(&Method::POST, path).unwrap();
            assert!(route.counts_tokens() && !route.is_billable(), "{path}");
        }
        for path in ["/messages", "/messages/count", "/messages/count_tokens_too"] {
            let route = route(&Method::POST, path).unwrap();
            assert!(!route.counts_tokens() && route.is_billable(), "{path}");
        }
    }

    #[test]
    fn a_job_is_recognised_in_every_spelling_that_is_passed_on() {
        for path in [
            "/batches/batch_1",
            "/batches/batch_1/",
            "/batches/batch_1//",
            "/v1/batches/batch_1/",
            "/v1/v1/batches/batch_1",
            "/Batches/batch_1",
            "/interns/7/batches/batch_1",
        ] {
            let job = Job::new(Endpoint::Batches, "batch_1");
            let poll = route(&Method::GET, path).unwrap();
            assert_eq!(poll.polled_job().cloned(), job, "{path}");
            assert_eq!(poll.deleted_job(), None, "{path}");
            let deletion = route(&Method::DELETE, path).unwrap();
            assert_eq!(deletion.deleted_job().cloned(), job, "{path}");
            assert_eq!(deletion.polled_job(), None, "{path}");
            assert!(!deletion.is_billable());
        }
        for path in [
            "/batches",
            "/batches/a/cancel",
            "/files/batch_1",
            "/videos/models/",
        ] {
            let route = route(&Method::DELETE, path).unwrap();
            assert_eq!(route.deleted_job(), None, "{path}");
        }
    }

    #[test]
    fn a_poll_names_its_job_and_is_free() {
        let poll = route(&Method::GET, "/v1/videos/gen-vid-1").unwrap();
        assert_eq!(
            poll.polled_job().map(Job::path).as_deref(),
            Some("/videos/gen-vid-1")
        );
        assert!(!poll.is_billable());
        for (method, path) in [
            (Method::DELETE, "/batches/batch_1"),
            (Method::POST, "/videos"),
            (Method::GET, "/videos/models"),
            (Method::GET, "/videos/gen-vid-1/content"),
        ] {
            assert_eq!(route(&method, path).unwrap().polled_job(), None, "{path}");
        }
    }

    #[test]
    fn refuses_credential_families_in_every_spelling() {
        for path in [
            "/keys",
            "/keys/abc",
            "/KEYS",
            "/v1/keys",
            "/v1/v1/keys",
            "/credits",
            "/credits/coinbase",
            "/auth/keys/code",
            "/oauth/token",
            "/vault/secrets/x",
            "/organizations",
            "/byok/1",
        ] {
            assert!(
                matches!(
                    route(&Method::GET, path),
                    Err(RouteError::PathNotAllowed { .. })
                ),
                "{path}"
            );
        }
        for path in ["/key", "/auth", "/models/keys", "/generation"] {
            assert!(route(&Method::GET, path).is_ok(), "{path}");
        }
    }

    #[test]
    fn what_provisioned_keys_share_takes_a_key_of_ones_own() {
        for path in [
            "/files",
            "/Files/file_1/content",
            "/v1/v1/batches",
            "/batches/batch_1",
            "/presets/mine/chat/completions",
            "/containers/c/files",
            "/interns/7/chat/completions",
            "/datasets/session-cost",
        ] {
            for method in [Method::GET, Method::POST, Method::DELETE] {
                assert!(route(&method, path).unwrap().requires_own_key(), "{path}");
            }
        }
        for path in [
            "/chat/completions",
            "/videos/v",
            "/datasets/rankings-daily",
            "/models/files",
        ] {
            assert!(
                !route(&Method::POST, path).unwrap().requires_own_key(),
                "{path}"
            );
        }
        let allowed = AllowedFamilies::parse("files").unwrap();
        let route = |path| Route::parse(&Method::GET, path, &allowed).unwrap();
        assert!(!route("/api/v1/openrouter/files").requires_own_key());
        assert!(route("/api/v1/openrouter/batches").requires_own_key());
    }

    #[test]
    fn any_number_of_versions_is_looked_behind_in_one_go() {
        let path = format!("/{}keys", "v1/".repeat(1_000_000));
        assert!(matches!(
            route(&Method::GET, &path),
            Err(RouteError::PathNotAllowed { family: "keys" })
        ));
    }

    #[test]
    fn refuses_paths_that_name_nothing() {
        for path in ["", "/", "x/models", "/v1", "/v1/", "//", "/v1//"] {
            assert!(
                matches!(route(&Method::GET, path), Err(RouteError::NotFound { .. })),
                "{path:?}"
            );
        }
    }
}
