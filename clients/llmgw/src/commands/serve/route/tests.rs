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
        // Vercel's Anthropic provider, and others whose base URL has no path.
        ("/messages", None, "/api/v1/openrouter/messages"),
        (
            "/messages/count_tokens",
            None,
            "/api/v1/openrouter/messages/count_tokens",
        ),
        (
            "/chat/completions",
            None,
            "/api/v1/openrouter/chat/completions",
        ),
        ("/responses", None, "/api/v1/openrouter/responses"),
        ("/models", None, "/api/v1/openrouter/models"),
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
        (
            "/v1/models/deepseek%2Fr1",
            None,
            "/api/v1/openrouter/models/deepseek/r1",
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
        "/chat",
        "/keys",
        "/modelsx",
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
        ("/messages", Dialect::Anthropic),
        ("/chat/completions", Dialect::OpenAi),
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
