//! The gateway's route for a local path, and the dialect of its errors.

use http::HeaderMap;
use shared::upstream::endpoint::PROXY_PREFIX;

use crate::target::{Target, TargetError};

/// The base path of OpenRouter's API, and of the gateway's.
const OPENROUTER_BASE: &str = "/api/v1";
/// The base path of OpenAI's and Anthropic's APIs.
const OPENAI_BASE: &str = "/v1";
/// The gateway's own routes that only read. The one that changes a user's key is not available to
/// programs behind this proxy.
const OWN_ROUTES: [&str; 3] = ["/api/v1/health", "/api/v1/usage", "/api/v1/usage/requests"];
/// The paths that are served without any base path, too: SDKs differ in whether their base URL has one
/// (Vercel's Anthropic provider posts to `/messages`).
const AT_THE_ROOT: [&str; 6] = [
    "/chat/completions",
    "/completions",
    "/embeddings",
    "/messages",
    "/models",
    "/responses",
];
const ANTHROPIC_VERSION: &str = "anthropic-version";

/// Maps a path and a query, both in encoded form.
pub(super) fn target(path: &str, query: Option<&str>) -> Result<Target, RouteError> {
    let below = |base: &str| below(path, base);
    let path = if below(PROXY_PREFIX).is_some() || OWN_ROUTES.contains(&path) {
        path.to_owned()
    } else if let Some(rest) = below(OPENROUTER_BASE)
        .or_else(|| below(OPENAI_BASE))
        .or_else(|| at_the_root(path))
    {
        format!("{PROXY_PREFIX}{rest}")
    } else {
        return Err(RouteError::NotFound);
    };
    let text = match query {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    Ok(Target::parse(&text)?)
}

/// The rest of `path` after `base`: a slash and more.
fn below<'a>(path: &'a str, base: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(base)?;
    (rest.starts_with('/') && rest.len() > 1).then_some(rest)
}

/// The path, if it is served without a base path.
fn at_the_root(path: &str) -> Option<&str> {
    let is_served = |served: &str| path == served || below(path, served).is_some();
    AT_THE_ROOT.into_iter().any(is_served).then_some(path)
}

/// The reason why a path has no route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum RouteError {
    /// The path is below none of the base URLs.
    #[error("the path is below none of the base URLs")]
    NotFound,
    /// Gateways refuse the path's form.
    #[error(transparent)]
    Malformed(#[from] TargetError),
}

/// The form of errors that a family of clients expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// `{"error":{"message","type","param","code"}}`
    OpenAi,
    /// `{"error":{"code","message","metadata"}}`, as the gateway's own.
    OpenRouter,
    /// `{"type":"error","error":{"type","message"}}`
    Anthropic,
}

impl Dialect {
    /// The dialect of a request's sender, by its path and by the header that Anthropic's clients always
    /// send.
    #[must_use]
    pub(super) fn of(path: &str, headers: &HeaderMap) -> Self {
        let below = |base: &str| below(path, base);
        let rest = below(PROXY_PREFIX)
            .and_then(|rest| below_v1(rest).or(Some(rest)))
            .or_else(|| below(OPENROUTER_BASE))
            .or_else(|| below(OPENAI_BASE))
            .or_else(|| at_the_root(path));
        let is_messages =
            rest.is_some_and(|rest| rest == "/messages" || rest.starts_with("/messages/"));
        if is_messages || headers.contains_key(ANTHROPIC_VERSION) {
            Self::Anthropic
        } else if below(OPENAI_BASE).or_else(|| at_the_root(path)).is_some() {
            Self::OpenAi
        } else {
            Self::OpenRouter
        }
    }
}

/// The gateway drops one `v1` after its prefix.
fn below_v1(rest: &str) -> Option<&str> {
    below(rest, OPENAI_BASE)
}

#[cfg(test)]
mod tests;
