//! OpenRouter's endpoints: their table, their costs, and the paths that the gateway refuses to pass
//! on.

mod dialect;
mod job;

use http::Method;

pub use self::{
    dialect::{Dialect, EndMark},
    job::Job,
};

/// Everything below this prefix is passed on to OpenRouter.
pub const PROXY_PREFIX: &str = "/api/v1/openrouter";

/// Families of paths that need a management key or hand out credentials, as OpenRouter's API
/// description lists them. A pattern names whole leading segments; its last one is a prefix, so
/// that `/keys-of-tomorrow` is refused too.
const REFUSED_FAMILIES: [&str; 15] = [
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

/// Families of paths below which OpenRouter keeps what all keys of an account or workspace share: whoever has
/// one of them lists, reads, changes or deletes what others keep there. Refused to callers whose key the
/// gateway made, because those keys are all the operator's. Patterns as above.
const SHARED_FAMILIES: [&str; 6] = [
    "files",
    "batches",
    "presets",
    "containers",
    "interns",
    "datasets/session-cost",
];

/// POST endpoints that are known to be free: they get no row in the books. Every other POST gets
/// one, unknown ones too, so that an endpoint that costs money is never missed.
const FREE_POSTS: [&str; 4] = [
    "files",
    "containers",
    "generation/feedback",
    // Claude Code asks for it before each turn; it is no path of OpenRouter's.
    "messages/count_tokens",
];

/// The methods that are passed on, as the `Allow` header says them. Others (`TRACE`, `CONNECT`, odd
/// spellings) would carry the user's key to who knows what.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// A billable endpoint, as the books name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// `/chat/completions`
    ChatCompletions,
    /// `/completions`
    Completions,
    /// `/responses`
    Responses,
    /// `/messages`
    Messages,
    /// `/embeddings`
    Embeddings,
    /// `/rerank`
    Rerank,
    /// `/images`
    Images,
    /// `/audio/transcriptions`
    Transcriptions,
    /// `/audio/speech`
    Speech,
    /// `/videos`
    Videos,
    /// `/batches`
    Batches,
    /// `/systemone`
    Systemone,
    /// Any other path. The last variant.
    Other,
}

/// An endpoint's row in [`ENDPOINTS`].
struct Description {
    endpoint: Endpoint,
    /// The path below OpenRouter's base URL, without its leading slash; of none, no path.
    path: &'static str,
    /// The name in `request_logs.endpoint` and in the logs.
    name: &'static str,
    /// The dialect of its event streams.
    dialect: Dialect,
    /// Whether a request creates an asynchronous [`Job`] below `path`: it is answered before the work
    /// is done, and its cost is known only later.
    creates_jobs: bool,
    /// The unit in which a request is held.
    hold: HoldUnit,
}

/// The unit of the least that is held for a request against a credit limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldUnit {
    /// The request.
    Request,
    /// Each request in the body.
    InlineRequest,
    /// A video.
    Video,
}

/// Every endpoint, in the order of the variants.
const ENDPOINTS: [Description; Endpoint::Other as usize + 1] = {
    use Dialect::{Chat, Messages, Responses, Unknown};
    use Endpoint as E;
    [
        at_once(
            E::ChatCompletions,
            "chat/completions",
            "chat.completions",
            Chat,
        ),
        at_once(E::Completions, "completions", "completions", Chat),
        at_once(E::Responses, "responses", "responses", Responses),
        at_once(E::Messages, "messages", "messages", Messages),
        at_once(E::Embeddings, "embeddings", "embeddings", Unknown),
        at_once(E::Rerank, "rerank", "rerank", Unknown),
        at_once(E::Images, "images", "images", Unknown),
        at_once(
            E::Transcriptions,
            "audio/transcriptions",
            "audio.transcriptions",
            Unknown,
        ),
        at_once(E::Speech, "audio/speech", "audio.speech", Unknown),
        by_job(E::Videos, "videos", "videos", HoldUnit::Video),
        by_job(E::Batches, "batches", "batches", HoldUnit::InlineRequest),
        at_once(E::Systemone, "systemone", "systemone", Unknown),
        at_once(E::Other, "", "other", Unknown),
    ]
};

const fn at_once(
    endpoint: Endpoint,
    path: &'static str,
    name: &'static str,
    dialect: Dialect,
) -> Description {
    Description {
        endpoint,
        path,
        name,
        dialect,
        creates_jobs: false,
        hold: HoldUnit::Request,
    }
}

const fn by_job(
    endpoint: Endpoint,
    path: &'static str,
    name: &'static str,
    hold: HoldUnit,
) -> Description {
    Description {
        endpoint,
        path,
        name,
        dialect: Dialect::Unknown,
        creates_jobs: true,
        hold,
    }
}

const _: () = {
    let mut at = 0;
    while at < ENDPOINTS.len() {
        assert!(
            ENDPOINTS[at].endpoint as usize == at,
            "a row stands in another's place"
        );
        at += 1;
    }
};

impl Endpoint {
    fn description(self) -> &'static Description {
        &ENDPOINTS[self as usize]
    }

    /// The name in `request_logs.endpoint` and in the logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.description().name
    }

    /// The dialect of the endpoint's event streams.
    #[must_use]
    pub fn dialect(self) -> Dialect {
        self.description().dialect
    }

    /// Whether a request creates an asynchronous [`Job`].
    #[must_use]
    pub fn creates_jobs(self) -> bool {
        self.description().creates_jobs
    }

    /// The unit in which a request is held.
    #[must_use]
    pub fn hold_unit(self) -> HoldUnit {
        self.description().hold
    }

    /// The folder of the jobs that the endpoint creates, if it does.
    fn folder_of_jobs(self) -> Option<&'static str> {
        let Description {
            path, creates_jobs, ..
        } = self.description();
        creates_jobs.then_some(*path)
    }

    /// The names of the endpoints that create jobs.
    #[must_use]
    pub fn names_with_jobs() -> Vec<&'static str> {
        Self::all_with_jobs().map(Self::as_str).collect()
    }

    /// The endpoints that create jobs.
    fn all_with_jobs() -> impl Iterator<Item = Self> {
        let all = ENDPOINTS.iter().filter(|it| it.creates_jobs);
        all.map(|it| it.endpoint)
    }

    /// Interns answer in the dialect of the endpoint that they wrap. Presets don't: there, an
    /// inference request is kept, not carried out.
    fn of(path: &str) -> Self {
        let path = unwrapped(path);
        ENDPOINTS
            .iter()
            .find(|it| it.path == path)
            .map_or(Self::Other, |it| it.endpoint)
    }
}

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
    /// The method is none that is passed on.
    #[error("{method} is not passed on")]
    MethodNotAllowed {
        /// The request's method.
        method: Method,
        /// The methods that are, as the `Allow` header says them.
        allow: &'static str,
    },
}

/// Families of paths that are refused, to all or to callers with a provisioned key, unless the operator
/// allows them, and are allowed.
#[derive(Debug, Clone, Default)]
pub struct AllowedFamilies(Vec<&'static str>);

impl AllowedFamilies {
    /// Parses a comma-separated list, e.g. `credits,keys`. The error is the place of the first unknown
    /// name, not the name, because a misplaced secret could stand there.
    pub fn parse(list: &str) -> Result<Self, UnknownFamily> {
        list.split(',')
            .map(str::trim)
            .enumerate()
            .filter(|(_, name)| !name.is_empty())
            .map(|(index, name)| {
                REFUSED_FAMILIES
                    .into_iter()
                    .chain(SHARED_FAMILIES)
                    .find(|family| *family == name)
                    .ok_or(UnknownFamily(index + 1))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// The place in a list, from 1, of a name that is no refused family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("name {0} of the list is not a refused family")]
pub struct UnknownFamily(usize);

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

impl RouteError {
    /// The stable name that clients see.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "not_found",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
            Self::PathNotAllowed { .. } => "path_not_allowed",
        }
    }
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
        if !METHODS
            .split(", ")
            .any(|allowed| allowed == method.as_str())
        {
            return Err(RouteError::MethodNotAllowed {
                method: method.clone(),
                allow: METHODS,
            });
        }
        let below = canonical_path
            .strip_prefix(PROXY_PREFIX)
            .and_then(|rest| rest.strip_prefix('/'))
            .map(|below| below.strip_prefix("v1/").unwrap_or(below))
            .filter(|path| !matches!(path.trim_matches('/'), "" | "v1"));
        let path = below.ok_or_else(|| RouteError::NotFound {
            path: canonical_path.to_owned(),
        })?;
        let is_allowed = |family: &&'static str| allowed.0.contains(family);
        let refused = family_of(path, &REFUSED_FAMILIES);
        if let Some(family) = refused.filter(|family| !is_allowed(family)) {
            return Err(RouteError::PathNotAllowed { family });
        }
        let shared = family_of(path, &SHARED_FAMILIES);
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
            requires_own_key: shared.is_some_and(|family| !is_allowed(&family)),
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

/// The one of `families` that `path` belongs to. Compared without case and behind any number of `v1/`: what
/// OpenRouter's router makes of those is not for us to bet credentials on.
fn family_of(path: &str, families: &[&'static str]) -> Option<&'static str> {
    let path = path.to_ascii_lowercase();
    let path = path.trim_start_matches("v1/");
    let mut families = families.iter().copied();
    families.find(|family| path.starts_with(family))
}

/// The endpoint's path within an intern's, or `path` itself.
fn unwrapped(path: &str) -> &str {
    path.strip_prefix("interns/")
        .and_then(|below| below.split_once('/'))
        .map_or(path, |(_name, wrapped)| wrapped)
}

fn is_below(path: &str, folder: &str) -> bool {
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
    fn other_methods_are_refused() {
        for method in [
            "TRACE", "CONNECT", "post", "Post", "BREW", "PROPFIND", "GET,",
        ] {
            let method = Method::from_bytes(method.as_bytes()).unwrap_or(Method::TRACE);
            assert!(
                matches!(
                    route(&method, "/chat/completions"),
                    Err(RouteError::MethodNotAllowed { .. })
                ),
                "{method}"
            );
        }
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let route = route(&method, "/chat/completions").unwrap();
            assert_eq!(route.is_billable(), method == Method::POST, "{method}");
        }
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
    fn the_operator_may_allow_a_family() {
        let allowed = AllowedFamilies::parse("credits, auth/keys").unwrap();
        assert!(Route::parse(&Method::GET, "/api/v1/openrouter/credits", &allowed).is_ok());
        assert!(Route::parse(&Method::GET, "/api/v1/openrouter/keys", &allowed).is_err());
        assert_eq!(
            AllowedFamilies::parse("credits,credit").unwrap_err(),
            UnknownFamily(2)
        );
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
