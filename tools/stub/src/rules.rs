//! Rules for what the gateway sends to OpenRouter.

use http::{HeaderMap, header};

/// Beginnings of the names of headers that stay between the client and the gateway.
const FORBIDDEN: [&str; 9] = [
    "x-did",
    "signature",
    "x-forwarded-",
    "x-amz",
    "x-amzn",
    "cookie",
    "forwarded",
    "x-api-key",
    "via",
];

/// The first rule that a request's headers break.
#[must_use]
pub fn violation(headers: &HeaderMap) -> Option<String> {
    let is_forbidden = |name: &str| FORBIDDEN.iter().any(|start| name.starts_with(start));
    if let Some(name) = headers.keys().find(|name| is_forbidden(name.as_str())) {
        return Some(format!("the header {name} must not reach OpenRouter"));
    }
    if headers
        .keys()
        .any(|name| headers.get_all(name).iter().count() > 1)
    {
        return Some("a header is repeated".to_owned());
    }
    headers
        .get(header::ACCEPT_ENCODING)
        .is_none_or(|value| value != "identity")
        .then(|| "accept-encoding must be identity".to_owned())
}
