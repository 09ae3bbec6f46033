//! Which route of the gateway a local path means, and in which dialect its caller reads errors.

use http::HeaderMap;
use shared::upstream::endpoint::PROXY_PREFIX;

use crate::target::{Target, TargetError};

/// OpenRouter's paths, as its own API has them; the gateway's are below it, too.
const OPENROUTER_BASE: &str = "/api/v1";
/// OpenAI's and Anthropic's.
const OPENAI_BASE: &str = "/v1";
/// The gateway's own routes that only read. The one that changes a user's key is not for programs
/// that happen to reach this proxy.
const OWN_ROUTES: [&str; 3] = ["/api/v1/health", "/api/v1/usage", "/api/v1/usage/requests"];
const ANTHROPIC_VERSION: &str = "anthropic-version";

/// Maps a path and a query, both as sent.
pub fn target(path: &str, query: Option<&str>) -> Result<Target, RouteError> {
    let below = |base: &str| below(path, base);
    let path = if below(PROXY_PREFIX).is_some() || OWN_ROUTES.contains(&path) {
        path.to_owned()
    } else if let Some(rest) = below(OPENROUTER_BASE).or_else(|| below(OPENAI_BASE)) {
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

/// What follows `base`, with its leading slash and more than that.
fn below<'a>(path: &'a str, base: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(base)?;
    (rest.starts_with('/') && rest.len() > 1).then_some(rest)
}

/// Why a request leads nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// Below none of the base URLs.
    #[error("the path is below none of the base URLs")]
    NotFound,
    /// Below one of them, and in a form that gateways refuse.
    #[error(transparent)]
    Malformed(#[from] TargetError),
}

/// How a family of clients expects errors to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// `{"error":{"message","type","param","code"}}`
    OpenAi,
    /// `{"error":{"code","message","metadata"}}`, as the gateway's own.
    OpenRouter,
    /// `{"type":"error","error":{"type","message"}}`
    Anthropic,
}

impl Dialect {
    /// What the sender of a request reads, by its path and by the header that Anthropic's clients
    /// send on every route.
    #[must_use]
    pub fn of(path: &str, headers: &HeaderMap) -> Self {
        let below = |base: &str| below(path, base);
        let rest = below(PROXY_PREFIX)
            .and_then(|rest| below_v1(rest).or(Some(rest)))
            .or_else(|| below(OPENROUTER_BASE))
            .or_else(|| below(OPENAI_BASE));
        let is_messages =
            rest.is_some_and(|rest| rest == "/messages" || rest.starts_with("/messages/"));
        if is_messages || headers.contains_key(ANTHROPIC_VERSION) {
            Self::Anthropic
        } else if below(OPENAI_BASE).is_some() {
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
mod tests {
    use http::HeaderValue;
    use shared::identity::canonical::{PathError, QueryError};

    use super::*;

    #[test]
    fn paths() {
        for (local, query, remote) in [
            (
                "/v1/chat/completions",
                None,
                "/api/v1/openrouter/chat/completions",
            ),
            (
                "/v1/messages",
                Some("beta=true"),
                "/api/v1/openrouter/messages?beta=true",
            ),
            (
                "/api/v1/chat/completions",
                None,
                "/api/v1/openrouter/chat/completions",
            ),
            ("/api/v1/key", None, "/api/v1/openrouter/key"),
            // Refused there: they are OpenRouter's, and not the gateway's.
            ("/api/v1/keys", None, "/api/v1/openrouter/keys"),
            ("/api/v1/keys/", None, "/api/v1/openrouter/keys/"),
            ("/api/v1/openrouter", None, "/api/v1/openrouter/openrouter"),
            (
                "/api/v1/openrouter/models",
                Some("b&a=1"),
                "/api/v1/openrouter/models?a=1&b=",
            ),
            (
                "/api/v1/openrouter/v1/messages",
                None,
                "/api/v1/openrouter/v1/messages",
            ),
            ("/v1/v1/messages", None, "/api/v1/openrouter/v1/messages"),
            ("/api/v1/usage", Some(""), "/api/v1/usage"),
            ("/api/v1/usage/requests", None, "/api/v1/usage/requests"),
            ("/api/v1/health", None, "/api/v1/health"),
            ("/v1/usage", None, "/api/v1/openrouter/usage"),
            (
                "/v1/models/deepseek/r1%3Afree/endpoints",
                None,
                "/api/v1/openrouter/models/deepseek/r1:free/endpoints",
            ),
        ] {
            assert_eq!(target(local, query).unwrap().to_string(), remote, "{local}");
        }
        for nowhere in [
            "/",
            "",
            "*",
            "/v1",
            "/v1/",
            "/api/v1/",
            "/v10/models",
            "/chat/completions",
        ] {
            assert_eq!(
                target(nowhere, None),
                Err(RouteError::NotFound),
                "{nowhere}"
            );
        }
        for (local, query, error) in [
            (
                "/v1//chat/completions",
                None,
                TargetError::from(PathError::EmptySegment),
            ),
            ("/v1/../keys", None, PathError::DotSegment.into()),
            (
                "/api/v1/openrouter/%2e%2e/keys",
                None,
                PathError::DotSegment.into(),
            ),
            ("/v1/..%2Fkeys", None, PathError::EncodedSeparator.into()),
            ("/v1/a", Some("%"), QueryError::BrokenEscape.into()),
        ] {
            assert_eq!(target(local, query), Err(error.into()), "{local}");
        }
    }

    #[test]
    fn no_local_path_reaches_the_gateways_keys() {
        for path in [
            "/api/v1/keys",
            "/v1/keys",
            "/api/v1/keys/",
            "/api/v1/%6beys",
            "/api/v1/openrouter/../keys",
            "/api/v1/usage/../keys",
            "/api/v1/./keys",
        ] {
            if let Ok(target) = target(path, None) {
                let path = target.path().as_str();
                assert!(path.starts_with("/api/v1/openrouter/"), "{path}");
            }
        }
    }

    #[test]
    fn dialects() {
        let plain = HeaderMap::new();
        for (path, dialect) in [
            ("/v1/chat/completions", Dialect::OpenAi),
            ("/v1/models", Dialect::OpenAi),
            ("/v1/messages", Dialect::Anthropic),
            ("/v1/messages/count_tokens", Dialect::Anthropic),
            ("/v1/messages-of-tomorrow", Dialect::OpenAi),
            ("/api/v1/messages", Dialect::Anthropic),
            ("/api/v1/openrouter/messages", Dialect::Anthropic),
            ("/api/v1/openrouter/v1/messages", Dialect::Anthropic),
            ("/api/v1/chat/completions", Dialect::OpenRouter),
            ("/api/v1/openrouter/responses", Dialect::OpenRouter),
            ("/", Dialect::OpenRouter),
        ] {
            assert_eq!(Dialect::of(path, &plain), dialect, "{path}");
        }
        let version = (
            ANTHROPIC_VERSION.parse().unwrap(),
            HeaderValue::from_static("2023-06-01"),
        );
        let headers = HeaderMap::from_iter([version]);
        assert_eq!(Dialect::of("/v1/models", &headers), Dialect::Anthropic);
    }
}
