//! OpenRouter's endpoints: their table, the dialects that they answer in, the jobs that they create,
//! and the routes to them.

mod dialect;
mod families;
mod job;
mod route;

pub use self::{
    dialect::{BrokenStream, Dialect, EndMark, LastEvent},
    families::{AllowedFamilies, UnknownFamily},
    job::Job,
    route::{PROXY_PREFIX, Route, RouteError},
};

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
    /// The dialect of its answers.
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
    use Dialect::{Chat, Completions, Images, Messages, Responses, Unknown};
    use Endpoint as E;
    [
        at_once(
            E::ChatCompletions,
            "chat/completions",
            "chat.completions",
            Chat,
        ),
        at_once(E::Completions, "completions", "completions", Completions),
        at_once(E::Responses, "responses", "responses", Responses),
        at_once(E::Messages, "messages", "messages", Messages),
        at_once(E::Embeddings, "embeddings", "embeddings", Unknown),
        at_once(E::Rerank, "rerank", "rerank", Unknown),
        at_once(E::Images, "images", "images", Images),
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

    /// The dialect of the endpoint's answers.
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

    /// The names of all endpoints, as the books have them.
    pub fn names() -> impl Iterator<Item = &'static str> {
        ENDPOINTS.iter().map(|it| it.name)
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

/// The endpoint's path within an intern's, or `path` itself.
fn unwrapped(path: &str) -> &str {
    path.strip_prefix("interns/")
        .and_then(|below| below.split_once('/'))
        .map_or(path, |(_name, wrapped)| wrapped)
}
