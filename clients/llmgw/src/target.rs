//! The path and query of a request, as users type them.

use std::{fmt, str::FromStr};

use shared::{
    identity::canonical::{CanonicalPath, CanonicalQuery, PathError, QueryError},
    request::RawQuery,
};

/// The prefix of all routes but the greeting.
const API: &str = "/api/v1/";

/// A path relative to the gateway's base URL, and a query. `Display` writes the form that is sent and
/// signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    path: CanonicalPath,
    query: CanonicalQuery,
}

impl Target {
    /// Parses `/api/v1/usage?start_date=2026-01-01`, or, without a leading slash, a path relative to
    /// `/api/v1/`: `openrouter/chat/completions`.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        let (path, query) = text.split_once('?').unwrap_or((text, ""));
        if path.contains("://") {
            return Err(TargetError::WholeUrl);
        }
        let path = if path.starts_with('/') {
            path.to_owned()
        } else {
            let below = path.strip_prefix("api/v1/").unwrap_or(path);
            format!("{API}{below}")
        };
        Ok(Self {
            path: CanonicalPath::from_raw(&path)?,
            query: CanonicalQuery::from_raw(&RawQuery::Encoded(query.to_owned()))?,
        })
    }

    /// The path.
    #[must_use]
    pub fn path(&self) -> &CanonicalPath {
        &self.path
    }

    /// The query.
    #[must_use]
    pub fn query(&self) -> &CanonicalQuery {
        &self.query
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.fmt(f)?;
        if self.query.is_empty() {
            return Ok(());
        }
        write!(f, "?{}", self.query)
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        Self::parse(text)
    }
}

/// The reason why a text is not a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// It has a scheme and a host.
    #[error("give the path only, like /api/v1/usage; the base URL belongs to --gateway")]
    WholeUrl,
    /// Gateways refuse the path.
    #[error(transparent)]
    Path(#[from] PathError),
    /// Gateways refuse the query.
    #[error(transparent)]
    Query(#[from] QueryError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        for (text, wire) in [
            ("/", "/"),
            ("/api/v1/usage", "/api/v1/usage"),
            ("/api/v1/usage?", "/api/v1/usage"),
            ("/api/v1/usage?b=2&a=1&a=0", "/api/v1/usage?a=0&a=1&b=2"),
            (
                "usage?q=a b+c%2B你",
                "/api/v1/usage?q=a%20b%20c%2B%E4%BD%A0",
            ),
            ("usage?next=a?b#c/d", "/api/v1/usage?next=a%3Fb%23c%2Fd"),
            ("usage?url=https://h", "/api/v1/usage?url=https%3A%2F%2Fh"),
            (
                "openrouter/chat/completions",
                "/api/v1/openrouter/chat/completions",
            ),
            ("api/v1/openrouter/models", "/api/v1/openrouter/models"),
            ("/openrouter/models", "/openrouter/models"),
            (
                "openrouter/models/deepseek/r1%3Afree/endpoints",
                "/api/v1/openrouter/models/deepseek/r1:free/endpoints",
            ),
        ] {
            let target = Target::parse(text).unwrap();
            assert_eq!(target.to_string(), wire, "{text}");
            assert_eq!(Target::parse(wire).as_ref(), Ok(&target), "{text}");
        }
        for (text, error) in [
            ("https://gw/api/v1/usage", TargetError::WholeUrl),
            ("a#b", PathError::ForbiddenCharacter.into()),
            ("a b", PathError::ForbiddenCharacter.into()),
            ("../keys", PathError::DotSegment.into()),
            ("//host/path", PathError::EmptySegment.into()),
            ("a%2Fb", PathError::EncodedSeparator.into()),
            ("usage?a=%", QueryError::BrokenEscape.into()),
        ] {
            assert_eq!(Target::parse(text), Err(error), "{text}");
        }
    }
}
